//! What subscribers get while nothing is wrong.
//!
//! ```text
//! folder of images ─► flawd run ─► mosquitto ─► mosquitto_sub
//! ```

use std::collections::BTreeMap;
use std::fs;

use flawd::pictures::decode::decode_file;
use flawd_testing::broker::{AT_ONCE, Broker, Message};
use serde_json::Value;

use crate::bundle;
use crate::station::{Station, errors, flawd};

/// A station that judges `parts/` once, as fast as it can.
fn replay(broker: &Broker, extra: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"replay\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.folder]\npath = \"parts\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n{extra}",
        broker.port
    ))
}

/// Copies every test picture to the station's `parts/`, and adds one that is not a part at all;
/// returns their names in order.
fn lay_out_parts(station: &Station) -> Vec<String> {
    let foreign = "foreign/stripes.png".to_owned();
    let path = station.folder().join("parts").join(&foreign);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_fn(96, 96, |x, _| {
        image::Rgb([if x % 4 < 2 { 0 } else { 255 }; 3])
    })
    .save(path)
    .unwrap();
    let mut names = vec![foreign];
    for kind in fs::read_dir(bundle::images().join("test")).unwrap() {
        let kind = kind.unwrap().path();
        for image in fs::read_dir(&kind).unwrap() {
            let image = image.unwrap().path();
            let name = format!(
                "{}/{}",
                kind.file_name().unwrap().display(),
                image.file_name().unwrap().display()
            );
            let target = station.folder().join("parts").join(&name);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&image, target).unwrap();
            names.push(name);
        }
    }
    names.sort();
    names
}

fn of_kind<'a>(messages: &'a [Message], kind: &str) -> Vec<&'a Message> {
    messages
        .iter()
        .filter(|message| message.kind() == kind)
        .collect()
}

fn numbers(messages: &[&Message]) -> Vec<u64> {
    let numbers = messages
        .iter()
        .map(|message| message.payload["seq"].as_u64());
    numbers
        .map(|seq| seq.expect("a verdict has a number"))
        .collect()
}

#[test]
fn every_image_ends_in_one_verdict_with_the_score_that_the_scorer_gives() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "");
    let names = lay_out_parts(&station);

    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    let verdicts = of_kind(&messages, "verdict");
    assert_eq!(
        numbers(&verdicts),
        (1..=names.len() as u64).collect::<Vec<_>>()
    );
    let parts: Vec<_> = verdicts
        .iter()
        .map(|message| &message.payload["part_id"])
        .collect();
    assert_eq!(parts, names.iter().collect::<Vec<_>>());

    let (bundle, mut scorer) = bundle::scorer();
    for (name, message) in names.iter().zip(&verdicts) {
        let image = decode_file(&station.folder().join("parts").join(name), None).unwrap();
        let score = scorer.score(&image).unwrap().score;
        let sent = message.payload["score"].as_f64().unwrap();
        assert!(
            (sent - f64::from(score)).abs() <= 1e-6 * sent.abs(),
            "{name}: {sent}, {score}"
        );
        let is_ng = bundle.calibration().is_anomalous(score);
        assert_eq!(
            message.payload["verdict"],
            if is_ng { "ng" } else { "ok" },
            "{name}"
        );
        assert_eq!((message.qos, message.retained), (1, false));
        assert_eq!(message.topic, "flawd/replay/top/verdict");
    }

    let rejected = |message: &&&Message| message.payload["verdict"] == "ng";
    let expected: Vec<_> = verdicts
        .iter()
        .filter(rejected)
        .map(|m| &m.payload)
        .collect();
    let defects = of_kind(&messages, "defect");
    assert!(!defects.is_empty(), "stripes must be a defect");
    assert_eq!(
        defects.iter().map(|m| &m.payload).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn the_line_and_the_evaluation_agree_on_every_image() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "");
    std::os::unix::fs::symlink(
        bundle::images().join("test"),
        station.folder().join("parts"),
    )
    .unwrap();
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let on_the_line = of_kind(&messages, "verdict").into_iter().map(|message| {
        let payload = &message.payload;
        let part = format!("test/{}", payload["part_id"].as_str().unwrap());
        (part, (payload["score"].clone(), payload["verdict"].clone()))
    });

    let report = station.folder().join("report.json");
    let output = flawd()
        .arg("evaluate")
        .args([bundle::path(), bundle::images()])
        .arg("--json")
        .arg(&report)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let evaluated = report["images"].as_array().unwrap().iter().map(|image| {
        let path = image["path"].as_str().unwrap().to_owned();
        (path, (image["score"].clone(), image["verdict"].clone()))
    });
    let on_the_line: BTreeMap<_, _> = on_the_line.collect();
    assert!(on_the_line.len() >= 10, "{on_the_line:?}");
    assert_eq!(on_the_line, evaluated.collect());
}

