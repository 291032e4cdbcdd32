//! Movements of a picture: shift, zoom and turn, composed into one, and applied to pixels or to a
//! mask.

use flawd_core::image::{CHANNELS, RgbImage, Size};

use super::{Change, picture, to_byte};

/// Where the content of a pixel comes from: an affine map of places relative to the picture's
/// centre, from the moved picture to the original.
#[derive(Clone, Copy)]
pub(super) struct Movement {
    /// `[[x by x, x by y], [y by x, y by y]]`.
    linear: [[f64; 2]; 2],
    /// `[x, y]`, in pixels.
    offset: [f64; 2],
}

impl Movement {
    /// Composes the geometric changes among `changes`, the first one applied first.
    pub(super) fn of(changes: &[Change]) -> Self {
        let rest = Self {
            linear: [[1.0, 0.0], [0.0, 1.0]],
            offset: [0.0; 2],
        };
        changes.iter().fold(rest, |first, change| {
            Self::back(change).map_or(first, |second| first.after(&second))
        })
    }

    /// Returns the inverse of a change; `None` if it moves nothing.
    fn back(change: &Change) -> Option<Self> {
        let (linear, offset) = match *change {
            Change::Shift { x, y } => ([[1.0, 0.0], [0.0, 1.0]], [-x, -y]),
            Change::Zoom(factor) => ([[factor.recip(), 0.0], [0.0, factor.recip()]], [0.0; 2]),
            Change::Turn(degrees) => {
                // With y downwards, this is the way back of a clockwise turn.
                let (sine, cosine) = degrees.to_radians().sin_cos();
                ([[cosine, sine], [-sine, cosine]], [0.0; 2])
            }
            _ => return None,
        };
        Some(Self { linear, offset })
    }

    /// Returns the map that applies `other` first and `self` to the result.
    fn after(&self, other: &Self) -> Self {
        let column = |place: usize| [other.linear[0][place], other.linear[1][place]];
        let (x, y) = (self.turned(column(0)), self.turned(column(1)));
        Self {
            linear: [[x[0], y[0]], [x[1], y[1]]],
            offset: self.source(other.offset),
        }
    }

    fn turned(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        self.linear.map(|[by_x, by_y]| by_x * x + by_y * y)
    }

    /// Returns the place in the original, relative to the centre.
    fn source(&self, place: [f64; 2]) -> [f64; 2] {
        let [x, y] = self.turned(place);
        [x + self.offset[0], y + self.offset[1]]
    }

    /// Calls `visit` for every pixel, row by row, with its place in the original, which is limited
    /// to the picture: what lies outside repeats the edge.
    fn walk(&self, size: Size, mut visit: impl FnMut([f64; 2])) {
        let last = [size.width, size.height].map(|side| (side - 1) as f64);
        let centre = last.map(|last| last / 2.0);
        for row in 0..size.height {
            for column in 0..size.width {
                let place = [column as f64 - centre[0], row as f64 - centre[1]];
                let [x, y] = self.source(place);
                visit([
                    (x + centre[0]).clamp(0.0, last[0]),
                    (y + centre[1]).clamp(0.0, last[1]),
                ]);
            }
        }
    }
}

/// Moves a picture; values between pixels are interpolated bilinearly.
pub(super) fn move_image(image: &RgbImage, movement: &Movement) -> RgbImage {
    let size = image.size();
    let pixel = |row: usize, column: usize| {
        let start = (row * size.width + column) * CHANNELS;
        &image.pixels()[start..][..CHANNELS]
    };
    let mut moved = Vec::with_capacity(image.pixels().len());
    movement.walk(size, |[x, y]| {
        // The cast of what is not a number gives 0.
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = (
            (left + 1).min(size.width - 1),
            (top + 1).min(size.height - 1),
        );
        let (along, down) = (x - left as f64, y - top as f64);
        let corners = [
            pixel(top, left),
            pixel(top, right),
            pixel(bottom, left),
            pixel(bottom, right),
        ];
        moved.extend((0..CHANNELS).map(|channel| {
            let [nw, ne, sw, se] = corners.map(|corner| f64::from(corner[channel]));
            let (upper, lower) = (nw + (ne - nw) * along, sw + (se - sw) * along);
            to_byte(upper + (lower - upper) * down)
        }));
    });
    picture(image, moved)
}

/// Moves a mask, one value per pixel, as the geometric ones among `changes` move its picture; each
/// pixel takes the value of the nearest one.
pub(crate) fn move_mask(changes: &[Change], marked: Vec<bool>, size: Size) -> Vec<bool> {
    if !changes.iter().any(Change::is_geometric) {
        return marked;
    }
    let mut moved = Vec::with_capacity(marked.len());
    Movement::of(changes).walk(size, |[x, y]| {
        moved.push(marked[y.round() as usize * size.width + x.round() as usize]);
    });
    moved
}
