//! Tensors whose elements are not stored in the order of their axes, as in weights that were
//! converted from TensorFlow and transposed.

use flawd_import::{TensorError, TensorFile};
use ndarray::{ArrayD, Dimension, IxDyn};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::files::{Pickle, archive, legacy, save, tensor};

/// A view of a storage of `elements` numbers.
#[derive(Clone, Debug)]
struct View {
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
    elements: usize,
}

impl View {
    /// The place in the storage of each element, in the order of the axes; `None` if one lies
    /// outside.
    fn places(&self) -> Option<Vec<usize>> {
        let place = |index: IxDyn| {
            let steps = index.slice().iter().zip(&self.strides);
            let steps = steps.map(|(&index, &stride)| index as u128 * stride as u128);
            self.offset as u128 + steps.sum::<u128>()
        };
        let indices = ndarray::indices(self.shape.as_slice()).into_iter();
        let places = indices.map(|index| usize::try_from(place(index)).ok());
        let places: Option<Vec<usize>> = places.collect();
        places.filter(|places| places.iter().all(|&place| place < self.elements))
    }

    /// What is read of it, from both forms of file.
    fn read(&self, storage: &ArrayD<f32>) -> [Result<ArrayD<f32>, TensorError>; 2] {
        let mut pickle = Pickle::new();
        pickle.add(b"}(");
        pickle.text("weight");
        pickle.view_from(self.offset, &self.shape, &self.strides, self.elements, 0);
        pickle.add(b"u");
        let pickle = pickle.end();
        [archive(&pickle, [storage]), legacy(&pickle, [storage])].map(|bytes| {
            let saved = save("view.pth", &bytes);
            TensorFile::open(&saved.path).and_then(|file| file.read("weight"))
        })
    }
}

fn storage(elements: usize) -> ArrayD<f32> {
    tensor(&[elements], elements)
}

/// The weight of a convolution as it lies in a converted file: `[out, in, height, width]`, stored
/// as `[height, width, in, out]`.
fn transposed([output, input, height, width]: [usize; 4]) -> View {
    View {
        offset: 0,
        shape: vec![output, input, height, width],
        strides: vec![1, output, width * input * output, input * output],
        elements: output * input * height * width,
    }
}

#[test]
fn a_weight_transposed_from_tensorflow_is_read_in_the_order_of_its_axes() {
    for sizes in [[8, 3, 3, 3], [8, 1, 5, 5], [16, 24, 1, 1]] {
        let [output, input, height, width] = sizes;
        let view = transposed(sizes);
        let storage = storage(view.elements);
        let stored = storage
            .to_shape((height, width, input, output))
            .expect("as many elements");
        let expected = stored.permuted_axes([3, 2, 0, 1]).into_dyn();
        for found in view.read(&storage) {
            assert_eq!(found.expect("it is whole"), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    /// An element is read from its own place; a view that leaves its storage is an error.
    #[test]
    fn each_element_comes_from_its_place_or_none_is_read(
        axes in prop::collection::vec((1_usize..5, 0_usize..12), 0..5),
        offset in 0_usize..20,
        elements in 1_usize..60,
    ) {
        let (shape, strides) = axes.into_iter().unzip();
        let view = View { offset, shape, strides, elements };
        let storage = storage(elements);
        // More elements than the file has are refused too: they need not be whole.
        for found in view.read(&storage) {
            match (view.places(), found) {
                (None, found) => {
                    let is_refused = matches!(
                        found,
                        Err(TensorError::Damaged { .. } | TensorError::OtherForm { .. })
                    );
                    prop_assert!(is_refused);
                }
                (Some(_), Err(error)) => {
                    prop_assert!(error.to_string().contains("bytes of numbers"), "{error}");
                }
                (Some(places), Ok(found)) => {
                    let expected: Vec<f32> = places.iter().map(|&place| storage[[place]]).collect();
                    prop_assert_eq!(found.shape(), &view.shape[..]);
                    prop_assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected);
                }
            }
        }
    }

    /// Products and sums beyond what can be counted are errors like any other.
    #[test]
    fn strides_of_any_size_are_refused_and_never_overflow(
        axes in prop::collection::vec((2_usize..1 << 31, 1_usize << 20..1 << 31), 1..5),
        offset in 0_usize..1 << 31,
    ) {
        let (shape, strides) = axes.into_iter().unzip();
        let view = View { offset, shape, strides, elements: 4 };
        for found in view.read(&storage(4)) {
            prop_assert!(found.is_err());
        }
    }
}
