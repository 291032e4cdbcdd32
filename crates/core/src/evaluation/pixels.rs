//! The pixels of anomaly maps against the truth, counted in bins: pixel AUROC and AUPRO of any
//! number of pictures in little memory.
//!
//! ```text
//! mask ─► connected regions ─┐
//! map at the mask's size ────┴─► bins: good pixels, defect pixels, overlap ─► AUROC, AUPRO
//! ```

use std::collections::BTreeMap;

use super::overlap::{Overlap, Step};
use super::ranking::{Group, Ranking};
use crate::components::components;
use crate::image::Size;

/// Which pixels of a picture belong to a defect, and to which connected region of it.
#[derive(Clone, Debug)]
pub struct PixelTruth {
    size: Size,
    is_defect: Vec<bool>,
    /// The indices of the pixels of each region.
    regions: Vec<Vec<usize>>,
}

impl PixelTruth {
    /// Returns the truth of a picture, row-major. Pixels of a defect that touch at a corner are one
    /// region, as in the evaluation that MVTec publishes with its data sets.
    ///
    /// # Panics
    /// If there is not one value for each pixel.
    pub fn new(size: Size, is_defect: Vec<bool>) -> Self {
        Self {
            size,
            regions: components(size, is_defect.clone()),
            is_defect,
        }
    }

    /// Returns the truth of a picture without a defect.
    pub fn good(size: Size) -> Self {
        Self {
            size,
            is_defect: vec![false; size.area()],
            regions: Vec::new(),
        }
    }

    /// Returns the picture's size.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Returns whether each pixel belongs to a defect, row-major.
    pub fn is_defect(&self) -> &[bool] {
        &self.is_defect
    }
}

/// Collects the pixels of anomaly maps. Its memory depends on how far apart the values lie, not on
/// how many there are: 64 KiB for each 32nd of a power of two that contains one.
///
/// Values are counted in bins of 1/65536 of their power of two, so that pixels that differ by
/// less count as equal. [`Overlap`] says how much that can matter.
#[derive(Default)]
pub struct PixelCounts {
    /// By the leading bits of the value; a page has a bin for each choice of the bits after them.
    pages: BTreeMap<u32, Box<[Bin]>>,
    regions: usize,
}

#[derive(Clone, Copy, Default)]
struct Bin {
    good: u64,
    defect: u64,
    /// Each defect pixel's share of its region, summed.
    overlap: f64,
}

/// Leading bits of an `f32` that choose a page: sign, exponent and 5 of 23 mantissa bits.
const PAGE_BITS: u32 = 14;

/// The mantissa bits after them, which choose a bin.
const BIN_BITS: u32 = 11;

impl PixelCounts {
    /// Counts the pixels of one picture: their values, and in the same order the truth.
    ///
    /// # Panics
    /// If the number of values differs from the number of pixels in the truth.
    pub fn add(&mut self, values: &[f32], truth: &PixelTruth) {
        assert_eq!(values.len(), truth.is_defect.len(), "one truth a pixel");
        for (&value, &is_defect) in values.iter().zip(&truth.is_defect) {
            if !is_defect {
                self.bin(value).good += 1;
            }
        }
        for region in &truth.regions {
            let share = 1.0 / region.len() as f64;
            for &pixel in region {
                let bin = self.bin(values[pixel]);
                bin.defect += 1;
                bin.overlap += share;
            }
        }
        self.regions += truth.regions.len();
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (&page, bins) in &other.pages {
            for (bin, other) in self.page(page).iter_mut().zip(bins) {
                bin.good += other.good;
                bin.defect += other.defect;
                bin.overlap += other.overlap;
            }
        }
        self.regions += other.regions;
    }

    /// Returns the ranking of all pixels; `None` if there is no good or no defective one.
    pub fn ranking(&self) -> Option<Ranking> {
        let groups = self.descending().map(|(score, bin)| Group {
            score,
            good: bin.good,
            defect: bin.defect,
        });
        Ranking::from_groups(groups.collect())
    }

