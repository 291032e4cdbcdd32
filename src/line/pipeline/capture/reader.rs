//! The only thread that enters a device's driver, or a network camera's pipeline.
//!
//! A driver may hang when a device is opened, read, or released. Then its thread hangs with it, and
//! another one for the same device would hang as well: so there is never a second one, and the next
//! start waits for the first one's pending answer.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::line::config::Overflow;
use crate::line::monitor::counters::Counter;
use crate::line::pipeline::channels::link::{self, Receiver, Sender};

/// What a reader delivers: frames, and at the end why there are no more.
pub(crate) type Frames<T, E> = Receiver<Result<T, E>>;

/// A device that is still being opened: the channels for its thread's answer, and for the frames
/// that follow.
type Opening<O, T, E> = (mpsc::Receiver<Result<O, E>>, Frames<T, E>);

/// Why a reader delivers no frames, beside what its device says.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Opening the device takes too long.
    #[error("its driver has not answered for {0:?}")]
    NoAnswer(Duration),
    /// The driver has not returned from an earlier call.
    #[error("its driver has not let go of it")]
    Held,
    /// The thread has ended.
    #[error("the reader has ended")]
    Ended,
    /// The system refuses a thread.
    #[error(transparent)]
    Thread(#[from] io::Error),
}

/// A thread that opens a device, reports what it found, and passes frames on until it fails.
#[derive(Debug)]
pub(crate) struct DeviceReader<O, T, E> {
    name: String,
    /// How long opening a device may take.
    patience: Duration,
    thread: Option<JoinHandle<()>>,
    /// The pending answer of a thread that is still opening the device.
    opening: Option<Opening<O, T, E>>,
}

