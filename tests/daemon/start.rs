//! The message and the exit code when the daemon cannot start. `check` and `run` share that path,
//! so both are tested.

use std::fs;
use std::process::{Command, Output};

use flawd_testing::files::copy_folder;

use crate::bundle;
use crate::records::run_on_a_disk;
use crate::station::{Station, errors};

/// A station that would run, without a broker.
fn station() -> Station {
    let station = Station::new(
        "[station]\nname = \"start\"\n[inference]\nbundle = \"{bundle}\"\n\
         [camera.top.folder]\npath = \"parts\"\n[mqtt]\nport = 1\n",
    );
    fs::create_dir(station.folder().join("parts")).unwrap();
    station
}

/// Both verbs end with this code and say all of this.
fn assert_refused(station: &Station, code: i32, said: &[&str]) {
    for verb in ["check", "run"] {
        let output = station.output(verb);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{verb}: {errors}");
        for text in said {
            assert!(errors.contains(text), "{verb}: `{text}` not in: {errors}");
        }
    }
}

#[test]
fn a_good_configuration_passes_the_check_without_a_broker_or_images() {
    let output = station().output("check");
    assert!(output.status.success(), "{}", errors(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("camera        top: folder"), "{said}");
    assert!(said.ends_with("were not touched\n"), "{said}");
}

#[test]
fn a_gpio_line_that_is_not_there_ends_with_69_and_is_named_by_the_doctor_too() {
    let station = station();
    let text = fs::read_to_string(station.configuration()).unwrap();
    let parts = station.folder().join("parts");
    fs::copy(first_image(), parts.join("part.png")).unwrap();
    let lines =
        "[camera.top.reject]\nchip = \"/dev/gpiochip4711\"\noffset = 3\ndelay = \"300ms\"\n";
    fs::write(station.configuration(), format!("{text}{lines}")).unwrap();
    let checked = station.output("check");
    assert!(checked.status.success(), "{}", errors(&checked));
    let output = station.output("run");
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(69), "{errors}");
    for said in [
        "reject output of camera `top`",
        "no GPIO chip /dev/gpiochip4711",
    ] {
        assert!(errors.contains(said), "`{said}` not in: {errors}");
    }
    let report = String::from_utf8(station.output("doctor").stdout).unwrap();
    assert!(report.contains("! reject of top"), "{report}");
}

/// A good picture of the tests' own.
fn first_image() -> std::path::PathBuf {
    let folder = bundle::images().join("test/good");
    let first = fs::read_dir(folder).unwrap().next();
    first.unwrap().unwrap().path()
}

#[test]
fn a_mistyped_key_ends_with_78_and_names_file_and_line() {
    let station = station();
    let text = fs::read_to_string(station.configuration()).unwrap();
    fs::write(station.configuration(), text.replace("port =", "prot =")).unwrap();
    let place = format!(
        "{}:8:1: unknown key `prot`",
        station.configuration().display()
    );
    assert_refused(&station, 78, &[&place, "did you mean `port`?"]);
}

#[test]
fn a_configuration_that_is_not_there_ends_with_78_and_is_named() {
    let station = station();
    fs::remove_file(station.configuration()).unwrap();
    assert_refused(&station, 78, &["flawd.toml", "No such file"]);
}

#[test]
fn a_missing_library_ends_with_78_and_says_how_to_get_it() {
    let station = station();
    let text = fs::read_to_string(station.configuration()).unwrap();
    let text = text.replace(
        "[camera",
        "onnxruntime = \"/nonexistent/libonnxruntime.so\"\n[camera",
    );
    fs::write(station.configuration(), text).unwrap();
    assert_refused(
        &station,
        78,
        &["/nonexistent/libonnxruntime.so", "onnxruntime"],
    );
}

#[test]
fn a_wrong_library_ends_with_78_and_is_named() {
    let station = station();
    let wrong = station.folder().join("libonnxruntime.so");
    fs::write(&wrong, "not a library").unwrap();
    let text = fs::read_to_string(station.configuration()).unwrap();
    let text = text.replace("[camera", "onnxruntime = \"libonnxruntime.so\"\n[camera");
    fs::write(station.configuration(), text).unwrap();
    assert_refused(&station, 78, &[&wrong.display().to_string()]);
}

#[test]
fn a_bundle_that_was_damaged_ends_with_78_and_names_the_file() {
    let station = station();
    let copy = station.folder().join("bundle");
    copy_folder(bundle::path(), &copy);
    let model = copy.join("model.onnx");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).unwrap();
    let text = fs::read_to_string(station.configuration()).unwrap();
    let original = bundle::path().display().to_string();
    fs::write(station.configuration(), text.replace(&original, "bundle")).unwrap();
    assert_refused(&station, 78, &["model.onnx", "damaged"]);
}

#[test]
fn a_folder_without_images_ends_the_start_with_69_and_is_named() {
    let output = station().output("run");
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(
        errors.contains("camera `top`") && errors.contains("no images in"),
        "{errors}"
    );
}

#[test]
fn a_camera_that_is_not_there_ends_the_start_with_69_and_is_named() {
    let station = station();
    let text = fs::read_to_string(station.configuration()).unwrap();
    let text = text.replace(
        "top.folder]\npath = \"parts\"",
        "top.v4l2]\ndevice = \"/dev/video99\"",
    );
    fs::write(station.configuration(), text).unwrap();
    let output = station.output("run");
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(errors.contains("/dev/video99"), "{errors}");
}

/// A station that judges one part and ends.
fn short_line() -> Station {
    Station::new(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{bundle}\"\nthreads = 1\n\
         [camera.top.synthetic]\nparts = 1\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\n[monitor]\nlisten = \"127.0.0.1:0\"\n",
    )
}

#[test]
fn a_disk_that_takes_nothing_at_the_first_start_ends_it_with_69_and_is_named() {
    for (options, said) in [
        ("size=4k", "No space left on device"),
        ("size=8m,ro", "Read-only file system"),
    ] {
        let station = short_line();
        let Some(mut daemon) = run_on_a_disk(&station, options) else {
            return;
        };
        assert_eq!(daemon.wait().code(), Some(69), "{}", daemon.seen());
        assert!(daemon.seen().contains(said), "{}", daemon.seen());
    }
}

/// `flawd run` with this limit, as the shell's `ulimit` has it.
fn with_limit(station: &Station, limit: &str) -> Output {
    let command = station.command("run");
    Command::new("sh")
        .args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .output()
        .unwrap()
}

/// However many files the system lets it open. The loader of programs needs the fourth itself.
#[test]
fn a_start_for_which_the_system_lacks_something_ends_with_69_or_works() {
    let mut codes = Vec::new();
    for files in 4..40 {
        let output = with_limit(&short_line(), &format!("-n {files}"));
        let code = output.status.code();
        let errors = errors(&output);
        assert!(
            [Some(0), Some(69)].contains(&code),
            "{files} files: {code:?}: {errors}"
        );
        codes.push(code);
    }
    assert_eq!(codes.first(), Some(&Some(69)));
    assert_eq!(codes.last(), Some(&Some(0)));
}

#[test]
fn a_limit_of_file_sizes_is_said_and_ends_nothing() {
    // The journal's head has room, and a segment has not.
    let output = with_limit(&short_line(), "-f 100");
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    for said in [
        "Verdicts cannot be written to the journal",
        "File too large",
    ] {
        assert!(errors.contains(said), "{errors}");
    }
}
