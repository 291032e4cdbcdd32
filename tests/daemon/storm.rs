//! Triggers that come faster than they can be handled, without an end: flawd's messages go out
//! nevertheless, and the broker's answers are processed.

use flawd_testing::scripted::{Answer, Packet, Scripted, message};

use crate::station::Station;

const TRIGGER: &str = "flawd/press/top/trigger";

fn press(port: u16) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [camera.top.trigger]\nmode = \"mqtt\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n[evidence]\nenabled = false\n\
         [journal]\nsync = \"system\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n"
    ))
}

/// As fast as they can be read, so that the next one is always there.
#[test]
fn under_triggers_without_a_pause_verdicts_leave_and_their_acknowledgements_are_heard() {
    /// Far more than may be on the wire unacknowledged.
    const VERDICTS: usize = 200;
    let part = "x".repeat(64);
    let flood = message(TRIGGER, &format!(r#"{{"part_id":"{part}"}}"#)).repeat(100);
    let mut is_begun = false;
    let broker = Scripted::start(move |seen| match &seen.packet {
        Packet::Publish { topic, payload }
            if !is_begun && topic.ends_with("/state") && payload["ready"] == true =>
        {
            is_begun = true;
            Answer::WellUnder(flood.clone())
        }
        _ => Answer::Well,
    });
    let station = press(broker.port);
    let daemon = station.run_quiet();
    for _ in 0..VERDICTS {
        let seen = broker.until("a verdict", |it| it.packet.kind() == "verdict");
        assert!(seen.iter().all(|it| it.connection == 1), "{seen:#?}");
    }
    // Commands to the daemon come through as well: it ends, and reports it.
    daemon.terminate();
    broker.until("its last word", |it| match &it.packet {
        Packet::Publish { payload, .. } => payload == "stopped",
        _ => false,
    });
}
