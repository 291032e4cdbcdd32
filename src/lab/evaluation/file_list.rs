//! The list of the files that an evaluation used, so that its digest can be reproduced.

use std::path::Path;

use flawd_core::digest::Digest;

use crate::files::digest::sha256;

/// The files that were used, as `sha256sum` lists them.
#[derive(Default)]
pub(crate) struct FileList(Vec<u8>);

impl FileList {
    /// Adds a file, by its path in the evaluated folder.
    pub(crate) fn add(&mut self, digest: Digest, path: &Path) {
        let name = path.as_os_str().as_encoded_bytes();
        let is_escaped = name.iter().any(|byte| b"\\\n\r".contains(byte));
        if is_escaped {
            self.0.push(b'\\');
        }
        self.0.extend(digest.hex().as_bytes());
        self.0.extend(b"  ");
        for &byte in name {
            match byte {
                b'\\' => self.0.extend(br"\\"),
                b'\n' => self.0.extend(br"\n"),
                b'\r' => self.0.extend(br"\r"),
                byte => self.0.push(byte),
            }
        }
        self.0.push(b'\n');
    }

    /// Returns the digest of the list.
    pub(crate) fn digest(&self) -> Digest {
        sha256(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As GNU's `sha256sum` prints `a\\b` and `a<newline>b`.
    #[test]
    fn a_name_with_a_line_break_or_a_backslash_is_one_line() {
        let digest = sha256(b"");
        let mut list = FileList::default();
        list.add(digest, Path::new("a\nb"));
        list.add(digest, Path::new("a\\b"));
        let hex = digest.hex();
        let expected = format!("\\{hex}  a\\nb\n\\{hex}  a\\\\b\n");
        assert_eq!(String::from_utf8(list.0).unwrap(), expected);
    }
}
