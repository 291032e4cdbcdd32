//! The shape of a part: a flange with an outer chamfer, a hub, four bolt holes, and a bore with a
//! keyway. Lengths are in part units: 1 is half the shorter side of the picture.

/// A position on the part, or a direction.
pub(crate) type Point = [f32; 2];

pub(crate) const OUTER_RADIUS: f32 = 0.80;
pub(crate) const CHAMFER_WIDTH: f32 = 0.045;
pub(crate) const HUB_RADIUS: f32 = 0.37;
pub(crate) const BORE_RADIUS: f32 = 0.20;
pub(crate) const KEYWAY_HALF_WIDTH: f32 = 0.05;
pub(crate) const KEYWAY_DEPTH: f32 = 0.27;
pub(crate) const HOLE_RADIUS: f32 = 0.07;
pub(crate) const HOLES: [Point; 4] = [[0.41, 0.41], [-0.41, 0.41], [-0.41, -0.41], [0.41, -0.41]];