#[test]
fn state_comes_before_online_and_the_last_state_before_stopped() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "");
    let names = lay_out_parts(&station);
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    daemon.wait();

    assert_eq!(messages[0].kind(), "state");
    assert_eq!(messages[0].payload["ready"], false);
    assert_eq!(messages[1].kind(), "status");
    assert_eq!(messages[1].payload, "online");
    let ready = messages
        .iter()
        .any(|message| message.payload["ready"] == true);
    assert!(ready, "{messages:?}");
    let last = &messages[messages.len() - 2];
    assert_eq!(last.payload["state"], "halted");
    let counts = &last.payload["cameras"]["top"];
    assert_eq!(counts["captured"], names.len());
    assert_eq!(counts["overrun"], 0);
    assert_eq!(counts["undelivered"], Value::Null);
    assert!(!of_kind(&messages, "heartbeat").is_empty());
}

#[test]
fn a_verdict_on_mqtt_5_is_a_cloud_event_in_binary_mode_that_expires() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "expiry = \"7s\"\n");
    lay_out_parts(&station);
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    daemon.wait();

    let verdict = of_kind(&messages, "verdict")[0];
    let properties = &verdict.properties;
    assert_eq!(properties["content-type"], "application/json");
    let expiry = properties["message-expiry-interval"].as_u64().unwrap();
    assert!((1..=7).contains(&expiry), "{expiry}");
    let user = &properties["user-properties"];
    assert_eq!(user["specversion"], "1.0");
    assert_eq!(user["type"], "flawd.verdict");
    assert_eq!(user["source"], "flawd/replay/top");
    assert_eq!(user["subject"], verdict.payload["part_id"]);
    assert_eq!(user["time"], verdict.payload["captured_at"]);
}

#[test]
fn a_verdict_on_mqtt_3_is_a_structured_cloud_event() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "version = \"3.1.1\"\n");
    let names = lay_out_parts(&station);
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    let verdicts = of_kind(&messages, "verdict");
    assert_eq!(verdicts.len(), names.len());
    for (index, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.payload["specversion"], "1.0");
        assert_eq!(verdict.payload["type"], "flawd.verdict");
        assert_eq!(verdict.payload["data"]["seq"], index + 1);
    }
}

#[test]
fn an_image_that_cannot_be_decoded_is_named_and_ends_without_a_decision() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "");
    let names = lay_out_parts(&station);
    let broken = station.folder().join("parts/good/000-broken.png");
    let whole = fs::read(station.folder().join("parts").join(&names[0])).unwrap();
    fs::write(&broken, &whole[..whole.len() / 2]).unwrap();

    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    let verdicts = of_kind(&messages, "verdict");
    assert_eq!(
        numbers(&verdicts),
        (1..=names.len() as u64 + 1).collect::<Vec<_>>()
    );
    let undecided: Vec<_> = verdicts
        .iter()
        .filter(|message| message.payload["verdict"] == "no_decision")
        .collect();
    assert_eq!(undecided.len(), 1);
    let payload = &undecided[0].payload;
    assert_eq!(payload["reason"], "image_quality");
    assert_eq!(payload["part_id"], "good/000-broken.png");
    let detail = payload["detail"].as_str().unwrap();
    assert!(detail.contains("000-broken.png"), "{detail}");
    assert!(daemon.seen().contains("No decision"), "{}", daemon.seen());
}

/// A folder with one image that comes again and again is not a frozen camera.
#[test]
fn a_file_that_is_shown_again_is_judged_again() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "[evidence]\nenabled = false\n");
    let repeat = fs::read_to_string(station.configuration())
        .unwrap()
        .replace("path =", "repeat = true\npath =");
    fs::write(station.configuration(), repeat).unwrap();
    let (_, image) = good_image();
    fs::create_dir_all(station.folder().join("parts")).unwrap();
    fs::copy(image, station.folder().join("parts/only.png")).unwrap();
    let _daemon = station.run();
    let messages = subscriber.until("a tenth verdict", |it| {
        it.kind() == "verdict" && it.payload["seq"] == 10
    });
    for verdict in of_kind(&messages, "verdict") {
        assert!(verdict.payload["score"].is_number(), "{}", verdict.payload);
    }
}

