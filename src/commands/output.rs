//! Files that are opened before the work and appear whole after it, and checks that files do not
//! overwrite each other.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flawd_files::{WholeFile, remove_abandoned};
use serde::Serialize;

use crate::bundle::Bundle;

/// What an output is, as far as its first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A report for programs.
    Json,
    /// A report for readers.
    Html,
    /// A network.
    Onnx,
}

impl Content {
    /// Returns `true` if a file that begins like this may be an earlier output.
    fn may_be(self, start: &[u8]) -> bool {
        let text = start.trim_ascii_start();
        match (self, start) {
            // Nothing is lost.
            (_, []) => true,
            (Self::Json, _) => matches!(text, [b'{' | b'[', ..]),
            (Self::Html, _) => matches!(text, [b'<', ..]),
            // The version of the format comes first, then another field.
            (Self::Onnx, _) => matches!(start, [8, 1..=32, 1..=255, ..]),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Html => "HTML",
            Self::Onnx => "an ONNX file",
        }
    }
}

/// A file to be written at the end.
pub(crate) struct OutputFile<'a> {
    path: &'a Path,
    file: WholeFile,
}

impl<'a> OutputFile<'a> {
    /// Makes sure that the file can be written, and takes the place of nothing but an earlier output:
    /// a path that was mistyped may be that of a picture, of weights or of a bundle's model. Creates
    /// its parent folders, and removes what a command that was killed has left there.
    pub(crate) fn create(path: &'a Path, content: Content) -> anyhow::Result<Self> {
        let start = start_of(path).with_context(|| cannot_write(path))?;
        if !start.is_none_or(|start| content.may_be(&start)) {
            bail!(
                "{} exists and is not {}, so it is not overwritten: name another place, or remove it \
                 first",
                path.display(),
                content.name()
            );
        }
        if content == Content::Onnx && path.exists() && path.parent().is_some_and(Bundle::is_at) {
            bail!(
                "{} belongs to a bundle, whose parts fit each other, so it is not overwritten: name \
                 another place",
                path.display()
            );
        }
        match path.parent() {
            Some(folder) if folder != Path::new("") => remove_abandoned(folder),
            _ => remove_abandoned(Path::new(".")),
        }
        let file = WholeFile::create(path).with_context(|| cannot_write(path))?;
        Ok(Self { path, file })
    }

    /// Writes a value as JSON, and puts the file in its place.
    pub(crate) fn write_json(self, value: &impl Serialize) -> anyhow::Result<()> {
        self.write((serde_json::to_string_pretty(value)? + "\n").as_bytes())
    }

    /// Writes the bytes, and puts the file in its place.
    pub(crate) fn write(mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(bytes);
        let finished = written.and_then(|()| self.file.finish());
        finished.with_context(|| cannot_write(self.path))
    }
}

/// Returns the first bytes of a regular file; `None` if it is anything else, or not there.
fn start_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut start = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut start)?;
    Ok(Some(start))
}

/// Makes sure that two outputs are two files.
pub(crate) fn are_two(first: &Path, second: &Path) -> anyhow::Result<()> {
    let place = |path: &Path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    if first == second || place(first).is_some_and(|first| Some(first) == place(second)) {
        bail!(
            "two outputs would both be {}: name another place for one of them",
            first.display()
        );
    }
    Ok(())
}

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write {}; name another place, or make room there",
        path.display()
    )
}

/// Creates the folder for heatmaps, before the work.
pub(crate) fn heatmap_folder(out: &Path) -> anyhow::Result<()> {
    remove_abandoned(out);
    fs::create_dir_all(out).with_context(|| {
        format!(
            "cannot make the folder {} for heatmaps; name another with --out",
            out.display()
        )
    })
}

/// Makes sure that no heatmap overwrites an image or another heatmap.
pub(crate) fn keep_apart(heatmaps: &[(&Path, PathBuf)]) -> anyhow::Result<()> {
    let images = heatmaps.iter().map(|(image, _)| image.canonicalize());
    let images: HashSet<PathBuf> = images.flatten().collect();
    let mut taken = HashMap::new();
    for (image, heatmap) in heatmaps {
        if (heatmap.canonicalize()).is_ok_and(|existing| images.contains(&existing)) {
            bail!(
                "the heatmap of {} would overwrite the image {}; give another folder with --out",
                image.display(),
                heatmap.display()
            );
        }
        match taken.insert(heatmap, image) {
            Some(other) if other != image => bail!(
                "the heatmaps of {} and {} would both be {}; rename one of the images",
                other.display(),
                image.display(),
                heatmap.display()
            ),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_output_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        for (there, content, is_taken) in [
            (&b""[..], Content::Json, true),
            (b" {\"image_auroc\": 1}", Content::Json, true),
            (b"<!DOCTYPE html>", Content::Html, true),
            (&[8, 8, 18, 5], Content::Onnx, true),
            (b"\x89PNG\r\n", Content::Json, false),
            (b"<!DOCTYPE html>", Content::Json, false),
            (b"{}", Content::Html, false),
            (&[8, 8, 18, 5], Content::Html, false),
            // safetensors: the length of a header of 520 bytes; a pickle; a zip archive.
            (&[8, 2, 0, 0, 0, 0, 0, 0, b'{'], Content::Onnx, false),
            (&[0x80, 2, 0x7d], Content::Onnx, false),
            (b"PK\x03\x04", Content::Onnx, false),
        ] {
            fs::write(&path, there).unwrap();
            let outcome = OutputFile::create(&path, content).map(drop);
            assert_eq!(outcome.is_ok(), is_taken, "{there:?} {content:?}");
            assert_eq!(fs::read(&path).unwrap(), there);
        }
    }

    #[test]
    fn the_model_of_a_bundle_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.onnx");
        fs::write(&model, [8, 8, 18, 5]).unwrap();
        OutputFile::create(&model, Content::Onnx).unwrap();
        fs::write(folder.path().join("bundle.toml"), "").unwrap();
        let refused = OutputFile::create(&model, Content::Onnx).map(drop);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("belongs to a bundle"), "{refused}");
        OutputFile::create(&folder.path().join("other.onnx"), Content::Onnx).unwrap();
    }

    #[test]
    fn two_outputs_are_two_files_however_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        are_two(&at("a"), &at("b")).unwrap();
        are_two(&at("a"), &at("sub/a")).unwrap();
        assert!(are_two(&at("a"), &at("sub/../a")).is_err());
    }

    #[test]
    fn heatmaps_take_no_images_place_and_not_each_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.png"), "").unwrap();
        let (png, jpg) = (at("a.png"), at("a.jpg"));
        let refused = |heatmaps: &[(&Path, PathBuf)]| keep_apart(heatmaps).unwrap_err().to_string();
        keep_apart(&[(&png, at("out/a.png")), (&jpg, at("out/b.png"))]).unwrap();
        // An image named twice is scored twice and drawn the same.
        keep_apart(&[(&png, at("out/a.png")), (&png, at("out/a.png"))]).unwrap();
        let clash = refused(&[(&png, at("out/a.png")), (&jpg, at("out/a.png"))]);
        assert!(
            clash.contains("a.png and ") && clash.contains("a.jpg"),
            "{clash}"
        );
        let original = refused(&[(&png, at("b/../a.png")), (&jpg, at("a.png"))]);
        assert!(original.contains("would overwrite the image"), "{original}");
    }
}
