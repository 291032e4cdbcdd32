//! GPIO lines as the operator writes them.

use super::*;

fn with(sections: &str) -> String {
    format!("{MINIMAL}{sections}")
}

const REJECT: &str = "[camera.top.reject]\nline = \"VALVE\"\ndelay = \"400ms\"\n";

#[test]
fn an_output_that_rejects_is_safe_by_default_and_makes_the_deadline() {
    let config = parse_with(&with(REJECT), &[]).unwrap();
    let camera = &config.cameras[0];
    let reject = camera.reject.as_ref().unwrap();
    assert_eq!(reject.no_decision, UndecidedRule::Reject);
    assert_eq!(reject.length, Duration::from_millis(50));
    assert_eq!(camera.deadline, Some(Duration::from_millis(400)));
    let delayed = format!("{REJECT}[camera.top.trigger]\nmode = \"mqtt\"\ndelay = \"100ms\"\n");
    let config = parse_with(&with(&delayed), &[]).unwrap();
    assert_eq!(config.cameras[0].deadline, Some(Duration::from_millis(500)));
}

#[test]
fn a_deadline_behind_the_pulse_is_refused() {
    let text = MINIMAL.replace(
        "[camera.top.folder]",
        &format!("[camera.top]\ndeadline = \"401ms\"\n{REJECT}[camera.top.folder]"),
    );
    let problem = refused(&text);
    assert!(
        problem.contains("camera.top.deadline: 401ms lies behind the pulse"),
        "{problem}"
    );
}

#[test]
fn pulses_that_a_stop_would_lose_are_refused() {
    let problem = refused(&with(&REJECT.replace("400ms", "9.99s")));
    assert!(problem.contains("camera.top.reject.delay"), "{problem}");
    assert!(problem.contains("station.grace_period, 10s"), "{problem}");
}

#[test]
fn a_line_is_given_by_its_name_or_by_its_chip_and_number() {
    for (line, expected) in [
        ("", "needs exactly one of `line`"),
        (
            "line = \"A\"\noffset = 1\nchip = \"c\"\n",
            "needs exactly one of `line`",
        ),
        ("offset = 1\n", "camera.top.reject.offset: needs `chip`"),
        (
            "chip = \"\"\nline = \"A\"\n",
            "camera.top.reject.chip: is empty",
        ),
    ] {
        let problem = refused(&with(&REJECT.replace("line = \"VALVE\"\n", line)));
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn one_line_for_two_uses_is_refused_with_both() {
    let problem = refused(&with(&format!(
        "{REJECT}[monitor.heartbeat]\nline = \"VALVE\"\n"
    )));
    assert!(problem.contains("monitor.heartbeat"), "{problem}");
    assert!(
        problem.contains("line `VALVE` is the line of [camera.top.reject]"),
        "{problem}"
    );
}

#[test]
fn triggers_from_a_line_need_one_and_others_have_none() {
    let problem = refused(&with("[camera.top.trigger]\nmode = \"gpio\"\n"));
    assert!(
        problem.contains("camera.top.trigger.input: is missing"),
        "{problem}"
    );
    let input = "[camera.top.trigger.input]\nline = \"SENSOR\"\n";
    let problem = refused(&with(input));
    assert!(
        problem.contains("has a meaning only with mode = \"gpio\""),
        "{problem}"
    );
    let text = with(&format!("[camera.top.trigger]\nmode = \"gpio\"\n{input}"));
    let config = parse_with(&text, &[]).unwrap();
    let trigger = &config.cameras[0].trigger;
    assert_eq!(trigger.mode, TriggerMode::Gpio);
    assert_eq!(trigger.input.as_ref().unwrap().edge, EdgeKind::Rising);
}
