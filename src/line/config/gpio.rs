//! Lines of GPIO chips: `[camera.<name>.trigger.input]`, `[camera.<name>.reject]` and
//! `[monitor.heartbeat]`, as written.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

/// `[camera.<name>.trigger.input]`: the line of the sensor that reports a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerInput {
    /// The chip: its device node, a link to one, or its label.
    pub chip: Option<String>,
    /// The line's name. Exactly one of `line` and `offset` is required.
    pub line: Option<String>,
    /// The line's number on its chip.
    pub offset: Option<u32>,
    /// Whether the line is active when its level is low.
    pub active_low: bool,
    /// Which change of the line is a trigger.
    pub edge: EdgeKind,
    /// What pulls the line while nothing drives it.
    pub bias: Bias,
    /// The kernel ignores changes that do not last this long; zero for none.
    #[serde(with = "compact::required")]
    pub debounce: Duration,
}

/// Which change of an input line is a trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeKind {
    /// The line becomes active.
    #[default]
    Rising,
    /// The line becomes inactive.
    Falling,
}

/// What pulls an input line while nothing drives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// What the board has set.
    #[default]
    AsIs,
    /// A resistor in the chip, to high.
    PullUp,
    /// A resistor in the chip, to low.
    PullDown,
    /// Nothing.
    Disabled,
}

/// How an output line is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drive {
    /// To both levels.
    #[default]
    PushPull,
    /// Only to low; a resistor pulls it to high.
    OpenDrain,
    /// Only to high; a resistor pulls it to low.
    OpenSource,
}

/// `[camera.<name>.reject]`: the line that removes a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reject {
    /// The chip: its device node, a link to one, or its label.
    pub chip: Option<String>,
    /// The line's name. Exactly one of `line` and `offset` is required.
    pub line: Option<String>,
    /// The line's number on its chip.
    pub offset: Option<u32>,
    /// Whether the line is active when its level is low.
    pub active_low: bool,
    /// How the line is driven.
    pub drive: Drive,
    /// From the picture until the part is at the actuator. Required.
    #[serde(with = "compact::optional")]
    pub delay: Option<Duration>,
    /// How long the line is active.
    #[serde(with = "compact::required")]
    pub length: Duration,
    /// What happens to a part without a decision.
    pub no_decision: UndecidedRule,
    /// A pulse that would begin later than this after its moment is left out.
    #[serde(with = "compact::required")]
    pub tolerance: Duration,
}

/// What happens to a part without a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UndecidedRule {
    /// It is removed, as an `ng` part is.
    #[default]
    Reject,
    /// It passes.
    Pass,
}

/// `[monitor.heartbeat]`: the line that changes as long as parts are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heartbeat {
    /// The chip: its device node, a link to one, or its label.
    pub chip: Option<String>,
    /// The line's name. Exactly one of `line` and `offset` is required.
    pub line: Option<String>,
    /// The line's number on its chip.
    pub offset: Option<u32>,
    /// Whether the line is active when its level is low.
    pub active_low: bool,
    /// How the line is driven.
    pub drive: Drive,
    /// From one change of the line to the next.
    #[serde(with = "compact::required")]
    pub interval: Duration,
}

impl Default for TriggerInput {
    fn default() -> Self {
        Self {
            chip: None,
            line: None,
            offset: None,
            active_low: false,
            edge: EdgeKind::default(),
            bias: Bias::default(),
            // Sensors of lines have electronic outputs, which hardly bounce.
            debounce: Duration::from_millis(1),
        }
    }
}

impl Default for Reject {
    fn default() -> Self {
        Self {
            chip: None,
            line: None,
            offset: None,
            active_low: false,
            drive: Drive::default(),
            delay: None,
            length: Duration::from_millis(50),
            no_decision: UndecidedRule::default(),
            tolerance: Duration::from_millis(10),
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            chip: None,
            line: None,
            offset: None,
            active_low: false,
            drive: Drive::default(),
            interval: Duration::from_millis(500),
        }
    }
}
