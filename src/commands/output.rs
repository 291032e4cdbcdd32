//! Files that are opened before the work and appear whole after it, and checks that files do not
//! overwrite each other.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flawd_files::WholeFile;
use serde::Serialize;

/// A file to be written at the end.
pub(crate) struct OutputFile<'a> {
    path: &'a Path,
    file: WholeFile,
}

impl<'a> OutputFile<'a> {
    /// Makes sure that the file can be written; creates its parent folders.
    pub(crate) fn create(path: &'a Path) -> anyhow::Result<Self> {
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

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write {}; name another place, or make room there",
        path.display()
    )
}

/// Creates the folder for heatmaps, before the work.
pub(crate) fn heatmap_folder(out: &Path) -> anyhow::Result<()> {
    flawd_files::remove_abandoned(out);
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
