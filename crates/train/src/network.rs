//! The whole flow: permutation and coupling, block after block, with exact gradients.

use flawd_core::anomaly::{POWER, ScoreKind};
use flawd_core::flow::{FlowLayout, FlowSpec, FlowSpecError};
use ndarray::{Array2, ArrayView3, Axis};

use crate::coupling::{Coupling, CouplingTrace, add_per_sample_of};
use crate::initialise::initialise;
use crate::maps::{Maps, Scales, each_scale, permute, unpermute};

/// A CS-Flow with its parameters.
pub struct Flow {
    spec: FlowSpec,
    layout: FlowLayout,
    permutations: Vec<Scales<Vec<usize>>>,
    /// All parameters, laid out as in [`FlowSpec::layout`].
    pub parameters: Vec<f32>,
}

/// The result of the flow for a batch.
pub struct Latents {
    /// The latent maps, of the shape of the input.
    pub maps: Scales<Maps>,
    /// Log-determinant of the Jacobian, one per sample.
    pub log_det: Vec<f64>,
}

/// What the backward pass needs from a forward pass.
pub struct Trace {
    blocks: Vec<CouplingTrace>,
}

impl Flow {
    /// Creates a flow with initial parameters, drawn from `seed` as the published code draws them;
    /// the gains start at 0, so that the flow starts as a permutation.
    ///
    /// # Errors
    /// If the spec does not make a flow.
    pub fn new(spec: FlowSpec, seed: u64) -> Result<Self, FlowSpecError> {
        spec.validate()?;
        let layout = spec.layout();
        let parameters = initialise(&layout, seed);
        Ok(Self {
            permutations: spec.permutations(),
            layout,
            parameters,
            spec,
        })
    }

    /// Returns the shape of this flow.
    pub fn spec(&self) -> &FlowSpec {
        &self.spec
    }

    /// Returns where each parameter lies.
    pub fn layout(&self) -> &FlowLayout {
        &self.layout
    }

    fn coupling(&self, block: usize) -> Coupling<'_> {
        Coupling {
            layout: &self.layout.blocks[block],
            parameters: &self.parameters,
            first: self.spec.halves()[0],
            clamp: self.spec.clamp,
        }
    }

    /// Returns the latents of a batch, and the trace for [`Self::backward`].
    ///
    /// # Panics
    /// If the number of maps differs from the flow's scales, their number of channels from the
    /// flow's, or their numbers of samples from each other, or if scales are linked and a map is
    /// not half the size of the one before.
    pub fn forward(&self, input: Scales<Maps>) -> (Latents, Trace) {
        assert_eq!(input.len(), self.spec.scales, "one map per scale");
        let mut log_det = vec![0.0; input[0].dim().1];
        let mut maps = input;
        let mut blocks = Vec::with_capacity(self.permutations.len());
        for block in 0..self.permutations.len() {
            let (output, trace) = self.block_forward(block, &maps, &mut log_det);
            maps = output;
            blocks.push(trace);
        }
        (Latents { maps, log_det }, Trace { blocks })
    }

    fn block_forward(
        &self,
        block: usize,
        maps: &Scales<Maps>,
        log_det: &mut [f64],
    ) -> (Scales<Maps>, CouplingTrace) {
        let order = &self.permutations[block];
        let permuted = each_scale(maps.len(), |scale| permute(&maps[scale], &order[scale]));
        self.coupling(block).forward(permuted, log_det)
    }

    /// Returns the latents after each block, with the log-determinant up to there.
    pub fn forward_by_block(&self, input: Scales<Maps>) -> Vec<Latents> {
        let mut log_det = vec![0.0; input[0].dim().1];
        let mut maps = input;
        (0..self.permutations.len())
            .map(|block| {
                maps = self.block_forward(block, &maps, &mut log_det).0;
                Latents {
                    maps: maps.clone(),
                    log_det: log_det.clone(),
                }
            })
            .collect()
    }

    /// Given the loss gradient with respect to the latents and to each sample's log-determinant,
    /// adds the gradient with respect to the parameters to `parameter_gradient` and returns that
    /// with respect to the input.
    pub fn backward(
        &self,
        trace: Trace,
        latent_gradient: Scales<Maps>,
        log_det_gradient: f32,
        parameter_gradient: &mut [f32],
    ) -> Scales<Maps> {
        let mut gradient = latent_gradient;
        for (block, trace) in trace.blocks.into_iter().enumerate().rev() {
            gradient = self.coupling(block).backward(
                &trace,
                gradient,
                log_det_gradient,
                parameter_gradient,
            );
            let order = &self.permutations[block];
            gradient = unpermuted(&gradient, order);
        }
        gradient
    }

    /// Returns the input that [`Self::forward`] maps to `latents`.
    pub fn inverse(&self, latents: Scales<Maps>) -> Scales<Maps> {
        let mut maps = latents;
        for block in (0..self.permutations.len()).rev() {
            let permuted = self.coupling(block).inverse(&maps);
            maps = unpermuted(&permuted, &self.permutations[block]);
        }
        maps
    }
}

