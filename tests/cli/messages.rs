//! Bad input to `predict`, `model` and `backbone`: each message names the item, the cause and the
//! remedy.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use flawd_testing::files::copy_folder;
use tempfile::TempDir;

use crate::fixture::{bundle, data, flawd};

/// Everything wrong that the rows name, in one folder.
fn workshop() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    fs::copy(data().join("test/good/000.png"), at("part.png")).expect("writable");
    fs::write(at("empty"), b"").expect("writable");
    fs::write(at("notes.txt"), b"notes").expect("writable");
    fs::create_dir(at("folder")).expect("writable");
    let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let tensors = [&length[..], header, &[0; 4]].concat();
    fs::write(at("other.safetensors"), &tensors).expect("writable");
    fs::write(at("cut.safetensors"), &tensors[..20]).expect("writable");
    fs::write(at("claims.safetensors"), [0xff; 20]).expect("writable");
    fs::write(at("cut.pth"), b"PK\x03\x04\x14\0").expect("writable");
    fs::write(at("nothing.pth"), b"\x80\x02}q\0.").expect("writable");
    copy_folder(bundle(), &at("bundle"));
    let changed = |name: &str, change: &dyn Fn(&Path)| {
        copy_folder(bundle(), &at(name));
        change(&at(name));
    };
    let manifest = |folder: &Path, change: &dyn Fn(String) -> Vec<u8>| {
        let path = folder.join("bundle.toml");
        let text = fs::read_to_string(&path).expect("it is text");
        fs::write(path, change(text)).expect("writable");
    };
    changed("no-model", &|it| {
        fs::remove_file(it.join("model.onnx")).expect("there")
    });
    changed("no-golden", &|it| {
        fs::remove_dir_all(it.join("golden")).expect("there")
    });
    changed("no-list", &|it| {
        fs::remove_file(it.join("training-files.txt")).expect("there")
    });
    changed("cut-model", &|it| {
        fs::write(it.join("model.onnx"), b"cut").expect("there")
    });
    changed("cut", &|it| {
        manifest(it, &|text| text.as_bytes()[..300].to_vec())
    });
    changed("no-text", &|it| manifest(it, &|_| vec![0xff; 99]));
    changed("newer", &|it| {
        manifest(it, &|text| text.replace("format = 1", "format = 9").into());
    });
    changed("misspelt", &|it| {
        manifest(it, &|text| text.replace("created", "craeted").into())
    });
    folder
}

/// A command line, its exit code, and its message.
type Row<'a> = (&'a str, i32, &'a [&'a str]);

const PREDICT: [Row<'_>; 24] = [
    (
        "predict nowhere part.png",
        78,
        &["nowhere is not a bundle", "No such file", "flawd train"],
    ),
    (
        "predict part.png bundle",
        64,
        &["no images in bundle", "png", "golden"],
    ),
    (
        "predict notes.txt part.png",
        78,
        &["notes.txt", "it is a file", "bundle.toml"],
    ),
    (
        "predict folder part.png",
        78,
        &["folder is not a bundle", "has no file bundle.toml"],
    ),
    (
        "predict bundle/bundle.toml part.png",
        78,
        &["a file of the bundle bundle, name that"],
    ),
    (
        "predict bundle/model.onnx part.png",
        78,
        &["a file of the bundle bundle, name that"],
    ),
    (
        "predict no-model part.png",
        78,
        &["no-model/model.onnx", "install it again", "No such file"],
    ),
    (
        "predict no-golden part.png",
        78,
        &["no-golden/golden", "install it again", "No such file"],
    ),
    (
        "predict no-list part.png",
        78,
        &["training-files.txt", "install it again"],
    ),
    (
        "predict cut-model part.png",
        78,
        &["cut-model/model.onnx is damaged", "install the bundle"],
    ),
    (
        "predict cut part.png",
        78,
        &["cut/bundle.toml", "line", "install the bundle again"],
    ),
    (
        "predict no-text part.png",
        78,
        &["no-text/bundle.toml", "UTF-8", "install it again"],
    ),
    (
        "predict newer part.png",
        78,
        &["newer/bundle.toml", "format 9", "update flawd"],
    ),
    (
        "predict misspelt part.png",
        78,
        &["misspelt/bundle.toml", "craeted", "correct"],
    ),
    (
        "predict bundle nowhere.png",
        1,
        &["nowhere.png", "No such file"],
    ),
    (
        "predict bundle empty",
        1,
        &["empty", "it is empty", "again"],
    ),
    (
        "predict bundle notes.txt",
        1,
        &["notes.txt", "not a JPEG", "take it out"],
    ),
    ("predict bundle folder", 64, &["no images in folder", "png"]),
    (
        "predict bundle part.png --out notes.txt",
        1,
        &["notes.txt for heatmaps", "--out", "exists"],
    ),
    (
        "predict bundle part.png --out /proc/x",
        1,
        &["/proc/x for heatmaps", "--out"],
    ),
    ("predict bundle part.png --jsno", 64, &["--jsno", "--json"]),
    ("predict bundle", 64, &["<IMAGE>"]),
    (
        "predict bundle part.png --max-megapixels 0",
        64,
        &["--max-megapixels", "1..="],
    ),
    (
        "predict bundle part.png --onnxruntime notes.txt",
        78,
        &["notes.txt", "too short", "release"],
    ),
];

