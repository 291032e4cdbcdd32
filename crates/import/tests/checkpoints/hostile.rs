//! No bytes make the reader panic, run for long, or take memory that the file does not have.

use flawd_import::{TensorError, TensorFile};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::files::{
    Pickle, Tensors, anomalib, archive, lightning, original, read, safetensors, save,
};

/// Some places of a file with other bytes, and a length.
fn damage() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, prop::sample::Index)> {
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (bytes, any::<prop::sample::Index>())
}

fn damaged(
    mut bytes: Vec<u8>,
    (changes, cut): (Vec<(prop::sample::Index, u8)>, prop::sample::Index),
) -> Vec<u8> {
    for (place, byte) in &changes {
        let place = place.index(bytes.len());
        bytes[place] = *byte;
    }
    // Every third file is cut as well.
    if changes.len() % 3 == 0 {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn pickled(tensors: &Tensors) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.tensors(tensors, 0);
    pickle.end()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_safetensors_never_panic(damage in damage()) {
        read(&damaged(safetensors(&original()), damage)).ok();
    }

    #[test]
    fn damaged_archives_never_panic(damage in damage()) {
        read(&damaged(lightning(&anomalib(), b""), damage)).ok();
    }

    /// The archive is whole, so that its checksum does not hide what the pickle does.
    #[test]
    fn damaged_pickles_never_panic(damage in damage()) {
        let tensors = original();
        let pickle = damaged(pickled(&tensors), damage);
        read(&archive(&pickle, tensors.values())).ok();
    }

    /// Short programs of nothing but opcodes.
    #[test]
    fn senseless_pickles_never_panic(
        program in prop::collection::vec(prop::sample::select(OPCODES), 0..200),
    ) {
        let mut pickle = Pickle::new();
        program.iter().for_each(|opcode| pickle.add(opcode));
        read(&archive(&pickle.end(), [])).ok();
    }
}

/// Opcodes with arguments that lead far.
const OPCODES: &[&[u8]] = &[
    b"(",
    b"0",
    b"1",
    b"2",
    b"N",
    b"R",
    b"b",
    b"t",
    b"s",
    b"a",
    b"e",
    b"u",
    b"d",
    b"l",
    b"Q",
    b"]",
    b"}",
    b")",
    b"q\x00",
    b"h\x00",
    b"q\x01",
    b"h\x01",
    b"\x81",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"K\x05",
    b"J\xff\xff\xff\x7f",
    b"J\xff\xff\xff\xff",
    b"X\x01\x00\x00\x00a",
    b"X\x07\x00\x00\x00storage",
    b"X\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n",
    b"cos\nsystem\n",
];

#[test]
fn nesting_without_end_is_an_error() {
    let mut pickle = Pickle::new();
    pickle.add(b"N");
    pickle.add(&b"\x85".repeat(1_000_000));
    read(&archive(&pickle.end(), [])).expect_err("too deep");
}

#[test]
fn copies_of_copies_are_an_error() {
    let mut pickle = Pickle::new();
    pickle.add(b"N");
    pickle.add(&b"2\x86".repeat(64));
    read(&archive(&pickle.end(), [])).expect_err("too many");
}

/// A shape of more elements than the file has bytes.
#[test]
fn a_tensor_larger_than_its_file_is_an_error() {
    let all = original();
    let mut pickle = Pickle::new();
    pickle.add(b"}(");
    for (number, (name, tensor)) in all.iter().enumerate() {
        pickle.text(name);
        match name.as_str() {
            "module_list.4.s1.conv_scale0_0.weight" => pickle.tensor(&[16_000, 2, 99, 99], number),
            _ => pickle.tensor(tensor.shape(), number),
        }
    }
    pickle.add(b"u");
    read(&archive(&pickle.end(), all.values())).expect_err("too large");
}

/// A view of one number that is as large as anything.
#[test]
fn a_view_larger_than_its_file_is_an_error() {
    let one = ArrayD::from_elem(IxDyn(&[1]), 1.0);
    let mut pickle = Pickle::new();
    pickle.add(b"}(");
    pickle.text("weight");
    pickle.view(&[2_000_000_000], &[0], 1, 0);
    pickle.add(b"u");
    let saved = save("view.pth", &archive(&pickle.end(), [&one]));
    let file = TensorFile::open(&saved.path).expect("a file of PyTorch's");
    for error in [file.read("weight").err(), file.read_network().err()] {
        let error = error.expect("too large").to_string();
        assert!(error.contains("8000000000 bytes of numbers"), "{error}");
    }
}

/// No elements, and a shape whose axes multiply to more than can be counted.
#[test]
fn a_shape_that_overflows_beside_a_zero_is_an_error() {
    let header =
        br#"{"x":{"dtype":"F32","shape":[0,1099511627776,1099511627776],"data_offsets":[0,0]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    let saved = save("x.safetensors", &bytes);
    // The reader may refuse the file or the tensor.
    let error = TensorFile::open(&saved.path).and_then(|file| file.read("x"));
    assert!(matches!(error, Err(TensorError::Damaged { .. })));
}
