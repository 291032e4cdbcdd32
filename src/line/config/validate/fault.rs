//! Faults of the synthetic line's camera: each with all the keys it needs.

use super::ANY_TIME;
use crate::line::config::{ConfigError, Document, Fault, Outage, Spell};
use crate::synthetic::fault::{self, Faults};

impl Fault {
    pub(crate) fn validate(&self, key: &str, document: &Document) -> Result<Faults, ConfigError> {
        let outage = |name: &str, outage: &Option<Outage>| {
            let Some(outage) = outage else {
                return Ok(None);
            };
            let of = |part: &str| format!("{key}.{name}.{part}");
            let lasts = document.require(&of("lasts"), outage.lasts)?;
            document.check_duration(&of("lasts"), lasts, ANY_TIME)?;
            Ok(Some(fault::Outage {
                after: document.require(&of("after"), outage.after)?,
                lasts,
            }))
        };
        let spell = |name: &str, spell: &Option<Spell>| {
            let Some(spell) = spell else {
                return Ok(None);
            };
            let of = |part: &str| format!("{key}.{name}.{part}");
            Ok(Some(fault::Spell {
                after: document.require(&of("after"), spell.after)?,
                parts: document.require(&of("parts"), spell.parts)?,
            }))
        };
        Ok(Faults {
            stall: outage("stall", &self.stall)?,
            loss: outage("loss", &self.loss)?,
            dark: spell("dark", &self.dark)?,
            frozen: spell("frozen", &self.frozen)?,
        })
    }
}
