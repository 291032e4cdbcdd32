//! A disk that fails on request.
//!
//! The system calls that the standard library makes to change a file are defined here again, so
//! that in this program it calls these: they fail at random on threads that asked for it, and
//! otherwise do their work. So the unchanged journal runs, on real files.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::BorrowedFd;

use rustix::fs::CWD;
use rustix::io::Errno;

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    /// How many of 1000 calls fail.
    pub(crate) share: u64,
    /// The only thing that fails.
    pub(crate) only: Option<Call>,
    /// Whether the disk is full at times.
    pub(crate) full: bool,
    /// State of the generator of random numbers; not 0.
    pub(crate) random: u64,
}

thread_local! {
    static FAULTS: Cell<Option<Faults>> = const { Cell::new(None) };
}

/// Runs `work` on a disk that fails like this, and returns the next random state with what it
/// returns.
pub(crate) fn with<T>(faults: Faults, work: impl FnOnce() -> T) -> (T, u64) {
    FAULTS.set(Some(faults));
    let done = work();
    let random = FAULTS.take().map_or(faults.random, |faults| faults.random);
    (done, random)
}

/// The next number of a xorshift generator.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Write,
    /// `fdatasync`.
    SyncData,
    /// `fsync`.
    Sync,
    /// Names and lengths of files.
    Names,
}

/// How this call fails, and `Err(None)` if it does a part of its work.
fn fault(call: Call) -> Result<(), Option<Errno>> {
    let Some(mut faults) = FAULTS.get() else {
        return Ok(());
    };
    let draw = random(&mut faults.random);
    let fails = draw % 1000 < faults.share && faults.only.is_none_or(|only| only == call);
    let kind = (draw >> 20) % 4;
    let full = faults.full;
    FAULTS.set(Some(faults));
    match (fails, call, kind) {
        (false, ..) => Ok(()),
        (true, Call::Write, 0 | 1) if full => Err(Some(Errno::NOSPC)),
        (true, Call::Write, 2) => Err(None),
        _ => Err(Some(Errno::IO)),
    }
}

fn fail(error: Errno) -> c_int {
    unsafe extern "C" {
        fn __errno_location() -> *mut c_int;
    }
    // SAFETY: the C library gives each thread its own place for its last error.
    unsafe { *__errno_location() = error.raw_os_error() };
    -1
}

fn answer(call: Call, work: impl FnOnce() -> Result<(), Errno>) -> c_int {
    match fault(call) {
        Err(error) => fail(error.unwrap_or(Errno::IO)),
        Ok(()) => work().map_or_else(fail, |()| 0),
    }
}

fn transfer(call: Call, count: usize, work: impl FnOnce(usize) -> Result<usize, Errno>) -> isize {
    let count = match fault(call) {
        Err(Some(error)) => return fail(error) as isize,
        Err(None) => count.div_ceil(3),
        Ok(()) => count,
    };
    match work(count) {
        Ok(done) => done as isize,
        Err(error) => fail(error) as isize,
    }
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    // SAFETY: the caller holds the file open during the call.
    let file = unsafe { BorrowedFd::borrow_raw(file) };
    answer(Call::SyncData, || rustix::fs::fdatasync(file))
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    // SAFETY: the caller holds the file open during the call.
    let file = unsafe { BorrowedFd::borrow_raw(file) };
    answer(Call::Sync, || rustix::fs::fsync(file))
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(file: c_int, length: i64) -> c_int {
    // SAFETY: the caller holds the file open during the call.
    let file = unsafe { BorrowedFd::borrow_raw(file) };
    answer(Call::Names, || rustix::fs::ftruncate(file, length as u64))
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller passes strings that end.
    let (from, to) = unsafe { (CStr::from_ptr(from), CStr::from_ptr(to)) };
    answer(Call::Names, || rustix::fs::renameat(CWD, from, CWD, to))
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller passes a string that ends.
    let path = unsafe { CStr::from_ptr(path) };
    let flags = rustix::fs::AtFlags::empty();
    answer(Call::Names, || rustix::fs::unlinkat(CWD, path, flags))
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    // SAFETY: the caller holds the file open and passes this number of bytes.
    let (file, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), count);
        (BorrowedFd::borrow_raw(file), bytes)
    };
    transfer(Call::Write, count, |count| {
        rustix::io::write(file, &bytes[..count])
    })
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    file: c_int,
    bytes: *const c_void,
    count: usize,
    offset: i64,
) -> isize {
    // SAFETY: the caller holds the file open and passes this number of bytes.
    let (file, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), count);
        (BorrowedFd::borrow_raw(file), bytes)
    };
    transfer(Call::Write, count, |count| {
        rustix::io::pwrite(file, &bytes[..count], offset as u64)
    })
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(file: c_int, bytes: *mut c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the caller holds the file open and passes room for this number of bytes.
    let (file, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts_mut(bytes.cast::<u8>(), count);
        (BorrowedFd::borrow_raw(file), bytes)
    };
    transfer(Call::Read, count, |count| {
        rustix::io::pread(file, &mut bytes[..count], offset as u64)
    })
}

#[test]
fn the_standard_library_calls_what_is_defined_here() {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.write_all_at(b"text", 0).unwrap();
    let faults = Faults {
        share: 1000,
        only: None,
        full: false,
        random: 1,
    };
    let fails = |work: &dyn Fn() -> std::io::Result<()>| {
        let (done, _) = with(faults, work);
        assert_eq!(done.unwrap_err().raw_os_error(), Some(5));
    };
    fails(&|| file.sync_data());
    fails(&|| file.sync_all());
    fails(&|| file.set_len(3));
    fails(&|| file.read_exact_at(&mut [0; 4], 0));
    fails(&|| fs::rename(&path, place.path().join("other")));
    fails(&|| fs::remove_file(&path));
    let (done, _) = with(faults, || file.write_all_at(&[b'x'; 100_000], 0));
    assert_eq!(done.unwrap_err().raw_os_error(), Some(5));
    assert_eq!(fs::read(&path).unwrap()[..1], *b"t");
}
