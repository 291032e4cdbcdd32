//! The product map of a model graph: made from the means of z² over the channels, one per scale.

use flawd_core::flow::SCALES;
use flawd_core::image::Size;

use crate::builder::{GraphBuilder, Value};
use crate::names::ANOMALY_MAP;

/// Adds the geometric mean of `energies`, each `[1, 1, h, w]` and finest first, at the size of the
/// model's input: the cube root of their product, `exp((ln e0 + ln e1 + ln e2) / 3)`.
///
/// The sum of logarithms neither overflows nor vanishes where the product would, least of all in
/// half precision; an energy of 0 gives -∞ and thus 0, as the product would. Each scale is first
/// brought to the size of the input: a product of interpolated maps is not an interpolated product,
/// and no coarser grid gives anomalib's result.
pub(crate) fn add_geometric_mean(
    builder: &mut GraphBuilder,
    energies: &[Value; SCALES],
    input: Size,
) -> Value {
    let mut logarithm = |scale: usize| {
        let full = builder.resize(&format!("map.{scale}.full"), &energies[scale], input);
        builder.log(&format!("map.{scale}.log"), &full)
    };
    let logarithms: [Value; SCALES] = std::array::from_fn(&mut logarithm);
    let sum = logarithms
        .into_iter()
        .reduce(|sum, term| builder.add("map.sum", &sum, &term))
        .expect("there are scales");
    let mean = builder.scale("map.mean", &sum, 1.0 / SCALES as f32);
    builder.exp(ANOMALY_MAP, &mean)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flawd_core::anomaly::{MapKind, Readout};
    use ort::session::Session;
    use ort::value::Tensor;
    use safetensors::SafeTensors;

    use super::*;
    use crate::builder::ElementType;
    use crate::flow::add_outputs;
    use crate::runtime::Runtime;

    /// Height and width of the fixture's image.
    const SIDE: usize = 256;

    /// Latents of one image, `[channels, side, side]`, finest first.
    type Latents = [Vec<f32>; SCALES];

    /// The map of a graph that only aggregates latents, for opset 13 and 18: the oldest, and the
    /// first with another way to reduce.
    fn maps(kind: MapKind, channels: usize, sides: [usize; SCALES], latents: &Latents) -> Vec<f32> {
        let readout = Readout {
            map: kind,
            ..Readout::default()
        };
        let found = [13, 18].map(|opset| {
            let mut builder = GraphBuilder::new("outputs", opset);
            let inputs = std::array::from_fn(|scale| {
                let shape = [1, channels, sides[scale], sides[scale]].map(Into::into);
                builder.input(&format!("z{scale}"), ElementType::Float32, &shape)
            });
            let [_, map] = add_outputs(&mut builder, &inputs, readout, Size::new(SIDE, SIDE));
            assert_eq!(map.name(), ANOMALY_MAP);
            builder.output(&map, ElementType::Float32, &vec!["any".into(); 4]);
            let graph = builder.encode().expect("a small file");

            let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
            let mut session = Session::builder(runtime.environment())
                .and_then(|mut builder| builder.commit_from_memory(&graph))
                .expect("a session");
            let inputs: [_; SCALES] = std::array::from_fn(|scale| {
                let shape = [1, channels, sides[scale], sides[scale]];
                Tensor::from_array((shape, latents[scale].clone())).expect("a tensor")
            });
            let [z0, z1, z2] = &inputs;
            let found = session.run(ort::inputs![z0, z1, z2]).expect("a run");
            found[0]
                .try_extract_tensor::<f32>()
                .expect("floats")
                .1
                .to_vec()
        });
        assert_eq!(found[0], found[1]);
        let [map, _] = found;
        map
    }

    /// The published map is the product, at the size of the image; the fixture has every fourth row
    /// and column of it.
    #[test]
    fn the_third_power_of_the_product_map_is_anomalibs() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/data/parity-anomalib/io.safetensors");
        let bytes = std::fs::read(file).expect("the fixture is there");
        let tensors = SafeTensors::deserialize(&bytes).expect("the fixture is whole");
        let image = |name: &str, number: usize| -> Vec<f32> {
            let tensor = tensors.tensor(name).expect("it is there");
            let floats = tensor.data().as_chunks().0;
            let both: Vec<f32> = floats.iter().map(|&x| f32::from_le_bytes(x)).collect();
            let half = both.len() / 2;
            both[number * half..][..half].to_vec()
        };
        for number in 0..2 {
            let latents = std::array::from_fn(|scale| image(&format!("z{scale}"), number));
            let found = maps(MapKind::Product, 16, [8, 4, 2], &latents);
            let expected = image("map_product_stride4", number);
            let every_fourth = (0..SIDE).step_by(4).flat_map(|row| {
                let found = &found;
                (0..SIDE)
                    .step_by(4)
                    .map(move |column| found[row * SIDE + column])
            });
            assert_eq!(expected.len(), 64 * 64);
            for (found, expected) in every_fourth.zip(expected) {
                let relative = (found.powi(3) / expected - 1.0).abs();
                assert!(relative < 2e-5, "{found}³ is not {expected}");
            }
        }
    }

    /// The product of energies of 1e12 is not a number of half precision; energies of 1e-30 have a
    /// product that `f32` cannot hold.
    #[test]
    fn the_product_map_has_the_units_of_its_scales_and_neither_overflows_nor_vanishes() {
        let sides = [4, 2, 1];
        let map = |z: [f32; SCALES]| {
            let latents =
                std::array::from_fn(|scale| vec![z[scale]; 2 * sides[scale] * sides[scale]]);
            maps(MapKind::Product, 2, sides, &latents)
        };
        for (z, expected) in [
            ([1.0; SCALES], 1.0),
            ([3.0, -3.0, 3.0], 9.0),
            ([1.0, 2.0, 4.0], 4.0),
            ([1e6; SCALES], 1e12),
            ([1e-15; SCALES], 1e-30),
        ] {
            let found = map(z);
            assert_eq!(found.len(), SIDE * SIDE);
            for value in found {
                assert!((value / expected - 1.0).abs() < 1e-4, "{value} {expected}");
            }
        }
        assert!(map([1.0, 0.0, 1.0]).iter().all(|&value| value == 0.0));
    }

    #[test]
    fn the_finest_map_is_the_finest_scales_alone() {
        let latents = [vec![2.0; 16], vec![7.0; 4], vec![9.0; 1]];
        assert_eq!(maps(MapKind::Finest, 1, [4, 2, 1], &latents), [4.0; 16]);
    }
}
