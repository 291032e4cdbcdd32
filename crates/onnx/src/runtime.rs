//! Finds and loads the ONNX Runtime library, once per process.
//!
//! The library is loaded while the program runs, so that the same program serves a laptop and a
//! board with its own build of the library. Nothing is guessed: a named library that does not work
//! is an error, not a reason to look elsewhere.

use std::fmt;
use std::path::{Path, PathBuf};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider};
use ort::logging::LogLevel;
use parking_lot::Mutex;

/// The environment variable that names the library: a file, or a folder that holds it.
pub const LIBRARY_VARIABLE: &str = "FLAWD_ONNXRUNTIME";

/// Where a checkout keeps the library, in the program's folder or any folder above it.
const CHECKOUT_FOLDER: &str = ".runtime/onnxruntime";

/// Where a package keeps the library, from the program's folder.
const PACKAGE_FOLDER: &str = "../lib/flawd";

/// The name of the file; releases append a version.
const LIBRARY: &str = "libonnxruntime.so";

/// The oldest minor version of ONNX Runtime 1 that this build can use.
const OLDEST_MINOR: u32 = ort::MINOR_VERSION;

/// The loaded ONNX Runtime. Cheap to clone; all clones are the same library.
#[derive(Clone, Debug)]
pub struct Runtime {
    library: PathBuf,
    origin: Origin,
    environment: Environment,
}

/// Why a library is the one that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line or configuration names it.
    Argument,
    /// [`LIBRARY_VARIABLE`] names it.
    Variable,
    /// The caller of [`Runtime::find`] has it installed.
    Installed,
    /// It was found near the program.
    Program,
    /// The system's loader found it.
    System,
}

impl fmt::Display for Origin {
    /// Writes how it was found, as it follows the library's path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "named by the command line or configuration",
            Self::Variable => "named by FLAWD_ONNXRUNTIME",
            Self::Installed => "selected by `flawd runtime install`",
            Self::Program => "found near the program",
            Self::System => "found by the system's loader",
        })
    }
}

/// Why ONNX Runtime is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It was not found.
    #[error(
        "the ONNX Runtime library was not found. Looked for {}. {HowToGet}",
        list(tried)
    )]
    NotFound {
        /// Where it was looked for, in order.
        tried: Vec<PathBuf>,
    },
    /// The file that was named does not exist.
    #[error("there is no ONNX Runtime library at {}, {origin}. {HowToGet}", path.display())]
    NoSuchFile {
        /// The place.
        path: PathBuf,
        /// Why it was tried.
        origin: Origin,
    },
    /// The system cannot load the file.
    #[error("cannot load the ONNX Runtime library {}: {cause}. {HowToGet}", path.display())]
    NotLoadable {
        /// The file.
        path: PathBuf,
        /// The error of the system's loader.
        cause: String,
    },
    /// A library, but not ONNX Runtime.
    #[error("{} is a library, but not ONNX Runtime. {HowToGet}", path.display())]
    WrongLibrary {
        /// The file.
        path: PathBuf,
    },
    /// An ONNX Runtime that is older than this build needs.
    #[error(
        "{} is ONNX Runtime {found}, and 1.{OLDEST_MINOR} or later is needed. {HowToGet}",
        path.display()
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Another library is loaded, and a process can load only one.
    #[error(
        "this process has loaded ONNX Runtime from {} and cannot also load {}",
        loaded.display(),
        asked.display()
    )]
    AlreadyLoaded {
        /// The loaded library.
        loaded: PathBuf,
        /// The other one.
        asked: PathBuf,
    },
    /// The library was loaded and then failed.
    #[error("ONNX Runtime from {} does not start", path.display())]
    DoesNotStart {
        /// The file.
        path: PathBuf,
        /// Its error.
        source: ort::Error,
    },
}

/// The remedy for every error above.
struct HowToGet;

impl fmt::Display for HowToGet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`flawd runtime install cpu` fetches it with pip; in a checkout, `cargo xtask setup` does. \
             Or take {LIBRARY} 1.{OLDEST_MINOR} or later for this machine from an ONNX Runtime \
             release and name it in {LIBRARY_VARIABLE}, or put it beside the program"
        )
    }
}

fn list(paths: &[PathBuf]) -> String {
    let texts: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    texts.join(", ")
}

