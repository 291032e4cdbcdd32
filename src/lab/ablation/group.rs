//! What is varied: each group changes one aspect of the flow and leaves the rest unchanged.

use std::collections::BTreeSet;

use flawd_core::flow::SCALES;
use flawd_train::settings::FlowSettings;
use flawd_train::variant::Variant;
use flawd_train::view::{FeatureForm, FeatureView};

use crate::lab::comparison::{Contender, Method};

/// One aspect that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Which of the three scales are used.
    Scales,
    /// How the three scales are combined.
    Fusion,
    /// The number of coupling blocks.
    Blocks,
    /// The kernel of the last coupling block.
    Kernel,
    /// Other methods on the same features.
    Baselines,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) contender: Contender,
}

impl Entry {
    /// Returns the contender once per seed, or only once if nothing is drawn.
    pub(crate) fn contenders(&self, seeds: &[u64]) -> Vec<Contender> {
        let seeded = |&seed| self.contender.clone().with_seed(seed);
        let mut contenders: Vec<Contender> = seeds.iter().map(seeded).collect();
        contenders.dedup();
        contenders
    }
}

/// Numbers of coupling blocks to try.
const BLOCKS: [usize; 6] = [1, 2, 3, 4, 6, 8];

/// Kernels of the last block to try.
const KERNELS: [usize; 3] = [1, 3, 5];

impl Group {
    /// All groups, in the order of the table.
    pub const ALL: [Self; 5] = [
        Self::Scales,
        Self::Fusion,
        Self::Blocks,
        Self::Kernel,
        Self::Baselines,
    ];

    /// Returns its name, as used in arguments and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scales => "scales",
            Self::Fusion => "fusion",
            Self::Blocks => "blocks",
            Self::Kernel => "kernel",
            Self::Baselines => "baselines",
        }
    }

    /// Returns the variants of `base` that make up this group.
    pub(crate) fn entries(self, base: &Variant) -> Vec<Entry> {
        match self {
            Self::Scales => scales(base),
            Self::Fusion => fusion(base),
            Self::Blocks => {
                let entry = |blocks| {
                    let kernels = if blocks == base.flow.kernels.len() {
                        base.flow.kernels.clone()
                    } else {
                        resized(base, blocks)
                    };
                    with_kernels(base, format!("{blocks}"), kernels)
                };
                let own = base.flow.kernels.len();
                with(&BLOCKS, own).into_iter().map(entry).collect()
            }
            Self::Kernel => {
                let entry = |kernel| {
                    let mut kernels = base.flow.kernels.clone();
                    if let Some(last) = kernels.last_mut() {
                        *last = kernel;
                    }
                    with_kernels(base, format!("{kernel}x{kernel}"), kernels)
                };
                let own = base.flow.kernels.last().copied();
                let kernels = own.map_or(KERNELS.to_vec(), |own| with(&KERNELS, own));
                kernels.into_iter().map(entry).collect()
            }
            Self::Baselines => baselines(),
        }
    }
}

fn flow(name: &str, variant: Variant) -> Entry {
    Entry {
        name: name.to_owned(),
        contender: Contender::Flow(variant),
    }
}

fn scales(base: &Variant) -> Vec<Entry> {
    [
        ("full size alone", 0..1),
        ("half alone", 1..2),
        ("quarter alone", 2..3),
        ("full and half", 0..2),
        ("full, half and quarter", 0..SCALES),
    ]
    .map(|(name, scales)| {
        let view = FeatureView {
            scales,
            form: FeatureForm::Maps,
        };
        flow(
            name,
            Variant {
                view,
                ..base.clone()
            },
        )
    })
    .into()
}

fn fusion(base: &Variant) -> Vec<Entry> {
    let unlinked = Variant {
        cross_scale: false,
        ..base.clone()
    };
    let concatenated = Variant {
        view: FeatureView {
            scales: 0..SCALES,
            form: FeatureForm::Concatenated,
        },
        ..base.clone()
    };
    vec![
        flow("cross-scale", base.clone()),
        flow("one flow per scale", unlinked),
        flow("concatenated after resizing", concatenated),
    ]
}

/// Returns the values to try, in order, including the base's own.
fn with(tried: &[usize], own: usize) -> Vec<usize> {
    let all = tried.iter().copied().chain([own]);
    BTreeSet::from_iter(all).into_iter().collect()
}

/// Returns as many kernels as blocks: the base's first, and at the end its last.
fn resized(base: &Variant, blocks: usize) -> Vec<usize> {
    let (Some(&first), Some(&last)) = (base.flow.kernels.first(), base.flow.kernels.last()) else {
        return Vec::new();
    };
    let mut kernels = vec![first; blocks - 1];
    kernels.push(last);
    kernels
}

fn with_kernels(base: &Variant, name: String, kernels: Vec<usize>) -> Entry {
    flow(
        &name,
        Variant {
            flow: FlowSettings {
                kernels,
                ..base.flow.clone()
            },
            ..base.clone()
        },
    )
}

fn baselines() -> Vec<Entry> {
    let gaussian = |name: &str, scales, form| Entry {
        name: name.to_owned(),
        contender: Contender::Gaussian(FeatureView { scales, form }),
    };
    let method = |method: Method| Entry {
        name: method.name().to_owned(),
        contender: method.contender(0),
    };
    vec![
        gaussian("gaussian, full size alone", 0..1, FeatureForm::Means),
        method(Method::Gaussian),
        gaussian(
            "gaussian, means and maxima",
            0..SCALES,
            FeatureForm::MeansAndMaxima,
        ),
        method(Method::Knn),
        method(Method::Padim),
        method(Method::Differnet),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Variant {
        Variant {
            view: FeatureView::ALL,
            cross_scale: true,
            flow: FlowSettings {
                hidden: 8,
                ..FlowSettings::published(1)
            },
        }
    }

    /// So that every group shows what its variants are compared with.
    #[test]
    fn the_flow_that_is_varied_is_in_every_group_of_variants_once() {
        for kernels in [&[3, 3, 3, 5][..], &[3; 5], &[7; 4], &[3, 5, 3, 3]] {
            let kernels = kernels.to_vec();
            let flow = FlowSettings {
                kernels,
                ..base().flow
            };
            let base = Variant { flow, ..base() };
            let is_base = |entry: &&Entry| entry.contender == Contender::Flow(base.clone());
            for group in Group::ALL {
                let entries = group.entries(&base);
                let count = entries.iter().filter(is_base).count();
                let expected = usize::from(group != Group::Baselines);
                assert_eq!(count, expected, "{group:?} of {:?}", base.flow.kernels);
            }
        }
    }

    #[test]
    fn blocks_keep_the_last_kernel() {
        assert_eq!(resized(&base(), 1), [5]);
        assert_eq!(resized(&base(), 4), base().flow.kernels);
        assert_eq!(resized(&base(), 6), [3, 3, 3, 3, 3, 5]);
    }
}
