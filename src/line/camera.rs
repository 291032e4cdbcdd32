//! Which camera something is about, and what there is one of for each camera.

use std::ops::{Deref, DerefMut, Index, IndexMut};

/// The number of a camera: its place in the configuration, from 0.
///
/// Cameras are neither added nor removed while a daemon runs, so it stays the same until the next
/// start. Messages and topics have its name; this is for lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraIndex(pub usize);

/// Numbers what comes in the order of the configuration.
pub fn numbered<I: IntoIterator>(
    cameras: I,
) -> impl Iterator<Item = (CameraIndex, <I as IntoIterator>::Item)> {
    let cameras = cameras.into_iter().enumerate();
    cameras.map(|(index, it)| (CameraIndex(index), it))
}

/// One value for each camera, in the order of the configuration. It is a slice that can only be
/// indexed with the number of a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerCamera<T>(Vec<T>);

impl<T> From<Vec<T>> for PerCamera<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T> FromIterator<T> for PerCamera<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<T> IntoIterator for PerCamera<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T> Index<CameraIndex> for PerCamera<T> {
    type Output = T;

    fn index(&self, camera: CameraIndex) -> &T {
        &self.0[camera.0]
    }
}

impl<T> IndexMut<CameraIndex> for PerCamera<T> {
    fn index_mut(&mut self, camera: CameraIndex) -> &mut T {
        &mut self.0[camera.0]
    }
}

impl<T> Deref for PerCamera<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for PerCamera<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
