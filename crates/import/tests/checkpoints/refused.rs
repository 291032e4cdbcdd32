//! Checkpoints that cannot be imported: every error names the file, and the key that is wrong.

use flawd_import::{Checkpoint, CheckpointError};

use crate::files::{
    Pickle, Tensors, anomalib, archive, data, lightning, original, read, safetensors, state_dict,
    tensor,
};

/// The error for these bytes.
#[track_caller]
fn refusal(bytes: &[u8]) -> String {
    let error = read(bytes).expect_err("must be refused");
    let source = std::error::Error::source(&error);
    let text = format!(
        "{error} {}",
        source.map_or(String::new(), |source| source.to_string())
    );
    assert!(text.contains("some.checkpoint"), "{text}");
    text
}

#[track_caller]
fn assert_said(bytes: &[u8], parts: &[&str]) {
    let text = refusal(bytes);
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

const KEY: &str = "module_list.6.s2.up_conv10.weight";

/// [`original`], changed.
fn changed(change: impl Fn(&mut Tensors)) -> Tensors {
    let mut all = original();
    change(&mut all);
    all
}

#[test]
fn a_missing_tensor_is_named() {
    let lacking = changed(|all| {
        all.remove(KEY).expect("it is there");
    });
    for bytes in [safetensors(&lacking), state_dict(&lacking)] {
        assert_said(&bytes, &["has no tensor", KEY]);
    }
    // A whole block, and the gains of one scale.
    let lacking = changed(|all| all.retain(|key, _| !key.starts_with("module_list.4.")));
    assert_said(
        &safetensors(&lacking),
        &["`module_list.4.s1.conv_scale0_0.weight`"],
    );
    let lacking = changed(|all| all.retain(|key, _| !key.ends_with("gamma1")));
    assert_said(&safetensors(&lacking), &["`module_list.4.s1.gamma1`"]);
}

#[test]
fn a_tensor_of_another_size_is_named_with_both_shapes() {
    let other = changed(|all| {
        all.insert(KEY.to_owned(), tensor(&[4, 3, 3, 3], 1));
    });
    assert_said(&state_dict(&other), &[KEY, "[4, 3, 3, 3]", "[4, 3, 1, 1]"]);
    let key = "module_list.4.s1.conv_scale0_0.weight";
    for shape in [
        &[3, 2][..],
        &[3, 2, 3, 1],
        &[3, 20_000, 3, 3],
        &[0, 2, 3, 3],
        &[3, 2, 2, 2],
    ] {
        let other = changed(|all| {
            all.insert(key.to_owned(), tensor(shape, 1));
        });
        refusal(&safetensors(&other));
    }
}

#[test]
fn a_foreign_key_is_named() {
    for key in [
        "module_list.4.s1.conv_scale0_2.weight",
        "module_list.5.s1.gamma0",
        "module_list.4.s3.gamma0",
        "classifier.weight",
    ] {
        let more = changed(|all| {
            all.insert(key.to_owned(), tensor(&[1], 1));
        });
        assert_said(&safetensors(&more), &[&format!("`{key}`"), "no CS-Flow"]);
    }
    let mut more = anomalib();
    more.insert("model.attention.weight".to_owned(), tensor(&[1], 1));
    assert_said(
        &lightning(&more, b""),
        &["`state_dict.model.attention.weight`", "was changed"],
    );
}

#[test]
fn a_file_without_a_flow_or_with_two_is_refused() {
    let none = Tensors::from([("layer1.0.conv1.weight".to_owned(), tensor(&[1], 1))]);
    assert_said(
        &safetensors(&none),
        &["holds no CS-Flow", "`layer1.0.conv1.weight`"],
    );
    assert_said(&safetensors(&Tensors::new()), &["the first is missing too"]);
    let mut two = original();
    two.extend(anomalib());
    assert_said(&safetensors(&two), &["more than one flow"]);
}

#[test]
fn a_file_that_is_cut_short_is_said_to_be() {
    for whole in [
        safetensors(&original()),
        state_dict(&original()),
        lightning(&anomalib(), b""),
    ] {
        for length in [whole.len() - 1, whole.len() - 100, whole.len() / 2, 100] {
            assert_said(&whole[..length], &["cut short or damaged", "copy it again"]);
        }
    }
}

/// What flawd does not read is not reported as damage; the message says what is needed.
#[test]
fn a_whole_file_of_another_form_is_not_called_damaged() {
    let all = original();
    // A model as anomalib exports it: objects whose dictionaries have other keys than names.
    let mut model = Pickle::new();
    model.add(b"}(");
    model.text("model");
    model.add(b"}(");
    model.number(1);
    model.add(b"K\x01\x85");
    model.tensors(&all, 0);
    model.add(b"uu");
    let mut list = Pickle::new();
    list.add(b"](");
    list.tensors(&all, 0);
    list.add(b"e");
    let mut extension = Pickle::new();
    extension.add(b"\x82\x01");
    let mut plain = Pickle::new();
    plain.tensors(&all, 0);
    for bytes in [
        archive(&model.end(), all.values()),
        archive(&list.end(), all.values()),
        archive(&extension.end(), []),
        plain.end(),
    ] {
        let text = refusal(&bytes);
        assert!(text.contains("may well be whole"), "{text}");
        assert!(text.contains("weights/lightning/model.ckpt"), "{text}");
        assert!(text.contains("model.state_dict()"), "{text}");
        assert!(!text.contains("damaged"), "{text}");
    }
}

#[test]
fn elements_that_are_not_there_are_said_to_be_damage() {
    let all = original();
    let mut pickle = Pickle::new();
    pickle.tensors(&all, 0);
    let bytes = archive(&pickle.end(), all.values().take(all.len() - 1));
    assert_said(&bytes, &["damaged", all.keys().last().expect("a key")]);
}

#[test]
fn a_file_of_another_kind_is_said_to_be_one() {
    for bytes in [&b""[..], b"hello, this is text", b"\x89PNG\r\n\x1a\n"] {
        assert_said(bytes, &["neither a safetensors file"]);
    }
    let nowhere = Checkpoint::read("/nowhere/some.checkpoint".as_ref(), None);
    let text = nowhere.expect_err("it is not there").to_string();
    assert!(
        text.contains("cannot read /nowhere/some.checkpoint"),
        "{text}"
    );
}

/// A class that would have to be run to get at its tensors.
#[test]
fn an_object_of_an_unknown_class_with_tensors_in_it_is_named() {
    let all = original();
    let mut pickle = Pickle::new();
    pickle.add(b"cfreia_funcs\nNode\n)\x81}(");
    pickle.text("module");
    pickle.tensors(&all, 0);
    pickle.add(b"ub");
    let bytes = archive(&pickle.end(), all.values());
    assert_said(&bytes, &["freia_funcs.Node", "save the state dict alone"]);
    // A call of one, too.
    let mut pickle = Pickle::new();
    pickle.add(b"cos\nsystem\n(");
    pickle.tensors(&all, 0);
    pickle.add(b"tR");
    assert_said(&archive(&pickle.end(), all.values()), &["os.system"]);
}

#[test]
fn an_argument_that_makes_no_sense_is_said() {
    let mut arguments = Pickle::default();
    arguments.text("clamp");
    arguments.text("three");
    assert_said(&lightning(&anomalib(), &arguments.0), &["clamp", "three"]);
}

#[test]
fn numbers_that_are_none_or_of_another_type_are_named() {
    let bad = changed(|all| {
        let tensor = all.get_mut(KEY).expect("it is there");
        *tensor.last_mut().expect("an element") = f32::NAN;
    });
    assert_said(&state_dict(&bad), &[KEY, "NaN"]);
    let mut half = safetensors(&original());
    let place = half.windows(5).position(|bytes| bytes == b"\"F32\"");
    let place = place.expect("a type");
    half[place..place + 5].copy_from_slice(b"\"I32\"");
    assert_said(&half, &["of type I32", "model.float()"]);
}

#[test]
fn a_clamp_that_is_no_number_is_refused() {
    let path = data("parity-original/weights.safetensors");
    let error = Checkpoint::read(&path, Some(f32::NAN)).expect_err("no flow");
    assert!(matches!(error, CheckpointError::Spec { .. }));
}

/// A class with a long name, doubled in pairs: a few bytes that stand for gigabytes.
fn doubled_class() -> Vec<u8> {
    let line = "x".repeat(2000);
    let class = format!("c{line}\n{line}\n").into_bytes();
    [&class[..], &b"2\x86".repeat(18)].concat()
}

#[test]
fn a_pickle_that_multiplies_is_refused_before_it_is_read() {
    let mut pickle = Pickle::new();
    pickle.add(&doubled_class());
    let bare = pickle.end();
    // Before its archives, torch.save wrote magic number, protocol and system before the content.
    let headers: [&[u8]; 3] = [
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x80\x02M\xe9\x03.",
        b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.",
    ];
    let legacy = [&headers.concat()[..], &bare].concat();
    for bytes in [archive(&bare, []), legacy, bare] {
        assert_said(
            &bytes,
            &["bytes of copies", "torch.save(model.state_dict()"],
        );
    }
}

#[test]
fn an_archive_from_before_pytorch_0_1_10_is_refused() {
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    assert_said(&tar, &["before version 0.1.10", "load it in Python"]);
}
