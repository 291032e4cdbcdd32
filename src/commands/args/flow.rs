//! Arguments for the flow and its training: a preset, and flags that change it.

use clap::{Args, ValueEnum};
use flawd_core::anomaly::ScoreKind;
use flawd_core::permutation::PermutationKind;
use flawd_train::adam::AdamSettings;
use flawd_train::settings::FlowSettings;
use flawd_train::trainer::Schedule;
use flawd_train::transform::TransformKind;

use crate::commands::numbers;

/// What the flow is and how it is trained. Defaults come from the preset.
#[derive(Debug, Args)]
#[command(next_help_heading = "Flow and optimiser (defaults come from the preset)")]
pub(crate) struct FlowArgs {
    /// Settings to start from
    #[arg(long, value_enum, default_value_t = Preset::Edge)]
    preset: Preset,
    /// Former name of `--preset`
    #[arg(long, value_enum, hide = true, conflicts_with = "preset")]
    recipe: Option<Preset>,
    /// Passes over the training images; with `edge` 20, or enough for 750 steps if there are few
    /// images
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Hidden channels of the subnets
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,
    /// Kernel size of each coupling block, such as 3,3,3,5
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    kernels: Option<Vec<usize>>,
    /// Limit of the soft clamp on the log-scales
    #[arg(long, value_name = "LIMIT")]
    clamp: Option<f32>,
    /// Which published implementation's channel permutations to use
    #[arg(long, value_enum)]
    permutation: Option<PermutationArg>,
    /// Transformation of the features before the flow
    #[arg(long, value_enum)]
    transform: Option<TransformArg>,
    /// How the score is made of the latents; `edge` takes power-mean
    #[arg(long, value_enum)]
    score: Option<ScoreArg>,
    /// Step size of Adam
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Schedule of the learning rate
    #[arg(long, value_enum)]
    schedule: Option<ScheduleArg>,
    /// Adam's β₁ and β₂; the paper uses 0.5,0.9, the published code 0.9,0.999
    #[arg(long, value_name = "B1,B2", value_parser = betas)]
    betas: Option<[f64; 2]>,
    /// Adam's ε
    #[arg(long, value_name = "E")]
    epsilon: Option<f64>,
    /// L2 weight decay
    #[arg(long, value_name = "W")]
    weight_decay: Option<f64>,
    /// Standard deviation of the noise that is added to the transformed features at every step;
    /// more of it keeps a flow of few images from learning them by heart
    #[arg(long, value_name = "SD")]
    feature_noise: Option<f64>,
    /// Maximum norm of the whole gradient of a step
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f64>,
}

