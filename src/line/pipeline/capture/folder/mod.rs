//! The source `folder`: image files in the order of their paths, the same on every run; and, if the
//! folder is watched, later ones in order of arrival.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CameraLost, Source, SourceError};
use crate::files::path_text;
use crate::line::pipeline::part::frame::{Frame, FrameError};
use crate::line::pipeline::part::moment::Moment;
use crate::pictures::decode;

mod arrivals;
mod listing;
mod looker;
mod watcher;

use arrivals::Arrivals;
use listing::sorted;

/// Images of a folder and its subfolders. The list is created once: images added later are seen
/// only if the folder is watched, and one removed later results in a verdict that says so.
#[derive(Debug)]
pub struct FolderSource {
    folder: PathBuf,
    /// Images not delivered yet, in order.
    images: VecDeque<PathBuf>,
    then: Then,
}

/// What happens after the last image.
#[derive(Debug)]
enum Then {
    /// The source is exhausted.
    End,
    /// It starts again with these.
    Repeat(Vec<PathBuf>),
    /// It waits for others; `None` while the folder is gone.
    Wait(Option<Arrivals>),
}

impl FolderSource {
    /// Lists the images of `folder`, to be delivered once or repeatedly.
    ///
    /// # Errors
    /// [`SourceError::Folder`] if it cannot be listed, [`SourceError::NoImages`] if there are none.
    pub fn open(folder: &Path, repeat: bool) -> Result<Self, SourceError> {
        let images = sorted(folder).map_err(|source| SourceError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        if images.is_empty() {
            return Err(SourceError::NoImages {
                path: folder.to_owned(),
                extensions: decode::EXTENSIONS.join(", "),
            });
        }
        let images = VecDeque::from(images);
        let then = if repeat {
            Then::Repeat(images.iter().cloned().collect())
        } else {
            Then::End
        };
        Ok(Self {
            folder: folder.to_owned(),
            images,
            then,
        })
    }

    /// Lists the images of `folder`, of which there may be none, and waits for others.
    ///
    /// # Errors
    /// [`SourceError::Folder`] if it cannot be listed or watched.
    pub fn watch(folder: &Path) -> Result<Self, SourceError> {
        let mut source = Self {
            folder: folder.to_owned(),
            images: VecDeque::new(),
            then: Then::Wait(None),
        };
        source
            .begin_to_watch()
            .map_err(|source| SourceError::Folder {
                path: folder.to_owned(),
                source,
            })?;
        Ok(source)
    }

    fn begin_to_watch(&mut self) -> io::Result<()> {
        // Watched before it is listed, so that none is missed in between.
        let arrivals = Arrivals::watch(&self.folder)?;
        self.images = sorted(&self.folder)?.into();
        self.then = Then::Wait(Some(arrivals));
        Ok(())
    }

    /// Returns the next image to read; `None` after the last one.
    fn next_image(&mut self) -> Result<Option<PathBuf>, CameraLost> {
        match &mut self.then {
            Then::End => {}
            Then::Repeat(all) => {
                if self.images.is_empty() {
                    self.images.extend(all.iter().cloned());
                }
            }
            Then::Wait(arrivals) => {
                let come = arrivals.iter().flat_map(Arrivals::come);
                for image in come {
                    // One that was listed while it was being written is complete only now.
                    self.images.retain(|listed| *listed != image);
                    self.images.push_back(image);
                }
                if self.images.is_empty() {
                    self.images
                        .extend(arrivals.as_ref().and_then(Arrivals::wait));
                }
                if self.images.is_empty() {
                    *arrivals = None;
                    return Err(CameraLost::FolderGone(self.folder.clone()));
                }
            }
        }
        Ok(self.images.pop_front())
    }
}

impl Source for FolderSource {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        let Some(path) = self.next_image()? else {
            return Ok(None);
        };
        let captured = Moment::now();
        let name = path.strip_prefix(&self.folder).unwrap_or(&path);
        let bytes = decode::read(&path);
        let image = bytes.and_then(|bytes| decode::picture(&path, &bytes));
        let part = Arc::from(path_text::text(name));
        let image = image.map_err(|error| FrameError::File(Box::new(error)));
        Ok(Some(Frame::new(Some(part), image, captured)))
    }

    /// Reopens a watched folder, which may have come back.
    fn reopen(&mut self) -> Result<(), CameraLost> {
        self.begin_to_watch().map_err(CameraLost::NotBack)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flawd_core::image::{RgbImage, Size};

    use super::*;
    use crate::messages::with_causes;

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
    fn what_is_no_file_or_too_large_is_a_part_that_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("/dev/zero", at("1-zero.png")).unwrap();
        let pipe = std::process::Command::new("mkfifo")
            .arg(at("2-pipe.png"))
            .status();
        assert!(pipe.unwrap().success());
        let holes = fs::File::create(at("3-holes.png")).unwrap();
        holes.set_len(6 << 30).unwrap();
        save(&at("4-part.png"));
        let mut source = FolderSource::open(folder.path(), false).unwrap();
        for (name, why) in [
            ("1-zero.png", "not a regular file"),
            ("2-pipe.png", "not a regular file"),
            ("3-holes.png", "6442450944 bytes"),
        ] {
            let error = source.next_frame().unwrap().unwrap().image.unwrap_err();
            let problem = with_causes(&error);
            assert!(problem.contains(name) && problem.contains(why), "{problem}");
        }
        assert!(source.next_frame().unwrap().unwrap().image.is_ok());
    }

    #[test]
    fn a_broken_image_is_named_with_the_cause() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("crack.png"), b"no image").unwrap();
        let mut source = FolderSource::open(folder.path(), false).unwrap();
        let frame = source.next_frame().unwrap().unwrap();
        let problem = with_causes(&frame.image.unwrap_err());
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
    fn a_watched_folder_gives_what_is_there_and_then_what_comes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        save(&at("2.png"));
        let mut source = FolderSource::watch(folder.path()).unwrap();
        assert_eq!(parts(&mut source, 1), [("2.png".to_owned(), true)]);
        save(&at(".1.png"));
        fs::rename(at(".1.png"), at("1.png")).unwrap();
        assert_eq!(parts(&mut source, 1), [("1.png".to_owned(), true)]);
    }

    #[test]
    fn a_watched_folder_that_is_gone_is_a_lost_camera_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let watched = folder.path().join("watched");
        fs::create_dir(&watched).unwrap();
        let mut source = FolderSource::watch(&watched).unwrap();
        fs::remove_dir(&watched).unwrap();
        let lost = source.next_frame().unwrap_err().to_string();
        assert!(lost.contains("watched is gone"), "{lost}");
        assert!(source.reopen().is_err());
        fs::create_dir(&watched).unwrap();
        source.reopen().unwrap();
        save(&watched.join("1.png"));
        assert_eq!(parts(&mut source, 1)[0].0, "1.png");
    }

    #[test]
    fn a_folder_without_images_or_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = FolderSource::open(folder.path(), false).unwrap_err();
        assert!(matches!(error, SourceError::NoImages { .. }), "{error}");
        let error = FolderSource::open(&folder.path().join("gone"), false).unwrap_err();
        assert!(matches!(error, SourceError::Folder { .. }), "{error}");
    }
}
