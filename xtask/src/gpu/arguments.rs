//! What `cargo xtask gpu` is told.

use std::path::{Path, PathBuf};

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(super) bundle: PathBuf,
    /// Pictures, or folders of them; at least one.
    pub(super) images: Vec<String>,
    pub(super) provider: Option<String>,
    pub(super) parts: Option<PathBuf>,
    pub(super) program: Option<PathBuf>,
    pub(super) frames: u32,
}

impl Arguments {
    /// Reads the arguments.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut parsed = Self {
            bundle: PathBuf::new(),
            images: Vec::new(),
            provider: None,
            parts: None,
            program: None,
            frames: 500,
        };
        let mut paths = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next().cloned();
                value.ok_or_else(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--provider" => parsed.provider = Some(value()?),
                "--parts" => parsed.parts = Some(value()?.into()),
                "--program" => parsed.program = Some(value()?.into()),
                "--frames" => {
                    let number = value()?;
                    let frames = number.parse().ok().filter(|frames| *frames > 0);
                    parsed.frames =
                        frames.ok_or_else(|| format!("--frames: {number} is not a number"))?;
                }
                option if option.starts_with('-') => {
                    return Err(format!("gpu has no option {option}"));
                }
                path => paths.push(path.to_owned()),
            }
        }
        let mut paths = paths.into_iter();
        parsed.bundle = paths.next().ok_or("gpu needs a bundle")?.into();
        parsed.images = paths.collect();
        if parsed.images.is_empty() {
            return Err("gpu needs pictures to compare scores on, or a folder of them".to_owned());
        }
        Ok(parsed)
    }

    /// Returns the folder of the provider's libraries.
    pub(super) fn parts(&self, root: &Path) -> PathBuf {
        let usual = match self.provider.as_deref() {
            Some("openvino") => ".runtime/openvino",
            Some("cpu") => ".runtime/onnxruntime",
            _ => ".runtime/gpu",
        };
        self.parts.clone().unwrap_or_else(|| root.join(usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn bundle_and_pictures_are_required_and_mistakes_are_named() {
        let parsed = parse("b a.png --provider openvino parts --frames 20").expect("valid");
        assert_eq!(parsed.bundle, Path::new("b"));
        assert_eq!(parsed.images, ["a.png", "parts"]);
        assert_eq!(parsed.frames, 20);
        let root = Path::new("/root");
        assert_eq!(parsed.parts(root), Path::new("/root/.runtime/openvino"));
        for (line, expected) in [
            ("", "needs a bundle"),
            ("b", "needs pictures"),
            ("b i --frames 0", "--frames: 0"),
            ("b i --parts", "--parts needs a value"),
            ("b i --fast", "no option --fast"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(expected), "{error}");
        }
    }
}
