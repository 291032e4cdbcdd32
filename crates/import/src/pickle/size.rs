//! The size of an object in a pickle, as far as copies and names are concerned.

/// Bytes counted for any object without text: a number in a shape is kept twice, once for the shape
/// and once for the strides.
const SCALAR: u64 = 16;

/// A full stop, and the longest number that stands for an index in a list.
const SEGMENT: u64 = 21;

/// The size of an object on the machine's stack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Bytes of a copy, without the objects themselves, which the reader counts.
    bytes: u64,
    /// Most tensors in it.
    tensors: u64,
    /// Bytes of the names that these get from the keys above them within it.
    names: u64,
    /// The longest text that may become a key: its own, or one directly in it.
    key: u64,
}

impl Size {
    /// Returns the size of an object without text.
    pub(super) fn scalar() -> Self {
        Self {
            bytes: SCALAR,
            ..Self::default()
        }
    }

    /// Returns the size of a text of `length` bytes in the file; characters beyond ASCII may take
    /// two bytes for one.
    pub(super) fn text(length: u64) -> Self {
        let bytes = SCALAR.saturating_add(length.saturating_mul(2));
        Self {
            bytes,
            key: bytes,
            ..Self::default()
        }
    }

    /// Returns the bytes of a copy.
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Returns the bytes of the names of all its tensors, if it is the root.
    pub(super) fn names(self) -> u64 {
        self.names
    }

    /// Returns the size of both, as parts of one object: a call and its arguments, an object and
    /// its state.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            tensors: self.tensors.saturating_add(other.tensors),
            names: self.names.saturating_add(other.names),
            key: self.key.max(other.key),
        }
    }

    /// Returns the size of the result of a call, which may be a tensor.
    pub(super) fn called(self) -> Self {
        self.and(Self {
            tensors: 1,
            ..Self::default()
        })
    }

    /// Returns the size with one more item of a list or tuple. A call may make a dictionary of
    /// pairs: the text of one may become the key of the tensors after it.
    pub(super) fn with_item(self, item: Self) -> Self {
        let longest = SEGMENT.saturating_add(self.key);
        let named = Self {
            names: item
                .names
                .saturating_add(item.tensors.saturating_mul(longest)),
            ..item
        };
        self.and(named)
    }

    /// Returns the size with one more entry of a dictionary.
    pub(super) fn with_entry(self, key: Self, value: Self) -> Self {
        let segment = SEGMENT.saturating_add(key.key);
        let entry = Self {
            bytes: key.bytes.saturating_add(value.bytes),
            tensors: value.tensors,
            names: value
                .names
                .saturating_add(value.tensors.saturating_mul(segment)),
            key: 0,
        };
        self.and(entry)
    }
}
