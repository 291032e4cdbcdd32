//! Whole checkpoints: shape, parameters, extractor, and their other statements.

use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::manifest::Implementation;
use flawd_core::permutation::PermutationKind;
use flawd_import::{Checkpoint, TensorFile};

use crate::files::{
    Pickle, Tensors, anomalib, beside, data, lightning, original, read, safetensors, state_dict,
    tensor, tensors,
};

/// The parameters of a flow lie where the layout says, under the names that `subnet` gives.
fn assert_parameters(
    checkpoint: &Checkpoint,
    tensors: &Tensors,
    subnet: impl Fn(usize, usize) -> String,
) {
    let layout = checkpoint.flow.layout();
    let mut compared = 0;
    for (number, block) in layout.blocks.iter().enumerate() {
        for (which, layout) in [(1, &block.s1), (2, &block.s2)] {
            let prefix = subnet(number, which);
            let mut compare = |name: &str, range: std::ops::Range<usize>| {
                let key = format!("{prefix}.{name}");
                let tensor = &tensors[&key];
                compared += range.len();
                assert!(checkpoint.parameters[range].iter().eq(tensor), "{key}");
            };
            for scale in 0..3 {
                let place = layout.gamma.start + scale;
                compare(&format!("gamma{scale}"), place..place + 1);
            }
            for (name, convolution) in layout.convolutions() {
                compare(&format!("{name}.weight"), convolution.weight.clone());
                compare(&format!("{name}.bias"), convolution.bias.clone());
            }
        }
    }
    assert_eq!(compared, checkpoint.parameters.len());
    assert_eq!(compared, layout.len);
}

#[test]
fn the_flow_of_the_original_code_is_read_with_every_parameter_in_its_place() {
    let path = data("parity-original/weights.safetensors");
    let checkpoint = Checkpoint::read(&path, None).expect("it is one");
    let expected = FlowSpec {
        channels: 16,
        hidden: 8,
        kernels: vec![3, 3, 3, 5],
        clamp: 3.0,
        permutation: PermutationKind::NumpyLegacy,
        scales: 3,
        cross_scale: true,
    };
    assert_eq!(checkpoint.implementation, Implementation::CsFlow);
    assert_eq!(checkpoint.flow, expected);
    assert!(checkpoint.extractor.is_none() && checkpoint.input_size.is_none());
    assert_parameters(&checkpoint, &tensors(&path), |block, which| {
        format!("module_list.{}.s{which}", 4 + 2 * block)
    });
}

#[test]
fn the_flow_of_anomalib_is_read_with_every_parameter_in_its_place() {
    let path = data("parity-anomalib/weights.safetensors");
    let checkpoint = Checkpoint::read(&path, Some(1.5)).expect("it is one");
    let expected = FlowSpec {
        channels: 16,
        hidden: 8,
        kernels: vec![3, 3, 3, 5],
        clamp: 1.5,
        permutation: PermutationKind::NumpyPcg64,
        scales: 3,
        cross_scale: true,
    };
    assert_eq!(checkpoint.implementation, Implementation::Anomalib);
    assert_eq!(checkpoint.flow, expected);
    assert_parameters(&checkpoint, &tensors(&path), |block, which| {
        format!(
            "graph.module_list.{}.cross_convolution{which}",
            1 + 2 * block
        )
    });
}

/// A file that PyTorch itself wrote.
#[test]
fn a_checkpoint_of_lightning_gives_flow_extractor_and_thresholds() {
    let Some(path) = beside("anomalib-checkpoint/model.ckpt") else {
        return;
    };
    let checkpoint = Checkpoint::read(&path, None).expect("it is one");
    let expected = FlowSpec {
        channels: 40,
        hidden: 8,
        kernels: vec![3, 3, 3, 5],
        clamp: 3.0,
        permutation: PermutationKind::NumpyPcg64,
        scales: 3,
        cross_scale: true,
    };
    assert_eq!(checkpoint.flow, expected);
    let extractor = checkpoint.extractor.expect("it is in the file");
    assert_eq!(extractor.differs, None);
    assert_eq!(
        extractor.tensors["features.0.0.weight"].shape()[1..],
        [3, 3, 3]
    );
    assert!(extractor.tensors.contains_key("features.0.1.running_var"));
    assert!(
        extractor
            .tensors
            .keys()
            .all(|key| key.starts_with("features."))
    );
    let file = TensorFile::open(&path).expect("it opens");
    let key = "state_dict.post_processor._image_threshold";
    let stated = file.read(key).expect("it is set").sum();
    let found = checkpoint.post_processor["post_processor._image_threshold"];
    assert_eq!(found as f32, stated);
}

