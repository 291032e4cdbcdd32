//! A process has one ONNX Runtime.

use flawd_onnx::{Runtime, RuntimeError};

use crate::common::runtime;

#[test]
fn every_load_gives_the_same_library() {
    let first = runtime();
    let again = Runtime::load(Some(first.library())).expect("it is loaded");
    assert_eq!(first.library(), again.library());
    assert!(!first.build_info().is_empty());
}

#[test]
fn a_second_library_is_refused() {
    let loaded = runtime();
    let other = std::env::current_exe().expect("this program");
    match Runtime::load(Some(&other)) {
        Err(RuntimeError::AlreadyLoaded { loaded: first, .. }) => {
            assert_eq!(first, loaded.library());
        }
        other => panic!("{other:?}"),
    }
}
