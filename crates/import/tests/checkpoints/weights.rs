//! Weights of any network, read as a whole.

use flawd_import::TensorFile;
use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};

use crate::files::{Tensors, lightning, original, safetensors, save, state_dict, state_dict_named};

fn read_all(bytes: &[u8]) -> Tensors {
    let saved = save("weights", bytes);
    let file = TensorFile::open(&saved.path).expect("it opens");
    file.read_network().expect("it is whole")
}

#[test]
fn both_kinds_of_file_give_the_same_weights() {
    let expected = original();
    assert_eq!(read_all(&safetensors(&expected)), expected);
    assert_eq!(read_all(&state_dict(&expected)), expected);
}

/// `torch.save` names every entry after the file, and the name's length decides where the archive
/// reader looks.
#[test]
fn weights_are_read_under_a_name_of_any_length() {
    let expected = original();
    for length in 1..=64 {
        let name = "n".repeat(length);
        assert_eq!(
            read_all(&state_dict_named(&name, &expected)),
            expected,
            "{length}"
        );
    }
}

#[test]
fn what_containers_and_wrappers_put_before_every_name_is_taken_away() {
    let expected = original();
    let wrapped = |prefix: &str| -> Tensors {
        let names = expected.iter();
        names
            .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()))
            .collect()
    };
    for bytes in [
        state_dict(&wrapped("module.")),
        safetensors(&wrapped("_orig_mod.module.")),
        lightning(&expected, b""),
        lightning(&wrapped("module."), b""),
    ] {
        assert_eq!(read_all(&bytes), expected);
    }
}

#[test]
fn half_precision_is_read_and_counters_are_left_out() {
    let (half, seven) = ([0x00, 0x3e, 0x00, 0xc0], 7_i64.to_le_bytes());
    let view = |dtype, shape: &[usize], bytes| {
        TensorView::new(dtype, shape.to_vec(), bytes).expect("the shape fits")
    };
    let bytes = serialize(
        [
            ("bn.num_batches_tracked", view(Dtype::I64, &[], &seven)),
            ("bn.weight", view(Dtype::F16, &[2], &half)),
        ],
        None,
    );
    let tensors = read_all(&bytes.expect("plain tensors"));
    let names: Vec<&String> = tensors.keys().collect();
    assert_eq!(names, ["bn.weight"]);
    assert_eq!(tensors["bn.weight"].as_slice(), Some(&[1.5, -2.0][..]));
}

#[test]
fn whole_tensors_of_integers_are_no_weights() {
    let bytes = [1, 2];
    let view = TensorView::new(Dtype::I8, vec![2], &bytes).expect("the shape fits");
    let saved = save(
        "w",
        &serialize([("a.weight", view)], None).expect("plain tensors"),
    );
    let file = TensorFile::open(&saved.path).expect("it opens");
    let error = file
        .read_network()
        .expect_err("must be refused")
        .to_string();
    for part in ["a.weight", "I8", "quantised"] {
        assert!(error.contains(part), "{error}");
    }
}
