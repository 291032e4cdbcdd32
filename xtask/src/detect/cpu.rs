//! The CPU time of other programs.

use std::fs;

/// Ticks of `/proc` per second: USER_HZ, 100 on every architecture that flawd is built for
/// (time(7)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the CPU time, in seconds, of all child processes that have ended: their own and that of
/// the system for them, with their own children. The difference of two calls is the time of the
/// programs that ran in between.
///
/// # Errors
/// If there is no Linux `/proc`.
pub(super) fn of_children() -> Result<f64, String> {
    let stat = fs::read_to_string("/proc/self/stat")
        .map_err(|error| format!("/proc/self/stat: {error}"))?;
    ticks(&stat)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .ok_or_else(|| "/proc/self/stat has another form".to_owned())
}

/// Returns `cutime` + `cstime`, fields 16 and 17 of proc_pid_stat(5). The name of the program, field
/// 2, is in parentheses and may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_fields_are_found_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 130 14 15 16";
        assert_eq!(ticks(stat), Some(144));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn the_time_of_a_child_is_counted_once_it_has_ended() {
        let before = of_children().unwrap();
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(
            Command::new("sh")
                .args(["-c", script])
                .status()
                .unwrap()
                .success()
        );
        assert!(of_children().unwrap() > before);
    }
}
