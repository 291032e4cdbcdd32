//! Where a picture is unusual: the connected places of an anomaly map above a threshold, as boxes
//! in the camera's picture, and the threshold that good parts give for them.
//!
//! ```text
//! anomaly map ─► cells above the threshold ─► connected components ─► boxes ─► camera's pixels
//! ```
//! Regions say where to look. They decide nothing: the verdict comes from the score alone.

use serde::{Deserialize, Serialize};

use crate::anomaly::AnomalyMap;
use crate::calibration::{Calibration, CalibrationError, CalibrationMethod, MethodName, shown};
use crate::components::components;
use crate::image::Size;
use crate::preprocess::{self, Geometry, PreprocessError};

/// The most regions reported per picture: a message stays short, and a picture that is unusual in
/// more places is unusual everywhere.
pub const MAX_REGIONS: usize = 16;

/// A connected place that is more unusual than the threshold: its box, and its highest value.
///
/// The box is in pixels of the camera's picture, as it was before cutting out, turning and
/// resizing. It covers whole cells of the anomaly map, so it is as coarse as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Number of columns to the left of it.
    pub x: u32,
    /// Number of rows above it.
    pub y: u32,
    /// Its columns, at least 1.
    pub width: u32,
    /// Its rows, at least 1.
    pub height: u32,
    /// The highest value of the anomaly map in it; above the threshold.
    pub score: f32,
}

/// Returns the connected places of `map` that are above `threshold`, highest value first, and of
/// these at most [`MAX_REGIONS`]. Cells that touch at a corner are connected. `picture` is the size
/// of the camera's picture that the map was made of, through `geometry`.
///
/// # Errors
/// If the region of interest does not lie inside such a picture.
pub fn regions(
    map: &AnomalyMap,
    threshold: f32,
    geometry: &Geometry,
    picture: Size,
) -> Result<Vec<Region>, PreprocessError> {
    let mut components = above(map, threshold);
    // Stable, so that among equally high ones the upper one comes first.
    components.sort_by(|a, b| b.highest.total_cmp(&a.highest));
    components.truncate(MAX_REGIONS);
    let in_picture = |component: &Component| {
        let place = geometry.locate(picture, map.size(), component.bounds())?;
        Ok(Region {
            x: pixels(place.left),
            y: pixels(place.top),
            width: pixels(place.width),
            height: pixels(place.height),
            score: component.highest,
        })
    };
    components.iter().map(in_picture).collect()
}

