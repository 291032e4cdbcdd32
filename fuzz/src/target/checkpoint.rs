//! The reader of checkpoints: safetensors, archives of `torch.save`, and the pickles in them; and
//! that of wheels, which are archives too.

use std::fs::File;
use std::io::{Cursor, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use flawd_import::{Checkpoint, TensorFile, unpacked_weights};
use rustix::fs::{MemfdFlags, memfd_create};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{KIB, Limits, MIB, Target};

pub(super) const TARGET: Target = Target {
    name: "checkpoint",
    read,
    limits: Limits {
        // A pickle's opcode of one byte may be an item of the stack or of the memo; it is read up
        // to three times.
        peak: 8 * MIB,
        peak_per_byte: 256,
        total: 24 * MIB,
        total_per_byte: 768,
    },
    longest: 32 * KIB,
    words: &[
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch\nHalfStorage\n",
        b"ctorch\nLongStorage\n",
        b"ccollections\nOrderedDict\n",
        b"\x80\x02",
        b")R",
        b"tQ",
        b"state_dict",
        b"hyper_parameters",
        b"module_list.4.s1.gamma0",
        b"\"dtype\":\"F32\"",
        b"\"shape\":[",
        b"\"data_offsets\":[",
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b".pth",
    ],
};

/// An input that begins with this byte is the pickle in an archive that is otherwise whole: a
/// change inside an archive fails at its checksums.
const PICKLE: u8 = 0xf1;

fn read(input: &[u8]) {
    let archive;
    let bytes = match input.split_first() {
        Some((&PICKLE, pickle)) => {
            archive = archive_of(pickle);
            &archive[..]
        }
        _ => input,
    };
    // The readers require a path; this file is in memory.
    let file = memfd_create("input", MemfdFlags::CLOEXEC).expect("a file in memory can be made");
    let mut file = File::from(file);
    file.write_all(bytes).expect("there is memory for the file");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if let Ok(tensors) = TensorFile::open(&path) {
        for name in tensors.names() {
            let shape = tensors.shape(name).expect("it has the name");
            if let Ok(read) = tensors.read(name) {
                assert_eq!(read.shape(), shape);
            }
        }
        tensors.read_network().ok();
    }
    Checkpoint::read(&path, None).ok();
    unpacked_weights(&path).ok();
}

fn archive_of(pickle: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let files: [(&str, &[u8]); 5] = [
        ("model/data.pkl", pickle),
        ("model/byteorder", b"little"),
        ("model/data/0", &[0x3f; 64]),
        ("model/data/1", &[0x3e; 16]),
        ("model/version", b"3\n"),
    ];
    for (name, content) in files {
        zip.start_file(name, stored).expect("it is in memory");
        zip.write_all(content).expect("it is in memory");
    }
    zip.finish().expect("it is in memory").into_inner()
}
