//! What is mistyped, missing or out of range, and where the error says it is.

use super::*;

#[test]
fn a_mistyped_key_is_reported_with_file_line_and_the_nearest_key() {
    let problem = refused(&format!(
        "{MINIMAL}[mqtt]\nhost = \"broker\"\nprot = 1884\n"
    ));
    assert_eq!(
        problem,
        "/etc/flawd/flawd.toml:12:1: unknown key `prot`; did you mean `port`?"
    );
}

#[test]
fn a_mistyped_section_is_reported_with_file_and_line() {
    let problem = refused(&MINIMAL.replace("[inference]", "[inferrence]"));
    assert_eq!(
        problem,
        "/etc/flawd/flawd.toml:5:2: unknown key `inferrence`; did you mean `inference`?"
    );
}

#[test]
fn a_key_that_resembles_nothing_lists_what_is_possible() {
    let problem = refused(&format!("{MINIMAL}colour = \"red\"\n"));
    assert_eq!(
        problem,
        "/etc/flawd/flawd.toml:10:1: unknown key `colour`; possible here: path, rate, repeat, watch"
    );
}

#[test]
fn a_mistyped_value_is_reported_with_file_line_and_the_nearest_value() {
    let problem = refused(&format!("{MINIMAL}[log]\nformat = \"jsn\"\n"));
    assert_eq!(
        problem,
        "/etc/flawd/flawd.toml:11:10: unknown value `jsn`; did you mean `json`?"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_file_and_line() {
    let problem = refused(&format!("{MINIMAL}[mqtt]\nport = \"high\"\n"));
    assert!(
        problem.starts_with("/etc/flawd/flawd.toml:11:8: "),
        "{problem}"
    );
}

#[test]
fn text_that_is_no_toml_is_reported_with_file_and_line() {
    let problem = refused("[station\nname = 1\n");
    assert!(problem.starts_with("/etc/flawd/flawd.toml:1:"), "{problem}");
}

#[test]
fn a_key_that_is_written_twice_is_named() {
    let text = format!("{MINIMAL}[mqtt]\nport = 1883\nhost = \"broker\"\nport = 1884\n");
    assert_eq!(
        refused(&text),
        "/etc/flawd/flawd.toml:13:1: the key `port` is there already; keep one of the two"
    );
    let text = format!("{MINIMAL}[inference]\nthreads = 2\n");
    assert_eq!(
        refused(&text),
        "/etc/flawd/flawd.toml:10:2: the key `inference` is there already; keep one of the two"
    );
}

#[test]
fn a_missing_key_is_reported_at_its_section() {
    let problem = refused(&MINIMAL.replace("bundle = \"bundle\"", "threads = 2"));
    assert_eq!(
        problem,
        "/etc/flawd/flawd.toml:5: inference.bundle: is missing"
    );
    let problem = refused("");
    assert_eq!(problem, "/etc/flawd/flawd.toml: station.name: is missing");
}

#[test]
fn values_out_of_range_are_reported_at_their_line() {
    for (extra, expected) in [
        (
            "rate = 0.0",
            ":10: camera.top.folder.rate: 0 is not a rate per second",
        ),
        (
            "[camera.top.trigger]\nqueue = 0",
            ":11: camera.top.trigger.queue: 0 is out of range; it lies between 1 and 1024: each \
             part that waits for the model holds its picture",
        ),
        (
            "[camera.top.trigger]\nqueue = 1025",
            ":11: camera.top.trigger.queue: 1025 is out of range; it lies between 1 and 1024: each \
             part that waits for the model holds its picture",
        ),
        (
            "[mqtt]\nversion = \"4\"",
            ":11: mqtt.version: `4` is neither \"5\" nor \"3.1.1\"",
        ),
        (
            "[mqtt]\nkeep_alive = \"1s\"",
            ":11: mqtt.keep_alive: 1s is out of range; it lies between 5s and 18h 12m 15s",
        ),
        (
            "[mqtt]\nkeep_alive = \"65536s\"",
            ":11: mqtt.keep_alive: 18h 12m 16s is out of range; it lies between 5s and 18h 12m 15s",
        ),
        (
            "[mqtt]\nconnect_timeout = \"1500ms\"",
            ":11: mqtt.connect_timeout: 1s 500ms is not a whole number of seconds",
        ),
        (
            "[mqtt]\nexpiry = \"500000000000h\"",
            ":11: mqtt.expiry: 500000000000h is out of range; it lies between 1s and 8760h",
        ),
        (
            "[camera.side]\nframe_timeout = \"0s\"\n[camera.side.folder]\npath = \"p\"",
            ":11: camera.side.frame_timeout: 0s is out of range; it lies between 1ms and 8760h",
        ),
        (
            "[camera.side]\ndeadline = \"0s\"\n[camera.side.folder]\npath = \"p\"",
            ":11: camera.side.deadline: 0s is out of range; it lies between 1µs and 8760h",
        ),
        (
            "[camera.side.synthetic]\nsize = \"32x32\"",
            ":11: camera.side.synthetic.size: a synthetic part needs at least 96 pixels a side, \
             not 32x32",
        ),
        (
            "[camera.side.synthetic]\nrate = 1e-12",
            ":11: camera.side.synthetic.rate: 0.000000000001 is not a rate per second",
        ),
        (
            "[camera.side.synthetic.fault]\nloss = { after = 1, lasts = \"9000h\" }",
            ":11: camera.side.synthetic.fault.loss.lasts: 9000h is out of range; it lies between \
             0s and 8760h",
        ),
        (
            "[camera.state.synthetic]",
            ":10: camera.state: `state` is a topic already; give the camera another name",
        ),
        (
            "[camera.top.synthetic]",
            ":8: camera.top: needs exactly one of the sections folder, synthetic, v4l2 and gstreamer",
        ),
        (
            "[mqtt]\nroot = \"a/+/b\"",
            ":11: mqtt.root: `+` must consist of letters, digits, - and _",
        ),
        (
            "[camera.side.v4l2]\ndevice = \"/dev/video0\"\n[camera.side.trigger]\n\
             mode = \"interval\"",
            ":12: camera.side.trigger.interval: mode = \"interval\" needs a time from one trigger \
             to the next, such as \"500ms\"",
        ),
        (
            "[journal]\ncapacity = 64",
            ":11: journal.capacity: 64 B is too little; at least 1.0 MiB",
        ),
        (
            "[evidence]\nmax_size = \"1MB\"",
            ":11: evidence.max_size: 976.6 KiB is too little; at least 1.0 MiB",
        ),
        (
            "[evidence]\nmax_age = \"0d\"",
            ":11: evidence.max_age: would keep nothing; `enabled = false` says so",
        ),
        (
            "[evidence]\nok_share = 1.5",
            ":11: evidence.ok_share: 1.5 is not a share between 0 and 1",
        ),
    ] {
        let problem = refused(&format!("{MINIMAL}{extra}\n"));
        assert_eq!(
            problem,
            format!("/etc/flawd/flawd.toml{expected}"),
            "{extra}"
        );
    }
}

#[test]
fn an_unknown_provider_is_reported_with_its_name() {
    let text = MINIMAL.replace(
        "bundle = \"bundle\"",
        "bundle = \"b\"\nproviders = [\"gpu\"]",
    );
    assert!(refused(&text).contains("`gpu`"));
}