/// No picture that fits into memory has a side of 2^32 pixels.
fn pixels(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Connected cells: the range of their rows and columns, ends included, and their highest value.
#[derive(Debug)]
struct Component {
    rows: (usize, usize),
    columns: (usize, usize),
    highest: f32,
}

impl Component {
    fn bounds(&self) -> preprocess::RegionOfInterest {
        preprocess::RegionOfInterest {
            left: self.columns.0,
            top: self.rows.0,
            width: self.columns.1 - self.columns.0 + 1,
            height: self.rows.1 - self.rows.0 + 1,
        }
    }

    fn take(&mut self, row: usize, column: usize, value: f32) {
        self.rows = (self.rows.0.min(row), self.rows.1.max(row));
        self.columns = (self.columns.0.min(column), self.columns.1.max(column));
        self.highest = self.highest.max(value);
    }
}

/// Returns the connected cells above `threshold`, in the order of their first cells.
fn above(map: &AnomalyMap, threshold: f32) -> Vec<Component> {
    let width = map.size().width;
    let values = map.values();
    let inside = values.iter().map(|&value| value > threshold).collect();
    components(map.size(), inside)
        .into_iter()
        .map(|cells| {
            let place = |cell| (cell / width, cell % width);
            let (row, column) = place(cells[0]);
            let mut component = Component {
                rows: (row, row),
                columns: (column, column),
                highest: values[cells[0]],
            };
            for cell in cells {
                let (row, column) = place(cell);
                component.take(row, column, values[cell]);
            }
            component
        })
        .collect()
}

/// The threshold for regions, and what it promises: split conformal calibration on the highest
/// value of each good picture's anomaly map.
///
/// The same argument as for the score (see [`calibration`](crate::calibration)), applied to another
/// number from the same pictures: a good part shows a region, any region, with a probability of at
/// most α.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredPixelCalibration", into = "StoredPixelCalibration")]
pub struct PixelCalibration(Calibration);

impl PixelCalibration {
    /// Calibrates on the highest map value of each calibration picture, for a probability of at
    /// most `alpha`.
    ///
    /// # Errors
    /// As [`Calibration::from_scores`].
    pub fn from_maxima(maxima: Vec<f32>, alpha: f64) -> Result<Self, CalibrationError> {
        Calibration::from_scores(maxima, alpha).map(Self)
    }

    /// Returns the same maxima and threshold with another method.
    ///
    /// # Errors
    /// If the method could not have given so many maxima.
    pub fn with_method(self, method: CalibrationMethod) -> Result<Self, CalibrationError> {
        self.0.with_method(method).map(Self)
    }

    /// Returns the threshold that the same maxima give at another rate.
    ///
    /// # Errors
    /// As [`Calibration::from_scores`].
    pub fn at_rate(&self, alpha: f64) -> Result<Self, CalibrationError> {
        self.0.at_rate(alpha).map(Self)
    }

    /// Returns the largest value of an anomaly map that still counts as usual.
    pub fn threshold(&self) -> f32 {
        self.0.threshold()
    }

    /// Returns the promised probability.
    pub fn alpha(&self) -> f64 {
        self.0.alpha()
    }

    /// Returns the number of calibration pictures.
    pub fn n(&self) -> usize {
        self.0.n()
    }

    /// Returns the highest map values of the calibration pictures, ascending.
    pub fn maxima(&self) -> &[f32] {
        self.0.scores()
    }

    /// Returns the promise and its small print, human-readable.
    pub fn promise(&self) -> String {
        let (alpha, n) = (shown(self.alpha()), self.n());
        match self.0.method() {
            CalibrationMethod::Split => format!(
                "a good part shows any region with a probability of at most {alpha}, as long as it \
                 comes from the same process as the {n} good images of the calibration \
                 (exchangeable with them)"
            ),
            CalibrationMethod::Cross { folds } => format!(
                "a good part is expected to show any region with a probability of about {alpha}, \
                 as long as it comes from the same process as the {n} good images of the \
                 calibration (exchangeable with them); this is an estimate from {folds} other \
                 models and no bound"
            ),
        }
    }
}

/// A [`PixelCalibration`] as it is stored, checked when read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPixelCalibration {
    #[serde(default)]
    method: MethodName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folds: Option<usize>,
    region_rate: f64,
    threshold: f32,
    n: usize,
    promise: String,
    maxima: Vec<f32>,
}

impl From<PixelCalibration> for StoredPixelCalibration {
    fn from(pixel: PixelCalibration) -> Self {
        let (method, folds) = pixel.0.method().stored();
        Self {
            method,
            folds,
            region_rate: pixel.alpha(),
            threshold: pixel.threshold(),
            n: pixel.n(),
            promise: pixel.promise(),
            maxima: pixel.maxima().to_vec(),
        }
    }
}

impl TryFrom<StoredPixelCalibration> for PixelCalibration {
    type Error = CalibrationError;

