//! Where the part lies in the picture: a small grey view of it, laid over the mean view of the
//! calibration.
//!
//! The view is a smooth function of where everything is, so a small motion changes it by its
//! gradients: Lucas and Kanade, "An iterative image registration technique with an application to
//! stereo vision", IJCAI 1981, in one step and for four motions of the whole picture, beside other
//! light, also from another side. One step is exact within a quarter or so. What is at
//! the same place in all pictures, the part's outline or its fixture, has steep gradients in the
//! mean view and decides; what differs between the pictures is flat there and has little weight.
//! Of parts that lie anywhere, or of which each is different, nothing is left to decide: the
//! motions then differ from picture to picture as much in the calibration as on the line.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Rows and columns of a view. With 32, solar cells scattered by 0.5 % of the width, with 48 and 64
/// by 0.3 %; a bottle by 0.2 % with any.
pub(crate) const SIDE: usize = 48;

const CELLS: usize = SIDE * SIDE;

/// Contrast, brightness, its slopes to the right and down, and the motions.
const UNKNOWNS: usize = 8;

/// The first of the motions.
const MOTION: usize = 4;

/// What a motion is expected to be without evidence: zero, with a deviation of a twentieth of the
/// picture, beside cells that deviate by 4 grey levels. Keeps motions that the mean view cannot
/// show near zero.
const RIDGE: f64 = (4.0 / 0.05) * (4.0 / 0.05);

/// Motions beyond a fifth of the picture are stated as that: the gradients reach no further.
const FARTHEST: f64 = 0.2;

/// A picture's mean luma in 48 by 48 equal cells, as the model sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GreyView(Box<[u8; CELLS]>);

/// A text that is not a [`GreyView`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a view has {} hexadecimal digits, two for each cell", 2 * CELLS)]
pub struct ViewError;

impl GreyView {
    fn cells(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|&cell| u32::from(cell))
    }
}

/// The sum of views.
pub(super) struct MeanView {
    sums: Vec<u32>,
    count: u32,
}

impl MeanView {
    pub(super) fn new<'a>(views: impl IntoIterator<Item = &'a GreyView>) -> Self {
        let mut mean = Self {
            sums: vec![0; CELLS],
            count: 0,
        };
        for view in views {
            mean.count += 1;
            for (sum, cell) in mean.sums.iter_mut().zip(view.cells()) {
                *sum += cell;
            }
        }
        mean
    }

    /// Returns the mean of all views; `None` if there are none.
    pub(super) fn of_all(&self) -> Option<GreyView> {
        rounded(self.sums.iter().copied(), self.count)
    }

    /// Returns the mean of all views but one of them; `None` if there is no other.
    pub(super) fn without(&self, view: &GreyView) -> Option<GreyView> {
        let others = self.sums.iter().zip(view.cells());
        let others = others.map(|(sum, cell)| sum.saturating_sub(cell));
        rounded(others, self.count.saturating_sub(1))
    }
}

fn rounded(sums: impl Iterator<Item = u32>, count: u32) -> Option<GreyView> {
    if count == 0 {
        return None;
    }
    let cells: Vec<u8> = sums.map(|sum| ((sum + count / 2) / count) as u8).collect();
    <[u8; CELLS]>::try_from(cells)
        .ok()
        .map(|cells| GreyView(Box::new(cells)))
}

impl fmt::Debug for GreyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GreyView(..)")
    }
}

impl From<GreyView> for String {
    fn from(view: GreyView) -> Self {
        view.0.iter().map(|cell| format!("{cell:02x}")).collect()
    }
}

impl TryFrom<String> for GreyView {
    type Error = ViewError;

    fn try_from(text: String) -> Result<Self, ViewError> {
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 2 * CELLS);
        let pairs = digits.ok_or(ViewError)?;
        let cells = pairs
            .chunks_exact(2)
            .map(|pair| (16 * pair[0] + pair[1]) as u8);
        let cells: Vec<u8> = cells.collect();
        let cells = <[u8; CELLS]>::try_from(cells).map_err(|_| ViewError)?;
        Ok(Self(Box::new(cells)))
    }
}

/// Makes a view from the rows of a picture, one after the other.
pub(crate) struct ViewSums {
    height: usize,
    sums: Vec<u32>,
}

impl ViewSums {
    /// Creates the sums for a picture with this number of rows.
    pub(crate) fn new(height: usize) -> Self {
        Self {
            height,
            sums: vec![0; CELLS],
        }
    }

    /// Adds the luma of a row.
    pub(crate) fn add_row(&mut self, row: usize, luma: &[i16]) {
        let line = &mut self.sums[row * SIDE / self.height * SIDE..][..SIDE];
        for (column, sum) in line.iter_mut().enumerate() {
            let cell = &luma[edge(column, luma.len())..edge(column + 1, luma.len())];
            *sum += cell.iter().map(|&luma| luma as u32).sum::<u32>();
        }
    }

