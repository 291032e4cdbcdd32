//! The source `folder`: image files in the order of their paths, the same on every run.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::{CameraLost, OpenError, Source};
use crate::{
    dataset::by_ending,
    decode,
    failure::with_causes,
    path_text,
    pipeline::frame::{Frame, Moment},
};

/// Images of a folder and its sub-folders. The list is made once: what is added later is not
/// seen, what is taken away later ends in a verdict that says so.
#[derive(Debug)]
pub struct FolderSource {
    folder: PathBuf,
    images: Vec<PathBuf>,
    next: usize,
    repeat: bool,
}

impl FolderSource {
    /// Lists the images of `folder`.
    ///
    /// # Errors
    /// [`OpenError::Folder`] if it cannot be listed, [`OpenError::NoImages`] if there are none.
    pub fn open(folder: &Path, repeat: bool) -> Result<Self, OpenError> {
        let (mut images, mut other) = (Vec::new(), Vec::new());
        list(folder, &mut images, &mut other).map_err(|source| OpenError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        if images.is_empty() {
            return Err(OpenError::NoImages {
                path: folder.to_owned(),
                extensions: decode::EXTENSIONS.join(", "),
            });
        }
        if !other.is_empty() {
            warn!(
                folder = %folder.display(),
                files = other.len(),
                endings = by_ending(&other),
                used = images.len(),
                "Files of the folder are no images by their names and are not inspected"
            );
        }
        images.sort_unstable();
        Ok(Self {
            folder: folder.to_owned(),
            images,
            next: 0,
            repeat,
        })
    }
}

impl Source for FolderSource {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        if self.next == self.images.len() && self.repeat {
            self.next = 0;
        }
        let Some(path) = self.images.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        let captured = Moment::now();
        let name = path.strip_prefix(&self.folder).unwrap_or(path);
        let image = decode::decode_file(path).map_err(|error| with_causes(&error));
        let part = Arc::from(path_text::text(name));
        Ok(Some(Frame::new(Some(part), image, captured)))
    }
}

fn list(folder: &Path, images: &mut Vec<PathBuf>, other: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            list(&path, images, other)?;
        } else if decode::is_image(&path) {
            images.push(path);
        } else {
            other.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flawd_core::image::{RgbImage, Size};

    use super::*;

    fn save(path: &Path) {
        let image = RgbImage::new(Size::new(1, 1), vec![1, 2, 3]).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::save_buffer(path, image.pixels(), 1, 1, image::ColorType::Rgb8).unwrap();
    }

    fn parts(source: &mut FolderSource, limit: usize) -> Vec<(String, bool)> {
        let frames = std::iter::from_fn(|| source.next_frame().unwrap());
        frames
            .take(limit)
            .map(|frame| (frame.part.unwrap().to_string(), frame.image.is_ok()))
            .collect()
    }

    #[test]
    fn images_come_in_the_order_of_their_paths_and_a_broken_one_is_still_a_part() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("good/2.png"));
        save(&folder.path().join("good/1.png"));
        save(&folder.path().join("good/.hidden.png"));
        fs::write(folder.path().join("crack.png"), b"no image").unwrap();
        fs::write(folder.path().join("notes.txt"), b"no image either").unwrap();
        let expected = [
            ("crack.png".to_owned(), false),
            ("good/1.png".to_owned(), true),
            ("good/2.png".to_owned(), true),
        ];
        let mut source = FolderSource::open(folder.path(), false).unwrap();
        assert_eq!(parts(&mut source, 9), expected);
        let mut source = FolderSource::open(folder.path(), true).unwrap();
        assert_eq!(
            parts(&mut source, 6),
            [&expected[..], &expected[..]].concat()
        );
    }

    #[test]
    fn a_broken_image_is_named_with_the_cause() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("crack.png"), b"no image").unwrap();
        let mut source = FolderSource::open(folder.path(), false).unwrap();
        let frame = source.next_frame().unwrap().unwrap();
        let problem = frame.image.unwrap_err();
        assert!(problem.contains("crack.png: "), "{problem}");
    }

    #[cfg(unix)]
    #[test]
    fn parts_whose_names_are_no_text_are_told_apart() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        for name in [&b"\xe4.png"[..], b"\xe5.png"] {
            fs::write(folder.path().join(OsStr::from_bytes(name)), b"").unwrap();
        }
        let mut source = FolderSource::open(folder.path(), false).unwrap();
        let expected = [r"\xe4.png", r"\xe5.png"].map(|name| (name.to_owned(), false));
        assert_eq!(parts(&mut source, 9), expected);
    }

    #[test]
    fn a_folder_without_images_or_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = FolderSource::open(folder.path(), false).unwrap_err();
        assert!(matches!(error, OpenError::NoImages { .. }), "{error}");
        let error = FolderSource::open(&folder.path().join("gone"), false).unwrap_err();
        assert!(matches!(error, OpenError::Folder { .. }), "{error}");
    }
}