    fn try_from(record: StoredPixelCalibration) -> Result<Self, Self::Error> {
        let method = CalibrationMethod::from_stored(record.method, record.folds)?;
        let stored =
            Calibration::from_scores(record.maxima, record.region_rate)?.with_method(method)?;
        stored.check_stored(record.n, record.threshold)?;
        Ok(Self(stored))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::{CHANNELS, RgbImage};
    use crate::preprocess::{Flip, Preprocessor, Rotation};

    fn map(size: Size, values: Vec<f32>) -> AnomalyMap {
        AnomalyMap::new(size, values).expect("they fit")
    }

    /// Regions in the cells of the map itself.
    fn of_cells(map: &AnomalyMap, threshold: f32) -> Vec<Region> {
        regions(map, threshold, &Geometry::default(), map.size()).expect("no region of interest")
    }

    fn boxed(x: u32, y: u32, width: u32, height: u32, score: f32) -> Region {
        Region {
            x,
            y,
            width,
            height,
            score,
        }
    }

    #[test]
    fn cells_that_touch_at_a_corner_are_one_region_and_the_highest_comes_first() {
        let values = [
            [2.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 3.0, 0.0, 0.0, 9.0],
            [0.0, 0.0, 0.0, 0.0, 8.0],
            [1.0, 1.0, 0.0, 0.0, 0.0],
        ];
        let map = map(Size::new(4, 5), values.concat());
        assert_eq!(
            of_cells(&map, 1.0),
            [boxed(4, 1, 1, 2, 9.0), boxed(0, 0, 2, 2, 3.0)]
        );
        assert_eq!(
            of_cells(&map, 0.5)[2],
            boxed(0, 3, 2, 1, 1.0),
            "a threshold is exceeded, not reached"
        );
    }

    #[test]
    fn of_too_many_regions_the_highest_are_kept() {
        let size = Size::new(1, 101);
        let values: Vec<f32> = (0..101)
            .map(|i| if i % 2 == 0 { 0.0 } else { i as f32 })
            .collect();
        let found = of_cells(&map(size, values), 0.5);
        let expected: Vec<f32> = (0..MAX_REGIONS).map(|i| (99 - 2 * i) as f32).collect();
        let scores: Vec<f32> = found.iter().map(|region| region.score).collect();
        assert_eq!(scores, expected);
    }

    #[test]
    fn a_region_of_interest_outside_the_picture_is_an_error() {
        let geometry = Geometry {
            region: Some(preprocess::RegionOfInterest {
                left: 0,
                top: 0,
                width: 9,
                height: 1,
            }),
            ..Geometry::default()
        };
        let map = map(Size::new(1, 2), vec![0.0, 1.0]);
        assert!(regions(&map, 0.5, &geometry, Size::new(4, 4)).is_err());
    }

    #[test]
    fn a_stored_threshold_that_the_maxima_do_not_give_is_refused() {
        let pixel = PixelCalibration::from_maxima(vec![1.5, 2.5, 2.0], 0.25).expect("enough");
        let cross = CalibrationMethod::Cross { folds: 3 };
        let cross = pixel.clone().with_method(cross).expect("3 in 3 folds");
        assert!(!cross.promise().contains("at most"), "{}", cross.promise());
        let text = toml::to_string(&cross).expect("it serialises");
        assert_eq!(toml::from_str(&text), Ok(cross));
        assert_eq!(pixel.threshold(), 2.5);
        let stored = toml::to_string(&pixel).expect("it serialises");
        let read: PixelCalibration = toml::from_str(&stored).expect("it reads back");
        assert_eq!(read, pixel);
        for (from, to) in [
            ("threshold = 2.5", "threshold = 2.0"),
            ("n = 3", "n = 4"),
            ("region_rate = 0.25", "region_rate = 0.01"),
        ] {
            let changed = stored.replace(from, to);
            assert_ne!(changed, stored);
            assert!(
                toml::from_str::<PixelCalibration>(&changed).is_err(),
                "{to}"
            );
        }
    }

    /// Labels the components in another way: neighbours take over the smaller label until nothing
    /// changes.
    fn labels(map: &AnomalyMap, threshold: f32) -> Vec<Option<usize>> {
        let width = map.size().width;
        let cells = map.values().iter().enumerate();
        let mut labels: Vec<_> = cells
            .map(|(cell, &value)| (value > threshold).then_some(cell))
            .collect();
        loop {
            let before = labels.clone();
            for a in 0..labels.len() {
                for b in 0..labels.len() {
                    let near = (a / width).abs_diff(b / width) <= 1
                        && (a % width).abs_diff(b % width) <= 1;
                    if let (true, Some(of_a), Some(of_b)) = (near, labels[a], labels[b]) {
                        labels[a] = Some(of_a.min(of_b));
                    }
                }
            }
            if labels == before {
                return labels;
            }
        }
    }

    proptest! {
        /// Each component becomes one region, whose box is the smallest around it and whose score
        /// is its highest value; the rest becomes nothing.
        #[test]
        fn regions_are_the_components_above_the_threshold(
            (height, width) in (1_usize..8, 1_usize..8),
            values in prop::collection::vec((0_u8..5).prop_map(f32::from), 64),
            threshold in 0_u8..5,
        ) {
            let size = Size::new(height, width);
            let map = map(size, values[..size.area()].to_vec());
            let threshold = f32::from(threshold);
            let labels = labels(&map, threshold);
            let mut names: Vec<usize> = labels.iter().copied().flatten().collect();
            names.sort_unstable();
            names.dedup();
            let mut expected: Vec<Region> = names
                .into_iter()
                .map(|name| {
                    let of_it = |cell: &usize| labels[*cell] == Some(name);
                    let cells: Vec<usize> = (0..size.area()).filter(of_it).collect();
                    let span = |place: fn(usize, usize) -> usize| {
                        let places = || cells.iter().map(|&cell| place(cell, width));
                        let first = places().min().expect("not empty");
                        (first as u32, (places().max().expect("not empty") + 1 - first) as u32)
                    };
                    let (x, width) = span(|cell, width| cell % width);
                    let (y, height) = span(|cell, width| cell / width);
                    let scores = cells.iter().map(|&cell| map.values()[cell]);
                    boxed(x, y, width, height, scores.fold(f32::MIN, f32::max))
                })
                .collect();
            let found = of_cells(&map, threshold);
            prop_assert!(found.is_sorted_by(|a, b| a.score >= b.score));
            expected.sort_by(|a, b| b.score.total_cmp(&a.score));
            expected.truncate(MAX_REGIONS);
            prop_assert_eq!(found, expected);
        }

        /// A rectangle that is marked in the camera's picture comes back through preprocessing
        /// and a map of averages where it was, within one cell.
        #[test]
        fn a_marked_rectangle_is_found_where_it_is(
            (cell_rows, cell_columns) in (6_usize..10, 6_usize..10),
            pixels_a_cell in 1_usize..5,
            (height, width) in (20_usize..70, 20_usize..70),
            (left, top) in (0_usize..9, 0_usize..9),
            (right, bottom) in (0_usize..9, 0_usize..9),
            corner in (0.0_f64..1.0, 0.0_f64..1.0),
            share in (0.0_f64..1.0, 0.0_f64..1.0),
            quarter_turns in 0_u16..4,
            flip in prop::sample::select(vec![Flip::None, Flip::Horizontal, Flip::Vertical]),
        ) {
            let picture = Size::new(top + height + bottom, left + width + right);
            let geometry = Geometry {
                region: Some(preprocess::RegionOfInterest { left, top, width, height }),
                rotate: Rotation::try_from(quarter_turns * 90).expect("a quarter turn"),
                flip,
            };
            // Sides of a cell in the picture, rounded up.
            let (rows, columns) = if quarter_turns % 2 == 0 {
                (cell_rows, cell_columns)
            } else {
                (cell_columns, cell_rows)
            };
            let cell = Size::new(height.div_ceil(rows), width.div_ceil(columns));
            // A rectangle inside the region of interest, of at least two cells per side.
            let side = |cell: usize, limit: usize, share: f64| {
                2 * cell + (share * (limit - 2 * cell) as f64) as usize
            };
            let marked = Size::new(side(cell.height, height, share.0), side(cell.width, width, share.1));
            let first = |room: usize, corner: f64| (corner * room as f64) as usize;
            let x = left + first(width - marked.width, corner.0);
            let y = top + first(height - marked.height, corner.1);
            let mut pixels = vec![0; picture.area() * CHANNELS];
            for row in y..y + marked.height {
                let start = (row * picture.width + x) * CHANNELS;
                pixels[start..start + marked.width * CHANNELS].fill(255);
            }
            let image = RgbImage::new(picture, pixels).expect("it fits");

            let target = Size::new(cell_rows * pixels_a_cell, cell_columns * pixels_a_cell);
            let mut preprocessor = Preprocessor::new(target, geometry);
            let mut tensor = vec![0; preprocessor.tensor_len()];
            preprocessor.run(&image, &mut tensor).expect("the region is inside");
            let mut sums = vec![0.0; cell_rows * cell_columns];
            for (pixel, value) in tensor.chunks_exact(CHANNELS).enumerate() {
                let row = pixel / target.width / pixels_a_cell;
                let column = pixel % target.width / pixels_a_cell;
                sums[row * cell_columns + column] += f32::from(value[0]);
            }
            let map = map(Size::new(cell_rows, cell_columns), sums);
            let half = 127.5 * (pixels_a_cell * pixels_a_cell) as f32;

            let found = regions(&map, half, &geometry, picture).expect("the region is inside");
            prop_assert_eq!(found.len(), 1);
            let found = found[0];
            let near = |a: u32, b: usize, cell: usize| (a as usize).abs_diff(b) <= cell;
            prop_assert!(near(found.x, x, cell.width), "{found:?} {x}");
            prop_assert!(near(found.y, y, cell.height), "{found:?} {y}");
            prop_assert!(near(found.x + found.width, x + marked.width, cell.width));
            prop_assert!(near(found.y + found.height, y + marked.height, cell.height));
        }
    }
}
