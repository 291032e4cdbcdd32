//! A line whose parts no longer score like those of the calibration, from the score to the alarm.

use std::fs;

use flawd_testing::broker::Broker;
use flawd_testing::files::copy_folder;

use crate::bundle;
use crate::station::Station;

/// The tests' bundle, as if it had been calibrated on parts that score twice as high.
fn with_higher_calibration(station: &Station) {
    let folder = station.folder().join("bundle");
    copy_folder(bundle::path(), &folder);
    let path = folder.join("bundle.toml");
    let mut manifest: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    let calibration = manifest["calibration"].as_table_mut().unwrap();
    let double = |it: &mut toml::Value| *it = (2.0 * it.as_float().unwrap()).into();
    double(&mut calibration["threshold"]);
    let scores = calibration["scores"].as_array_mut().unwrap();
    scores.iter_mut().for_each(double);
    fs::write(&path, manifest.to_string()).unwrap();
}

#[test]
fn parts_that_score_unlike_the_calibration_raise_the_alarm_and_others_do_not() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n[evidence]\nenabled = false\n\
         [journal]\nsync = \"system\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {}\n\
         required_at_start = true\nheartbeat = \"100ms\"\n\
         [camera.changed]\nbundle = \"bundle\"\n\
         [camera.changed.synthetic]\nsize = \"96x96\"\nparts = 300\nrate = 100.0\n\
         [camera.usual]\n\
         [camera.usual.synthetic]\nsize = \"96x96\"\nparts = 300\nrate = 100.0\n",
        broker.port
    ));
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
