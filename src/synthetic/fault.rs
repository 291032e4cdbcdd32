//! What can go wrong with the camera of a synthetic line, so that an outage can be rehearsed.
//!
//! The start of each fault is counted in parts, so a run can be repeated. This module knows what a
//! picture from a faulty camera looks like; delays and disconnects are handled by the source.

use std::time::Duration;

use flawd_core::image::RgbImage;

use super::SyntheticLine;

/// Dark pictures have this share of their light: white becomes 7 of 255.
const DARKER: u8 = 32;

/// The faults of one run; each occurs once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The camera delivers nothing and reports nothing, like a driver that hangs.
    pub stall: Option<Outage>,
    /// The camera is disconnected, and cannot be opened until it is back.
    pub loss: Option<Outage>,
    /// Pictures are nearly black.
    pub dark: Option<Spell>,
    /// The same picture is repeated.
    pub frozen: Option<Spell>,
}

/// A period without pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// It starts after this many parts.
    pub after: u64,
    /// Its duration.
    pub lasts: Duration,
}

/// A series of bad pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// It starts after this many parts.
    pub after: u64,
    /// Its number of parts.
    pub parts: u64,
}

impl Spell {
    fn covers(self, index: u64) -> bool {
        index
            .checked_sub(self.after)
            .is_some_and(|since| since < self.parts)
    }
}

impl Faults {
    /// Returns the picture taken of the part at `index`. A frozen camera shows the part before the
    /// first that it misses.
    pub fn picture(&self, line: &SyntheticLine, index: u64) -> RgbImage {
        let shown = match self.frozen {
            Some(frozen) if frozen.covers(index) => frozen.after.saturating_sub(1),
            _ => index,
        };
        let image = line.part(shown).image;
        match self.dark {
            Some(dark) if dark.covers(shown) => darkened(image),
            _ => image,
        }
    }
}

fn darkened(image: RgbImage) -> RgbImage {
    let size = image.size();
    let mut pixels = image.into_pixels();
    for value in &mut pixels {
        *value /= DARKER;
    }
    RgbImage::new(size, pixels).expect("as many pixels as before")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::SyntheticOptions;

    /// Returns for each picture of a line which part it shows and whether it is dark.
    fn shown(faults: Faults) -> Vec<(u64, bool)> {
        let line = SyntheticLine::new(SyntheticOptions {
            size: "96x96".parse().unwrap(),
            seed: 3,
            defect_rate: 0.5,
        })
        .unwrap();
        let parts: Vec<_> = (0..8).map(|index| line.part(index).image).collect();
        let find = |picture: &RgbImage| {
            let is_dark = picture.pixels().iter().all(|&value| value < 8);
            let shown = parts.iter().position(|part| {
                part == picture || (is_dark && darkened(part.clone()) == *picture)
            });
            (shown.expect("it shows a part") as u64, is_dark)
        };
        (0..8)
            .map(|index| find(&faults.picture(&line, index)))
            .collect()
    }

    #[test]
    fn without_faults_every_part_is_seen() {
        let expected: Vec<_> = (0..8).map(|index| (index, false)).collect();
        assert_eq!(shown(Faults::default()), expected);
    }

    #[test]
    fn dark_and_frozen_pictures_come_when_asked_for_and_end() {
        let spell = |after, parts| Some(Spell { after, parts });
        let dark = Faults {
            dark: spell(2, 3),
            ..Faults::default()
        };
        let dark_parts = shown(dark).into_iter().map(|(_, is_dark)| is_dark);
        let expected = [false, false, true, true, true, false, false, false];
        assert_eq!(dark_parts.collect::<Vec<_>>(), expected);

        let frozen = |after, parts| {
            let faults = Faults {
                frozen: spell(after, parts),
                ..Faults::default()
            };
            shown(faults)
                .into_iter()
                .map(|(part, _)| part)
                .collect::<Vec<_>>()
        };
        assert_eq!(frozen(3, 4), [0, 1, 2, 2, 2, 2, 2, 7]);
        assert_eq!(frozen(0, 3), [0, 0, 0, 3, 4, 5, 6, 7]);
        assert_eq!(frozen(7, u64::MAX), [0, 1, 2, 3, 4, 5, 6, 6]);
    }

    #[test]
    fn what_a_frozen_camera_saw_last_stays_as_dark_or_bright_as_it_was() {
        let faults = Faults {
            dark: Some(Spell { after: 0, parts: 3 }),
            frozen: Some(Spell { after: 3, parts: 2 }),
            ..Faults::default()
        };
        let expected = [
            (0, true),
            (1, true),
            (2, true),
            (2, true),
            (2, true),
            (5, false),
        ];
        assert_eq!(shown(faults)[..6], expected);
    }
}
