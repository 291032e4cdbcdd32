//! Evidence: pictures and anomaly maps of judged parts on disk, to show later what the part looked
//! like.
//!
//! ```text
//! judged part ─admit─► queue (bounded) ─► writer ─► <camera>/<day>/<seq>-<what>-<series>.png
//!      ▲                  │               PNG, quota,                                   .map.png
//!      └─ path, SHA-256 ──┘               age, free space, retry
//! ```
//!
//! [`EvidenceSink::admit`] never waits: what cannot be kept is counted and left out. When the disk
//! is full, evidence yields first: its oldest files are deleted, and when none are left it suspends
//! itself until there is space again. Files appear complete or not at all.
//!
//! Handles pictures, files and a quota; contains nothing about the pipeline's stages, records, or
//! the broker. Two stores do not share a folder: the first one locks it.

mod disk;
mod error;
mod index;
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

/// What is kept about one part.
#[derive(Clone, Debug)]
pub struct EvidenceItem {
    /// Name of the camera: letters, digits, `-` and `_`, since it becomes a folder.
    pub camera: String,
    /// Number of the verdict, per camera.
    pub seq: u64,
    /// Name of the numbering, letters and digits: the same camera, number and series mean the same
    /// part.
    pub series: String,
    /// The part's verdict.
    pub verdict: Verdict,
    /// When the picture was taken: its day becomes a folder, and the oldest are deleted first.
    pub captured: Timestamp,
    /// The picture as the camera delivered it.
    pub picture: Arc<RgbImage>,
    /// The anomaly map, if the model produced one.
    pub anomaly: Option<Anomaly>,
}

/// An anomaly map with what is needed to draw it over its picture.
#[derive(Clone, Debug)]
pub struct Anomaly {
    /// The map.
    pub map: AnomalyMap,
    /// Region of interest, rotation and flip of the inspected part of the picture.
    pub geometry: Geometry,
    /// A score above this is a defect; anchors the colours.
    pub threshold: f32,
}

impl EvidenceItem {
    /// Returns the bytes of memory that it holds until it is on disk.
    fn weight(&self) -> usize {
        let map = self
            .anomaly
            .as_ref()
            .map_or(0, |anomaly| std::mem::size_of_val(anomaly.map.values()));
        self.picture.pixels().len() + map
    }
}

/// Current usage, including files from before [`EvidenceSink::open`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceUsage {
    /// Files on disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items that should have been kept and were not, since the start.
    pub dropped: u64,
    /// Why nothing can be written at present.
    pub suspended: Option<String>,
}

/// Accepts items. A cheap handle: clones lead to the same writer, which ends after the last one is
/// gone.
#[derive(Clone, Debug)]
pub struct EvidenceSink {
    settings: Arc<EvidenceSettings>,
    queue: queue::EvidenceSender,
}

impl EvidenceSink {
    /// Counts what is in the folder, which is created if missing, and removes what an earlier run
    /// left unfinished. The writer must be [run](EvidenceWriter::run) on a thread.
    ///
    /// A folder that cannot be used is not an error here: inspection must begin anyway. Evidence is
    /// then suspended, reports so, and begins when the folder can be used.
    ///
    /// # Errors
    /// [`EvidenceError::InUse`]: the folder belongs to another running station.
    pub fn open(settings: EvidenceSettings) -> Result<(Self, EvidenceWriter), EvidenceError> {
        let settings = Arc::new(settings);
        let queue = Arc::new(EvidenceQueue::default());
        let writer = EvidenceWriter::open(Arc::clone(&settings), Arc::clone(&queue))?;
        let queue = queue::EvidenceSender::new(queue);
        Ok((Self { settings, queue }, writer))
    }

    /// Returns whether the picture of such a part is to be kept: always for `ng` and `no_decision`;
    /// for `ok` by a sample that depends on camera and number alone.
    pub fn wants(&self, verdict: Verdict, camera: &str, seq: u64) -> bool {
        verdict != Verdict::Ok || is_in_sample(camera, seq, self.settings.ok_share)
    }

    /// Queues an item for the disk and returns where it will be. Never waits.
    ///
    /// Returns `None`, and counts the item, if the writer is behind, the folder cannot be written
    /// to, or the picture is larger than all evidence may be. Otherwise the file appears there,
    /// unless the disk fails or the daemon ends before the disk recovers; that is counted too.
    ///
    /// The digest is that of the pixels, 8-bit RGB, row by row, so that it is known before the file
    /// is written and does not depend on the encoder. It takes 1.5 ms for 1280x720 if the processor
    /// has instructions for SHA-256 (measured on an EPYC).
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

    /// Returns the current usage.
    pub fn usage(&self) -> EvidenceUsage {
        self.queue.usage()
    }
}

/// Returns `true` for `share` of all `(camera, seq)`: the first eight bytes of the SHA-256 of
/// `<camera>/<seq>`, read as a fraction, are below it.
fn is_in_sample(camera: &str, seq: u64, share: f64) -> bool {
    let digest = digest::sha256(format!("{camera}/{seq}").as_bytes());
    let head = digest.bytes().first_chunk().expect("a digest has 32 bytes");
    let fraction = u64::from_be_bytes(*head) as f64 / 2_f64.powi(64);
    // Rounding may make the fraction 1, and a share of 1 means all of them.
    fraction < share || share >= 1.0
}

/// Returns the maximum length of such a picture's PNG file: three bytes per pixel and one per row,
/// which an encoder that cannot compress them stores in pieces with a small header each.
fn png_bound(size: Size) -> u64 {
    let raw = size.area().saturating_mul(3).saturating_add(size.height) as u64;
    raw.saturating_add(raw / 64).saturating_add(1024)
}

#[cfg(test)]
mod tests;
