//! Triggers, frames, losses and commands in any order.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use flawd::line::pipeline::admit::inbox::Control;
use flawd::line::pipeline::part::moment::Moment;
use flawd::line::pipeline::part::trigger::Trigger;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::rig::{Rig, Shot, trigger};
/// What may happen on a line.
#[derive(Clone, Copy, Debug)]
enum Step {
    Trigger { recipe: bool, deadline_ms: u64 },
    Shot(Shot),
    Pause,
    Resume,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0_u64..30)
            .prop_map(|(recipe, deadline_ms)| Step::Trigger { recipe, deadline_ms }),
        6 => Just(Step::Shot(Shot::Frame)),
        1 => Just(Step::Shot(Shot::Lost)),
        1 => Just(Step::Shot(Shot::Found)),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        4 => (0_u64..8).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 32, failure_persistence: None, ..Config::default() })]

    /// Whatever happens in whatever order: each trigger ends once.
    #[test]
    fn each_trigger_ends_exactly_once_whatever_happens(
        steps in prop::collection::vec(step(), 0..60),
        is_streaming: bool,
        queue in 1_usize..4,
        match_within in 1_u64..40,
    ) {
        let overflow = if is_streaming { "newest-wins" } else { "block" };
        let rig = Rig::start(&format!(
            "overflow = \"{overflow}\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
             match_within = \"{match_within}ms\"\nqueue = {queue}"
        ));
        let (_sender, never) = mpsc::channel::<()>();
        let mut expected = BTreeSet::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Trigger { recipe, deadline_ms } => {
                    let part = format!("part-{number}");
                    let trigger = Trigger {
                        recipe: Some(if recipe { "left" } else { "unknown" }.to_owned()),
                        deadline: (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms)),
                        ..trigger(&part, Moment::now())
                    };
                    rig.inbox.trigger(trigger).unwrap();
                    expected.insert(part);
                }
                Step::Shot(shot) => rig.shots.send(shot).unwrap(),
                Step::Pause => rig.inbox.order(Control::Pause),
                Step::Resume => rig.inbox.order(Control::Resume),
                Step::Wait(ms) => {
                    never.recv_timeout(Duration::from_millis(ms)).ok();
                }
            }
        }
        let ends = rig.stop();
        let parts: Vec<_> = ends.into_iter().filter_map(|it| it.verdict.part_id).collect();
        prop_assert_eq!(parts.len(), expected.len());
        prop_assert_eq!(parts.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}
