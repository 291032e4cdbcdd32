//! How much the pickles of a file would make their reader copy.
//!
//! A pickle is a program for a machine with a stack and a memo. Whatever it puts into the memo,
//! takes out of it or doubles, `pytorch-reader` copies. It stops at a million copied objects, but
//! counts neither the class names, dictionary keys and tensor shapes in them, nor the parts from
//! which it joins tensor names. A program of 2 KB makes gigabytes of those. So the program is run
//! on sizes alone beforehand, and one whose copies are out of proportion to its length is refused.
//!
//! Nothing here judges whether a pickle is well formed: what cannot be parsed is left to the
//! reader, which stops at the same place.

mod program;
mod size;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use zip::ZipArchive;

use program::{Stop, run};

/// Bytes of copies allowed per byte of a pickle. The output of `torch.save` asks for some 14: each
/// tensor's arguments are put into the memo.
const COPIES_PER_BYTE: u64 = 64;

/// Bytes of copies that any pickle may ask for.
const FREE_COPIES: u64 = 1 << 20;

/// The pickles of a file without an archive: magic number, protocol, system, content, storage keys.
const MOST_PICKLES: usize = 5;

/// Why a file is not passed to the reader.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Its copies are out of proportion.
    #[error(
        "its pickle of {length} bytes asks for more than {copies} bytes of copies, as none of \
         torch.save does"
    )]
    Copies {
        /// Bytes of the program up to there.
        length: u64,
        /// Bytes that it asks for.
        copies: u64,
    },
    /// A form that no PyTorch version has written since CS-Flow was published.
    #[error("it is an archive as PyTorch wrote them before version 0.1.10")]
    Tar,
}

/// Checks the pickles of a file; `Ok(Some(_))` if it must not be read.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn refusal(path: &Path) -> io::Result<Option<Refusal>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(262).read_to_end(&mut start)?;
    file.rewind()?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(in_archive(file));
    }
    if start.get(257..) == Some(b"ustar") {
        return Ok(Some(Refusal::Tar));
    }
    let mut reader = BufReader::new(file);
    for _ in 0..MOST_PICKLES {
        match of_one(&mut reader) {
            Ok(()) => {}
            Err(Stop::Copies(refusal)) => return Ok(Some(refusal)),
            Err(Stop::Unreadable) => break,
        }
    }
    Ok(None)
}

/// Checks the pickle of an archive, the one that the reader uses.
fn in_archive(file: File) -> Option<Refusal> {
    let mut archive = ZipArchive::new(BufReader::new(file)).ok()?;
    let name = archive
        .file_names()
        .filter_map(Result::ok)
        .filter(|name| name == "data.pkl" || name.ends_with("/data.pkl"))
        .min_by_key(|name| name.len())
        .map(|name| name.to_string())?;
    let mut pickle = BufReader::new(archive.by_name(&name).ok()?);
    match of_one(&mut pickle) {
        Err(Stop::Copies(refusal)) => Some(refusal),
        Ok(()) | Err(Stop::Unreadable) => None,
    }
}

/// Runs the next pickle of a stream.
fn of_one(reader: &mut impl BufRead) -> Result<(), Stop> {
    run(reader, |length, copies| {
        if copies > COPIES_PER_BYTE * length + FREE_COPIES {
            return Err(Refusal::Copies { length, copies });
        }
        Ok(())
    })
}
