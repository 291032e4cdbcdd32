//! A line whose parts no longer are like those of the calibration, from the score or the picture to
//! the alarm.

use std::fs;

use flawd_testing::broker::Broker;
use flawd_testing::files::copy_folder;
use flawd_testing::schema::Schema;

use crate::bundle;
use crate::station::Station;

/// A copy of the tests' bundle with another manifest.
fn with_manifest(station: &Station, change: impl FnOnce(&mut toml::Table)) {
    let folder = station.folder().join("bundle");
    copy_folder(bundle::path(), &folder);
    let path = folder.join("bundle.toml");
    let mut manifest: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).unwrap();
}

fn number(value: &mut toml::Value, change: impl Fn(f64) -> f64) {
    *value = change(value.as_float().unwrap()).into();
}

/// The tests' bundle, as if it had been calibrated on parts that score twice as high.
fn with_higher_calibration(station: &Station) {
    with_manifest(station, |manifest| {
        let calibration = manifest["calibration"].as_table_mut().unwrap();
        let double = |it: &mut toml::Value| number(it, |it| 2.0 * it);
        double(&mut calibration["threshold"]);
        let scores = calibration["scores"].as_array_mut().unwrap();
        scores.iter_mut().for_each(double);
    });
}

/// The tests' bundle, as if it had been calibrated under a weaker lamp, with five times as many
/// pictures: a dozen are too few for any evidence to be certain of an alarm.
fn with_darker_calibration(station: &Station) {
    with_manifest(station, |manifest| {
        let values = &mut manifest["quality"]["pictures"]["values"]["brightness"];
        let values = values.as_array_mut().unwrap();
        *values = (values.iter()).flat_map(|it| vec![it.clone(); 5]).collect();
        values.iter_mut().for_each(|it| number(it, |it| it - 20.0));
    });
}

/// Two cameras of which one, `changed`, has the changed bundle.
fn station(broker: &Broker) -> Station {
    Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n[evidence]\nenabled = false\n\
         [journal]\nsync = \"system\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {}\n\
         required_at_start = true\nheartbeat = \"100ms\"\n\
         [camera.changed]\nbundle = \"bundle\"\n\
         [camera.changed.synthetic]\nsize = \"96x96\"\nparts = 300\nrate = 100.0\n\
         [camera.usual]\n\
         [camera.usual.synthetic]\nsize = \"96x96\"\nparts = 300\nrate = 100.0\n",
        broker.port
    ))
}

#[test]
fn parts_that_score_unlike_the_calibration_raise_the_alarm_and_others_do_not() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = station(&broker);
    with_higher_calibration(&station);
    let mut daemon = station.run();
    daemon.wait_for_line("the alarm", |line| {
        line.contains("Good parts no longer score like those of the calibration")
            && line.contains("camera=\"changed\"")
    });
    let drift = |camera: &str, it: &flawd_testing::broker::Message| {
        it.payload["cameras"][camera]["drift"]["alarm"].clone()
    };
    let states = subscriber.until("the alarm in the state", |it| {
        it.kind() == "state" && drift("changed", it) == true
    });
    assert_eq!(drift("usual", states.last().unwrap()), false);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn pictures_unlike_those_of_the_calibration_raise_the_alarm_that_names_the_cause() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = station(&broker);
    with_darker_calibration(&station);
    let mut daemon = station.run();
    daemon.wait_for_line("the alarm", |line| {
        line.contains("Pictures are no longer like those of the calibration")
            && line.contains("light: mean luma")
            && line.contains("camera=\"changed\"")
    });
    let drift = |camera: &str, it: &flawd_testing::broker::Message| {
        it.payload["cameras"][camera]["drift"].clone()
    };
    let states = subscriber.until("the cause in the state", |it| {
        it.kind() == "state" && drift("changed", it)["causes"].is_array()
    });
    let last = states.last().unwrap();
    Schema::published("state").check(&last.payload).unwrap();
    let changed = drift("changed", last);
    assert_eq!(changed["alarm"], true);
    let causes = changed["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 1, "{causes:?}");
    let cause = &causes[0];
    assert_eq!(
        (&cause["cause"], &cause["quantity"]),
        (&"light".into(), &"brightness".into())
    );
    let of = |name: &str| cause[name].as_f64().unwrap();
    assert!(of("now") > of("high") && of("low") <= of("usual") && of("usual") <= of("high"));
    assert_eq!(drift("usual", last)["alarm"], false);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}