/// Named settings.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// Small and fast to train on a CPU, for edge devices; measured in docs/training.md
    Edge,
    /// The settings of the published code: full width, raw features, no schedule, 240 epochs
    Published,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PermutationArg {
    /// As in the original code
    NumpyLegacy,
    /// As in anomalib
    NumpyPcg64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransformArg {
    /// None: raw features
    None,
    /// Mean 0 and standard deviation 1 per channel
    Standardise,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleArg {
    /// The same at every step
    Constant,
    /// A short rise, then down to 0 along a half cosine
    Cosine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScoreArg {
    /// The mean over all latents, as in the paper
    Mean,
    /// The power mean over the cells of the finest scale, which small defects raise as well
    PowerMean,
}

impl Preset {
    fn settings(self, seed: u64) -> FlowSettings {
        match self {
            Self::Edge => FlowSettings::edge(seed),
            Self::Published => FlowSettings::published(seed),
        }
    }
}

impl FlowArgs {
    /// Returns `true` if the flow is to be what the authors' code makes.
    pub(crate) fn is_published(&self) -> bool {
        matches!(self.recipe.unwrap_or(self.preset), Preset::Published)
    }

    /// Returns the preset's settings, with the given ones in place of its own.
    ///
    /// # Errors
    /// If there would be nothing to train, or a number is out of its range.
    pub(crate) fn settings(self, seed: u64) -> anyhow::Result<FlowSettings> {
        if self.recipe.is_some() {
            eprintln!(
                "flawd: --recipe is called --preset now, and will be gone in a later version"
            );
        }
        let preset = self.recipe.unwrap_or(self.preset);
        let settings = self.change(preset.settings(seed));
        check(&settings)?;
        Ok(settings)
    }

    /// Puts the given settings in place of the preset's.
    fn change(self, mut settings: FlowSettings) -> FlowSettings {
        fn set<T>(setting: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *setting = given;
            }
        }
        set(&mut settings.hidden, self.hidden);
        set(&mut settings.kernels, self.kernels);
        set(&mut settings.clamp, self.clamp);
        set(&mut settings.permutation, self.permutation.map(Into::into));
        set(&mut settings.transform, self.transform.map(Into::into));
        set(&mut settings.score, self.score.map(Into::into));
        if let Some(epochs) = self.epochs {
            settings.training = settings.training.with_epochs(epochs);
        }
        let training = &mut settings.training;
        set(&mut training.batch, self.batch);
        set(&mut training.schedule, self.schedule.map(Into::into));
        set(&mut training.feature_noise, self.feature_noise);
        let adam = &mut training.adam;
        set(&mut adam.learning_rate, self.learning_rate);
        set(&mut adam.betas, self.betas);
        set(&mut adam.epsilon, self.epsilon);
        set(&mut adam.weight_decay, self.weight_decay);
        set(&mut adam.clip_norm, self.clip_norm);
        settings
    }
}

/// Checks that there is something to train, and that every number is in its range.
fn check(settings: &FlowSettings) -> anyhow::Result<()> {
    anyhow::ensure!(settings.training.epochs > 0, "--epochs must be at least 1");
    anyhow::ensure!(settings.training.batch > 0, "--batch must be at least 1");
    anyhow::ensure!(settings.hidden > 0, "--hidden must be at least 1");
    anyhow::ensure!(
        settings.kernels.iter().all(|kernel| kernel % 2 == 1),
        "--kernels must be odd numbers, such as 3,3,3,5"
    );
    anyhow::ensure!(
        settings.clamp.is_finite() && settings.clamp >= 0.0,
        "--clamp must be a number of at least 0"
    );
    let AdamSettings {
        learning_rate,
        epsilon,
        weight_decay,
        clip_norm,
        ..
    } = settings.training.adam;
    for (flag, value) in [
        ("--learning-rate", learning_rate),
        ("--epsilon", epsilon),
        ("--clip-norm", clip_norm),
    ] {
        let is_usable = value.is_finite() && value > 0.0;
        anyhow::ensure!(is_usable, "{flag} must be a number above 0");
    }
    let noise = settings.training.feature_noise;
    anyhow::ensure!(
        noise.is_finite() && noise >= 0.0,
        "--feature-noise must be a number of at least 0"
    );
    anyhow::ensure!(
        weight_decay.is_finite() && weight_decay >= 0.0,
        "--weight-decay must be a number of at least 0"
    );
    Ok(())
}

impl From<PermutationArg> for PermutationKind {
    fn from(argument: PermutationArg) -> Self {
        match argument {
            PermutationArg::NumpyLegacy => Self::NumpyLegacy,
            PermutationArg::NumpyPcg64 => Self::NumpyPcg64,
        }
    }
}

impl From<TransformArg> for TransformKind {
    fn from(argument: TransformArg) -> Self {
        match argument {
            TransformArg::None => Self::None,
            TransformArg::Standardise => Self::Standardise,
        }
    }
}

impl From<ScoreArg> for ScoreKind {
    fn from(argument: ScoreArg) -> Self {
        match argument {
            ScoreArg::Mean => Self::Mean,
            ScoreArg::PowerMean => Self::PowerMean,
        }
    }
}

impl From<ScheduleArg> for Schedule {
    fn from(argument: ScheduleArg) -> Self {
        match argument {
            ScheduleArg::Constant => Self::Constant,
            ScheduleArg::Cosine => Self::Cosine,
        }
    }
}

/// Parses `B1,B2`, each at least 0 and below 1.
fn betas(text: &str) -> Result<[f64; 2], String> {
    match numbers::<f64>(text)[..] {
        [first, second] if [first, second].iter().all(|beta| (0.0..1.0).contains(beta)) => {
            Ok([first, second])
        }
        _ => Err(format!(
            "`{text}` are not two numbers from 0 to below 1, such as 0.9,0.999"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flow: FlowArgs,
    }

    fn epochs(arguments: &[&str], images: usize) -> usize {
        let arguments = std::iter::once(&"flawd").chain(arguments);
        let command = Command::try_parse_from(arguments).expect("they are known");
        let settings = command.flow.settings(1).expect("they fit");
        settings.training.epochs_over(images)
    }

    #[test]
    fn few_images_take_more_epochs_unless_their_number_is_given() {
        assert_eq!(epochs(&[], 609), 20);
        assert_eq!(epochs(&[], 60), 50, "15 steps each, 750 in all");
        assert_eq!(epochs(&["--batch", "16"], 60), 188, "4 steps each");
        assert_eq!(epochs(&["--epochs", "3"], 60), 3);
        assert_eq!(epochs(&["--preset", "published"], 60), 240);
    }

    #[test]
    fn the_name_that_preset_had_before_means_the_same() {
        assert_eq!(epochs(&["--recipe", "published"], 60), 240);
        let both = ["flawd", "--recipe", "edge", "--preset", "edge"];
        Command::try_parse_from(both)
            .map(|_| ())
            .expect_err("one is enough");
    }
}
