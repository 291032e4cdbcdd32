//! Evidence: pictures and anomaly maps of judged parts on disk, for those who ask later what the
//! part looked like.
//!
//! ```text
//! whoever judged ──admit──► queue (bounded) ──► writer's thread ──► <camera>/<day>/<seq>-<what>-<series>.png
//!        ▲                    │                  PNG, quota, age,                                   .map.png
//!        └─ path, SHA-256 ────┘                  free space, retry
//! ```
//!
//! [`EvidenceSink::admit`] never waits: what cannot be kept is counted and left out. When the disk is
//! full, evidence goes first: its own oldest files are deleted, and when there are none left it
//! suspends itself until there is room again. Files appear whole or not at all.
//!
//! Knows pictures, files and a quota; nothing of the pipeline's stages, of records, or of the
//! broker. Two stores do not share a folder: the first one locks it.

mod disk;
mod error;
mod name;
mod queue;
mod store;
mod writer;

use std::sync::Arc;

use flawd_core::anomaly::AnomalyMap;
use flawd_core::event::EvidenceData;
use flawd_core::image::{RgbImage, Size};
use flawd_core::preprocess::Geometry;
use flawd_core::verdict::Verdict;
use jiff::Timestamp;
use tracing::error;

pub use super::config::EvidenceSettings;
use crate::files::digest;
pub use error::EvidenceError;
use queue::{EvidenceQueue, EvidenceRefusal};
pub use writer::EvidenceWriter;

/// What is kept of one part.
#[derive(Clone, Debug)]
pub struct EvidenceItem {
    /// Name of the camera: letters, digits, `-` and `_`, since it becomes a folder.
    pub camera: String,
    /// Number of the verdict in its camera.
    pub seq: u64,
    /// Name of whatever gave the number, letters and digits: what has the same camera, number and
    /// series is the same part.
    pub series: String,
    /// What was said about the part.
    pub verdict: Verdict,
    /// When the picture was taken: its day is a folder, and the oldest go first.
    pub captured: Timestamp,
    /// The picture as the camera gave it.
    pub picture: Arc<RgbImage>,
    /// Where it is unusual, if the model got that far.
    pub anomaly: Option<Anomaly>,
}

/// An anomaly map with what it takes to draw it over its picture.
#[derive(Clone, Debug)]
pub struct Anomaly {
    /// The map.
    pub map: AnomalyMap,
    /// Which part of the picture was inspected.
    pub geometry: Geometry,
    /// A score above this is a defect; anchors the colours.
    pub threshold: f32,
}

impl EvidenceItem {
    /// Bytes of memory until it is on disk.
    fn weight(&self) -> usize {
        let map = self
            .anomaly
            .as_ref()
            .map_or(0, |anomaly| std::mem::size_of_val(anomaly.map.values()));
        self.picture.pixels().len() + map
    }
}

/// What there is, since [`EvidenceSink::open`] or before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceUsage {
    /// Files on disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Exhibits that were to be kept and were not, since the start.
    pub dropped: u64,
    /// Why nothing can be written at present.
    pub suspended: Option<String>,
}

/// Takes items. A cheap handle: clones lead to the same writer, which ends after the last one
/// is gone.
#[derive(Clone, Debug)]
pub struct EvidenceSink {
    settings: Arc<EvidenceSettings>,
    queue: queue::EvidenceSender,
}

impl EvidenceSink {
    /// Counts what is in the folder, which is made where it is missing, and removes what an
    /// earlier run left unfinished. The writer has to be [run](EvidenceWriter::run) by a thread.
    ///
    /// A folder that cannot be used is not an error here: inspection must begin all the same.
    /// Evidence is then suspended, says so, and begins when the folder can be used.
    ///
    /// # Errors
    /// [`EvidenceError::InUse`]: the folder belongs to another station that is running.
    pub fn open(settings: EvidenceSettings) -> Result<(Self, EvidenceWriter), EvidenceError> {
        let settings = Arc::new(settings);
        let queue = Arc::new(EvidenceQueue::default());
        let writer = EvidenceWriter::open(Arc::clone(&settings), Arc::clone(&queue))?;
        let queue = queue::EvidenceSender::new(queue);
        Ok((Self { settings, queue }, writer))
    }

    /// Whether the picture of such a part is to be kept: always for `ng` and `no_decision`; for
    /// `ok` by a sample that depends on camera and number alone.
    pub fn wants(&self, verdict: Verdict, camera: &str, seq: u64) -> bool {
        verdict != Verdict::Ok || is_in_sample(camera, seq, self.settings.ok_share)
    }

    /// Puts an item on the way to the disk and says where it will be. Never waits.
    ///
    /// `None`, and counted, where the writer is behind, the folder cannot be written to, or the
    /// picture is larger than all evidence may be. Otherwise the file appears there, unless the
    /// disk fails it or the daemon ends before the disk recovers; that is counted too.
    ///
    /// The digest is that of the pixels, 8-bit RGB, row by row, so that it can be known before the
    /// file is made and does not depend on the encoder. It takes 1.5 ms for 1280x720 where the
    /// processor has instructions for SHA-256 (measured on an EPYC).
    pub fn admit(&self, item: EvidenceItem) -> Option<EvidenceData> {
        let size = item.picture.size();
        if png_bound(size) > self.settings.max_size {
            if self.queue.refuse(EvidenceRefusal::TooLarge) {
                error!(
                    camera = item.camera,
                    %size,
                    max_size = self.settings.max_size,
                    "Picture left out: it is larger than evidence.max_size"
                );
            }
            return None;
        }
        let place = self.queue.reserve(item.weight())?;
        let data = EvidenceData {
            path: name::picture(&name::stem(&item)),
            sha256: digest::sha256(item.picture.pixels()),
        };
        place.fill(item);
        Some(data)
    }

    /// What there is now.
    pub fn usage(&self) -> EvidenceUsage {
        self.queue.usage()
    }
}

/// True for `share` of all `(camera, seq)`: the first eight bytes of the SHA-256 of
/// `<camera>/<seq>`, read as a fraction, lie below it.
fn is_in_sample(camera: &str, seq: u64, share: f64) -> bool {
    let digest = digest::sha256(format!("{camera}/{seq}").as_bytes());
    let head = digest.bytes().first_chunk().expect("a digest has 32 bytes");
    let fraction = u64::from_be_bytes(*head) as f64 / 2_f64.powi(64);
    // Rounding may make the fraction 1, and a share of 1 is all of them.
    fraction < share || share >= 1.0
}

/// No PNG file of such a picture is longer: three bytes a pixel and one a row, which an encoder
/// that cannot compress them stores in pieces with a small head each.
fn png_bound(size: Size) -> u64 {
    let raw = size.area().saturating_mul(3).saturating_add(size.height) as u64;
    raw.saturating_add(raw / 64).saturating_add(1024)
}

#[cfg(test)]
mod tests;