fn unpermuted(maps: &Scales<Maps>, order: &Scales<Vec<usize>>) -> Scales<Maps> {
    each_scale(maps.len(), |scale| unpermute(&maps[scale], &order[scale]))
}

/// Returns the power mean of the cells of one sample's latents `[channels, height, width]`.
fn power_mean(latents: &ArrayView3<f32>) -> f64 {
    let (channels, height, width) = latents.dim();
    let mut cells = Array2::<f64>::zeros((height, width));
    for channel in latents.outer_iter() {
        cells.zip_mut_with(&channel, |cell, &z| *cell += f64::from(z).powi(2));
    }
    let powers = cells
        .iter()
        .map(|cell| (cell / channels as f64).powi(POWER));
    (powers.sum::<f64>() / cells.len() as f64).powf(1.0 / f64::from(POWER))
}

impl Latents {
    /// Returns the number of latent dimensions of one sample, over all scales.
    pub fn dimensions(&self) -> usize {
        self.maps.iter().map(|maps| maps.len()).sum::<usize>() / self.log_det.len()
    }

    /// Returns `‖z‖²` of each sample.
    pub fn squared_norms(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.log_det.len()];
        for maps in &self.maps {
            add_per_sample_of(maps, &mut sums, |value| value * value);
        }
        sums
    }

    /// Returns the anomaly score of each sample. The log-determinant is not part of it.
    pub fn scores(&self, kind: ScoreKind) -> Vec<f64> {
        match kind {
            ScoreKind::Mean => {
                let dimensions = self.dimensions() as f64;
                let norms = self.squared_norms().into_iter();
                norms.map(|norm| norm / 2.0 / dimensions).collect()
            }
            ScoreKind::PowerMean => (0..self.log_det.len())
                .map(|sample| power_mean(&self.maps[0].index_axis(Axis(1), sample)) / 2.0)
                .collect(),
        }
    }

    /// Returns the loss of each sample: its negative log-likelihood per latent dimension, minus the
    /// constant `ln(2π) / 2`: `(‖z‖² / 2 - log|det J|) / dimensions`.
    pub fn losses(&self) -> Vec<f64> {
        let dimensions = self.dimensions() as f64;
        let norms = self.squared_norms();
        norms
            .iter()
            .zip(&self.log_det)
            .map(|(norm, det)| (norm / 2.0 - det) / dimensions)
            .collect()
    }

    /// Returns the gradient of the mean loss of the batch with respect to the latents and to each
    /// log-determinant.
    pub fn loss_gradient(self) -> (Scales<Maps>, f32) {
        let share = 1.0 / (self.log_det.len() * self.dimensions()) as f32;
        let mut maps = self.maps;
        maps.iter_mut()
            .for_each(|maps| maps.par_mapv_inplace(|value| share * value));
        (maps, -share)
    }
}
