//! Photometric normalisation as the first nodes of a graph, so that nothing that runs the model file
//! can forget it. The formula and its reasons are in [`flawd_core::light`].

use flawd_core::image::Size;
use flawd_core::light::{Grid, LightNormalisation};

use crate::builder::{GraphBuilder, Value};

/// Brings `planes`, `[1, 3, H, W]` with values from 0 to 255, to the light of the training pictures.
pub(crate) fn add_light(
    builder: &mut GraphBuilder,
    planes: &Value,
    size: Size,
    light: LightNormalisation,
) -> Value {
    let Grid {
        cell,
        cells,
        counted: [first, last],
    } = Grid::of(size);
    let colours = builder.average_cells("light.colours", planes, cell);
    let grid = builder.mean("light.grid", &colours, &[1], true);
    let row = builder.reshape("light.cells", &grid, &[1, cells as i64]);
    let brightest = builder.largest("light.brightest", &row, cells - first);
    let counted = builder.slice("light.counted", &brightest, 1, cells - last, cells - first);
    let level = builder.mean("light.level", &counted, &[1], true);
    let level = builder.clip("light.level.clipped", &level, 1.0, 255.0);
    let reference = builder.floats("light.reference", &[1, 1], &[light.reference]);
    let ratio = builder.divide("light.ratio", &reference, &level);
    let factor = builder.clip("light.factor", &ratio, 1.0 / light.limit, light.limit);
    builder.multiply("light", planes, &factor)
}

#[cfg(test)]
mod tests {
    use flawd_core::light::level;
    use ort::session::Session;
    use ort::value::Tensor;

    use super::*;
    use crate::builder::ElementType;
    use crate::runtime::Runtime;

    /// What the graph makes of a tensor, as the core's formula says.
    #[test]
    fn the_graph_multiplies_by_the_factor_of_the_core() {
        let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
        for (size, opset) in [
            (Size::new(64, 128), 17),
            (Size::new(20, 36), 13),
            (Size::new(4, 8), 18),
        ] {
            let light = LightNormalisation {
                reference: 120.0,
                limit: 1.25,
            };
            let mut builder = GraphBuilder::new("light", opset);
            let shape = [1, 3, size.height, size.width].map(Into::into);
            let planes = builder.input("planes", ElementType::Float32, &shape);
            let lit = add_light(&mut builder, &planes, size, light);
            builder.output(&lit, ElementType::Float32, &shape);
            let graph = builder.encode().expect("a small file");
            let mut session = Session::builder(runtime.environment())
                .and_then(|mut builder| builder.commit_from_memory(&graph))
                .expect("a session");
            for brightness in [0.0, 0.5, 0.9, 1.0] {
                let byte = |place: usize| ((place * 37 % 251) as f32 * brightness) as u8;
                let tensor: Vec<u8> = (0..size.area() * 3).map(byte).collect();
                let plane = |channel| tensor.iter().skip(channel).step_by(3).copied();
                let planes: Vec<f32> = (0..3).flat_map(plane).map(f32::from).collect();
                let factor = light.factor(level(&tensor, size));
                let input = Tensor::from_array(([1, 3, size.height, size.width], planes.clone()));
                let found = session
                    .run(ort::inputs![input.expect("a tensor")])
                    .expect("a run");
                let (_, found) = found[0].try_extract_tensor::<f32>().expect("floats");
                for (found, plane) in found.iter().zip(planes) {
                    assert!(
                        (found - plane * factor).abs() < 1e-3,
                        "{found} {plane} {factor}"
                    );
                }
            }
        }
    }
}
