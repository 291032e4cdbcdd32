//! No input makes a reader panic, take more memory than its size warrants, or run for ever.
//!
//! The whole corpus, and a few thousand changes of it that are the same in every run.
//! `cargo xtask fuzz` continues from there.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use flawd_fuzz::corpus::kept;
use flawd_fuzz::feed::feed;
use flawd_fuzz::mutation::Mutation;
use flawd_fuzz::target::{ALL, Target};

/// Time for one target's changes.
const TIME: Duration = Duration::from_secs(5);

/// The number of changes that fit that time on a usual machine, so that they are the same there.
const CHANGES: usize = 4000;

/// Longer on the slowest machine means for ever.
const HANGS: Duration = Duration::from_secs(300);

fn target(name: &str) -> &'static Target {
    let found = ALL.iter().find(|target| target.name == name);
    found.expect("there is a target of this name")
}

/// Feeds inputs in a separate thread, and reports which one panics or does not end.
fn feed_all(target: &'static Target, inputs: impl Iterator<Item = Vec<u8>> + Send + 'static) {
    let current = Arc::new(Mutex::new(Vec::new()));
    let fed = Arc::clone(&current);
    let (done, ended) = channel();
    let feeder = thread::spawn(move || {
        for input in inputs {
            fed.lock().expect("it is whole").clone_from(&input);
            feed(target, &input);
        }
        drop(done);
    });
    let hangs = ended.recv_timeout(HANGS) == Err::<(), _>(RecvTimeoutError::Timeout);
    if hangs || feeder.join().is_err() {
        let name = target.name;
        let folder = tempfile::tempdir().expect("a folder").keep();
        let file = folder.join(name);
        let input = current.lock().expect("it is whole");
        std::fs::write(&file, &*input).expect("writable");
        let how = if hangs {
            "is read for ever"
        } else {
            "is not read within the limits"
        };
        panic!(
            "{name}: {} {how}; cargo xtask fuzz {name} --input feeds it again",
            file.display()
        );
    }
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let kept = kept(target.name).expect("the corpus is there");
    kept.into_iter().map(|(_, input)| input).collect()
}

fn whole_and_damaged(name: &str) {
    let target = target(name);
    let corpus = inputs(target);
    assert!(corpus.len() > 1, "{name} has a corpus");
    feed_all(target, corpus.clone().into_iter());

    let mut mutation = Mutation::new(1, target.longest, target.words);
    let begun = Instant::now();
    let changed = (0..CHANGES).map_while(move |number| {
        let mut input = corpus[number % corpus.len()].clone();
        let other = mutation.below(corpus.len());
        mutation.change(&mut input, &corpus[other]);
        (begun.elapsed() < TIME).then_some(input)
    });
    feed_all(target, changed);
}

#[test]
fn an_onnx_file_is_read_within_the_limits() {
    whole_and_damaged("onnx");
}

#[test]
fn a_checkpoint_is_read_within_the_limits() {
    whole_and_damaged("checkpoint");
}

#[test]
fn a_journal_is_recovered_within_the_limits() {
    whole_and_damaged("journal");
}

#[test]
fn a_manifest_is_read_within_the_limits() {
    whole_and_damaged("manifest");
}

#[test]
fn triggers_and_commands_are_read_within_the_limits() {
    whole_and_damaged("payload");
}

#[test]
fn an_image_is_decoded_within_the_limits() {
    whole_and_damaged("image");
}

/// A limit far above what is needed would check nothing.
#[test]
fn what_a_reader_may_take_is_not_far_from_what_the_corpus_takes() {
    for target in &ALL {
        let taken = inputs(target).into_iter().map(|input| {
            let taken = feed(target, &input);
            let (peak, total) = (
                target.limits.peak(input.len()),
                target.limits.total(input.len()),
            );
            (
                taken.peak as f64 / peak as f64,
                taken.total as f64 / total as f64,
            )
        });
        let (peak, total) = taken.fold((0.0_f64, 0.0_f64), |most, taken| {
            (most.0.max(taken.0), most.1.max(taken.1))
        });
        println!(
            "{}: {:.4} of the peak, {:.4} of the total",
            target.name, peak, total
        );
        assert!(
            peak > 1e-3 && total > 1e-3,
            "{}: {peak} {total}",
            target.name
        );
    }
}
