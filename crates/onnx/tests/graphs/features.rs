//! The feature graph, run by ONNX Runtime.

use crate::common::{backbone, features, image, runtime};
use flawd_core::image::Size;
use flawd_onnx::{FeatureExtractor, SessionOptions, feature_graph};

#[test]
fn the_maps_have_the_predicted_shapes() {
    let backbone = backbone(17);
    let spec = features(Size::new(32, 48), &["coarse"]);
    let shape = spec.shape(&backbone).expect("a shape");
    let graph = feature_graph(&backbone, &spec).expect("a graph");
    let mut extractor =
        FeatureExtractor::load(&runtime(), &graph, &SessionOptions::default()).expect("a session");
    let maps = extractor.run(&image(spec.size, 1)).expect("features");
    assert_eq!((shape.channels, shape.stride), (4, 4));
    for (map, size) in maps.iter().zip(shape.maps) {
        assert_eq!(map.shape(), [4, size.height, size.width]);
    }
}
