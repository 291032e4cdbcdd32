//! Small whole files of every form, and pickles that ask for too much.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The prefix of a tensor's numbers, to distinguish them from structure.
const NUMBER: [u8; 4] = 0.625_f32.to_le_bytes();

/// Names and shapes of a flow of one block.
fn shapes(scale: usize) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    for (which, input) in [(1, 2), (2, 3)] {
        let prefix = format!("module_list.4.s{which}");
        let output = 2 * (5 - input);
        for level in 0..3 {
            shapes.insert(format!("{prefix}.gamma{level}"), vec![1]);
            let name = format!("{prefix}.conv_scale{level}_0");
            shapes.insert(format!("{name}.weight"), vec![3 * scale, input, 3, 3]);
            shapes.insert(format!("{name}.bias"), vec![3 * scale]);
        }
        for name in [
            "conv_scale0_1",
            "conv_scale1_1",
            "conv_scale2_1",
            "up_conv10",
            "up_conv21",
            "down_conv01",
            "down_conv12",
        ] {
            shapes.insert(
                format!("{prefix}.{name}.weight"),
                vec![output, 3 * scale, 3, 3],
            );
            shapes.insert(format!("{prefix}.{name}.bias"), vec![output]);
        }
    }
    shapes
}

fn numbers(shape: &[usize]) -> Vec<u8> {
    NUMBER.repeat(shape.iter().product())
}

pub(crate) fn safetensors() -> Vec<u8> {
    safetensors_of(1)
}

/// One with a multiple of the hidden channels.
pub(crate) fn safetensors_of(scale: usize) -> Vec<u8> {
    let shapes = shapes(scale);
    let bytes: Vec<Vec<u8>> = shapes.values().map(|shape| numbers(shape)).collect();
    let views = shapes.iter().zip(&bytes).map(|((name, shape), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("the shape fits");
        (name.as_str(), view)
    });
    serialize(views, None).expect("plain tensors")
}

/// What `torch.save` writes of a state dict.
pub(crate) fn archive() -> Vec<u8> {
    let mut pickle = start();
    dictionary(&mut pickle, &shapes(1));
    pickle.push(b'.');
    archive_of(&pickle)
}

/// A checkpoint of Lightning, with arguments.
pub(crate) fn lightning() -> Vec<u8> {
    let mut pickle = start();
    pickle.extend(b"}(");
    text(&mut pickle, "state_dict");
    dictionary(&mut pickle, &shapes(1));
    text(&mut pickle, "hyper_parameters");
    pickle.extend(b"}(");
    text(&mut pickle, "clamp");
    number(&mut pickle, 3);
    pickle.extend(b"uu.");
    archive_of(&pickle)
}

/// A pickle without an archive around it.
pub(crate) fn legacy_pickle() -> Vec<u8> {
    let mut pickle = start();
    pickle.extend(b"}(");
    for (name, shape) in shapes(1) {
        text(&mut pickle, &name);
        numbers_of(&mut pickle, &shape);
    }
    pickle.extend(b"u.");
    pickle
}

/// An archive with this pickle and the elements of the flow.
pub(crate) fn archive_of(pickle: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("model/{name}"), stored)
            .expect("in memory");
        zip.write_all(bytes).expect("in memory");
    };
    add("data.pkl", pickle);
    for (key, shape) in shapes(1).values().enumerate() {
        add(&format!("data/{key}"), &numbers(shape));
    }
    zip.finish().expect("in memory").into_inner()
}

