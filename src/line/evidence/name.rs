//! Names of evidence: what a file is called, and which files are ours.
//!
//! ```text
//! <camera>/<YYYY-MM-DD>/<seq, 12 digits or more>-<ok, ng, or the reason>-<series>.png  the picture
//!                                                                            .map.png  its heatmap
//!                      .<either name>.part                                             unfinished
//! ```
//! The series names the numbering, so that one that begins again on the same day overwrites no
//! other's files. Files of earlier versions have none.
//!
//! A *stem* is a path without its extension; it names picture and heatmap together. Files without
//! exactly such a name belong to another program and are left alone. The part's id comes from
//! outside and is not used in names.

use flawd_core::verdict::{Reason, Verdict};
use jiff::civil::Date;
use jiff::tz::Offset;

use super::EvidenceItem;

const PICTURE: &str = ".png";
const MAP: &str = ".map.png";

/// Returns the stem of an item, relative to the evidence folder. The day is in UTC.
pub(crate) fn stem(item: &EvidenceItem) -> String {
    let day = Offset::UTC.to_datetime(item.captured).date();
    let what = what(item.verdict);
    let (seq, series) = (item.seq, &item.series);
    format!("{}/{day}/{seq:012}-{what}-{series}", item.camera)
}

/// Returns what an item's number counts in, its camera and series, and the number.
pub(crate) fn number(stem: &str) -> ((&str, &str), u64) {
    let (camera, _) = stem.split_once('/').unwrap_or_default();
    let (_, name) = stem.rsplit_once('/').unwrap_or_default();
    let (seq, rest) = name.split_once('-').unwrap_or_default();
    let (_, series) = rest.split_once('-').unwrap_or_default();
    ((camera, series), seq.parse().unwrap_or_default())
}

/// Returns the picture's path.
pub(crate) fn picture(stem: &str) -> String {
    format!("{stem}{PICTURE}")
}

/// Returns the heatmap's path.
pub(crate) fn map(stem: &str) -> String {
    format!("{stem}{MAP}")
}

/// Returns a file's name until it is complete; `name` is the last component of its path.
pub(crate) fn unfinished(name: &str) -> String {
    format!(".{name}.part")
}

fn what(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NoDecision(reason) => reason.as_str(),
        Verdict::Ok | Verdict::Ng => verdict.as_str(),
    }
}

/// A file of ours, by the last component of its path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ours<'a> {
    /// A picture or a heatmap; the last component of its stem.
    Whole(&'a str),
    /// Left by an interrupted run.
    Unfinished,
}

/// Classifies a file in a day's folder; `None` for a foreign file.
pub(crate) fn file(name: &str) -> Option<Ours<'_>> {
    if let Some(inner) = name.strip_prefix('.') {
        let inner = inner.strip_suffix(".part")?;
        return whole(inner).map(|_| Ours::Unfinished);
    }
    whole(name).map(Ours::Whole)
}

fn whole(name: &str) -> Option<&str> {
    let stem = name
        .strip_suffix(MAP)
        .or_else(|| name.strip_suffix(PICTURE))?;
    let (seq, rest) = stem.split_once('-')?;
    let (what, series) = rest.split_once('-').unwrap_or((rest, "0"));
    let number: u64 = seq.parse().ok()?;
    if series.is_empty() || !series.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let is_known = ["ok", "ng"]
        .into_iter()
        .chain(Reason::ALL.map(Reason::as_str))
        .any(|known| known == what);
    (is_known && seq == format!("{number:012}")).then_some(stem)
}

/// Returns whether a folder can be a camera's.
pub(crate) fn is_camera(name: &str) -> bool {
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"-_".contains(&letter);
    !name.is_empty() && name.bytes().all(is_plain)
}

/// Returns whether a folder in a camera's can be a day's.
pub(crate) fn is_day(name: &str) -> bool {
    name.parse().is_ok_and(|day: Date| day.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_recognised_and_others_are_not() {
        for verdict in [Verdict::Ok, Verdict::Ng]
            .into_iter()
            .chain(Reason::ALL.map(Verdict::NoDecision))
        {
            for (seq, series) in [(0, ""), (41, "-0123456789ab"), (u64::MAX, "-x")] {
                let stem = format!("{seq:012}-{}{series}", what(verdict));
                assert_eq!(file(&picture(&stem)), Some(Ours::Whole(&stem)));
                assert_eq!(file(&map(&stem)), Some(Ours::Whole(&stem)));
                let draft = unfinished(&map(&stem));
                assert_eq!(file(&draft), Some(Ours::Unfinished));
            }
        }
        for other in [
            "",
            ".png",
            "notes.txt",
            "000000000041-ng.jpg",
            "000000000041-good.png",
            "41-ng.png",
            "000000000041-ng-.png",
            "000000000041-ng-a-b.png",
            "0000000000041-ng.png",
            "+00000000041-ng.png",
            "000000000041-ng.png.part",
            ".notes.part",
            ".000000000041-ng.png",
            "000000000041-ng (copy).png",
        ] {
            assert_eq!(file(other), None, "{other}");
        }
    }

    #[test]
    fn own_folders_are_recognised_and_others_are_not() {
        assert!(is_camera("top-2_b") && is_day("2026-02-28"));
        for other in ["", ".hidden", "lost+found", "a b", "ü"] {
            assert!(!is_camera(other), "{other}");
        }
        for other in [
            "2026-02-30",
            "2026-2-3",
            "20260228",
            "2026-02-28T00:00",
            "x",
        ] {
            assert!(!is_day(other), "{other}");
        }
    }
}
