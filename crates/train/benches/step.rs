//! Processor time of a training step, beside PyTorch's, on the same machine at the same time.
//!
//! `cargo bench -p flawd-train` runs the two in turns, each on one thread. PyTorch is looked for in
//! `$PYTHON`, or `python3`; without it only our own time is printed. The best step of each round
//! counts, and the median over the rounds: only the ratio is meaningful, the seconds are not.

use std::process::Command;

use flawd_core::flow::FlowSpec;
use flawd_core::permutation::PermutationKind;
use flawd_train::adam::{Adam, AdamSettings, gradient_norm};
use flawd_train::maps::{Maps, Scales};
use flawd_train::network::Flow;

/// Channels, hidden width, side of the finest map, batch.
const SIZES: [[usize; 4]; 2] = [[64, 128, 16, 16], [320, 64, 12, 16]];
const ROUNDS: usize = 3;
const STEPS: usize = 4;

fn main() {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .expect("first use of the pool");
    for size in SIZES {
        let [channels, hidden, side, batch] = size;
        println!("{channels} channels, hidden {hidden}, finest map {side}, batch {batch}");
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..ROUNDS {
            ours.push(step_of_ours(size));
            theirs.extend(step_of_pytorch(size));
        }
        let ours = median(ours);
        println!("  flawd    {ours:.3} CPU-s a step");
        if theirs.is_empty() {
            println!("  PyTorch  not here: set PYTHON to an interpreter that has torch");
        } else {
            let theirs = median(theirs);
            println!("  PyTorch  {theirs:.3} CPU-s a step");
            println!("  ratio    {:.2}", ours / theirs);
        }
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The best of some steps.
fn step_of_ours([channels, hidden, side, batch]: [usize; 4]) -> f64 {
    let spec = FlowSpec {
        channels,
        hidden,
        kernels: vec![3, 3, 3, 5],
        clamp: 3.0,
        permutation: PermutationKind::NumpyLegacy,
        scales: 3,
        cross_scale: true,
    };
    let mut flow = Flow::new(spec, 1).expect("a valid shape");
    for block in flow.layout().clone().blocks {
        for subnet in [block.s1, block.s2] {
            flow.parameters[subnet.gamma].fill(0.3);
        }
    }
    let mut adam = Adam::new(flow.parameters.len());
    let settings = AdamSettings::default();
    let mut gradient = vec![0.0; flow.parameters.len()];
    let map = |scale: usize| {
        let mut n = 0.0_f32;
        let side = side >> scale;
        Maps::from_shape_simple_fn((channels, batch, side, side), || {
            n += 0.7;
            n.sin()
        })
    };
    let features: Scales<Maps> = (0..3).map(map).collect();
    let mut best = f64::INFINITY;
    for _ in 0..STEPS {
        let start = processor_seconds();
        gradient.fill(0.0);
        let (latents, trace) = flow.forward(features.clone());
        let (by_latents, by_log_det) = latents.loss_gradient();
        flow.backward(trace, by_latents, by_log_det, &mut gradient);
        let norm = gradient_norm(&gradient);
        adam.step(
            &settings,
            settings.learning_rate,
            norm,
            &mut flow.parameters,
            &gradient,
        );
        best = best.min(processor_seconds() - start);
    }
    best
}

/// The best of some steps, or `None` without PyTorch.
fn step_of_pytorch(size: [usize; 4]) -> Option<f64> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/step.py");
    let mut arguments: Vec<String> = size.iter().map(usize::to_string).collect();
    arguments.push(STEPS.to_string());
    let output = Command::new(python)
        .arg(script)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .filter_map(|line| line.parse().ok())
        .min_by(f64::total_cmp)
}

/// User and system time of this process in seconds, from `/proc/self/stat` (see proc(5)); a tick
/// is 1/100 s on every Linux.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let fields = stat.rsplit(')').next().expect("a name in parentheses");
    let ticks = |field: usize| -> f64 {
        let text = fields
            .split_whitespace()
            .nth(field)
            .expect("proc(5) lists it");
        text.parse().expect("a number")
    };
    (ticks(11) + ticks(12)) / 100.0
}