/// Some image of a good part: its name and its path.
fn good_image() -> (String, std::path::PathBuf) {
    let folder = bundle::images().join("test/good");
    let image = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let name = image.file_name().into_string().unwrap();
    (name, image.path())
}

#[test]
fn a_watched_folder_may_be_empty_and_each_image_that_comes_is_judged() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(
        &broker,
        "[camera.top]\nframe_timeout = \"1ms\"\nquality_gate = false\n",
    );
    let watch = fs::read_to_string(station.configuration())
        .unwrap()
        .replace("path =", "watch = true\npath =");
    fs::write(station.configuration(), watch).unwrap();
    let parts = station.folder().join("parts");
    fs::create_dir_all(&parts).unwrap();
    let mut daemon = station.run();
    subscriber.until("ready", |it| it.payload["ready"] == true);
    let (name, image) = good_image();
    for number in 1..=3 {
        let arrives = parts.join(format!("{number}-{name}"));
        fs::copy(&image, arrives.with_extension("part")).unwrap();
        fs::rename(arrives.with_extension("part"), &arrives).unwrap();
        let messages = subscriber.until("its verdict", |it| it.kind() == "verdict");
        let verdict = messages.last().unwrap();
        assert_eq!(verdict.payload["part_id"], format!("{number}-{name}"));
        assert!(verdict.payload["score"].is_number(), "{}", verdict.payload);
        // A folder into which nothing comes is not a lost camera.
        let states = of_kind(&messages, "state").into_iter();
        let not_ready = states.filter(|it| it.payload["ready"] == false).count();
        assert_eq!(not_ready, 0, "{messages:?}");
    }
    daemon.terminate();
    subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn two_cameras_have_topics_and_numbers_of_their_own() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(
        &broker,
        "[camera.side.synthetic]\nparts = 5\nsize = \"96x96\"\n",
    );
    let names = lay_out_parts(&station);
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    for (camera, count) in [("top", names.len() as u64), ("side", 5)] {
        let topic = format!("flawd/replay/{camera}/verdict");
        let own: Vec<_> = messages
            .iter()
            .filter(|message| message.topic == topic)
            .collect();
        assert_eq!(numbers(&own), (1..=count).collect::<Vec<_>>(), "{camera}");
    }
}

#[test]
fn where_the_newest_wins_drops_are_counted_and_numbers_have_no_gap() {
    let broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"fast\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top]\noverflow = \"newest-wins\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n[evidence]\nenabled = false\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ));
    let mut daemon = station.run();
    // However long the model takes to load: parts come without end.
    let mut messages = subscriber.until("a hundred records", |it| {
        it.kind() == "record" && it.payload["seq"] == 100
    });
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    // Records are complete, whereas verdicts that a busy broker cannot take in time would be
    // dropped.
    let records = of_kind(&messages, "record");
    assert_eq!(
        numbers(&records),
        (1..=records.len() as u64).collect::<Vec<_>>()
    );
    let last = &messages[messages.len() - 2].payload["cameras"]["top"];
    let count = |name: &str| last[name].as_u64().unwrap_or(0);
    let judged = count("ok") + count("ng");
    assert!(judged >= records.len() as u64, "{last}");
    // Those that came before the model was loaded belong to no verdict. At the end one may be
    // waiting for the next stage, and one be on its way there.
    let counted =
        count("overrun") + count("missed") + count("unused") + count("no_decision") + judged;
    let uncounted = count("captured").checked_sub(counted);
    assert!(uncounted.is_some_and(|it| it <= 2), "{last}");
}

#[test]
fn what_is_late_is_published_without_a_decision_and_rejects_nothing() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = replay(&broker, "[camera.top]\ndeadline = \"1us\"\n");
    let names = lay_out_parts(&station);
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    assert!(of_kind(&messages, "defect").is_empty());
    let verdicts = of_kind(&messages, "verdict");
    assert_eq!(verdicts.len(), names.len());
    for verdict in verdicts {
        let payload = &verdict.payload;
        assert_eq!(
            (&payload["verdict"], &payload["reason"]),
            (&"no_decision".into(), &"late".into())
        );
        // The model's time is for parts that are still waited for.
        assert_eq!(payload.get("score"), None, "{payload}");
        assert!(payload["remaining_ms"].as_f64().unwrap() < 0.0, "{payload}");
    }
}
