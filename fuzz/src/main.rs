//! `flawd-fuzz TARGET SECONDS` feeds a target; `flawd-fuzz TARGET FILE` feeds it one file.
//!
//! The first input that breaks the target ends the process, and is left in
//! `fuzz/runs/TARGET/current`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use flawd_fuzz::coverage::Coverage;
use flawd_fuzz::feed::feed;
use flawd_fuzz::mutation::Mutation;
use flawd_fuzz::target::ALL;
use flawd_fuzz::{Target, corpus};
use flawd_testing::memory::process_time;

/// Processor time after which reading an input counts as endless.
const HANGS: Duration = Duration::from_secs(30);

/// How often a long run reports its progress.
const NEWS: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let target = |name: &String| ALL.iter().find(|target| target.name == name);
    let [name, what] = &arguments[..] else {
        eprintln!("usage: flawd-fuzz TARGET SECONDS|FILE");
        return ExitCode::from(64);
    };
    let Some(target) = target(name) else {
        let names = ALL.map(|target| target.name).join(", ");
        eprintln!("there is no target `{name}`; there are {names}");
        return ExitCode::from(64);
    };
    let outcome = match what.parse() {
        Ok(seconds) => Run::begin(target).and_then(|run| run.run(Duration::from_secs(seconds))),
        Err(_) => fs::read(what).map(|input| {
            let taken = feed(target, &input);
            println!("{name}: read within the limits: {taken:?}");
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flawd-fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A target that is being fed.
struct Run {
    target: &'static Target,
    inputs: Vec<Vec<u8>>,
    coverage: Coverage,
    mutation: Mutation,
    current: File,
    /// Inputs fed so far, for the thread that watches for hangs.
    fed: Arc<AtomicU64>,
    /// Inputs kept for the first time by this run.
    new: usize,
    slowest: Duration,
    largest: usize,
}

impl Run {
    /// Feeds the whole corpus.
    fn begin(target: &'static Target) -> io::Result<Self> {
        let grown = corpus::grown(target.name)?;
        let kept = corpus::kept(target.name)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.unwrap_or_default().as_nanos() as u64;
        let mut run = Self {
            target,
            inputs: Vec::new(),
            coverage: Coverage::default(),
            mutation: Mutation::new(seed, target.longest, target.words),
            current: corpus::take(target.name)?,
            fed: Arc::default(),
            new: 0,
            slowest: Duration::ZERO,
            largest: 0,
        };
        run.look_for_hangs();
        for (_, input) in kept.into_iter().chain(grown) {
            if run.feed(&input)? {
                run.inputs.push(input);
            }
        }
        if run.inputs.is_empty() {
            // Without counters nothing is new.
            run.inputs = corpus::kept(target.name)?
                .into_iter()
                .map(|(_, input)| input)
                .collect();
        }
        Ok(run)
    }

    fn run(mut self, time: Duration) -> io::Result<()> {
        let begun = Instant::now();
        let mut news = NEWS;
        while begun.elapsed() < time {
            if begun.elapsed() > news {
                news += NEWS;
                self.say(begun);
            }
            let count = self.inputs.len();
            // Every second one is among the newest, which may lead to more.
            let chosen = match self.mutation.below(2) {
                0 => self.mutation.below(count),
                _ => count - 1 - self.mutation.below(count.min(16)),
            };
            let other = self.mutation.below(count);
            let mut input = self.inputs[chosen].clone();
            self.mutation.change(&mut input, &self.inputs[other]);
            if self.feed(&input)? {
                corpus::grow(self.target.name, &input)?;
                self.inputs.push(input);
                self.new += 1;
            }
        }
        self.say(begun);
        fs::remove_file(corpus::current(self.target.name))
    }

    /// Feeds one input; returns `true` if it reached new code.
    fn feed(&mut self, input: &[u8]) -> io::Result<bool> {
        self.current.set_len(input.len() as u64)?;
        self.current.write_all_at(input, 0)?;
        Coverage::begin();
        let taken = feed(self.target, input);
        let is_new = self.coverage.add();
        self.fed.fetch_add(1, Ordering::Relaxed);
        self.slowest = self.slowest.max(taken.time);
        self.largest = self.largest.max(taken.peak);
        Ok(is_new)
    }

    fn say(&self, begun: Instant) {
        println!(
            "{}: {} inputs in {:.0} s ({:.0} s on a processor), {} of them new; {} in the corpus, \
             {} edges reached, slowest {:.0} ms, largest {} KiB",
            self.target.name,
            self.fed.load(Ordering::Relaxed),
            begun.elapsed().as_secs_f64(),
            process_time().as_secs_f64(),
            self.new,
            self.inputs.len(),
            self.coverage.edges(),
            self.slowest.as_secs_f64() * 1e3,
            self.largest >> 10,
        );
    }

    /// Ends the process if one input takes longer than any should.
    fn look_for_hangs(&self) {
        let (fed, name) = (Arc::clone(&self.fed), self.target.name);
        thread::spawn(move || {
            let mut last = (fed.load(Ordering::Relaxed), process_time());
            loop {
                thread::park_timeout(Duration::from_secs(1));
                let (now, time) = (fed.load(Ordering::Relaxed), process_time());
                if now != last.0 {
                    last = (now, time);
                } else if time.saturating_sub(last.1) > HANGS {
                    eprintln!("{name}: one input was read for {HANGS:?} of processor time");
                    process::exit(1);
                }
            }
        });
    }
}
