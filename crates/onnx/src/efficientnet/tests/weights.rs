//! What is accepted as an EfficientNet, and the errors for the rest.

use std::path::Path;

use flawd_core::normalisation::Normalisation;
use ndarray::{ArrayD, IxDyn};

use super::{EFFICIENTNET_PYTORCH, TORCHVISION, weights};
use crate::backbone::Backbone;
use crate::efficientnet::{
    EfficientNet, EfficientNetError, GraphOptions, Naming, Padding, StateDict, Variant,
};

const OPTIONS: GraphOptions = GraphOptions {
    padding: Padding::Symmetric,
    epsilon: 1e-3,
    stages: Vec::new(),
    normalisation: Normalisation::IMAGENET,
    filters: false,
};

fn of_stages(stages: &[usize]) -> GraphOptions {
    GraphOptions {
        stages: stages.to_vec(),
        ..OPTIONS
    }
}

fn refused(tensors: StateDict) -> EfficientNetError {
    match EfficientNet::new(tensors, None) {
        Ok(_) => panic!("must be refused"),
        Err(error) => error,
    }
}

/// torchvision's names to timm's.
fn renamed_to_timm(key: &str) -> String {
    const FIRST: [(&str, &str); 6] = [
        ("0.0", "conv_dw"),
        ("0.1", "bn1"),
        ("1.fc1", "se.conv_reduce"),
        ("1.fc2", "se.conv_expand"),
        ("2.0", "conv_pw"),
        ("2.1", "bn2"),
    ];
    const OTHERS: [(&str, &str); 8] = [
        ("0.0", "conv_pw"),
        ("0.1", "bn1"),
        ("1.0", "conv_dw"),
        ("1.1", "bn2"),
        ("2.fc1", "se.conv_reduce"),
        ("2.fc2", "se.conv_expand"),
        ("3.0", "conv_pwl"),
        ("3.1", "bn3"),
    ];
    const AROUND: [(&str, &str); 5] = [
        ("features.0.0", "conv_stem"),
        ("features.0.1", "bn1"),
        ("features.8.0", "conv_head"),
        ("features.8.1", "bn2"),
        ("classifier.1", "classifier"),
    ];
    let (module, part) = key.rsplit_once('.').expect("a module and a part of it");
    let rename = |table: &[(&str, &str)], name: &str| {
        let (_, new) = table.iter().find(|(old, _)| *old == name)?;
        Some((*new).to_owned())
    };
    if let Some(new) = rename(&AROUND, module) {
        return format!("{new}.{part}");
    }
    let words: Vec<&str> = module.splitn(5, '.').collect();
    let ["features", stage, index, "block", inside] = words[..] else {
        panic!("{key} is not a tensor of a block");
    };
    let table: &[_] = if stage == "1" { &FIRST } else { &OTHERS };
    let new = rename(table, inside).unwrap_or_else(|| panic!("{key} has an unknown part"));
    let stage: usize = stage.parse().expect("a number");
    format!("blocks.{}.{index}.{new}.{part}", stage - 1)
}

#[test]
fn timms_names_give_the_same_file_bit_for_bit() {
    let by_torchvision = EfficientNet::new(weights(TORCHVISION), None).expect("an EfficientNet");
    let renamed: StateDict = weights(TORCHVISION)
        .into_iter()
        .map(|(key, tensor)| (renamed_to_timm(&key), tensor))
        .collect();
    assert!(renamed.contains_key("blocks.5.2.conv_pwl.weight"));
    let by_timm = EfficientNet::new(renamed, None).expect("an EfficientNet");
    assert_eq!(by_torchvision.naming(), Naming::Torchvision);
    assert_eq!(by_timm.naming(), Naming::Timm);
    let options = of_stages(&[0, 3, 7]);
    let [a, b] = [by_torchvision, by_timm].map(|network| network.graph(&options).expect("a graph"));
    assert!(a == b);
}

#[test]
fn widths_and_depths_are_read_off_the_shapes() {
    for folder in [TORCHVISION, EFFICIENTNET_PYTORCH] {
        let network = EfficientNet::new(weights(folder), None).expect("an EfficientNet");
        let architecture = network.architecture();
        assert_eq!(
            architecture.to_string(),
            "8; 1x8, 2x8, 2x8, 2x16, 2x24, 3x40, 1x64"
        );
        assert_eq!(architecture.variant(), None);
    }
}

