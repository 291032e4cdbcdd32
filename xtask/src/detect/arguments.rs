//! The arguments of `cargo xtask detect`.

use std::path::PathBuf;

use super::sets::{SETS, Set};

/// Promised unless the options say otherwise: the sets are too small for flawd's default of 1 %.
const FALSE_REJECT_RATE: [&str; 2] = ["--false-reject-rate", "0.05"];

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The sets.
    pub(crate) sets: Vec<&'static Set>,
    /// One training for each.
    pub(crate) seeds: Vec<u64>,
    /// Further arguments of `flawd train`.
    pub(crate) options: Vec<String>,
    /// Whether other methods are measured too.
    pub(crate) compare: bool,
    /// Whether the bundles are also measured on changed pictures.
    pub(crate) changes: bool,
    /// Whether the tables are written into the documentation.
    pub(crate) write: bool,
    /// Where the sets are, from the workspace root.
    pub(crate) data: PathBuf,
    /// The program to use instead of the one that is built.
    pub(crate) binary: Option<PathBuf>,
    /// The arguments as they were given.
    pub(crate) given: Vec<String>,
}

impl Arguments {
    /// Parses the arguments after `detect`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(given: &[String]) -> Result<Self, String> {
        let mut arguments = Self {
            sets: SETS.iter().collect(),
            seeds: vec![42],
            options: Vec::new(),
            compare: false,
            changes: false,
            write: false,
            data: "../shared/data".into(),
            binary: None,
            given: given.to_vec(),
        };
        let mut size = None;
        let mut rest = given.iter();
        while let Some(name) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{name} takes a value"));
            match name.as_str() {
                "--sets" => {
                    arguments.sets = value()?
                        .split(',')
                        .map(Set::named)
                        .collect::<Result<_, _>>()?;
                }
                "--seeds" => {
                    let seed = |text: &str| {
                        let not_a_seed = |_| format!("`{text}` is not a seed");
                        text.parse().map_err(not_a_seed)
                    };
                    arguments.seeds = value()?.split(',').map(seed).collect::<Result<_, _>>()?;
                }
                "--size" => size = Some(value()?.clone()),
                "--options" => {
                    arguments.options = value()?.split_whitespace().map(str::to_owned).collect();
                }
                "--data" => arguments.data = value()?.into(),
                "--binary" => arguments.binary = Some(value()?.into()),
                "--compare" => arguments.compare = true,
                "--changes" => arguments.changes = true,
                "--write" => arguments.write = true,
                other => return Err(format!("`{other}` is not an argument of detect")),
            }
        }
        if let Some(size) = size {
            arguments.options.extend(["--size".to_owned(), size]);
        }
        if arguments.option(FALSE_REJECT_RATE[0]).is_none() {
            arguments
                .options
                .extend(FALSE_REJECT_RATE.map(str::to_owned));
        }
        Ok(arguments)
    }

    /// Returns the value that the options give for `name`, as `NAME VALUE` or `NAME=VALUE`.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter();
        while let Some(option) = options.next() {
            if option == name {
                return options.next().map(String::as_str);
            }
            let value = option
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='));
            if value.is_some() {
                return value;
            }
        }
        None
    }

    /// Returns a name for the options: FNV-1a, 64 bits (Fowler, Noll, Vo), as hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        let bytes = self
            .options
            .iter()
            .flat_map(|option| option.bytes().chain([0]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        let given: Vec<String> = text
            .split(' ')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        Arguments::parse(&given)
    }

    #[test]
    fn all_sets_are_measured_once_at_a_promise_that_they_support() {
        let arguments = parse("").unwrap();
        assert_eq!(arguments.sets.len(), SETS.len());
        assert_eq!(arguments.seeds, [42]);
        assert_eq!(arguments.options, FALSE_REJECT_RATE);
        assert!(!arguments.compare && !arguments.changes && !arguments.write);
    }

    #[test]
    fn arguments_are_read_and_the_options_take_precedence() {
        let mut given = [
            "--sets",
            "bottle,screw",
            "--seeds",
            "1,2",
            "--size",
            "256",
            "--compare",
        ]
        .to_vec();
        given.extend([
            "--options",
            "--epochs 3 --false-reject-rate=0.1 --backbone a.onnx",
        ]);
        let given: Vec<String> = given.into_iter().map(str::to_owned).collect();
        let arguments = Arguments::parse(&given).unwrap();
        assert_eq!(arguments.sets[1].name, "screw");
        assert_eq!(arguments.seeds, [1, 2]);
        assert_eq!(
            arguments.options.join(" "),
            "--epochs 3 --false-reject-rate=0.1 --backbone a.onnx --size 256"
        );
        assert_eq!(arguments.option("--backbone"), Some("a.onnx"));
        assert_eq!(arguments.option("--false-reject-rate"), Some("0.1"));
        assert!(arguments.compare);
        assert_ne!(arguments.digest(), parse("").unwrap().digest());
        assert_eq!(
            parse("--write").unwrap().digest(),
            parse("--seeds 7").unwrap().digest()
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("--sets nuts", "mtd, bottle"),
            ("--seeds x", "`x` is not a seed"),
            ("--size", "--size takes a value"),
            ("--fast", "`--fast`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