/// The same flow in every kind of file, whatever else the file holds.
#[test]
fn the_kind_of_file_changes_nothing() {
    let whole = read(&safetensors(&original())).expect("it is one");
    assert_eq!(whole.flow.channels, 5);
    assert_eq!(whole.flow.kernels, [3, 1]);
    let saved = read(&state_dict(&original())).expect("it is one");
    assert_eq!(saved.flow, whole.flow);
    assert_eq!(saved.parameters, whole.parameters);

    let whole = read(&safetensors(&anomalib())).expect("it is one");
    let saved = read(&lightning(&anomalib(), b"")).expect("it is one");
    assert_eq!(saved.flow, whole.flow);
    assert_eq!(saved.parameters, whole.parameters);
}

#[test]
fn the_arguments_of_the_model_give_clamp_and_size() {
    let mut arguments = Pickle::default();
    arguments.text("clamp");
    arguments.number(2);
    arguments.text("input_size");
    arguments.add(b"K\x80M\x00\x01\x86");
    // An object of a class that is only looked at.
    arguments.text("transform");
    arguments.add(b"csome.module\nTransform\n)R");
    let bytes = lightning(&anomalib(), &arguments.0);
    let checkpoint = read(&bytes).expect("it is one");
    assert_eq!(checkpoint.flow.clamp, 2.0);
    assert_eq!(checkpoint.input_size, Some(Size::new(128, 256)));
    let saved = crate::files::save("model.ckpt", &bytes);
    let told = Checkpoint::read(&saved.path, Some(4.0)).expect("it is one");
    assert_eq!(told.flow.clamp, 4.0, "what is told goes first");
}

#[test]
fn the_extractor_that_runs_is_taken_and_another_copy_is_said() {
    let running = "model.feature_extractor.feature_extractor.feature_extractor.features.0.0.weight";
    let other = "model.feature_extractor.feature_extractor.backbone.features.0.0.weight";
    let unused = "model.feature_extractor.feature_extractor.backbone.classifier.1.weight";
    let older = "model.feature_extractor.feature_extractor.features.0.0.weight";
    let of = |keys: &[(&str, usize)]| {
        let mut all = anomalib();
        for (key, seed) in keys {
            all.insert((*key).to_owned(), tensor(&[2, 3, 3, 3], *seed));
        }
        let checkpoint = read(&lightning(&all, b"")).expect("it is one");
        checkpoint.extractor.expect("it is there")
    };
    let taken = of(&[(running, 1), (other, 1), (unused, 3)]);
    assert_eq!(taken.differs, None);
    assert_eq!(taken.tensors.len(), 1);
    assert_eq!(
        taken.tensors["features.0.0.weight"],
        tensor(&[2, 3, 3, 3], 1)
    );
    let taken = of(&[(running, 1), (other, 2)]);
    assert!(taken.differs.expect("they differ").ends_with(other));
    assert_eq!(
        taken.tensors["features.0.0.weight"],
        tensor(&[2, 3, 3, 3], 1)
    );
    let taken = of(&[(older, 4)]);
    assert_eq!(
        taken.tensors["features.0.0.weight"],
        tensor(&[2, 3, 3, 3], 4)
    );
}

#[test]
fn what_the_post_processor_has_not_set_is_left_out() {
    let mut all = anomalib();
    for (name, value) in [("_image_threshold", 7.5), ("_pixel_threshold", f32::NAN)] {
        let key = format!("post_processor.{name}");
        all.insert(key, tensor(&[], 0).mapv(|_| value));
    }
    let checkpoint = read(&lightning(&all, b"")).expect("it is one");
    let values: Vec<_> = checkpoint.post_processor.into_iter().collect();
    assert_eq!(
        values,
        [("post_processor._image_threshold".to_owned(), 7.5)]
    );
}
