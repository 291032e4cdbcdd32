//! Small file systems to test the journal on, in a mount namespace that goes with the test.

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::Command;

const INSIDE: &str = "FLAWD_JOURNAL_INSIDE_NAMESPACE";

/// Runs this test again where it may mount, and returns `false`; inside, returns `true`. Prints a
/// message if it may not mount anywhere.
pub(crate) fn may_mount(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let works = |way: &&&[&str]| {
        let attempt = Command::new("unshare").args(**way).arg("true").output();
        attempt.is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        eprintln!("SKIPPED {name}: neither root nor a user namespace to mount in");
        return false;
    };
    let status = Command::new("unshare")
        .args(*way)
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its namespace");
    false
}

/// Runs `mount` with these arguments and the place.
pub(crate) fn mount(arguments: &[&str], place: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(place).status();
    status.is_ok_and(|status| status.success())
}

pub(crate) fn unmount(place: &Path) {
    let status = Command::new("umount").arg(place).status();
    assert!(status.unwrap().success());
}

/// Makes an ext4 of 8 MiB in the file `image` and mounts it. Returns `false`, with a message, if
/// that is impossible.
pub(crate) fn mount_ext4(image: &Path, place: &Path) -> bool {
    File::create(image).unwrap().set_len(8 << 20).unwrap();
    let mut make = Command::new("mkfs.ext4");
    let made = make.args(["-q", "-F", "-m", "0"]).arg(image).status();
    let mounted = made.is_ok_and(|status| status.success()) && mount_image(image, place);
    if !mounted {
        eprintln!("SKIPPED ext4: no mkfs.ext4, or no loop device to mount it with");
    }
    mounted
}

/// Mounts the file system in this file. It writes to it only on request, or after minutes.
pub(crate) fn mount_image(image: &Path, place: &Path) -> bool {
    mount(&["-o", "loop,commit=300", image.to_str().unwrap()], place)
}