/// Set by the first load that succeeds. It keeps the environment alive to the end of the process:
/// ONNX Runtime allows one, and cannot create a second one after the first is gone.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library, or returns the loaded one; as [`Runtime::find`] if none is installed.
    ///
    /// # Errors
    /// A [`RuntimeError`] that says what was tried and how to get the library.
    pub fn load(explicit: Option<&Path>) -> Result<Self, RuntimeError> {
        Self::find(explicit, None)
    }

    /// Loads the library, or returns the loaded one.
    ///
    /// It is taken from the first of these: `explicit`; the environment variable
    /// [`LIBRARY_VARIABLE`]; `installed`, a file or a folder that holds it; the program's folder;
    /// `../lib/flawd` from there, where a package keeps it; `.runtime/onnxruntime` there or in any
    /// folder above; the system's loader. If one of the first three is given, nothing else is tried.
    ///
    /// Microsoft's builds of the library report their use to their maker from the moment they are
    /// loaded, unless `ORT_DISABLE_TELEMETRY` is set in the environment beforehand: a program sets
    /// it at its very start, since this function cannot know whether other threads read the
    /// environment.
    ///
    /// # Errors
    /// A [`RuntimeError`] that says what was tried and how to get the library.
    pub fn find(explicit: Option<&Path>, installed: Option<&Path>) -> Result<Self, RuntimeError> {
        let mut loaded = LOADED.lock();
        let variable = std::env::var_os(LIBRARY_VARIABLE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let named = match (explicit, variable) {
            // A command line that takes its default from the variable.
            (Some(path), Some(variable)) if path == variable => Some((variable, Origin::Variable)),
            (Some(path), _) => Some((path.to_owned(), Origin::Argument)),
            (None, Some(path)) => Some((path, Origin::Variable)),
            (None, None) => None,
        };
        let named = named
            .map(|(path, origin)| Ok((resolve(path, origin)?, origin)))
            .transpose()?;
        if let Some(runtime) = &*loaded {
            return match named {
                Some((asked, _)) if asked != runtime.library => Err(RuntimeError::AlreadyLoaded {
                    loaded: runtime.library.clone(),
                    asked,
                }),
                _ => Ok(runtime.clone()),
            };
        }
        let runtime = match (named, installed) {
            (Some((path, origin)), _) => Self::open(&path, origin)?,
            (None, Some(path)) => {
                let path = resolve(path.to_owned(), Origin::Installed)?;
                Self::open(&path, Origin::Installed)?
            }
            (None, None) => Self::search()?,
        };
        Ok(loaded.insert(runtime).clone())
    }

    /// Returns the library's file, or its name if the system's loader found it.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Returns why this library is the one that is used.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the library's build information: version, commit, compiler options.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }

    /// Returns the names of the execution providers in this build of the library. A listed one may
    /// still lack a driver or its own library.
    pub fn providers(&self) -> Vec<&'static str> {
        let known = [
            ("tensorrt", ep::TensorRT::is_available()),
            ("cuda", ep::CUDA::is_available()),
            ("openvino", ep::OpenVINO::is_available()),
            ("cpu", ep::CPU::is_available()),
        ];
        known
            .into_iter()
            .filter_map(|(name, is_available)| is_available.unwrap_or(false).then_some(name))
            .collect()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    fn search() -> Result<Self, RuntimeError> {
        let folders = search_folders();
        if let Some(file) = folders.iter().find_map(|folder| library_in(folder)) {
            return Self::open(&file, Origin::Program);
        }
        match Self::open(Path::new(LIBRARY), Origin::System) {
            // One that exists but cannot be loaded, for lack of memory for example, is a different
            // case.
            Err(RuntimeError::NotLoadable { cause, .. }) if cause.contains("No such file") => {
                let mut tried: Vec<_> = folders.iter().map(|folder| folder.join(LIBRARY)).collect();
                tried.push(PathBuf::from(format!(
                    "{LIBRARY} in the system's library folders"
                )));
                Err(RuntimeError::NotFound { tried })
            }
            opened => opened,
        }
    }

    fn open(path: &Path, origin: Origin) -> Result<Self, RuntimeError> {
        let library = path.to_owned();
        let builder = match ort::init_from(path) {
            Ok(builder) => builder,
            Err(error) => return Err(load_error(library, error)),
        };
        match builder.with_name("flawd").with_telemetry(false).build() {
            Ok(environment) => {
                // Without this it formats a message for every node of every run.
                environment.set_log_level(LogLevel::Warning);
                tracing::debug!(library = %library.display(), %origin, "Loaded ONNX Runtime");
                Ok(Self {
                    library,
                    origin,
                    environment,
                })
            }
            Err(source) => Err(RuntimeError::DoesNotStart {
                path: library,
                source,
            }),
        }
    }
}

fn load_error(path: PathBuf, error: LoadDynamicError) -> RuntimeError {
    match error {
        LoadDynamicError::Dlopen { error, .. } => RuntimeError::NotLoadable {
            path,
            cause: innermost(&error),
        },
        LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
            RuntimeError::WrongLibrary { path }
        }
        LoadDynamicError::BadVersion { version_str, .. } => RuntimeError::TooOld {
            path,
            found: version_str,
        },
    }
}

/// Returns the system's own message: the errors around it say only that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

/// Returns the library that `path` names, as an absolute path.
fn resolve(path: PathBuf, origin: Origin) -> Result<PathBuf, RuntimeError> {
    let file = if path.is_dir() {
        library_in(&path)
    } else {
        Some(path.clone())
    };
    file.and_then(|file| file.canonicalize().ok())
        .ok_or(RuntimeError::NoSuchFile { path, origin })
}

fn search_folders() -> Vec<PathBuf> {
    let Ok(program) = std::env::current_exe() else {
        return Vec::new();
    };
    let above = program.ancestors().skip(1);
    let own = above.clone().take(1);
    let beside = own.flat_map(|folder| [folder.to_owned(), folder.join(PACKAGE_FOLDER)]);
    beside
        .chain(above.map(|folder| folder.join(CHECKOUT_FOLDER)))
        .collect()
}

/// Returns the library in `folder`: the plain name, or else the newest version.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let version = |file: &Path| -> Option<Vec<u32>> {
        let version = file.file_name()?.to_str()?.strip_prefix(LIBRARY)?;
        let numbers = version.split('.').skip(1).map(|number| number.parse().ok());
        numbers.collect()
    };
    let plain = folder.join(LIBRARY);
    if plain.is_file() {
        return plain.canonicalize().ok();
    }
    let files = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    files
        .filter_map(|file| Some((version(&file)?, file)))
        .max()
        .and_then(|(_, file)| file.canonicalize().ok())
}