impl<O, T, E> DeviceReader<O, T, E>
where
    O: Send + 'static,
    T: Send + 'static,
    E: From<ReaderError> + Send + 'static,
{
    /// Creates a reader without a thread.
    pub(crate) fn new(name: String, patience: Duration) -> Self {
        Self {
            name,
            patience,
            thread: None,
            opening: None,
        }
    }

    /// Starts a thread that opens the device with `open`, unless one is still doing so, and waits
    /// until it is done. `open` returns what it found, and a function for the next frame, which may
    /// report that there is none yet. Frames that are still waiting when the next one comes are
    /// counted in `displaced`.
    ///
    /// # Errors
    /// The device's, or a [`ReaderError`]: it does not answer.
    pub(crate) fn start<N>(
        &mut self,
        open: impl FnOnce() -> Result<(O, N), E> + Send + 'static,
        displaced: Counter,
    ) -> Result<(O, Frames<T, E>), E>
    where
        N: FnMut() -> Result<Option<T>, E>,
    {
        let (answer, frames) = match self.opening.take() {
            Some(pending) => pending,
            None => self.spawn(open, displaced)?,
        };
        match answer.recv_timeout(self.patience) {
            Ok(outcome) => Ok((outcome?, frames)),
            Err(RecvTimeoutError::Timeout) => {
                self.opening = Some((answer, frames));
                Err(ReaderError::NoAnswer(self.patience).into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(ReaderError::Ended.into()),
        }
    }

    fn spawn<N>(
        &mut self,
        open: impl FnOnce() -> Result<(O, N), E> + Send + 'static,
        displaced: Counter,
    ) -> Result<Opening<O, T, E>, E>
    where
        N: FnMut() -> Result<Option<T>, E>,
    {
        if self
            .thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
        {
            return Err(ReaderError::Held.into());
        }
        let (sender, frames) = link::link(NonZeroUsize::MIN, Overflow::NewestWins);
        let (opened, answer) = mpsc::sync_channel(1);
        let work = move || match open() {
            Ok((found, next_frame)) => {
                opened.send(Ok(found)).ok();
                read(next_frame, &sender, &displaced);
            }
            Err(problem) => {
                opened.send(Err(problem)).ok();
            }
        };
        let thread = thread::Builder::new().name(self.name.clone());
        self.thread = Some(thread.spawn(work).map_err(ReaderError::Thread)?);
        Ok((answer, frames))
    }
}

/// Passes frames on until the camera fails or the receiver is gone; frames not received before the
/// next one came are counted.
fn read<T, E>(
    mut next_frame: impl FnMut() -> Result<Option<T>, E>,
    frames: &Sender<Result<T, E>>,
    displaced: &Counter,
) {
    loop {
        let Some(frame) = next_frame().transpose() else {
            continue;
        };
        let has_failed = frame.is_err();
        match frames.send(frame) {
            Ok(None) => {}
            Ok(Some(_)) => displaced.increment(),
            Err(_) => return,
        }
        if has_failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_frame_that_nothing_has_taken_is_counted_when_the_next_one_comes() {
        let (sender, receiver) = link::link(NonZeroUsize::MIN, Overflow::NewestWins);
        let displaced = Counter::default();
        let mut given = (1..=5)
            .flat_map(|frame| [Ok(None), Ok(Some(frame))])
            .chain([Err(ReaderError::Ended)]);
        read(|| given.next().unwrap(), &sender, &displaced);
        // The camera's end takes the place of the last frame.
        let end = receiver.recv();
        assert!(matches!(end, Some(Err(ReaderError::Ended))), "{end:?}");
        assert_eq!(displaced.get(), 5);
    }

    type Next = Box<dyn FnMut() -> Result<Option<u32>, ReaderError>>;

    #[test]
    fn a_device_that_hangs_when_it_is_opened_is_not_opened_twice() {
        let mut reader = DeviceReader::<&str, u32, ReaderError>::new(
            "test".to_owned(),
            Duration::from_millis(1),
        );
        let opened = Arc::new(AtomicUsize::new(0));
        let (go_on, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let start = |reader: &mut DeviceReader<&'static str, u32, ReaderError>| {
            let (opened, held) = (opened.clone(), held.clone());
            let open = move || -> Result<(&str, Next), ReaderError> {
                opened.fetch_add(1, Ordering::Relaxed);
                held.lock().unwrap().recv().ok();
                let mut frames = [Ok(Some(7)), Err(ReaderError::Ended)].into_iter();
                Ok(("found", Box::new(move || frames.next().unwrap())))
            };
            reader.start(open, Counter::default())
        };
        for _ in 0..3 {
            let problem = start(&mut reader).unwrap_err();
            assert!(matches!(problem, ReaderError::NoAnswer(_)), "{problem}");
        }
        go_on.send(()).unwrap();
        // The answer to the first request.
        let (found, frames) = loop {
            if let Ok(answer) = start(&mut reader) {
                break answer;
            }
        };
        assert_eq!(found, "found");
        assert_eq!(opened.load(Ordering::Relaxed), 1);
        let end = std::iter::from_fn(|| frames.recv()).find(Result::is_err);
        assert!(matches!(end, Some(Err(ReaderError::Ended))), "{end:?}");
    }

    #[test]
    fn a_device_that_its_driver_holds_is_not_opened_again() {
        let mut reader =
            DeviceReader::<(), u32, ReaderError>::new("test".to_owned(), Duration::from_secs(60));
        let (go_on, held) = mpsc::channel::<()>();
        let open = move || -> Result<((), Next), ReaderError> {
            let next = move || {
                held.recv().map_err(|_| ReaderError::Ended)?;
                Ok(None)
            };
            Ok(((), Box::new(next)))
        };
        reader.start(open, Counter::default()).unwrap();
        let again = || -> Result<((), Next), ReaderError> {
            Err(io::Error::from(io::ErrorKind::NotFound).into())
        };
        let problem = reader.start(again, Counter::default()).unwrap_err();
        assert!(matches!(problem, ReaderError::Held), "{problem}");
        drop(go_on);
        reader.thread.take().unwrap().join().unwrap();
        let problem = reader.start(again, Counter::default()).unwrap_err();
        assert!(matches!(problem, ReaderError::Thread(_)), "{problem}");
    }
}
