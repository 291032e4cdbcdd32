//! Mends the ZIP archives of PyTorch whose directory the archive reader would look for in the wrong
//! place.
//!
//! `torch.save` writes zip64 records of 76 bytes between the directory and the end of every
//! archive, even if nothing needs them:
//!
//! ```text
//! entries │ directory │ zip64 records, 76 bytes │ end: size and place of the directory
//! ```
//! The reader looks for the directory directly before the end, by its size. It notices its mistake
//! if there is no entry at that place; but if the first entry of the directory is 76 bytes long, as
//! with a name of 21 characters, it finds the second one there, and reads everything 76 bytes too
//! far. Such an archive is copied without the misleading records.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// The signature of an entry of the directory.
const ENTRY: &[u8; 4] = b"PK\x01\x02";

/// The signatures of the records before the end, and of the end itself.
const ZIP64: &[u8; 4] = b"PK\x06\x06";
const END: &[u8; 4] = b"PK\x05\x06";

/// Bytes of the zip64 records, and of an end without a comment, as PyTorch writes them.
const ZIP64_LENGTH: u64 = 76;
const END_LENGTH: u64 = 22;

/// Makes a copy without the zip64 records if they mislead; `None` if the file can be read as it is.
///
/// # Errors
/// If the file cannot be read, or there is no space for the copy.
pub(crate) fn copy(path: &Path) -> io::Result<Option<NamedTempFile>> {
    let mut file = File::open(path)?;
    let Some(directory_end) = misleading(&mut file)? else {
        return Ok(None);
    };
    let mut copy = NamedTempFile::new()?;
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut (&file).take(directory_end), copy.as_file_mut())?;
    file.seek(SeekFrom::End(-(END_LENGTH as i64)))?;
    io::copy(&mut file, copy.as_file_mut())?;
    copy.flush()?;
    Ok(Some(copy))
}

/// Returns where the directory ends, if one of its entries lies where the reader expects it to
/// begin.
fn misleading(file: &mut File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    if length < END_LENGTH + ZIP64_LENGTH {
        return Ok(None);
    }
    let mut end = [0; END_LENGTH as usize];
    file.seek(SeekFrom::End(-(END_LENGTH as i64)))?;
    file.read_exact(&mut end)?;
    let number = |at: usize| {
        u64::from(u32::from_le_bytes([
            end[at],
            end[at + 1],
            end[at + 2],
            end[at + 3],
        ]))
    };
    let (size, start) = (number(12), number(16));
    let directory_end = start + size;
    // A directory beyond 4 GiB has its offset in the records, which are then read.
    let is_known = start < u64::from(u32::MAX) && size < u64::from(u32::MAX);
    if !end.starts_with(END) || !is_known || directory_end + ZIP64_LENGTH + END_LENGTH != length {
        return Ok(None);
    }
    let mut begins_with = |at: u64, magic: &[u8; 4]| -> io::Result<bool> {
        let mut found = [0; 4];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut found)?;
        Ok(found == *magic)
    };
    let misleads = begins_with(directory_end, ZIP64)?
        && begins_with(start, ENTRY)?
        && begins_with(start + ZIP64_LENGTH, ENTRY)?;
    Ok(misleads.then_some(directory_end))
}
