//! What is to be installed, and the files that it consists of.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flawd_import::unpack_files;

use super::build::Kind;
use super::error::InstallError;

/// How the name of ONNX Runtime's library begins; releases append a version.
const LIBRARY: &str = "libonnxruntime.so";

/// How the names of its providers begin, which it looks for beside it.
const PROVIDERS: &str = "libonnxruntime_providers_";

/// What has to accompany the library.
const NOTICES: [&str; 3] = ["LICENSE", "ThirdPartyNotices.txt", "Privacy.md"];

/// What is to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A known build, which pip fetches.
    Known(Kind),
    /// A file: the library, or a wheel that holds it.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    /// Reads the name of a kind, or else a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        Ok(kind.map_or_else(|| Self::File(text.into()), Self::Known))
    }
}

/// Puts what `source` holds, a wheel or a library, into the empty folder `into`, and returns the names
/// of the files.
///
/// # Errors
/// If it holds no library for this machine, or a file cannot be written.
pub(super) fn unpack(source: &Path, into: &Path) -> Result<Vec<String>, InstallError> {
    let is_wheel = source
        .extension()
        .is_some_and(|extension| extension == "whl");
    let names = match is_wheel {
        true => unpack_files(source, into, is_wanted)?,
        false => copy(source, into)?,
    };
    let library = names.iter().find(|name| name.starts_with(LIBRARY));
    let library = library.ok_or_else(|| InstallError::NoLibrary {
        path: source.to_owned(),
    })?;
    check_machine(&into.join(library), source)?;
    Ok(names)
}

/// Returns whether a file of a wheel is a library, or has to accompany one. What Python loads is not
/// named like a library.
fn is_wanted(path: &str) -> bool {
    let Some(path) = path.strip_prefix("onnxruntime/") else {
        return false;
    };
    let is_library = |name: &str| name.starts_with("lib") && name.contains(".so");
    NOTICES.contains(&path) || path.strip_prefix("capi/").is_some_and(is_library)
}

/// Copies a library and the providers beside it.
fn copy(library: &Path, into: &Path) -> Result<Vec<String>, InstallError> {
    let unreadable = |source| InstallError::Read {
        path: library.to_owned(),
        source,
    };
    if !fs::metadata(library).map_err(unreadable)?.is_file() {
        return Err(InstallError::NoLibrary {
            path: library.to_owned(),
        });
    }
    // Under another name, it would not be found.
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let name = match name.starts_with(LIBRARY) {
        true => name.into_owned(),
        false => LIBRARY.to_owned(),
    };
    let mut files = vec![(library.to_owned(), name)];
    let folder = match library.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(PROVIDERS) && path.is_file() {
            let name = name.into_owned();
            files.push((path, name));
        }
    }
    let mut names = Vec::new();
    for (path, name) in files {
        copy_file(&path, &into.join(&name))?;
        names.push(name);
    }
    Ok(names)
}

fn copy_file(from: &Path, to: &Path) -> Result<(), InstallError> {
    let mut source = File::open(from).map_err(|source| InstallError::Read {
        path: from.to_owned(),
        source,
    })?;
    let mut write = || -> io::Result<()> {
        let mut target = File::create_new(to)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    write().map_err(|source| InstallError::Copy {
        path: from.to_owned(),
        source,
    })
}

/// Checks the header of a library: the system's loader calls one for another machine a file that does
/// not exist.
fn check_machine(library: &Path, source: &Path) -> Result<(), InstallError> {
    let unreadable = |error| InstallError::Read {
        path: library.to_owned(),
        source: error,
    };
    let mut header = Vec::new();
    let file = File::open(library).map_err(unreadable)?;
    file.take(20).read_to_end(&mut header).map_err(unreadable)?;
    let machine = match machine(&header) {
        None => {
            return Err(InstallError::NoLibrary {
                path: source.to_owned(),
            });
        }
        Some(62) => "x86_64".to_owned(),
        Some(183) => "aarch64".to_owned(),
        Some(number) => format!("another machine (number {number} in its header)"),
    };
    match machine == std::env::consts::ARCH {
        true => Ok(()),
        false => Err(InstallError::OtherMachine {
            path: source.to_owned(),
            found: machine,
        }),
    }
}

/// Returns the number of the machine in an ELF header (elf(5): `e_machine`) in its byte order.
fn machine(header: &[u8]) -> Option<u16> {
    let number = [*header.get(18)?, *header.get(19)?];
    match (header.starts_with(b"\x7fELF"), header.get(5)?) {
        (true, 1) => Some(u16::from_le_bytes(number)),
        (true, 2) => Some(u16::from_be_bytes(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_and_everything_else_is_a_path() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(Source::Known(kind)));
        }
        for path in ["./cpu", "CPU", "tensorrt", "/opt/libonnxruntime.so"] {
            assert_eq!(path.parse(), Ok(Source::File(path.into())));
        }
    }

    #[test]
    fn of_a_wheel_only_libraries_and_notices_are_wanted() {
        for wanted in [
            "onnxruntime/capi/libonnxruntime.so.1.32.0",
            "onnxruntime/capi/libtbb.so.12",
            "onnxruntime/LICENSE",
        ] {
            assert!(is_wanted(wanted), "{wanted}");
        }
        for other in [
            "onnxruntime/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so",
            "onnxruntime/capi/__init__.py",
            "onnxruntime/tools/libother.so",
            "other/capi/libonnxruntime.so",
            "LICENSE",
        ] {
            assert!(!is_wanted(other), "{other}");
        }
    }

    #[test]
    fn the_machine_is_read_in_the_headers_byte_order() {
        let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";
        assert_eq!(machine(&header), Some(183));
        header[5] = 2;
        header[18..].copy_from_slice(&[0, 62]);
        assert_eq!(machine(&header), Some(62));
        assert_eq!(machine(&header[..19]), None);
        assert_eq!(machine(b"#!/bin/sh\nexit 0\n...."), None);
    }
}