fn start() -> Vec<u8> {
    b"\x80\x02".to_vec()
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn number(pickle: &mut Vec<u8>, number: usize) {
    pickle.push(b'J');
    pickle.extend((number as i32).to_le_bytes());
}

fn numbers_of(pickle: &mut Vec<u8>, numbers: &[usize]) {
    pickle.push(b'(');
    numbers.iter().for_each(|&it| number(pickle, it));
    pickle.push(b't');
}

fn dictionary(pickle: &mut Vec<u8>, shapes: &BTreeMap<String, Vec<usize>>) {
    pickle.extend(b"}(");
    for (key, (name, shape)) in shapes.iter().enumerate() {
        text(pickle, name);
        tensor(pickle, shape, key);
    }
    pickle.push(b'u');
}

fn tensor(pickle: &mut Vec<u8>, shape: &[usize], key: usize) {
    let stride = |axis: usize| shape[axis + 1..].iter().product();
    let strides: Vec<usize> = (0..shape.len()).map(stride).collect();
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(pickle, &key.to_string());
    text(pickle, "cpu");
    number(pickle, shape.iter().product());
    pickle.extend(b"tQ");
    number(pickle, 0);
    numbers_of(pickle, shape);
    numbers_of(pickle, &strides);
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

/// The places of a file that are not numbers of a tensor: all of a short one, some of a long one.
pub(crate) fn structure(bytes: &[u8]) -> Vec<usize> {
    let places = (0..bytes.len()).filter(|&place| {
        let around = &bytes[place.saturating_sub(3)..bytes.len().min(place + 4)];
        !around.windows(4).any(|four| four == NUMBER)
    });
    // Some of them, at places that have nothing to do with the file's own periods.
    places
        .enumerate()
        .filter(|(number, _)| number % 17 == 0)
        .map(|(_, place)| place)
        .collect()
}

/// Programs of a pickle whose result is much larger than they are.
pub(crate) fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let program = |parts: &[&[u8]]| [&start()[..], &parts.concat(), b"."].concat();
    let mut doubled_lists = b"]q\x00".to_vec();
    let mut doubled_dictionaries = b"}q\x00".to_vec();
    for level in 0..60_u8 {
        doubled_lists.extend([b']', b'q', level + 1, b'(']);
        doubled_lists.extend([b'h', level, b'h', level, b'e']);
        doubled_dictionaries.extend([b'}', b'q', level + 1, b'(']);
        for key in [b"K\x01", b"K\x02"] {
            doubled_dictionaries.extend(key);
            doubled_dictionaries.extend([b'h', level]);
        }
        doubled_dictionaries.push(b'u');
    }
    let long = {
        let mut long = Vec::new();
        text(&mut long, &"x".repeat(1000));
        long
    };
    let repeated_text = [&long[..], b"q\x00](", &b"h\x00".repeat(2000), b"e"].concat();
    let long_line = "x".repeat(2000);
    let class = format!("c{long_line}\n{long_line}\n").into_bytes();
    let key = [&b"}"[..], &long, b"Ns"].concat();
    let storage = {
        let mut storage = b"(".to_vec();
        text(&mut storage, "storage");
        storage.extend(b"ctorch\nFloatStorage\n");
        storage.extend(&long);
        text(&mut storage, "cpu");
        number(&mut storage, 1);
        storage.extend(b"tQ");
        storage
    };
    let axes = {
        let mut tensor = Vec::new();
        self::tensor(&mut tensor, &[1; 500], 0);
        tensor
    };
    let doubled = |object: &[u8]| [object, &b"2\x86".repeat(18)].concat();
    let taken = |object: &[u8]| [b"(", object, b"q\x00", &b"h\x00".repeat(20_000), b"t"].concat();
    let zeros = "0".repeat(100);
    let far = format!("p{zeros}7\n").into_bytes();
    let from_afar = format!("g{zeros}7\n").into_bytes();
    let hidden = [b"(", &class[..], &far, &from_afar.repeat(20_000), b"t"].concat();
    // Tensors of one number below a key that each of their names begins with.
    let tensors = {
        let mut tensors = Vec::new();
        tensor(&mut tensors, &[1], 0);
        tensors.extend(b"q\x000}");
        text(&mut tensors, &"x".repeat(20_000));
        tensors.extend(b"](");
        tensors.extend(b"h\x00".repeat(20_000));
        tensors.extend(b"es");
        tensors
    };
    // The same by a call that makes a dictionary of a pair.
    let called = {
        let mut called = Vec::new();
        tensor(&mut called, &[1], 0);
        called.extend(b"q\x000ccollections\nOrderedDict\n]");
        text(&mut called, &"x".repeat(20_000));
        called.extend(b"](");
        called.extend(b"h\x00".repeat(20_000));
        called.extend(b"e\x86a\x85R");
        called
    };
    let memo = (0..2000_u32).flat_map(|place| [&b"Nr"[..], &place.to_le_bytes()].concat());
    let memo: Vec<u8> = memo.collect();
    vec![
        ("pairs of pairs", program(&[b"N", &b"2\x86".repeat(64)])),
        ("nesting", program(&[b"N", &b"\x85".repeat(100_000)])),
        ("nothing", program(&[&b"N".repeat(100_000)])),
        ("nothing, doubled", program(&[b"N", &b"2".repeat(100_000)])),
        ("lists", program(&[&b"]".repeat(100_000)])),
        ("dictionaries", program(&[&b"}".repeat(100_000)])),
        (
            "a memo of nothing alone",
            program(&[b"N", &b"\x94".repeat(100_000)]),
        ),
        ("marks", program(&[&b"(".repeat(100_000)])),
        ("lists of one list", program(&[&doubled_lists])),
        (
            "dictionaries of one dictionary",
            program(&[&doubled_dictionaries]),
        ),
        ("one text again and again", program(&[&repeated_text])),
        ("pairs of classes", program(&[&doubled(&class)])),
        ("pairs of keys", program(&[&doubled(&key)])),
        ("pairs of storages", program(&[&doubled(&storage)])),
        ("pairs of shapes", program(&[&doubled(&axes)])),
        ("one class again and again", program(&[&taken(&class)])),
        ("one key again and again", program(&[&taken(&key)])),
        ("one storage again and again", program(&[&taken(&storage)])),
        ("one shape again and again", program(&[&taken(&axes)])),
        ("a place of the memo with many digits", program(&[&hidden])),
        ("one key before many names", program(&[&tensors])),
        ("one key of a pair before many names", program(&[&called])),
        ("a memo of nothing", program(&[&memo])),
        ("a memo far away", program(&[b"Nr\xff\xff\xff\x7f"])),
        (
            "a long text that is not there",
            program(&[b"X\xff\xff\xff\x7f"]),
        ),
        (
            "longer ones",
            program(&[b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"]),
        ),
        (
            "bytes that are not there",
            program(&[b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"]),
        ),
        (
            "an array that is not there",
            program(&[b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f"]),
        ),
        (
            "a number that is not there",
            program(&[b"\x8b\xff\xff\xff\x7f"]),
        ),
        (
            "a frame that is not there",
            program(&[b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f"]),
        ),
    ]
}
