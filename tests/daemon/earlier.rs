//! This version takes over what an earlier one left on disk: `tests/data/6dc9033` has a bundle and
//! a journal with twelve unsent records, both made by that commit.

use std::path::{Path, PathBuf};

use flawd_testing::broker::Broker;
use flawd_testing::files::copy_folder;

use crate::station::Station;

fn left(what: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/data/6dc9033").join(what)
}

#[test]
fn the_records_of_an_earlier_version_are_sent_and_its_bundle_judges_further_parts() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = {:?}\nthreads = 1\n\
         [camera.top.synthetic]\nsize = \"128x128\"\nparts = 3\n\
         [journal]\ncapacity = \"1MiB\"\n[evidence]\nenabled = false\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        left("bundle"),
        broker.port
    ));
    let journal = station.folder().join("state/flawd/press/journal");
    copy_folder(&left("journal"), &journal);

    // The line ends with its three parts.
    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let records: Vec<_> = messages.iter().filter(|it| it.kind() == "record").collect();
    let said = records.iter().map(|it| {
        let record = &it.payload;
        let is_decided = ["ok", "ng"].contains(&record["verdict"].as_str().unwrap());
        assert!(is_decided && record["score"].is_number(), "{record}");
        (
            record["seq"].as_u64().unwrap(),
            record["historical"] == true,
        )
    });
    let expected = (1..=15).map(|seq| (seq, seq <= 12));
    assert!(said.eq(expected), "{records:#?}");
}
