//! What can be wrong with a part: the kinds, and the random shape of one defect.
//!
//! This module knows where a defect is on the part and how strongly it covers a point; its
//! appearance is left to the renderer. Lengths are in part units: 1 is half the shorter side of the
//! picture.

use std::fmt;

use super::noise::{Draws, Noise, direction, smooth_step};
use super::part::{
    BORE_RADIUS, HOLE_RADIUS, HOLES, KEYWAY_DEPTH, KEYWAY_HALF_WIDTH, OUTER_RADIUS, Point,
};

/// The kinds of defect a synthetic part can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefectKind {
    /// A thin bright line with a dark side across the turned face.
    Scratch,
    /// One to three small dark pits, as trapped gas leaves them in a casting.
    Blowhole,
    /// A brownish patch with a soft edge.
    Stain,
    /// A piece broken out of the outer edge.
    Chip,
    /// A bolt hole or the keyway was not machined.
    MissingFeature,
}

impl DefectKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Scratch,
        Self::Blowhole,
        Self::Stain,
        Self::Chip,
        Self::MissingFeature,
    ];

    /// Returns the name of its folder in a data set: lower case with underscores.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Blowhole => "blowhole",
            Self::Stain => "stain",
            Self::Chip => "chip",
            Self::MissingFeature => "missing_feature",
        }
    }
}

impl fmt::Display for DefectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One defect with its position and size on the part.
pub(crate) enum Defect {
    Scratch(Scratch),
    Blowhole(Vec<Blob>),
    Stain(Blob),
    Chip(Blob),
    MissingHole(usize),
    MissingKeyway,
}

impl Defect {
    /// Draws a defect of this kind.
    pub(crate) fn draw(kind: DefectKind, draws: &mut Draws) -> Self {
        match kind {
            DefectKind::Scratch => Self::Scratch(Scratch::draw(draws)),
            DefectKind::Blowhole => {
                let pits = 1 + draws.below(3);
                Self::Blowhole(
                    (0..pits)
                        .map(|_| Blob::on_face(draws, 0.026, 0.048))
                        .collect(),
                )
            }
            DefectKind::Stain => Self::Stain(Blob::on_face(draws, 0.09, 0.16)),
            DefectKind::Chip => {
                let [x, y] = direction(draws.uniform());
                let centre = [x * OUTER_RADIUS, y * OUTER_RADIUS];
                Self::Chip(Blob::draw(draws, centre, 0.065, 0.11))
            }
            DefectKind::MissingFeature => match draws.below(HOLES.len() + 1) {
                hole if hole < HOLES.len() => Self::MissingHole(hole),
                _ => Self::MissingKeyway,
            },
        }
    }

    /// Returns how much of the point is covered, 0 to 1. Whether the point is on the part is for
    /// the caller to check.
    pub(crate) fn coverage(&self, point: Point) -> f32 {
        match self {
            Self::Scratch(scratch) => scratch.coverage(point),
            Self::Blowhole(pits) => pits
                .iter()
                .map(|pit| pit.coverage(point, 0.12))
                .fold(0.0, f32::max),
            Self::Stain(blob) => blob.coverage(point, 0.55),
            Self::Chip(blob) => blob.coverage(point, 0.08),
            Self::MissingHole(hole) => f32::from(distance(point, HOLES[*hole]) < HOLE_RADIUS),
            Self::MissingKeyway => {
                let [x, y] = point;
                f32::from(
                    x.abs() < KEYWAY_HALF_WIDTH
                        && (-KEYWAY_DEPTH..0.0).contains(&y)
                        && length(point) > BORE_RADIUS,
                )
            }
        }
    }
}

/// A bent line of constant width.
pub(crate) struct Scratch {
    points: [Point; 9],
    half_width: f32,
    /// Unit vector across the line, for its dark side.
    pub(crate) across: Point,
    /// Brightness of the line above the metal.
    pub(crate) contrast: f32,
}

impl Scratch {
    fn draw(draws: &mut Draws) -> Self {
        let [x, y] = direction(draws.uniform());
        let radius = draws.range(0.46, 0.66);
        let middle = [x * radius, y * radius];
        let along = direction(draws.uniform());
        let across = [-along[1], along[0]];
        let half_length = draws.range(0.13, 0.26);
        let bend = draws.range(-0.05, 0.05);
        let points = std::array::from_fn(|step| {
            let t = step as f32 / 4.0 - 1.0;
            let (forward, aside) = (t * half_length, bend * (1.0 - t * t));
            [
                middle[0] + along[0] * forward + across[0] * aside,
                middle[1] + along[1] * forward + across[1] * aside,
            ]
        });
        Self {
            points,
            half_width: draws.range(0.0085, 0.013),
            across,
            contrast: draws.range(0.2, 0.34),
        }
    }

    pub(crate) fn coverage(&self, point: Point) -> f32 {
        let nearest = self
            .points
            .windows(2)
            .map(|ends| distance_to_segment(point, ends[0], ends[1]))
            .fold(f32::INFINITY, f32::min);
        1.0 - smooth_step(nearest / (1.6 * self.half_width) - 0.25)
    }

    /// Returns the same line moved by its own width, where its shadow falls.
    pub(crate) fn shadow(&self, point: Point) -> f32 {
        let shift = 1.8 * self.half_width;
        self.coverage([
            point[0] - self.across[0] * shift,
            point[1] - self.across[1] * shift,
        ])
    }
}

/// A round patch with an irregular edge.
pub(crate) struct Blob {
    pub(crate) centre: Point,
    pub(crate) radius: f32,
    /// Depth or darkness, 0 to 1, for the renderer.
    pub(crate) strength: f32,
    edge: Noise,
}

impl Blob {
    fn draw(draws: &mut Draws, centre: Point, smallest: f32, largest: f32) -> Self {
        Self {
            centre,
            radius: draws.range(smallest, largest),
            strength: draws.uniform(),
            edge: draws.noise(),
        }
    }

    /// Draws a blob on the turned face, away from the bolt holes.
    fn on_face(draws: &mut Draws, smallest: f32, largest: f32) -> Self {
        let turns = 0.25 * draws.below(4) as f32 + draws.range(-0.07, 0.07);
        let [x, y] = direction(turns);
        let radius = draws.range(0.47, 0.66);
        Self::draw(draws, [x * radius, y * radius], smallest, largest)
    }

    /// Returns how much of the point is inside; `softness` is the share of the radius over which it
    /// fades.
    pub(crate) fn coverage(&self, point: Point, softness: f32) -> f32 {
        let distance = distance(point, self.centre);
        if distance > 1.6 * self.radius {
            return 0.0;
        }
        let scale = 2.2 / self.radius;
        let ragged = 1.0 + 0.3 * self.edge.cloudy(point[0] * scale, point[1] * scale);
        1.0 - smooth_step((distance / (self.radius * ragged) - 1.0) / softness + 0.5)
    }
}

pub(crate) fn length([x, y]: Point) -> f32 {
    (x * x + y * y).sqrt()
}

pub(crate) fn distance(a: Point, b: Point) -> f32 {
    length([a[0] - b[0], a[1] - b[1]])
}

fn distance_to_segment(point: Point, from: Point, to: Point) -> f32 {
    let span = [to[0] - from[0], to[1] - from[1]];
    let offset = [point[0] - from[0], point[1] - from[1]];
    let along = (offset[0] * span[0] + offset[1] * span[1])
        / (span[0] * span[0] + span[1] * span[1]).max(f32::MIN_POSITIVE);
    let along = along.clamp(0.0, 1.0);
    distance(offset, [span[0] * along, span[1] * along])
}
