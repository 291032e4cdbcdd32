//! A line with pictures of more than 8 bits: judged with the depth of the bundle, or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flawd::bundle::Bundle;
use flawd::pictures::decode::decode_file;
use flawd_testing::broker::Broker;
use flawd_testing::files::copy_folder;
use image::{DynamicImage, ImageBuffer};
use serde_json::Value;
use tempfile::TempDir;

use crate::bundle;
use crate::station::{Station, errors, flawd};

/// The picture `from` at `to`, with values to `white` in 16 bits.
fn deepen(from: &Path, to: &Path, white: u32) {
    let image = image::open(from).unwrap().into_rgb8();
    let values = image.as_raw().iter();
    let values = values.map(|&value| ((u32::from(value) * white + 127) / 255) as u16);
    let deep = ImageBuffer::from_raw(image.width(), image.height(), values.collect());
    DynamicImage::ImageRgb16(deep.unwrap()).save(to).unwrap();
}

#[test]
fn a_line_judges_by_the_depth_of_its_bundle_and_refuses_what_is_deeper() {
    let folder = TempDir::new().unwrap();
    let (bundle, parts) = (folder.path().join("bundle"), folder.path().join("parts"));
    copy_folder(bundle::path(), &bundle);
    fs::create_dir(&parts).unwrap();
    let good = bundle::images().join("test/good");
    for number in 0..6 {
        let name = format!("{number:03}.png");
        deepen(&good.join(&name), &parts.join(&name), 4095);
    }
    let calibrated = flawd()
        .arg("calibrate")
        .args([&bundle, &parts])
        .args(["--false-reject-rate", "0.2", "--depth", "12"])
        .output()
        .unwrap();
    assert!(calibrated.status.success(), "{}", errors(&calibrated));
    deepen(&good.join("000.png"), &parts.join("deeper.png"), 5500);
    let predicted = flawd()
        .args(["predict", "--json"])
        .args([&bundle, &good])
        .output()
        .unwrap();
    let predicted: BTreeMap<String, Value> = String::from_utf8(predicted.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let row: Value = line.parse().unwrap();
            let name = Path::new(row["path"].as_str().unwrap()).file_name();
            (name.unwrap().display().to_string(), row["score"].clone())
        })
        .collect();

    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"deep\"\n[inference]\nbundle = \"{}\"\n\
         [evidence]\nfolder = \"evidence\"\nok_share = 1.0\n\
         [camera.top.folder]\npath = \"{}\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        bundle.display(),
        parts.display(),
        broker.port
    ));
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let verdicts: Vec<_> = messages
        .iter()
        .filter(|message| message.kind() == "verdict")
        .map(|message| &message.payload)
        .collect();
    assert_eq!(verdicts.len(), 7, "{verdicts:?}");
    let depth = Bundle::open(&bundle).unwrap().manifest().model.depth;
    let mut kept = 0;
    for verdict in verdicts {
        let part = verdict["part_id"].as_str().unwrap();
        if part == "deeper.png" {
            assert_eq!(verdict["verdict"], "no_decision", "{verdict}");
            assert_eq!(verdict["reason"], "image_quality", "{verdict}");
            let detail = verdict["detail"].as_str().unwrap();
            assert!(detail.contains("12 bits end at 4095"), "{detail}");
            continue;
        }
        assert_eq!(verdict["score"], predicted[part], "{part}");
        // What is kept of it is the picture that was judged.
        if let Some(path) = verdict["evidence"]["path"].as_str() {
            let path = station.folder().join("evidence").join(path);
            let judged = decode_file(&parts.join(part), depth).unwrap();
            assert_eq!(decode_file(&path, None).unwrap(), judged, "{part}");
            kept += 1;
        }
    }
    assert!(kept > 0, "the disk was too slow for all of them");
}
