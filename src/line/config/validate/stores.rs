//! What is kept on disk: the place and the limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::line::config::{
    Config, ConfigError, Document, EvidenceSettings, JournalSettings, state,
};

/// Less than this is a mistake, for example a size without its unit.
const SMALLEST_STORE: ByteSize = ByteSize::mib(1);

impl Config {
    pub(crate) fn validate_state(
        &self,
        station: &str,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<PathBuf, ConfigError> {
        match &self.station.state {
            Some(folder) => document.path("station.state", folder),
            None => state::default_folder(station, variables).ok_or_else(|| {
                document.value_error(
                    "station.state",
                    "is missing, and the environment names no folder for state: neither \
                     $STATE_DIRECTORY (StateDirectory= of a unit) nor $XDG_STATE_HOME nor $HOME",
                )
            }),
        }
    }

    pub(crate) fn validate_journal(
        &self,
        state: &Path,
        document: &Document,
    ) -> Result<JournalSettings, ConfigError> {
        document.check_store("journal.capacity", self.journal.capacity)?;
        Ok(JournalSettings {
            folder: state.join("journal"),
            capacity: self.journal.capacity.as_u64(),
            durability: self.journal.sync,
        })
    }

    pub(crate) fn validate_evidence(
        &self,
        state: &Path,
        journal: &JournalSettings,
        document: &Document,
    ) -> Result<Option<EvidenceSettings>, ConfigError> {
        let evidence = &self.evidence;
        document.check_store("evidence.max_size", evidence.max_size)?;
        if evidence.max_age.is_zero() {
            return Err(document.value_error(
                "evidence.max_age",
                "would keep nothing; `enabled = false` says so",
            ));
        }
        document.check_share("evidence.ok_share", evidence.ok_share)?;
        let folder = match &evidence.folder {
            Some(folder) => document.path("evidence.folder", folder)?,
            None => state.join("evidence"),
        };
        Ok(evidence.enabled.then(|| EvidenceSettings {
            folder,
            max_size: evidence.max_size.as_u64(),
            max_age: evidence.max_age,
            ok_share: evidence.ok_share,
            reserve: journal.capacity.saturating_add(evidence.keep_free.as_u64()),
        }))
    }
}

impl Document {
    fn check_store(&self, key: &str, size: ByteSize) -> Result<(), ConfigError> {
        if size < SMALLEST_STORE {
            let problem = format!("{size} is too little; at least {SMALLEST_STORE}");
            return Err(self.value_error(key, problem));
        }
        Ok(())
    }
}