    /// Returns the view; `None` if the picture is smaller than it.
    pub(crate) fn view(self, width: usize) -> Option<GreyView> {
        if self.height.min(width) < SIDE {
            return None;
        }
        let mut cells = Box::new([0; CELLS]);
        for (place, (cell, sum)) in cells.iter_mut().zip(self.sums).enumerate() {
            // The rows of cell i are those with row·SIDE/height = i.
            let rows = |line: usize| (line * self.height).div_ceil(SIDE);
            let (line, column) = (place / SIDE, place % SIDE);
            let height = rows(line + 1) - rows(line);
            let area = height * (edge(column + 1, width) - edge(column, width));
            *cell = ((sum as usize + area / 2) / area) as u8;
        }
        Some(GreyView(cells))
    }
}

/// Returns the first column of a cell.
fn edge(column: usize, width: usize) -> usize {
    column * width / SIDE
}

/// Where a picture's content is, against the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Motion {
    /// To the right, as a share of the width.
    pub(super) right: f64,
    /// Down, as a share of the height.
    pub(super) down: f64,
    /// Larger, as a share of its size.
    pub(super) zoom: f64,
    /// Clockwise, in degrees.
    pub(super) turn: f64,
}

/// A view with what is needed to find the motion to it.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    /// What each unknown adds to each cell.
    basis: Vec<[f64; UNKNOWNS]>,
    /// Inverse of the normal matrix.
    inverse: [[f64; UNKNOWNS]; UNKNOWNS],
}

impl Reference {
    /// Prepares a view of pictures whose width is `aspect` times their height; finite and above 0.
    pub(super) fn new(view: &GreyView, aspect: f64) -> Self {
        let at = |row: usize, column: usize| f64::from(view.0[row * SIDE + column]);
        // From the centre, as shares of the sides.
        let share = |cell: usize| (cell as f64 + 0.5) / SIDE as f64 - 0.5;
        let basis: Vec<_> = (0..CELLS)
            .map(|place| {
                let (row, column) = (place / SIDE, place % SIDE);
                let slope = |cell: usize, value: &dyn Fn(usize) -> f64| {
                    let (low, high) = (cell.saturating_sub(1), (cell + 1).min(SIDE - 1));
                    (value(high) - value(low)) * SIDE as f64 / (high - low) as f64
                };
                let along = slope(column, &|column| at(row, column));
                let down = slope(row, &|row| at(row, column));
                let (x, y) = (share(column), share(row));
                [
                    at(row, column),
                    1.0,
                    x,
                    y,
                    -along,
                    -down,
                    -(x * along + y * down),
                    y / aspect * along - x * aspect * down,
                ]
            })
            .collect();
        let mut normal = [[0.0; UNKNOWNS]; UNKNOWNS];
        for cell in &basis {
            for (line, a) in normal.iter_mut().zip(cell) {
                for (sum, b) in line.iter_mut().zip(cell) {
                    *sum += a * b;
                }
            }
        }
        for (unknown, line) in normal.iter_mut().enumerate() {
            // Light may be anything; 1 keeps the matrix regular if all is black.
            line[unknown] += if unknown < MOTION { 1.0 } else { RIDGE };
        }
        Self {
            basis,
            inverse: inverse(normal),
        }
    }

    /// Returns where the content of `view` is.
    pub(super) fn motion(&self, view: &GreyView) -> Motion {
        let mut sums = [0.0; UNKNOWNS];
        for (cell, &luma) in self.basis.iter().zip(&*view.0) {
            for (sum, part) in sums.iter_mut().zip(cell) {
                *sum += part * f64::from(luma);
            }
        }
        let solved = self.inverse.map(|line| {
            let products = line.iter().zip(&sums).map(|(a, b)| a * b);
            products.sum::<f64>()
        });
        let motion = |which: usize| {
            let share = solved[MOTION + which] / solved[0];
            if share.is_finite() {
                share.clamp(-FARTHEST, FARTHEST)
            } else {
                0.0
            }
        };
        Motion {
            right: motion(0),
            down: motion(1),
            zoom: motion(2),
            turn: motion(3).to_degrees(),
        }
    }
}

/// Returns the inverse of a symmetric matrix whose eigenvalues are above 0, by elimination, which
/// then needs no pivots.
fn inverse(mut matrix: [[f64; UNKNOWNS]; UNKNOWNS]) -> [[f64; UNKNOWNS]; UNKNOWNS] {
    let mut inverse = [[0.0; UNKNOWNS]; UNKNOWNS];
    for (unknown, line) in inverse.iter_mut().enumerate() {
        line[unknown] = 1.0;
    }
    for pivot in 0..UNKNOWNS {
        let scale = matrix[pivot][pivot];
        for column in 0..UNKNOWNS {
            matrix[pivot][column] /= scale;
            inverse[pivot][column] /= scale;
        }
        for row in (0..UNKNOWNS).filter(|&row| row != pivot) {
            let factor = matrix[row][pivot];
            for column in 0..UNKNOWNS {
                matrix[row][column] -= factor * matrix[pivot][column];
                inverse[row][column] -= factor * inverse[pivot][column];
            }
        }
    }
    inverse
}
