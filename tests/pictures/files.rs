//! Files with the name of a picture that are not one, by their content or their kind.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Contents, under the ending `png`.
pub(super) fn contents() -> Vec<Case> {
    const NO_PICTURE: &[&str] = &["not a JPEG, PNG, BMP, TIFF, WebP or PNM file"];
    let first = |cases: Vec<Case>, name: &str| {
        let found = cases.into_iter().find(|case| case.name == name);
        found.expect("there is such a row").bytes
    };
    let of_jpeg = jpeg::cases().swap_remove(0);
    vec![
        case(
            "an empty file",
            Vec::new(),
            Refused(&["it is empty", "again"]),
        ),
        case(
            "a text",
            b"notes about the parts\n".to_vec(),
            Refused(NO_PICTURE),
        ),
        case(
            "a page",
            b"<!DOCTYPE html><html>not found</html>".to_vec(),
            Refused(NO_PICTURE),
        ),
        case(
            "a pointer of Git LFS",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            Refused(NO_PICTURE),
        ),
        case(
            "an archive",
            b"PK\x03\x04\x14\0\0\0".to_vec(),
            Refused(NO_PICTURE),
        ),
        case(
            "a GIF",
            b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(),
            Refused(NO_PICTURE),
        ),
        case(
            "a picture of a telephone",
            b"\0\0\0\x18ftypheic\0\0\0\0heicmif1".to_vec(),
            Refused(NO_PICTURE),
        ),
        case("zeros", vec![0; 4096], Refused(NO_PICTURE)),
        case("one byte", vec![0xff], Refused(NO_PICTURE)),
        case("a JPEG", of_jpeg.bytes, of_jpeg.outcome),
        case("a TIFF", first(tiff::cases(), "colours"), Colours),
        case("a BMP", first(bmp::cases(), "24 bits"), Colours),
        case("a WebP", first(webp::cases(), "without loss"), Colours),
        case("a PNM", first(pnm::cases(), "P6"), Colours),
    ]
}

/// The message for every kind of item in a folder, by name.
#[test]
fn whatever_has_the_name_of_a_picture_is_read_or_named_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let picture = png::cases().swap_remove(3);
    let not_text = OsStr::from_bytes(b"\xe4.png");
    fs::write(at("0.png"), &picture.bytes).expect("writable");
    fs::write(folder.path().join(not_text), &picture.bytes).expect("writable");
    fs::create_dir(at("folder.png")).expect("writable");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe.png"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .expect("a pipe");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.png")).expect("a socket");
    for (name, target) in [
        ("link.png", "0.png"),
        ("dangling.png", "nothing.png"),
        ("circle.png", "circle.png"),
        ("device.png", "/dev/zero"),
        ("through.png", "0.png/x"),
    ] {
        symlink(target, at(name)).expect("writable");
    }
    let sparse = fs::File::create(at("sparse.png")).expect("writable");
    sparse.set_len(6 << 30).expect("it takes no room");
    fs::write(at("secret.png"), &picture.bytes).expect("writable");
    fs::set_permissions(at("secret.png"), fs::Permissions::from_mode(0o000)).expect("owned");

    let rows: [(&OsStr, Outcome); 12] = [
        ("0.png".as_ref(), picture.outcome.clone()),
        (not_text, picture.outcome.clone()),
        ("link.png".as_ref(), picture.outcome.clone()),
        (
            "folder.png".as_ref(),
            Refused(&["folder.png", "not a regular file"]),
        ),
        (
            "pipe.png".as_ref(),
            Refused(&["pipe.png", "not a regular file"]),
        ),
        (
            "socket.png".as_ref(),
            Refused(&["socket.png", "not a regular file"]),
        ),
        (
            "device.png".as_ref(),
            Refused(&["device.png", "not a regular file"]),
        ),
        (
            "dangling.png".as_ref(),
            Refused(&["dangling.png", "No such file"]),
        ),
        (
            "circle.png".as_ref(),
            Refused(&["circle.png", "symbolic links"]),
        ),
        (
            "through.png".as_ref(),
            Refused(&["through.png", "Not a directory"]),
        ),
        (
            "sparse.png".as_ref(),
            Refused(&["sparse.png", "6442450944 bytes", "--max-megapixels"]),
        ),
        ("gone.png".as_ref(), Refused(&["gone.png", "No such file"])),
    ];
    for (name, outcome) in rows {
        let came = read(&folder.path().join(name));
        assert_eq!(
            outcome.differs(&came),
            None,
            "{}: {outcome:?}",
            name.display()
        );
    }
    // Root reads everything.
    if !rustix::process::geteuid().is_root() {
        let came = read(&at("secret.png"));
        assert_eq!(
            Refused(&["secret.png", "Permission denied"]).differs(&came),
            None
        );
    }
}
