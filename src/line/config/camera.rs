//! `[camera.<name>]` and what is below it: where frames come from, what requests verdicts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use flawd_core::image::Size;
use flawd_core::preprocess::Geometry;
use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

use super::PipelineText;
use super::gpio::{Reject, TriggerInput};

/// `[camera.<name>]`: one camera. Exactly one of `folder`, `synthetic`, `v4l2` and `gstreamer`
/// sets where its frames come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Camera {
    /// Image files.
    pub folder: Option<Folder>,
    /// A simulated line of parts.
    pub synthetic: Option<Synthetic>,
    /// A camera attached to the machine.
    pub v4l2: Option<V4l2>,
    /// A pipeline of GStreamer, for example of a network camera.
    pub gstreamer: Option<Gstreamer>,
    /// What happens to a frame when the previous one is still waiting. Default: `block` for
    /// `folder` and `synthetic`, which can wait; `newest-wins` for cameras, which cannot.
    pub overflow: Option<Overflow>,
    /// How long a verdict is useful, counted from the trigger or, in free run, from the picture;
    /// later ones are `no_decision: late`. A trigger may set another value.
    #[serde(with = "compact::optional")]
    pub deadline: Option<Duration>,
    /// What requests verdicts.
    pub trigger: TriggerConfig,
    /// The output that removes a part.
    pub reject: Option<Reject>,
    /// Whether pictures that are darker, brighter or less sharp than any good one, and pictures of
    /// a camera that has frozen, are `no_decision: image_quality`. Default: true.
    pub quality_gate: Option<bool>,
    /// A camera whose frame is overdue for this long counts as lost.
    #[serde(with = "compact::optional")]
    pub frame_timeout: Option<Duration>,
    /// Region of interest, rotation and flip. Defaults to those the bundle was trained with; if
    /// set, replaces them as a whole.
    pub geometry: Option<Geometry>,
    /// The bundle's folder; defaults to that of `[inference]`.
    pub bundle: Option<PathBuf>,
    /// A second bundle that scores this camera's parts as well and decides nothing. If unset, and
    /// the camera has no bundle of its own, defaults to that of `[inference]`.
    pub shadow: Option<PathBuf>,
    /// The recipes that a trigger may request, by name.
    pub recipe: BTreeMap<String, Recipe>,
}

/// `[camera.<name>.recipe.<recipe>]`: what judges the parts whose trigger requests this recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The bundle's folder. Required.
    pub bundle: Option<PathBuf>,
}

/// `[camera.<name>.trigger]`: what requests verdicts, and which frame a trigger gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerConfig {
    /// Every frame, a timer, messages on the topic `<camera>/trigger`, or an input line.
    pub mode: TriggerKind,
    /// Time from one trigger to the next, with `mode = "interval"`.
    #[serde(with = "compact::optional")]
    pub interval: Option<Duration>,
    /// From the trigger until the part is in front of the camera.
    #[serde(with = "compact::required")]
    pub delay: Duration,
    /// A frame taken further away in time shows another part: `no_decision: trigger_unmatched`.
    #[serde(with = "compact::required")]
    pub match_within: Duration,
    /// How many triggers may wait for the camera, and how many for the model. Beyond that, the
    /// oldest is dropped: `no_decision: overrun`.
    pub queue: usize,
    /// Whether triggers without `sent_at` are refused, with `mode = "mqtt"`.
    pub require_sent_at: bool,
    /// A trigger whose `sent_at` is further than this in the past or in the future is refused.
    #[serde(with = "compact::required")]
    pub max_age: Duration,
    /// The line of the sensor, with `mode = "gpio"`.
    pub input: Option<TriggerInput>,
}

/// What requests verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerKind {
    /// Every frame is a part.
    #[default]
    FreeRun,
    /// One part per interval.
    Interval,
    /// One part per message.
    Mqtt,
    /// One part per edge of an input line.
    Gpio,
}

/// What a link does with a frame that arrives while it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The source waits. Nothing is lost, and the line runs at the model's speed.
    Block,
    /// The waiting frame is dropped and counted; the new one takes its place.
    NewestWins,
}