    /// Returns how well the regions of the defects are covered; `None` if there is no region or no
    /// good pixel.
    pub fn overlap(&self) -> Option<Overlap> {
        let steps = self.descending().map(|(_, bin)| Step {
            good: bin.good,
            overlap: bin.overlap,
        });
        Overlap::from_steps(&steps.collect::<Vec<_>>(), self.regions)
    }

    fn bin(&mut self, value: f32) -> &mut Bin {
        let bits = ordered_bits(value);
        let page = self.page(bits >> (32 - PAGE_BITS));
        let bin = bits >> (32 - PAGE_BITS - BIN_BITS) & ((1 << BIN_BITS) - 1);
        &mut page[bin as usize]
    }

    fn page(&mut self, page: u32) -> &mut Box<[Bin]> {
        let empty = || vec![Bin::default(); 1 << BIN_BITS].into_boxed_slice();
        self.pages.entry(page).or_insert_with(empty)
    }

    /// Returns the non-empty bins with their lowest values, the highest first.
    fn descending(&self) -> impl Iterator<Item = (f32, &Bin)> {
        self.pages.iter().rev().flat_map(|(&page, bins)| {
            let value = move |bin: usize| {
                let leading = page << BIN_BITS | bin as u32;
                from_ordered_bits(leading << (32 - PAGE_BITS - BIN_BITS))
            };
            let bins = bins.iter().enumerate().rev();
            bins.filter(|(_, bin)| bin.good + bin.defect > 0)
                .map(move |(place, bin)| (value(place), bin))
        })
    }
}

/// Returns bits that sort like the numbers.
fn ordered_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

