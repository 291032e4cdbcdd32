//! flawd: learns what good parts look like, calibrates when to reject a part, and watches a
//! production line.
//!
//! Two halves and one file between them: the [`lab`] makes a [`bundle`] from pictures of good
//! parts, and the [`mod@line`] judges parts with it. What both need is below them. The program is
//! this library and a `main` that maps the outcome to an exit code, so that tests run the real
//! thing.

// In reading order; a paragraph for each, because rustfmt sorts within one.

pub mod lab;

pub mod bundle;

pub mod line;

pub mod commands;

pub mod demo;

pub mod synthetic;

pub mod pictures;

pub mod packages;

pub mod files;

pub mod logging;

pub mod messages;

pub mod exit_code;