/// `[camera.<name>.folder]`: image files in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    /// The folder; its subfolders are included. Required.
    pub path: Option<PathBuf>,
    /// Images per second; if unset, as fast as they are consumed.
    pub rate: Option<f64>,
    /// Starts again after the last image. Otherwise the daemon then exits, with code 0.
    pub repeat: bool,
    /// Continues with images that arrive later, once they are complete. Not with `repeat`.
    pub watch: bool,
}

/// `[camera.<name>.synthetic]`: a seeded line of drawn parts, some with defects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthetic {
    /// The same seed produces the same parts.
    pub seed: u64,
    /// Parts per second; if unset, as fast as they are consumed.
    pub rate: Option<f64>,
    /// How many parts; endless if unset.
    pub parts: Option<u64>,
    /// Fraction of parts that have a defect, 0 to 1.
    pub defect_rate: Option<f64>,
    /// Size of the images, `HxW`.
    pub size: Option<Size>,
    /// Faults of its camera.
    pub fault: Fault,
}

/// `[camera.<name>.synthetic.fault]`: an outage to rehearse. Each fault occurs once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The camera hangs.
    pub stall: Option<Outage>,
    /// The camera disappears.
    pub loss: Option<Outage>,
    /// Pictures are nearly black.
    pub dark: Option<Spell>,
    /// The same picture is repeated.
    pub frozen: Option<Spell>,
}

/// A period without pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outage {
    /// Parts before it begins. Required.
    pub after: Option<u64>,
    /// How long it lasts. Required.
    #[serde(with = "compact::optional")]
    pub lasts: Option<Duration>,
}

/// A series of bad pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spell {
    /// Parts before it begins. Required.
    pub after: Option<u64>,
    /// How many parts it affects. Required.
    pub parts: Option<u64>,
}

/// `[camera.<name>.v4l2]`: a camera attached to the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct V4l2 {
    /// The device node, for example `/dev/video0`, or a link to one. Required.
    pub device: Option<PathBuf>,
    /// Pixel format requested from the camera.
    pub format: PixelFormat,
    /// Width requested from the camera, in pixels.
    pub width: u32,
    /// Height requested from the camera, in pixels.
    pub height: u32,
    /// Frames per second requested from the camera.
    pub rate: u32,
}

/// Pixel formats that can be requested from a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// JPEG pictures.
    Mjpeg,
    /// 4:2:2, packed.
    Yuyv,
    /// 4:2:0, two planes.
    Nv12,
    /// Grey, 8 bits.
    Grey,
    /// Grey, 10 bits in two bytes, of which the 8 high ones are used.
    Y10,
    /// Grey, 12 bits in two bytes, of which the 8 high ones are used.
    Y12,
    /// Grey, 16 bits, of which the 8 high ones are used.
    Y16,
}

/// `[camera.<name>.gstreamer]`: a pipeline of GStreamer. Exactly one of `pipeline`,
/// `pipeline_file` and `pipeline_credential` gives its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gstreamer {
    /// Its text, as `gst-launch-1.0` takes it, without a sink. With a password only from the
    /// environment: in the file it is an error.
    pub pipeline: Option<PipelineText>,
    /// File that holds the text.
    pub pipeline_file: Option<PathBuf>,
    /// Name of the systemd credential that holds the text.
    pub pipeline_credential: Option<String>,
    /// The pipeline is started again after this long without a frame; at least 1 s.
    #[serde(with = "compact::required")]
    pub reopen_after: Duration,
}

impl Default for TriggerConfig {
    fn default() -> Self {
        Self {
            mode: TriggerKind::FreeRun,
            interval: None,
            delay: Duration::ZERO,
            match_within: Duration::from_millis(100),
            queue: 4,
            // Off, because controllers without a clock also send triggers.
            require_sent_at: false,
            // More than two clocks without a time server differ soon after they were set, and far
            // too long for a fast line.
            max_age: Duration::from_secs(2),
            input: None,
        }
    }
}

impl Default for Gstreamer {
    fn default() -> Self {
        Self {
            pipeline: None,
            pipeline_file: None,
            pipeline_credential: None,
            // Longer than a network takes to find another way (spanning tree: not measured), and
            // than the pause between two pictures of any camera without a trigger.
            reopen_after: Duration::from_secs(10),
        }
    }
}

impl Default for V4l2 {
    fn default() -> Self {
        Self {
            device: None,
            format: PixelFormat::Mjpeg,
            width: 1280,
            height: 720,
            rate: 30,
        }
    }
}
