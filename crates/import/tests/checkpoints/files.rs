//! What the tests share: the published fixtures, a tiny flow under any names, and files as
//! `torch.save` and safetensors write them.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flawd_import::{Checkpoint, CheckpointError, TensorFile};
use ndarray::ArrayD;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub(crate) type Tensors = BTreeMap<String, ArrayD<f32>>;

/// A file of the repository's own test data.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

/// A fixture from beside the repository; `None`, with a message, if it is missing.
pub(crate) fn beside(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/fixtures")
        .join(name);
    if path.exists() {
        Some(path)
    } else {
        println!("absent: {name} is not beside the repository");
        None
    }
}

/// Every tensor of a file.
pub(crate) fn tensors(path: &Path) -> Tensors {
    let file = TensorFile::open(path).expect("it opens");
    let read = |name: &str| (name.to_owned(), file.read(name).expect("it is whole"));
    file.names().map(read).collect()
}

/// Numbers that differ from each other.
pub(crate) fn tensor(shape: &[usize], seed: usize) -> ArrayD<f32> {
    let number = |index: usize| ((seed * 31 + index) as f32 * 0.7).sin();
    let elements = (0..shape.iter().product()).map(number).collect();
    ArrayD::from_shape_vec(shape, elements).expect("as many as the shape wants")
}

/// A flow of 5 channels and 3 hidden ones, with two blocks of the kernels 3 and 1; `subnet` names
/// a subnet by its block and by which of the two it is.
pub(crate) fn flow(subnet: impl Fn(usize, usize) -> String) -> Tensors {
    let mut all = Tensors::new();
    for (block, kernel) in [3, 1].into_iter().enumerate() {
        for (which, input) in [(1, 2), (2, 3)] {
            let prefix = subnet(block, which);
            let output = 2 * (5 - input);
            let mut add = |name: &str, shape: &[usize]| {
                let seed = all.len();
                all.insert(format!("{prefix}.{name}"), tensor(shape, seed));
            };
            for scale in 0..3 {
                add(&format!("gamma{scale}"), &[1]);
                let name = format!("conv_scale{scale}_0");
                add(&format!("{name}.weight"), &[3, input, kernel, kernel]);
                add(&format!("{name}.bias"), &[3]);
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
                add(&format!("{name}.weight"), &[output, 3, kernel, kernel]);
                add(&format!("{name}.bias"), &[output]);
            }
        }
    }
    all
}

/// [`flow`] under the names of the original code.
pub(crate) fn original() -> Tensors {
    flow(|block, which| format!("module_list.{}.s{which}", 4 + 2 * block))
}

/// [`flow`] under the names of anomalib's model.
pub(crate) fn anomalib() -> Tensors {
    flow(|block, which| {
        let place = 1 + 2 * block;
        format!("model.graph.graph.module_list.{place}.cross_convolution{which}")
    })
}

/// A file, deleted with the value.
pub(crate) struct Saved {
    pub(crate) path: PathBuf,
    _folder: TempDir,
}

pub(crate) fn save(name: &str, bytes: &[u8]) -> Saved {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("it can be written");
    Saved {
        path,
        _folder: folder,
    }
}

/// What is read of the bytes of a checkpoint.
pub(crate) fn read(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::read(&save("some.checkpoint", bytes).path, None)
}

/// A safetensors file.
pub(crate) fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let raw: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape(), raw(tensor)))
        .collect();
    let views = raw.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        (*name, view.expect("the shape fits"))
    });
    serialize(views, None).expect("plain tensors")
}

