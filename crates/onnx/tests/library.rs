//! Libraries that are missing or wrong. Nothing here loads a good one: a process can load only one.

use std::path::{Path, PathBuf};
use std::process::Command;

use flawd_onnx::{Origin, Runtime, RuntimeError};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A shared library compiled from `source`, with the compiler that Rust links with.
fn library(folder: &Path, source: &str) -> PathBuf {
    let (code, library) = (folder.join("library.c"), folder.join("libonnxruntime.so"));
    std::fs::write(&code, source).expect("a file");
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&code);
    assert!(compile.status().expect("a C compiler").success());
    library
}

fn refused(path: &Path) -> RuntimeError {
    Runtime::load(Some(path)).expect_err("must be refused")
}

/// Every error says what to do.
fn check_way_out(error: &RuntimeError) {
    let text = error.to_string();
    assert!(
        text.contains("flawd runtime install") && text.contains("FLAWD_ONNXRUNTIME"),
        "{text}"
    );
}

#[test]
fn a_named_file_that_is_not_there_is_an_error_and_nothing_else_is_tried() {
    let error = refused(Path::new("/nowhere/libonnxruntime.so"));
    assert!(matches!(error, RuntimeError::NoSuchFile { .. }), "{error}");
    check_way_out(&error);
    let error = refused(folder().path());
    assert!(matches!(error, RuntimeError::NoSuchFile { .. }), "{error}");
}

/// What an operator has installed and then lost is not replaced by another one silently.
#[test]
fn an_installed_library_that_is_gone_is_an_error_and_nothing_else_is_tried() {
    if std::env::var_os("FLAWD_ONNXRUNTIME").is_some() {
        println!("absent: FLAWD_ONNXRUNTIME is set, which takes precedence");
        return;
    }
    let error = Runtime::find(None, Some(folder().path())).expect_err("must be refused");
    let expected = Origin::Installed;
    assert!(
        matches!(&error, RuntimeError::NoSuchFile { origin, .. } if *origin == expected),
        "{error}"
    );
    check_way_out(&error);
}

#[test]
fn a_file_that_is_no_library_is_an_error_with_the_loaders_cause() {
    let folder = folder();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, "not a library").expect("a file");
    let error = refused(&path);
    assert!(matches!(error, RuntimeError::NotLoadable { .. }), "{error}");
    check_way_out(&error);
    let text = error.to_string();
    // The loader's own message; the text around it says only "dlopen failed".
    assert!(!text.contains("dlopen failed"), "{text}");
    assert!(text.matches("libonnxruntime.so").count() > 1, "{text}");
}

#[test]
fn another_library_is_an_error() {
    let folder = folder();
    library(folder.path(), "int something_else(void) { return 1; }");
    let error = refused(folder.path());
    assert!(
        matches!(error, RuntimeError::WrongLibrary { .. }),
        "{error}"
    );
    check_way_out(&error);
}

#[test]
fn a_library_that_is_too_old_is_an_error_with_its_version() {
    let source = r#"
        static const char *version(void) { return "1.16.3"; }
        struct Base { const void *(*api)(unsigned); const char *(*version)(void); };
        static const void *api(unsigned wanted) { return 0; }
        static const struct Base base = { api, version };
        const struct Base *OrtGetApiBase(void) { return &base; }
    "#;
    let folder = folder();
    match refused(&library(folder.path(), source)) {
        RuntimeError::TooOld { found, .. } => assert_eq!(found, "1.16.3"),
        other => panic!("{other}"),
    }
}

/// The program is copied to where no library is near it, and looks for one there. (By its own
/// process: a file that this one has written is busy while another test's child still holds it.)
#[test]
fn a_library_that_is_nowhere_is_an_error_with_the_places() {
    const CHILD: &str = "FLAWD_TEST_LIBRARY_IS_NOWHERE";
    if std::env::var_os(CHILD).is_none() {
        let folder = folder();
        let program = folder.path().join("program");
        let this = std::env::current_exe().expect("this program");
        let copied = Command::new("cp").arg(this).arg(&program).status();
        assert!(copied.expect("cp runs").success(), "a copy");
        let mut child = Command::new(&program);
        child.args([
            "--exact",
            "a_library_that_is_nowhere_is_an_error_with_the_places",
        ]);
        let child = child
            .env(CHILD, "1")
            .env_remove("FLAWD_ONNXRUNTIME")
            .output();
        let output = child.expect("it runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        return;
    }
    match Runtime::load(None) {
        Err(error @ RuntimeError::NotFound { .. }) => {
            check_way_out(&error);
            assert!(
                error.to_string().contains(".runtime/onnxruntime"),
                "{error}"
            );
        }
        Err(error) => panic!("{error}"),
        // One that the system itself provides.
        Ok(runtime) => assert_eq!(runtime.library(), Path::new("libonnxruntime.so")),
    }
}