#[test]
fn the_graph_is_a_backbone_with_the_outputs_asked_for() {
    let network = EfficientNet::new(weights(TORCHVISION), None).expect("an EfficientNet");
    let graph = network.graph(&of_stages(&[6, 0, 4, 6])).expect("a graph");
    let backbone = Backbone::from_bytes(Path::new("b.onnx"), &graph).expect("a backbone");
    assert_eq!(backbone.outputs(), ["stem", "stage4", "stage6"]);
    assert_eq!(backbone.normalisation(), Some(Normalisation::IMAGENET));
    let deeper = network.graph(&of_stages(&[7])).expect("a graph");
    assert!(deeper.len() > graph.len(), "no more than what is asked for");
}

#[test]
fn what_comes_after_the_last_stage_is_not_needed() {
    let mut cut = weights(TORCHVISION);
    cut.retain(|key, _| {
        !["features.7", "features.8", "class"]
            .iter()
            .any(|x| key.starts_with(x))
    });
    cut.insert(
        "features.0.1.num_batches_tracked".to_owned(),
        ArrayD::zeros(IxDyn(&[])),
    );
    let cut = EfficientNet::new(cut, None).expect("an EfficientNet");
    let whole = EfficientNet::new(weights(TORCHVISION), None).expect("an EfficientNet");
    let options = of_stages(&[6]);
    let [a, b] = [&cut, &whole].map(|network| network.graph(&options).expect("a graph"));
    assert!(a == b);
    let error = cut.graph(&of_stages(&[7])).expect_err("it is cut off");
    assert_eq!(error, EfficientNetError::UnknownStage { asked: 7, last: 6 });
    assert_eq!(cut.graph(&OPTIONS), Err(EfficientNetError::NoStage));
}

