//! No file makes the reader take more memory, or do more work, than its size warrants.
//!
//! A separate program, because it counts every allocation of a thread: the peak, and the total, a
//! measure of the work that is done. Seconds are not measured: they say more about the machine than
//! about the reader.

mod files;

use flawd_import::{Checkpoint, TensorFile};
use flawd_testing::memory::{Counting, Taken, count};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Valid files of every form, each with the place of what decides its structure.
fn whole() -> Vec<Vec<u8>> {
    vec![
        files::safetensors(),
        files::archive(),
        files::lightning(),
        files::legacy_pickle(),
    ]
}

/// Reads everything of a file.
fn read(bytes: &[u8]) -> Taken {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("some.checkpoint");
    std::fs::write(&path, bytes).expect("writable");
    count(|| {
        Checkpoint::read(&path, None).ok();
        TensorFile::open(&path)
            .and_then(|file| file.read_network())
            .ok();
    })
}

/// The memory that a file of this size may take at a time: several times its size, plus what the
/// reader needs for any file. Whole files stay below a quarter of it.
fn peak_allowed(bytes: usize) -> usize {
    24 * bytes + (1 << 20)
}

/// What it may take in all.
fn total_allowed(bytes: usize) -> usize {
    400 * bytes + (8 << 20)
}

#[track_caller]
fn assert_bounded(bytes: &[u8], what: &str) {
    let counted = read(bytes);
    let size = bytes.len();
    assert!(
        counted.peak <= peak_allowed(size),
        "{what}: {counted:?} of {size} bytes"
    );
    assert!(
        counted.total <= total_allowed(size),
        "{what}: {counted:?} of {size} bytes"
    );
}

#[test]
fn whole_files_are_well_within_the_bounds() {
    for bytes in whole() {
        let counted = read(&bytes);
        let size = bytes.len();
        assert!(
            4 * counted.peak <= peak_allowed(size),
            "{counted:?} of {size} bytes"
        );
        assert!(
            4 * counted.total <= total_allowed(size),
            "{counted:?} of {size} bytes"
        );
    }
}

/// Every byte that is not a number of a tensor, set to what counts and lengths go wrong with.
#[test]
fn no_changed_byte_takes_more_than_the_file_warrants() {
    for bytes in whole() {
        for place in files::structure(&bytes) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] = value;
                assert_bounded(&changed, &format!("byte {place} = {value:#x}"));
            }
        }
    }
}

/// Counts and lengths of four and eight bytes, and files that are cut or repeated.
#[test]
fn no_changed_count_or_length_takes_more_than_the_file_warrants() {
    for bytes in whole() {
        for place in files::structure(&bytes) {
            for width in [4, 8] {
                if place + width > bytes.len() {
                    continue;
                }
                for value in [0xff, 0x7f] {
                    let mut changed = bytes.clone();
                    changed[place..place + width].fill(value);
                    assert_bounded(&changed, &format!("{width} bytes at {place} = {value:#x}"));
                }
            }
        }
        for length in (0..bytes.len()).step_by(61) {
            assert_bounded(&bytes[..length], &format!("cut at {length}"));
            let repeated = [&bytes[..length], &bytes].concat();
            assert_bounded(&repeated, &format!("behind its first {length} bytes"));
        }
    }
}

/// What a pickle may take that is made to take much: an opcode of one byte is a place of the stack
/// or of the memo, and some 65,000 objects may be copied by a pickle of any size.
fn bomb_allowed(bytes: usize) -> usize {
    256 * bytes + (8 << 20)
}

/// Pickles of a few bytes that ask for any amount.
#[test]
fn no_bomb_takes_more_than_its_size_warrants() {
    for (name, program) in files::bombs() {
        for bytes in [files::archive_of(&program), program] {
            let counted = read(&bytes);
            let size = bytes.len();
            assert!(
                counted.peak <= bomb_allowed(size),
                "{name}: {counted:?} of {size} bytes"
            );
            // It is read up to three times: for the tensors, the arguments, and again.
            assert!(
                counted.total <= 3 * bomb_allowed(size),
                "{name}: {counted:?} of {size} bytes"
            );
        }
    }
}

/// The bound is one of the reader, not of small files.
#[test]
fn a_larger_file_takes_more_in_proportion() {
    let bytes = files::safetensors_of(512);
    assert!(bytes.len() > 1 << 20, "{}", bytes.len());
    assert_bounded(&bytes, "a larger file");
}