fn from_ordered_bits(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 {
        bits & !(1 << 31)
    } else {
        !bits
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::OVERLAP_LIMIT;
    use super::*;

    /// The pixels of a picture that is one row high.
    fn row(good: &[f32], defect: &[f32]) -> (Vec<f32>, PixelTruth) {
        let values = [good, defect].concat();
        let is_defect = (0..values.len()).map(|place| place >= good.len()).collect();
        let size = Size::new(1, values.len());
        (values, PixelTruth::new(size, is_defect))
    }

    #[test]
    fn pixels_rank_as_their_values_do() {
        let good = [0.0, 0.5, 1.0, 1.5, -2.0];
        let defect = [1.0, 3.0, 1e6];
        let mut pixels = PixelCounts::default();
        pixels.add(&good, &PixelTruth::good(Size::new(1, 5)));
        let mut others = PixelCounts::default();
        let (values, truth) = row(&[], &defect);
        others.add(&values, &truth);
        pixels.merge(&others);
        pixels.merge(&PixelCounts::default());
        let pixels = pixels.ranking().expect("both kinds are there");
        let ranking = Ranking::new(&good, &defect).expect("both kinds are there");
        assert_eq!(pixels.auroc(), ranking.auroc());
        // 1e6 is not a number of 16 bits after the leading one, so its bin begins below it.
        assert_eq!(pixels.f1_max(), ranking.f1_max());
        assert!(PixelCounts::default().ranking().is_none());
    }

    #[test]
    fn overlap_needs_a_region_and_a_good_pixel() {
        let mut pixels = PixelCounts::default();
        pixels.add(&[1.0, 2.0], &PixelTruth::good(Size::new(1, 2)));
        assert!(pixels.overlap().is_none());
        let mut pixels = PixelCounts::default();
        let (values, truth) = row(&[], &[1.0, 2.0]);
        pixels.add(&values, &truth);
        assert!(pixels.overlap().is_none());
    }

    /// A picture with a truth.
    type Picture = (Size, Vec<f32>, Vec<bool>);

    fn pictures(value: impl Strategy<Value = f32> + Clone) -> impl Strategy<Value = Vec<Picture>> {
        let picture = (1_usize..6, 1_usize..6).prop_flat_map(move |(height, width)| {
            let area = height * width;
            let values = prop::collection::vec(value.clone(), area);
            let defects = prop::collection::vec(prop::bool::weighted(0.4), area);
            (Just(Size::new(height, width)), values, defects)
        });
        prop::collection::vec(picture, 1..4)
    }

    fn counted(pictures: &[Picture]) -> Option<Overlap> {
        let mut all = PixelCounts::default();
        for (size, values, is_defect) in pictures {
            let mut one = PixelCounts::default();
            one.add(values, &PixelTruth::new(*size, is_defect.clone()));
            all.merge(&one);
        }
        all.overlap()
    }

    /// AUPRO from its definition: at every value that occurs, the mean share of each region that
    /// is at least as high, over the share of good pixels that are.
    fn naive(pictures: &[Picture]) -> Option<f64> {
        let mut regions: Vec<Vec<f32>> = Vec::new();
        let mut good: Vec<f32> = Vec::new();
        for (size, values, is_defect) in pictures {
            let mut names: Vec<usize> = (0..values.len()).collect();
            for _ in 0..values.len() {
                for a in 0..values.len() {
                    for b in 0..values.len() {
                        let near = (a / size.width).abs_diff(b / size.width) <= 1
                            && (a % size.width).abs_diff(b % size.width) <= 1;
                        if near && is_defect[a] && is_defect[b] {
                            names[a] = names[a].min(names[b]);
                        }
                    }
                }
            }
            for name in 0..values.len() {
                let of_it = (0..values.len()).filter(|&i| is_defect[i] && names[i] == name);
                let region: Vec<f32> = of_it.map(|place| values[place]).collect();
                if !region.is_empty() {
                    regions.push(region);
                }
            }
            good.extend(
                (0..values.len())
                    .filter(|&i| !is_defect[i])
                    .map(|i| values[i]),
            );
        }
        if regions.is_empty() || good.is_empty() {
            return None;
        }
        let mut thresholds: Vec<f32> = [good.clone(), regions.concat()].concat();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        let share = |of: &[f32], threshold: f32| {
            of.iter().filter(|&&value| value >= threshold).count() as f64 / of.len() as f64
        };
        let point = |&threshold: &f32| {
            let overlaps = regions.iter().map(|region| share(region, threshold));
            (
                share(&good, threshold),
                overlaps.sum::<f64>() / regions.len() as f64,
            )
        };
        let curve = std::iter::once((0.0, 0.0)).chain(thresholds.iter().map(point));
        let curve: Vec<(f64, f64)> = curve.collect();
        let mut area = 0.0;
        for ends in curve.windows(2) {
            let [(x0, y0), (x1, y1)] = [ends[0], ends[1]];
            if x0 >= OVERLAP_LIMIT || x1 == x0 {
                continue;
            }
            let end = x1.min(OVERLAP_LIMIT);
            let at_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0);
            area += (end - x0) * (y0 + at_end) / 2.0;
        }
        Some(area / OVERLAP_LIMIT)
    }

    proptest! {
        /// If the bins hold one value each, they change nothing.
        #[test]
        fn aupro_is_what_every_threshold_and_every_region_give(
            pictures in pictures((0_u8..12).prop_map(|half| f32::from(half) / 2.0 - 1.0)),
        ) {
            let (fast, naive) = (counted(&pictures), naive(&pictures));
            prop_assert_eq!(fast.is_some(), naive.is_some());
            if let (Some(fast), Some(naive)) = (fast, naive) {
                prop_assert!((fast.aupro - naive).abs() < 1e-9, "{} {naive}", fast.aupro);
            }
        }

        /// If they do not, the error stays within its bound. The values are crowded, so that some
        /// ten share a bin.
        #[test]
        fn aupro_is_off_by_no_more_than_it_says(
            pictures in pictures((0_u32..600).prop_map(|step| f32::from_bits(0x3f80_0000 + step))),
        ) {
            if let (Some(fast), Some(naive)) = (counted(&pictures), naive(&pictures)) {
                prop_assert!((fast.aupro - naive).abs() <= fast.error + 1e-12);
            }
        }

        #[test]
        fn ordered_bits_have_the_order_of_the_numbers(a in any::<f32>(), b in any::<f32>()) {
            prop_assert_eq!(ordered_bits(a).cmp(&ordered_bits(b)), a.total_cmp(&b));
            prop_assert_eq!(from_ordered_bits(ordered_bits(a)).to_bits(), a.to_bits());
        }
    }
}
