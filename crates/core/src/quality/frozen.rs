//! A camera that repeats itself.

/// Notices a camera that sends the same picture again and again.
///
/// The noise of a sensor makes two equal pictures practically impossible, so a run of them comes
/// from a buffer that is no longer filled. Pictures are compared byte by byte with a copy of the
/// last one: two that differ mostly do so within the first bytes.
#[derive(Clone, Debug)]
pub struct FrozenPicture {
    limit: usize,
    last: Vec<u8>,
    /// Number of equal pictures at the end, the first of them included.
    equal: usize,
}

impl FrozenPicture {
    /// Creates a watch for which a camera is frozen if its last `limit` pictures are equal. One
    /// picture repeats nothing, so a limit below 2 counts as 2.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(2),
            last: Vec::new(),
            equal: 0,
        }
    }

    /// Takes the tensor of the next picture; returns `true` if the camera is frozen.
    pub fn see(&mut self, tensor: &[u8]) -> bool {
        if self.equal > 0 && self.last == tensor {
            self.equal = self.equal.saturating_add(1);
        } else {
            self.last.clear();
            self.last.extend_from_slice(tensor);
            self.equal = 1;
        }
        self.equal >= self.limit
    }
}