fn raw(tensor: &ArrayD<f32>) -> Vec<u8> {
    tensor
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A pickle of protocol 2 in the making.
#[derive(Default)]
pub(crate) struct Pickle(pub(crate) Vec<u8>);

impl Pickle {
    pub(crate) fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    pub(crate) fn add(&mut self, opcodes: &[u8]) {
        self.0.extend(opcodes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.add(b"X");
        self.add(&(text.len() as u32).to_le_bytes());
        self.add(text.as_bytes());
    }

    pub(crate) fn number(&mut self, number: usize) {
        self.add(b"J");
        self.add(&(number as i32).to_le_bytes());
    }

    fn numbers(&mut self, numbers: impl IntoIterator<Item = usize>) {
        self.add(b"(");
        numbers.into_iter().for_each(|number| self.number(number));
        self.add(b"t");
    }

    /// A tensor whose elements lie under `key`, as PyTorch writes it.
    pub(crate) fn tensor(&mut self, shape: &[usize], key: usize) {
        let stride = |axis: usize| shape[axis + 1..].iter().product();
        let strides: Vec<usize> = (0..shape.len()).map(stride).collect();
        self.view(shape, &strides, shape.iter().product(), key);
    }

    /// A view of `elements` numbers that lie under `key`.
    pub(crate) fn view(&mut self, shape: &[usize], strides: &[usize], elements: usize, key: usize) {
        self.view_from(0, shape, strides, elements, key);
    }

    /// A view whose first element is number `offset` of those under `key`.
    pub(crate) fn view_from(
        &mut self,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
        elements: usize,
        key: usize,
    ) {
        self.add(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.add(b"ctorch\nFloatStorage\n");
        self.text(&key.to_string());
        self.text("cpu");
        self.number(elements);
        self.add(b"tQ");
        self.number(offset);
        self.numbers(shape.iter().copied());
        self.numbers(strides.iter().copied());
        self.add(b"\x89ccollections\nOrderedDict\n)RtR");
    }

    /// A dictionary of tensors; the first has its elements under the key `first`.
    pub(crate) fn tensors(&mut self, tensors: &Tensors, first: usize) {
        self.add(b"}(");
        for (number, (name, tensor)) in tensors.iter().enumerate() {
            self.text(name);
            self.tensor(tensor.shape(), first + number);
        }
        self.add(b"u");
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.add(b".");
        self.0
    }
}

/// A file as `torch.save` writes it: this pickle, and the elements of these tensors under the keys
/// from 0 on.
pub(crate) fn archive<'a>(
    pickle: &[u8],
    tensors: impl IntoIterator<Item = &'a ArrayD<f32>>,
) -> Vec<u8> {
    with_zip64_records(archive_named("model", pickle, tensors))
}

/// The records that PyTorch puts before the end of an archive, whether they are needed or not.
fn with_zip64_records(mut archive: Vec<u8>) -> Vec<u8> {
    let end = archive.split_off(archive.len() - 22);
    let directory_end = archive.len() as u64;
    let wide = |at: usize| {
        let bytes = end[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(bytes)).to_le_bytes()
    };
    let entries = u64::from(u16::from_le_bytes([end[10], end[11]])).to_le_bytes();
    for bytes in [
        &b"PK\x06\x06"[..],
        &44_u64.to_le_bytes(),
        &[0x1e, 0x03, 0x2d, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &entries,
        &entries,
        &wide(12),
        &wide(16),
        b"PK\x06\x07\0\0\0\0",
        &directory_end.to_le_bytes(),
        &1_u32.to_le_bytes(),
        &end,
    ] {
        archive.extend(bytes);
    }
    archive
}

/// [`state_dict`] under a name: every entry of the archive begins with it.
pub(crate) fn state_dict_named(root: &str, tensors: &Tensors) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.tensors(tensors, 0);
    with_zip64_records(archive_named(root, &pickle.end(), tensors.values()))
}

fn archive_named<'a>(
    root: &str,
    pickle: &[u8],
    tensors: impl IntoIterator<Item = &'a ArrayD<f32>>,
) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("{root}/{name}"), stored)
            .expect("in memory");
        zip.write_all(bytes).expect("in memory");
    };
    add("data.pkl", pickle);
    add("byteorder", b"little");
    for (key, tensor) in tensors.into_iter().enumerate() {
        add(&format!("data/{key}"), &raw(tensor));
    }
    add("version", b"3\n");
    zip.finish().expect("in memory").into_inner()
}

/// What `torch.save` wrote before it wrote archives (PyTorch 1.5 and older): this pickle after
/// magic number, protocol and system, and the elements of these tensors under the keys from 0 on.
pub(crate) fn legacy<'a>(
    pickle: &[u8],
    tensors: impl IntoIterator<Item = &'a ArrayD<f32>>,
) -> Vec<u8> {
    let tensors: Vec<&ArrayD<f32>> = tensors.into_iter().collect();
    let mut keys = Pickle::new();
    keys.add(b"](");
    (0..tensors.len()).for_each(|key| keys.text(&key.to_string()));
    keys.add(b"e");
    let mut bytes = [
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        &b"\x80\x02M\xe9\x03."[..],
        b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.",
        pickle,
        &keys.end(),
    ]
    .concat();
    for tensor in tensors {
        bytes.extend((tensor.len() as u64).to_le_bytes());
        bytes.extend(raw(tensor));
    }
    bytes
}

/// A plain state dict as `torch.save` writes it.
pub(crate) fn state_dict(tensors: &Tensors) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.tensors(tensors, 0);
    archive(&pickle.end(), tensors.values())
}

/// A checkpoint as Lightning writes it, with an optimiser's state whose elements are missing: they
/// are not to be read. `arguments` are the pickled keys and values of the model's arguments.
pub(crate) fn lightning(tensors: &Tensors, arguments: &[u8]) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.add(b"}(");
    pickle.text("epoch");
    pickle.number(3);
    pickle.text("state_dict");
    pickle.tensors(tensors, 0);
    pickle.text("optimizer_states");
    pickle.add(b"](}(");
    pickle.text("exp_avg");
    pickle.tensor(&[1000, 1000], 99_999);
    pickle.add(b"ue");
    pickle.text("hyper_parameters");
    pickle.add(b"}(");
    pickle.add(arguments);
    pickle.add(b"uu");
    archive(&pickle.end(), tensors.values())
}
