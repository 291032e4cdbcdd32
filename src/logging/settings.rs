//! The section `[log]` of the configuration.

use serde::{Deserialize, Serialize};

/// `[log]`: what is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or a filter in `tracing`'s syntax. `FLAWD_LOG` takes precedence.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `journal` if standard error goes to systemd's journal, else `text`.
    #[default]
    Auto,
    /// Human-readable, with the time.
    Text,
    /// With a priority prefix, without the time, which the journal adds.
    Journal,
    /// One JSON object per line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}
