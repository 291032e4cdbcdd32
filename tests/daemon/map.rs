//! The anomaly map of all scales: the same in prediction, evaluation and on the line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flawd::bundle::Bundle;
use flawd_core::anomaly::MapKind;
use flawd_testing::broker::Broker;
use flawd_testing::files::copy_folder;
use serde_json::Value;
use tempfile::TempDir;

use crate::bundle;
use crate::station::{Station, errors, flawd};

/// Runs `flawd <verb> <bundle> <images>`; gives what it printed.
fn command(verb: &str, bundle: &Path, images: &Path, options: &[&str]) -> String {
    let output = flawd()
        .arg(verb)
        .args([bundle, images])
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Regions and heatmaps are all that is reported of a map.
#[test]
fn regions_and_heatmaps_of_a_product_map_are_the_same_everywhere() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("often");
    copy_folder(bundle::other(), &bundle);
    let opened = Bundle::open(&bundle).unwrap();
    assert_eq!(opened.manifest().model.map, MapKind::Product);
    let test = bundle::images().join("test");
    // More than half of the good parts are to be reported with regions.
    let good = test.join("good");
    command("calibrate", &bundle, &good, &["--false-reject-rate", "0.6"]);

    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"replay\"\n[inference]\nbundle = \"{}\"\n\
         [evidence]\nfolder = \"evidence\"\nok_share = 1.0\n\
         [camera.top.folder]\npath = \"{}\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        bundle.display(),
        test.display(),
        broker.port
    ));
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let said: BTreeMap<String, &Value> = messages
        .iter()
        .filter(|message| message.kind() == "verdict")
        .map(|message| {
            let part = message.payload["part_id"].as_str().unwrap();
            (part.to_owned(), &message.payload)
        })
        .collect();

    let heatmaps = station.folder().join("heatmaps");
    let out = heatmaps.to_str().unwrap();
    command("evaluate", &bundle, bundle::images(), &["--out", out]);
    let (mut with_regions, mut drawn) = (0, 0);
    for (part, verdict) in &said {
        let image = test.join(part);
        let predicted = station.folder().join("predicted");
        let options = ["--json", "--out", predicted.to_str().unwrap()];
        let row: Value = command("predict", &bundle, &image, &options)
            .parse()
            .unwrap();
        assert_eq!(row["score"], verdict["score"], "{part}");
        if verdict["verdict"] == "ng" {
            // The verdict leaves an empty list out.
            let none = Value::Array(Vec::new());
            let on_the_line = verdict.get("regions").unwrap_or(&none);
            assert_eq!(row["regions"], *on_the_line, "{part}");
            with_regions += usize::from(row["regions"] != none);
        }

        let name = image.file_name().unwrap().display();
        let of_prediction = fs::read(predicted.join(format!("{name}.png"))).unwrap();
        let of_evaluation = fs::read(heatmaps.join(part)).unwrap();
        assert!(of_prediction == of_evaluation, "{part}");
        // What the disk was too slow for was left out, and the verdict says so.
        if let Some(path) = verdict["evidence"]["path"].as_str() {
            let of_the_line = path.replace(".png", ".map.png");
            let of_the_line = fs::read(station.folder().join("evidence").join(of_the_line));
            assert!(of_the_line.unwrap() == of_prediction, "{part}");
            drawn += 1;
        }
    }
    assert!(said.len() >= 10, "{said:?}");
    assert!(with_regions > 0 && drawn > 0, "{with_regions} {drawn}");
}
