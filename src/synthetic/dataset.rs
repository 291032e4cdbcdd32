//! Writes a synthetic line to disk as a data set in the MVTec AD folder layout.
//!
//! The only part of the synthetic line that does I/O.

use std::fs;
use std::path::{Path, PathBuf};

use flawd_core::image::Size;
use image::{ColorType, ImageError};

use super::{DefectKind, SyntheticError, SyntheticLine, SyntheticOptions};

/// How many parts [`write_dataset`] renders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DatasetOptions {
    /// Size of every picture.
    pub size: Size,
    /// Seed of the line.
    pub seed: u64,
    /// Good parts in `train/good`.
    pub train_good: u64,
    /// Good parts in `test/good`.
    pub test_good: u64,
    /// Parts in each of `test/<defect>`, with their masks in `ground_truth/<defect>`.
    pub test_each_defect: u64,
}

/// Why a data set could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The line cannot be created.
    #[error(transparent)]
    Line(#[from] SyntheticError),
    /// The folder cannot be created.
    #[error("cannot create the folder {}", path.display())]
    Folder {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A picture cannot be written.
    #[error("cannot write the image {}", path.display())]
    Image {
        /// Its path.
        path: PathBuf,
        /// The encoder's error.
        source: ImageError,
    },
}

/// Writes `train/good`, `test/good`, `test/<defect>` and `ground_truth/<defect>` under `root`.
///
/// Files are named `000.png`, `001.png`, …; a mask is `000_mask.png`. No two of the pictures show
/// the same part, and folders without pictures are not created. Existing files are overwritten.
///
/// # Errors
/// [`DatasetError`], naming the path.
pub fn write_dataset(root: &Path, options: &DatasetOptions) -> Result<(), DatasetError> {
    let line = SyntheticLine::new(SyntheticOptions {
        size: options.size,
        seed: options.seed,
        defect_rate: 0.0,
    })?;
    let mut parts = 0..;
    let mut write_folder =
        |name: &str, count: u64, defect: Option<DefectKind>| -> Result<(), DatasetError> {
            if count == 0 {
                return Ok(());
            }
            let folder = root.join(name);
            make_folder(&folder)?;
            let masks = defect.map(|kind| root.join("ground_truth").join(kind.name()));
            if let Some(masks) = &masks {
                make_folder(masks)?;
            }
            for (number, index) in (0..count).zip(&mut parts) {
                let part = line.render(index, defect);
                let path = folder.join(format!("{number:03}.png"));
                write_png(&path, options.size, part.image.pixels(), ColorType::Rgb8)?;
                if let Some(masks) = &masks {
                    let path = masks.join(format!("{number:03}_mask.png"));
                    write_png(&path, options.size, &part.mask, ColorType::L8)?;
                }
            }
            Ok(())
        };
    write_folder("train/good", options.train_good, None)?;
    write_folder("test/good", options.test_good, None)?;
    for kind in DefectKind::ALL {
        write_folder(
            &format!("test/{kind}"),
            options.test_each_defect,
            Some(kind),
        )?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), DatasetError> {
    fs::create_dir_all(path).map_err(|source| DatasetError::Folder {
        path: path.to_owned(),
        source,
    })
}

fn write_png(path: &Path, size: Size, bytes: &[u8], color: ColorType) -> Result<(), DatasetError> {
    image::save_buffer(path, bytes, size.width as u32, size.height as u32, color).map_err(
        |source| DatasetError::Image {
            path: path.to_owned(),
            source,
        },
    )
}