#[test]
fn a_missing_tensor_is_named() {
    for folder in [TORCHVISION, EFFICIENTNET_PYTORCH] {
        let whole = weights(folder);
        let network = EfficientNet::new(whole.clone(), None).expect("an EfficientNet");
        let stem = match folder {
            TORCHVISION => "features.0.0.weight",
            _ => "_conv_stem.weight",
        };
        for key in whole.keys().filter(|key| !network.naming().is_unused(key)) {
            let mut tensors = whole.clone();
            tensors.remove(key);
            match refused(tensors) {
                EfficientNetError::Missing { key: named } => assert_eq!(named, *key),
                EfficientNetError::UnknownNaming { stems, .. } if *key == stem => {
                    assert!(stems.contains(stem), "{stems}");
                }
                other => panic!("{key}: {other}"),
            }
        }
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both() {
    let key = "features.3.1.block.1.0.weight";
    let mut tensors = weights(TORCHVISION);
    let three = ArrayD::zeros(IxDyn(&[48, 1, 3, 3]));
    tensors.insert(key.to_owned(), three);
    let error = refused(tensors).to_string();
    for part in [key, "[48, 1, 5, 5]", "[48, 1, 3, 3]", "8; 1x8, 2x8"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn weights_of_another_variant_than_the_one_named_are_refused() {
    let b5 = EfficientNet::new(weights(TORCHVISION), Some(Variant::B5));
    let error = b5.err().expect("must be refused").to_string();
    for part in [
        "features.0.0.weight",
        "[48, 3, 3, 3]",
        "[8, 3, 3, 3]",
        "9x304",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_tensor_that_has_no_place_is_named() {
    for (key, shape) in [
        ("features.3.2.block.0.0.weight", vec![48, 8, 1, 1]),
        ("features.4.0.block.4.0.weight", vec![1]),
        ("layer1.0.conv1.weight", vec![64, 64, 3, 3]),
    ] {
        let mut tensors = weights(TORCHVISION);
        tensors.insert(key.to_owned(), ArrayD::zeros(shape));
        let error = refused(tensors).to_string();
        let named = error.contains(key);
        // A third block of stage 3 counts as one that lacks all the rest.
        assert!(named || error.contains("features.3.2.block"), "{error}");
    }
}

#[test]
fn weights_of_another_network_are_said_to_be_none() {
    let mut resnet = StateDict::new();
    resnet.insert(
        "conv1.weight".to_owned(),
        ArrayD::zeros(IxDyn(&[64, 3, 7, 7])),
    );
    let error = refused(resnet).to_string();
    for part in [
        "conv1.weight",
        "features.0.0.weight",
        "_conv_stem.weight",
        "timm",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(
        refused(StateDict::new())
            .to_string()
            .contains("no tensor at all")
    );
}

#[test]
fn numbers_that_give_no_features_are_refused() {
    for (key, value) in [
        ("features.2.0.block.2.fc1.bias", f32::NAN),
        ("features.0.0.weight", f32::INFINITY),
        ("features.5.1.block.3.1.running_var", -0.5),
    ] {
        let mut tensors = weights(TORCHVISION);
        let tensor = tensors.get_mut(key).expect("it is there");
        *tensor.iter_mut().last().expect("an element") = value;
        let error = refused(tensors).to_string();
        assert!(error.contains(key), "{error}");
        assert!(error.contains(&value.to_string()), "{error}");
    }
    let network = EfficientNet::new(weights(TORCHVISION), None).expect("an EfficientNet");
    for epsilon in [0.0, -1e-3, f32::NAN, f32::INFINITY] {
        let options = GraphOptions {
            epsilon,
            ..of_stages(&[6])
        };
        let error = network.graph(&options).expect_err("must be refused");
        assert!(matches!(error, EfficientNetError::BadEpsilon(_)), "{error}");
    }
}

/// Whatever shape one tensor has, the answer is an error and not a panic.
#[test]
fn no_shape_of_any_tensor_is_taken_for_another() {
    let shapes: [&[usize]; 5] = [&[], &[0], &[0, 0, 0, 0], &[1, 1, 1, 1], &[3, 3, 1, 1, 1]];
    for folder in [TORCHVISION, EFFICIENTNET_PYTORCH] {
        let whole = weights(folder);
        let network = EfficientNet::new(whole.clone(), None).expect("an EfficientNet");
        for key in whole.keys().filter(|key| !network.naming().is_unused(key)) {
            for shape in shapes {
                let mut tensors = whole.clone();
                tensors.insert(key.clone(), ArrayD::zeros(shape));
                refused(tensors);
            }
        }
    }
}

#[test]
fn epsilon_is_that_of_the_library() {
    // Only names and sizes decide, so no weights are needed.
    let of_variant = |variant: Variant| {
        let architecture = variant.architecture();
        let naming = Naming::Torchvision;
        EfficientNet {
            tensors: StateDict::new(),
            naming,
            architecture,
        }
    };
    let symmetric = Padding::Symmetric;
    assert_eq!(of_variant(Variant::B4).epsilon(symmetric), 1e-5);
    assert_eq!(of_variant(Variant::B5).epsilon(symmetric), 1e-3);
    let of_naming = |naming| EfficientNet {
        naming,
        ..of_variant(Variant::B0)
    };
    assert_eq!(of_naming(Naming::Timm).epsilon(symmetric), 1e-5);
    assert_eq!(of_naming(Naming::Timm).epsilon(Padding::TensorFlow), 1e-3);
    let pytorch = of_naming(Naming::EfficientNetPytorch);
    assert_eq!(pytorch.epsilon(symmetric), 1e-3);
}

#[test]
fn pixels_are_those_of_the_family_and_the_library() {
    let of = |variant: Variant, naming| EfficientNet {
        tensors: StateDict::new(),
        naming,
        architecture: variant.architecture(),
    };
    use Naming::{EfficientNetPytorch, Timm};
    for (variant, naming, padding, expected) in [
        (
            Variant::B0,
            EfficientNetPytorch,
            Padding::TensorFlow,
            Normalisation::IMAGENET,
        ),
        (
            Variant::B0,
            Timm,
            Padding::TensorFlow,
            Normalisation::IMAGENET,
        ),
        (
            Variant::Lite2,
            EfficientNetPytorch,
            Padding::TensorFlow,
            Normalisation::LITE,
        ),
        (
            Variant::Lite2,
            Timm,
            Padding::TensorFlow,
            Normalisation::INCEPTION,
        ),
        (
            Variant::Lite0,
            Timm,
            Padding::Symmetric,
            Normalisation::IMAGENET,
        ),
    ] {
        let found = of(variant, naming).normalisation(padding);
        assert_eq!(found, expected, "{variant} of {naming}");
    }
}

/// Weights of the sizes of lite0, all zeros but the variances.
fn lite(naming: Naming, variant: Variant) -> StateDict {
    let tensors = naming.tensors(&variant.architecture()).into_iter();
    tensors
        .map(|(key, shape)| {
            let value = if key.ends_with("running_var") {
                1.0
            } else {
                0.0
            };
            (key, ArrayD::from_elem(shape, value))
        })
        .collect()
}

#[test]
fn weights_without_squeeze_and_excite_are_lite_under_both_names() {
    for naming in [Naming::EfficientNetPytorch, Naming::Timm] {
        for variant in [Variant::Lite0, Variant::Lite2, Variant::Lite4] {
            let network = EfficientNet::new(lite(naming, variant), None).expect("a network");
            assert_eq!(network.architecture().variant(), Some(variant));
            assert_eq!(network.naming(), naming);
        }
    }
}

#[test]
fn one_family_is_not_taken_for_the_other() {
    let naming = Naming::EfficientNetPytorch;
    let mixed = |more: &str| {
        let mut tensors = lite(naming, Variant::Lite0);
        tensors.insert(more.to_owned(), ArrayD::zeros(IxDyn(&[8, 32, 1, 1])));
        tensors
    };
    // One tensor of squeeze and excite: the others are missing.
    let error = refused(mixed("_blocks.0._se_reduce.weight"));
    assert!(
        matches!(error, EfficientNetError::Missing { .. }),
        "{error}"
    );
    let named = |tensors, variant| EfficientNet::new(tensors, Some(variant)).err();
    for (tensors, variant, part) in [
        (lite(naming, Variant::Lite0), Variant::B0, "_se_"),
        (
            mixed("_blocks.0._se_reduce.weight"),
            Variant::Lite0,
            "without squeeze and excite",
        ),
        (lite(naming, Variant::Lite1), Variant::Lite0, "--arch"),
    ] {
        let error = named(tensors, variant)
            .expect("must be refused")
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// The filters beside a network see the same picture as they do alone, whatever the network expects
/// of its pixels, and the file names what it is best used with.
#[test]
fn filters_beside_a_network_give_what_they_give_alone() {
    let network = EfficientNet::new(weights(TORCHVISION), None).expect("an EfficientNet");
    let options = GraphOptions {
        stages: vec![2],
        filters: true,
        ..OPTIONS
    };
    let graph = network.graph(&options).expect("a graph");
    let backbone = Backbone::from_bytes(Path::new("both.onnx"), &graph).expect("a backbone");
    assert_eq!(backbone.default_outputs(), ["stage2", "filters_s32"]);

    let shares: Vec<f32> = (0..3 * 64 * 96)
        .map(|index: usize| ((index * 7919) % 256) as f32 / 255.0)
        .collect();
    let pixels = |normalisation: Normalisation| {
        let shape = IxDyn(&[1, 3, 64, 96]);
        let mut image = ArrayD::from_shape_vec(shape, shares.clone()).expect("it fits");
        for (channel, mut plane) in image.axis_iter_mut(ndarray::Axis(1)).enumerate() {
            let (mean, std) = (normalisation.mean[channel], normalisation.std[channel]);
            plane.mapv_inplace(|share| (share - mean) / std);
        }
        image
    };
    let alone = super::parity::run(
        &crate::filter_bank::filter_bank(),
        &pixels(Normalisation::INCEPTION),
    );
    let beside = super::parity::run(&graph, &pixels(OPTIONS.normalisation));
    for (theirs, ours) in [
        ("features_s16", "filters_s16"),
        ("features_s32", "filters_s32"),
    ] {
        let of = |outputs: &[(String, ArrayD<f32>)], name: &str| {
            let found = outputs.iter().find(|(output, _)| output == name);
            found.expect("it is an output").1.clone()
        };
        let apart = of(&beside, ours) - of(&alone, theirs);
        let apart = apart.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(apart < 1e-3, "{ours}: {apart}");
    }
}
