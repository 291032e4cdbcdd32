//! Where an answer is wanted: response topic and correlation data in MQTT 5.
//!
//! Any client that may send a trigger may name any topic here, and the daemon publishes there, with
//! the daemon's rights. So a topic is checked before it is passed on.

use flawd_core::event::is_unfit;

/// Maximum bytes of a response topic, and of correlation data: they are kept with each part until
/// it has its verdict. Brokers set their own limits, some of them lower, and end the connection
/// above them.
const LONGEST: usize = 1024;

/// Maximum levels of a response topic; mosquitto ends the connection above 200.
const DEEPEST: usize = 100;

/// Where an answer is wanted, and what has to be sent with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The topic for the answer: no wildcards, none of the broker's own topics, none under the
    /// root.
    pub topic: String,
    /// Returned unchanged; it identifies the request to the requester.
    pub correlation: Option<Vec<u8>>,
}

/// Why a response topic cannot be published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it is empty")]
    Empty,
    #[error("its correlation data has more than {LONGEST} bytes")]
    TooMuchCorrelation,
    #[error("it holds a wildcard, for which a broker would cut the connection")]
    Wildcard,
    #[error(
        "it holds a control character or a noncharacter, for which a broker may cut the connection"
    )]
    Control,
    #[error("it has more than {LONGEST} bytes or {DEEPEST} levels")]
    TooLong,
    #[error("topics that begin with $ belong to the broker")]
    Reserved,
    /// An answer there would look like a verdict or a command of this daemon.
    #[error("it lies under this daemon's own root")]
    Own,
}

impl Reply {
    /// Creates a reply, if it is on a topic that a daemon with this root may publish to.
    pub(crate) fn new(
        topic: &str,
        correlation: Option<Vec<u8>>,
        root: &str,
    ) -> Result<Self, Unfit> {
        if topic.is_empty() {
            return Err(Unfit::Empty);
        }
        if correlation.as_ref().is_some_and(|it| it.len() > LONGEST) {
            return Err(Unfit::TooMuchCorrelation);
        }
        if topic.contains(['#', '+']) {
            return Err(Unfit::Wildcard);
        }
        if topic.contains(is_unfit) {
            return Err(Unfit::Control);
        }
        if topic.len() > LONGEST || topic.split('/').count() > DEEPEST {
            return Err(Unfit::TooLong);
        }
        if topic.starts_with('$') {
            return Err(Unfit::Reserved);
        }
        let is_own = topic
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_own {
            return Err(Unfit::Own);
        }
        Ok(Self {
            topic: topic.to_owned(),
            correlation,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &str = "flawd/press-3";

    #[test]
    fn a_topic_that_would_do_harm_is_refused() {
        for (topic, unfit) in [
            ("", Unfit::Empty),
            ("answers/#", Unfit::Wildcard),
            ("answers/+/1", Unfit::Wildcard),
            ("an\0swers", Unfit::Control),
            ("answers/\u{fffe}", Unfit::Control),
            ("answers/\u{fdd0}", Unfit::Control),
            (&"a".repeat(1025), Unfit::TooLong),
            (&"a/".repeat(100), Unfit::TooLong),
            ("$SYS/broker", Unfit::Reserved),
            ("$share/all/answers", Unfit::Reserved),
            ("flawd/press-3", Unfit::Own),
            ("flawd/press-3/top/defect", Unfit::Own),
        ] {
            assert_eq!(Reply::new(topic, None, ROOT), Err(unfit), "{topic:?}");
        }
    }

    #[test]
    fn what_is_too_long_to_be_kept_is_refused() {
        let topic = "a".repeat(LONGEST);
        assert!(Reply::new(&topic, Some(vec![0; LONGEST]), ROOT).is_ok());
        let longer = format!("{topic}a");
        assert_eq!(Reply::new(&longer, None, ROOT), Err(Unfit::TooLong));
        let more = Some(vec![0; LONGEST + 1]);
        let refused = Reply::new("answers", more, ROOT);
        assert_eq!(refused, Err(Unfit::TooMuchCorrelation));
    }

    #[test]
    fn a_topic_that_only_begins_like_the_root_is_another_one() {
        for topic in ["flawd/press-31", "flawd", "plc/flawd/press-3"] {
            assert!(Reply::new(topic, None, ROOT).is_ok(), "{topic}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_goes_back_as_it_came(
            topic in ".{0,40}",
            correlation in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        ) {
            if let Ok(reply) = Reply::new(&topic, correlation.clone(), ROOT) {
                prop_assert!(!topic.is_empty() && !topic.contains(['#', '+', '\0']));
                prop_assert_eq!(reply, Reply { topic, correlation });
            }
        }
    }
}
