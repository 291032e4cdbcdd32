//! The reader of a bundle's manifest.

use flawd_core::manifest::Manifest;

use super::{KIB, Limits, MIB, Target};

pub(super) const TARGET: Target = Target {
    name: "manifest",
    read,
    limits: Limits {
        peak: MIB,
        peak_per_byte: 1024,
        total: MIB,
        total_per_byte: 4096,
    },
    longest: 16 * KIB,
    words: &[
        b"\n[import]\n",
        b"\n[metrics]\n",
        b"\n[selection]\n",
        b"\n[[golden]]\n",
        b"\n[model.geometry]\n",
        b"region = { left = 1, top = 2, width = 3, height = 4 }",
        b"method = \"cross\"",
        b"folds = 10",
        b"nan",
        b"inf",
        b"-inf",
        b"1e308",
        b"\"\"\"",
        b"{",
        b"}",
        b"[",
        b"]",
        b"=",
        b"\\u0000",
        b"2026-01-01T00:00:00Z",
    ],
};

fn read(input: &[u8]) {
    let Some(manifest) = str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse::<Manifest>().ok())
    else {
        return;
    };
    let written = manifest.to_string();
    let again: Manifest = written.parse().expect("what is written can be read");
    assert_eq!(again.to_string(), written);
    for rate in [0.0, 0.01, 0.5, 1.0] {
        manifest.calibration.at_rate(rate).ok();
    }
    assert!((0.0..=1.0).contains(&manifest.calibration.p_value(0.5)));
}