const MODEL: [Row<'_>; 16] = [
    ("model inspect nowhere", 78, &["nowhere", "No such file"]),
    (
        "model verify cut-model",
        78,
        &["cut-model/model.onnx", "install the bundle again"],
    ),
    ("model engine notes.txt", 78, &["notes.txt", "it is a file"]),
    (
        "model import nowhere.pth --out x.onnx",
        78,
        &["nowhere.pth", ".safetensors", "No such file"],
    ),
    (
        "model import folder --out x.onnx",
        78,
        &["folder", "give a .safetensors", "directory"],
    ),
    (
        "model import empty --out x.onnx",
        78,
        &["empty", "neither", "give a .safetensors"],
    ),
    (
        "model import part.png --out x.onnx",
        78,
        &["part.png", "neither", "give a .safetensors"],
    ),
    (
        "model import other.safetensors --out x.onnx",
        78,
        &["no CS-Flow", "`a`", "give the state"],
    ),
    (
        "model import nothing.pth --out x.onnx",
        78,
        &["no CS-Flow", "missing too", "give the state"],
    ),
    (
        "model import cut.safetensors --out x.onnx",
        78,
        &["cut.safetensors", "cut short", "again"],
    ),
    (
        "model import claims.safetensors --out x.onnx",
        78,
        &["claims.safetensors", "neither", "give a"],
    ),
    (
        "model import cut.pth --out x.onnx",
        78,
        &["cut.pth", "cut short or damaged", "again"],
    ),
    (
        "model import other.safetensors --out x",
        64,
        &["--calibrate DIR", "FILE.onnx"],
    ),
    (
        "model import other.safetensors --out x --calibrate nowhere",
        64,
        &["nowhere", "No such"],
    ),
    (
        "model import other.safetensors --out /proc/x.onnx",
        1,
        &["/proc/x.onnx", "another place"],
    ),
    ("model inspect bundle --json", 64, &["--json", "<BUNDLE>"]),
];

const BACKBONE: [Row<'_>; 12] = [
    (
        "backbone filter-bank --out folder",
        1,
        &["folder", "it is a folder", "another place"],
    ),
    (
        "backbone filter-bank --out notes.txt/x.onnx",
        1,
        &["notes.txt/x.onnx", "another place"],
    ),
    ("backbone filter-bank", 64, &["--out <FILE>"]),
    (
        "backbone build --padding torchvision --out x.onnx --weights nowhere",
        78,
        &["nowhere", "give a"],
    ),
    (
        "backbone build --padding torchvision --out x.onnx --weights folder",
        78,
        &["folder", "give a"],
    ),
    (
        "backbone build --padding torchvision --out x.onnx --weights part.png",
        78,
        &["part.png", "give a"],
    ),
    (
        "backbone build --padding torchvision --out x.onnx --weights cut.pth",
        78,
        &["cut.pth", "again"],
    ),
    (
        "backbone build --padding torchvision --out x.onnx --weights nothing.pth",
        78,
        &["no tensor at all", "Take a state dict"],
    ),
    (
        "backbone build --padding torchvision --out x.onnx --weights other.safetensors",
        78,
        &["`a`", "Take a state dict"],
    ),
    (
        "backbone build --padding torchvision --out folder --weights other.safetensors",
        1,
        &["folder", "another place"],
    ),
    (
        "backbone build --padding torchvision --out x.onnx --weights empty --stage x",
        64,
        &["`x` is not a stage", "1 to 7"],
    ),
    (
        "backbone build --padding none --out x.onnx --weights empty",
        64,
        &["none", "torchvision", "lukemelas"],
    ),
];

#[test]
fn every_wrong_input_is_named_with_its_cause_and_the_way_out() {
    let folder = workshop();
    // Names in the rows are in the folder, except for words and flags.
    let argument = |word: &str| {
        let path = folder.path().join(word);
        let is_name = !word.starts_with("--") && word != "x" && word != "none";
        let first = word.split('/').next().unwrap_or_default();
        let is_there = folder.path().join(first).exists() && !first.is_empty();
        let is_to_be = word.starts_with("nowhere") || word == "x.onnx";
        if is_name && (is_there || is_to_be) {
            path.into_os_string()
        } else {
            OsString::from(word)
        }
    };
    let mut wrong = Vec::new();
    for (line, code, said) in PREDICT.iter().chain(&MODEL).chain(&BACKBONE) {
        let words = line.split_whitespace();
        // A bundle in a message has its whole path.
        let words = words.enumerate().map(|(place, word)| match place {
            0 => OsString::from(word),
            1 if !line.starts_with("predict") => OsString::from(word),
            _ => argument(word),
        });
        let finished = flawd(words);
        let text = finished
            .stderr
            .replace(&format!("{}/", folder.path().display()), "");
        let is_right = finished.code == *code && said.iter().all(|part| text.contains(part));
        if !is_right {
            wrong.push(format!(
                "{line}: {code} {said:?}, but {}\n{text}",
                finished.code
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_that_is_no_text_is_shown() {
    let folder = TempDir::new().expect("a temporary folder");
    let name = OsStr::from_bytes(b"\xe4");
    let place: PathBuf = folder.path().join(name);
    let bundle = place.clone().into_os_string();
    for arguments in [
        vec!["model".into(), "inspect".into(), bundle.clone()],
        vec![
            "predict".into(),
            bundle,
            OsString::from_vec(b"\xe4.png".to_vec()),
        ],
    ] {
        flawd(arguments).failed(78, &["\u{fffd} is not a bundle", "No such file"]);
    }
}

/// A file that is renamed into its place would be there instead of the device.
#[test]
fn a_device_is_never_replaced_by_a_file() {
    for device in ["/dev/null", "/dev/full"] {
        use std::os::unix::fs::FileTypeExt;
        let is_device = || fs::metadata(device).is_ok_and(|it| it.file_type().is_char_device());
        if !is_device() {
            eprintln!("SKIPPED {device}, which is not a device here");
            continue;
        }
        flawd(["backbone", "filter-bank", "--out", device])
            .failed(1, &[device, "device", "another place"]);
        assert!(is_device(), "{device}");
    }
}

/// On a full file system of 64 KiB, if one may be mounted.
#[test]
fn a_full_disk_is_named_and_what_was_scored_is_still_said() {
    let folder = TempDir::new().expect("a temporary folder");
    let full = folder.path().join("full");
    fs::create_dir(&full).expect("writable");
    let run = |arguments: &[&OsStr]| {
        let script = "mount -t tmpfs -o size=64k none \"$0\" || exit 99
                      head -c 65536 /dev/zero > \"$0/filler\"
                      exec \"$@\"";
        Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script])
            .arg(&full)
            .arg(env!("CARGO_BIN_EXE_flawd"))
            .args(arguments)
            .output()
    };
    let file = full.join("f.onnx");
    let image = data().join("test/good/000.png");
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let mut bank = words(&["backbone", "filter-bank", "--out"]);
    bank.push(file.into());
    let mut predict = words(&["predict"]);
    predict.extend([
        bundle().into(),
        image.into(),
        "--out".into(),
        full.clone().into(),
    ]);
    for (arguments, parts) in [
        (bank, ["full/f.onnx", "another place", "No space left"]),
        (
            predict,
            ["full/000.png.png", "another folder", "No space left"],
        ),
    ] {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let output = match run(&arguments) {
            Ok(output) if !matches!(output.status.code(), Some(99)) => output,
            _ => return eprintln!("SKIPPED the full disk: none can be mounted"),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if said.starts_with("unshare") {
            return eprintln!("SKIPPED the full disk: {said}");
        }
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in {said}");
        }
        if parts[0].ends_with("png") {
            let scored = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                scored.lines().count(),
                2,
                "a header and its score: {scored}"
            );
        }
    }
}
