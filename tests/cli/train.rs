//! Training: its results, how it resumes, and everything that can be wrong with its input.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use flawd::bundle::Bundle;
use flawd_core::image::Size;
use flawd_core::preprocess::{Flip, Geometry, RegionOfInterest, Rotation};
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, Running, flawd, good_parts, training};

/// A folder with a backbone, good images, and room for bundle and cache.
struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new(images: u64) -> Self {
        Self {
            folder: good_parts(Size::new(96, 96), 5, images),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn good(&self) -> PathBuf {
        self.path("data/train/good")
    }

    fn bundle(&self) -> PathBuf {
        self.path("bundle")
    }

    /// The arguments of a short training run; `more` are flags with a value each, which replace
    /// those of the same name, and at the end flags without one.
    fn arguments(&self, more: &str) -> Vec<OsString> {
        let mut all = training(self.folder.path(), "cache");
        let settings = format!(
            "--out {} --feature features_s32 --size 128x128 --epochs 2 --hidden 4 --kernels 3 \
             --batch 4 --false-reject-rate 0.2 --hold-out 0.3",
            self.bundle().display()
        );
        let settings: Vec<&str> = settings.split_whitespace().collect();
        let given: Vec<&str> = more.split_whitespace().collect();
        for pair in settings.chunks(2).filter(|pair| !given.contains(&pair[0])) {
            all.extend(pair.iter().map(OsString::from));
        }
        all.extend(given.iter().map(OsString::from));
        all
    }

    fn train(&self, more: &str) -> Finished {
        flawd(self.arguments(more))
    }

    /// Starts a run that would take days.
    fn start_long_run(&self) -> Running {
        Running::start(self.arguments("--epochs 100000"))
    }
}

#[test]
fn a_second_run_takes_the_features_from_the_cache_and_makes_the_same_model() {
    let workshop = Workshop::new(20);
    let bundle = || Bundle::open(&workshop.bundle()).expect("every digest fits");
    workshop
        .train("")
        .succeeded()
        .said(&["features 20/20, 0 of them", "14 images train", "6 cal"]);
    let first = bundle();
    let second = workshop
        .train("")
        .succeeded()
        .said(&["20 of them from the cache"]);
    for expected in [
        "scores     ",
        "made up    patch of 1/8 of the side: ",
        "of 6 escape",
    ] {
        assert!(second.stdout.contains(expected), "{}", second.stdout);
    }
    assert_eq!(bundle().manifest().model, first.manifest().model);
    assert_eq!(bundle().calibration(), first.calibration());
}

#[test]
fn without_a_backbone_the_filter_bank_is_used_and_recorded() {
    let workshop = Workshop::new(20);
    let bundle = || Bundle::open(&workshop.bundle()).expect("every digest fits");
    workshop.train("").succeeded();
    let named = bundle();
    let mut arguments = workshop.arguments("");
    for flag in ["--backbone", "--feature"] {
        let place = arguments
            .iter()
            .position(|word| word == flag)
            .expect("it is given");
        arguments.drain(place..place + 2);
    }
    flawd(arguments).succeeded();
    let own = bundle();
    let backbone = &own.manifest().backbone;
    assert_eq!(backbone.file, "filter-bank.onnx");
    assert_eq!(backbone.digest, named.manifest().backbone.digest);
    assert_eq!(backbone.outputs, ["features_s32"]);
    assert_eq!(own.manifest().model.digest, named.manifest().model.digest);
}

#[test]
fn an_image_that_cannot_be_used_is_named_and_left_out() {
    let workshop = Workshop::new(20);
    let whole = fs::read(workshop.good().join("003.png")).expect("there");
    fs::write(workshop.good().join("cut.png"), &whole[..whole.len() / 2]).expect("writable");
    fs::write(workshop.good().join("twin.png"), &whole).expect("writable");
    // The same shot in other bytes, as a camera that froze gives it.
    let pixels = image::load_from_memory(&whole).expect("an image");
    pixels
        .save(workshop.good().join("again.bmp"))
        .expect("writable");
    fs::write(workshop.good().join("text.jpg"), "no picture").expect("writable");
    let said = [
        "skipped",
        "cut.png",
        "text.jpg",
        "again.bmp: the same pixels as",
        "twin.png: the same pixels as",
        // Why it cannot be decoded.
        "text.jpg: cannot decode",
        "it is not a JPEG, PNG, BMP, TIFF, WebP or PNM file",
    ];
    let finished = workshop.train("").succeeded().said(&said);
    assert!(
        finished.stdout.contains("skipped    4 images"),
        "{}",
        finished.stdout
    );
    let bundle = Bundle::open(&workshop.bundle()).expect("every digest fits");
    let training = bundle.manifest().training.as_ref();
    let images = training.expect("it was trained").images;
    assert_eq!(images + bundle.calibration().n(), 20);
    // Once more, with the features from the cache.
    workshop.train("").succeeded().said(&said);
}

/// Pictures that go or change during a training of hours cost themselves, and not the training.
#[test]
fn pictures_that_go_or_change_while_it_trains_are_named_and_calibrate_nothing() {
    for (how, begun, calibrating) in [
        ("--hold-out 0.3", "epoch 1/", 6),
        ("--cross-calibrate 2", "fold 1/2  epoch 1/", 20),
    ] {
        let workshop = Workshop::new(20);
        let mut arguments = workshop.arguments("");
        let hold_out = arguments.iter().position(|word| word == "--hold-out");
        arguments.truncate(hold_out.expect("it is given, as the last one"));
        arguments.extend(how.split(' ').map(OsString::from));
        let mut running = Running::start(arguments);
        running.says(begun);
        let picture = |number: usize| workshop.good().join(format!("{number:03}.png"));
        fs::copy(picture(19), picture(0)).expect("writable");
        for number in 1..10 {
            fs::remove_file(picture(number)).expect("it is there");
        }
        let said = running.succeeds().join("\n");
        assert!(said.contains("No such file"), "{said}");
        let bundle = Bundle::open(&workshop.bundle()).expect("every digest fits");
        let left = bundle.calibration().n();
        assert!((1..calibrating).contains(&left), "{left}");
        if calibrating == 20 {
            assert!(said.contains("000.png: the file changed after"), "{said}");
            assert_eq!(left, 10, "the others count once each");
        }
    }
}

#[test]
fn without_a_rate_the_lowest_that_the_images_support_is_promised_and_said() {
    let workshop = Workshop::new(20);
    let mut arguments = workshop.arguments("");
    let rate = arguments
        .iter()
        .position(|word| word == "--false-reject-rate");
    arguments.drain(rate.expect("it is given")..).count();
    arguments.extend(arguments!["--hold-out", "0.3"]);
    let takes = "0.01 takes 329 good images, or 99 good images and --cross-calibrate 10";
    let finished = flawd(&arguments).succeeded().said(&[
        "note: 6 images calibrate, which supports a false-reject rate of 0.143 at best",
        takes,
    ]);
    let promise = "at most 0.143, the lowest that 6 images support (0.01 takes 99 of them)";
    for said in [promise, takes] {
        assert!(finished.stdout.contains(said), "{}", finished.stdout);
    }
    let bundle = Bundle::open(&workshop.bundle()).expect("every digest fits");
    assert_eq!(bundle.calibration().alpha(), 1.0 / 7.0);
    assert_eq!(bundle.calibration().asked(), Some(0.01));
    let inspected = flawd(arguments!["model", "inspect", workshop.bundle()]).succeeded();
    assert!(inspected.stdout.contains(promise), "{}", inspected.stdout);

    arguments.extend(arguments!["--cross-calibrate", "3"]);
    let hold_out = arguments.iter().position(|word| word == "--hold-out");
    let hold_out = hold_out.expect("it is given");
    arguments.drain(hold_out..hold_out + 2);
    let finished = flawd(&arguments).succeeded();
    let promise = "about 0.0477, the lowest that 20 images support (0.01 takes 99 of them)";
    assert!(finished.stdout.contains(promise), "{}", finished.stdout);
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    let workshop = Workshop::new(20);
    let mut running = workshop.start_long_run();
    running.says("epoch 3/");
    running.interrupt();
    assert!(!workshop.bundle().exists());

    let mut running = workshop.start_long_run();
    running.says("going on after ");
    running.kill();
}

#[test]
fn an_output_that_the_backbone_lacks_is_named_with_those_that_it_has() {
    let workshop = Workshop::new(4);
    let said = ["no output `nonsense`", "features_s16", "features_s32"];
    workshop.train("--feature nonsense").failed(78, &said);
}

#[test]
fn several_outputs_and_no_choice_are_named() {
    let workshop = Workshop::new(4);
    let mut arguments = workshop.arguments("");
    let feature = arguments
        .iter()
        .position(|word| word == "--feature")
        .expect("it is given");
    arguments.drain(feature..feature + 2);
    flawd(arguments).failed(78, &["features_s16, features_s32", "--feature"]);
}

#[test]
fn a_damaged_or_missing_backbone_is_named() {
    let workshop = Workshop::new(4);
    let whole = fs::read(workshop.path("filters.onnx")).expect("there");
    fs::write(workshop.path("filters.onnx"), &whole[..whole.len() / 2]).expect("writable");
    workshop.train("").failed(78, &["filters.onnx"]);
    fs::remove_file(workshop.path("filters.onnx")).expect("there");
    workshop.train("").failed(78, &["filters.onnx"]);
}

#[test]
fn a_size_that_the_scales_cannot_divide_is_refused_with_sizes_that_work() {
    let workshop = Workshop::new(4);
    workshop
        .train("--size 130x128")
        .failed(78, &["130x128", "multiples of 128", "128x128"]);
}

#[test]
fn too_few_images_for_the_rate_are_found_before_training() {
    let workshop = Workshop::new(20);
    let finished = workshop.train("--false-reject-rate 0.01").failed(
        78,
        &[
            "--hold-out 0.3 leaves 6 of 20 images",
            "leave --false-reject-rate out",
            "0.01 takes 329 good images",
            "at least 99",
        ],
    );
    // Not even their features were extracted.
    assert!(!finished.stderr.contains("features"), "{}", finished.stderr);
    workshop
        .train("--false-reject-rate 0.01 --accept-achievable")
        .succeeded();
}

#[test]
fn one_image_is_not_enough() {
    Workshop::new(1)
        .train("")
        .failed(1, &["only 1 usable image"]);
}

#[test]
fn a_folder_without_images_is_refused() {
    let workshop = Workshop::new(1);
    fs::remove_file(workshop.good().join("000.png")).expect("there");
    workshop.train("").failed(64, &["there are no images"]);
}

#[test]
fn numbers_that_train_nothing_are_found_before_any_image_is_read() {
    let workshop = Workshop::new(4);
    for (arguments, said) in [
        ("--epochs 0", "--epochs"),
        ("--batch 0", "--batch"),
        ("--hidden 0", "--hidden"),
        ("--kernels 3,2", "--kernels must be odd"),
        ("--clamp nan", "--clamp"),
        (
            "--learning-rate 0",
            "--learning-rate must be a number above 0",
        ),
        ("--epsilon inf", "--epsilon"),
        ("--weight-decay=-1", "--weight-decay"),
        ("--clip-norm=-1", "--clip-norm"),
        ("--seed 9223372036854775808", "--seed"),
    ] {
        workshop.train(arguments).failed(64, &[said]);
    }
    assert!(!workshop.path("cache").exists());
}

#[test]
fn a_model_that_no_file_holds_is_found_before_training() {
    let workshop = Workshop::new(20);
    workshop
        .train("--hidden 60000")
        .failed(78, &["the model takes", "choose a smaller one"]);
}

#[test]
fn a_place_that_is_taken_or_not_writable_is_found_before_training() {
    let workshop = Workshop::new(4);
    fs::create_dir(workshop.bundle()).expect("writable");
    fs::write(workshop.path("bundle/precious.txt"), "mine").expect("writable");
    workshop
        .train("")
        .failed(1, &["exists and is not a bundle"]);
    assert!(workshop.path("bundle/precious.txt").exists());
    // Not even root can make a folder there.
    workshop
        .train("--out /proc/flawd")
        .failed(1, &["cannot write a bundle to /proc/flawd"]);
}

#[test]
fn a_loss_that_is_no_number_ends_with_the_last_checkpoint_kept() {
    let workshop = Workshop::new(20);
    workshop
        .train("--learning-rate 1e30 --schedule constant --epochs 50 --clamp 0")
        .failed(1, &["is not finite", "no epoch was finished"]);
    assert!(!workshop.bundle().exists());
}

#[test]
fn a_region_that_is_trained_on_is_part_of_the_bundle_and_has_to_lie_inside() {
    let workshop = Workshop::new(20);
    workshop
        .train("--region 10,20,60,50 --rotate 90 --flip vertical")
        .succeeded();
    let bundle = Bundle::open(&workshop.bundle()).expect("every digest fits");
    let region = RegionOfInterest {
        left: 10,
        top: 20,
        width: 60,
        height: 50,
    };
    let expected = Geometry {
        region: Some(region),
        rotate: Rotation::Quarter,
        flip: Flip::Vertical,
    };
    assert_eq!(bundle.manifest().model.geometry, expected);
    let said = ["the region of interest (left 90", "only 0 usable image"];
    workshop.train("--region 90,20,60,50").failed(1, &said);
    workshop
        .train("--region 90,20,60")
        .failed(64, &["four whole numbers"]);
}

#[test]
fn a_second_training_of_the_same_is_refused_while_the_first_one_runs() {
    let workshop = Workshop::new(20);
    let mut running = workshop.start_long_run();
    running.says("epoch 2/");
    let said = ["another flawd, process", "trains the same", "--cache"];
    flawd(workshop.arguments("--epochs 100000")).failed(1, &said);
    // Nor is the cache cleared under its hands.
    let clear = || {
        flawd(arguments![
            "cache",
            "clear",
            "--cache",
            workshop.path("cache")
        ])
    };
    clear().failed(1, &["is in use"]);
    // Another training on the same pictures does not affect it.
    workshop.train("--seed 7").succeeded();
    running.kill();

    // What a killed one leaves holds up no other, and is listed and cleared.
    let list = || flawd(arguments!["cache", "--cache", workshop.path("cache")]).succeeded();
    let listed = list().stdout;
    assert!(
        // Twice 20: other pictures train, so that they are brought to another light.
        listed.contains("features   40 files") && listed.contains(".safetensors "),
        "{listed}"
    );
    let old = ["cache", "clear", "--older-than", "1", "--cache"];
    let old = old
        .map(OsString::from)
        .into_iter()
        .chain([workshop.path("cache").into()]);
    let cleared = flawd(old).succeeded().stdout;
    assert!(cleared.contains("features   0 files"), "{cleared}");
    let cleared = clear().succeeded().stdout;
    assert!(cleared.contains("features   40 files"), "{cleared}");
    assert!(
        list().stdout.contains("runs       0 files, 0 B"),
        "{}",
        list().stdout
    );
    workshop.train("").succeeded().said(&["20/20, 0 of them"]);
}

#[test]
fn an_odd_picture_ends_a_training_that_goes_on_from_its_end() {
    let workshop = Workshop::new(20);
    let black = image::RgbImage::new(96, 96);
    black
        .save(workshop.good().join("black.png"))
        .expect("writable");
    // Every picture calibrates, wherever the shuffle puts it.
    let mut arguments = workshop.arguments("");
    let hold_out = arguments
        .iter()
        .position(|word| word == "--hold-out")
        .expect("it is given");
    arguments.splice(hold_out..hold_out + 2, arguments!["--cross-calibrate", "3"]);
    let said = ["black.png: ", "too dark", "the training is kept"];
    flawd(&arguments).failed(1, &said);
    assert!(!workshop.bundle().exists());

    arguments.extend(arguments!["--accept-outliers"]);
    flawd(&arguments)
        .succeeded()
        .said(&["fold 3/3  its scores are there", "going on after 2 epochs"]);
    let bundle = Bundle::open(&workshop.bundle()).expect("every digest fits");
    let accepted = &bundle.manifest().selection.accepted;
    assert!(accepted[0].starts_with("black.png: "), "{accepted:?}");

    arguments.extend(arguments!["--exclude", "black.png"]);
    flawd(&arguments).succeeded();
    let bundle = Bundle::open(&workshop.bundle()).expect("every digest fits");
    assert_eq!(bundle.calibration().n(), 20);
    assert_eq!(bundle.manifest().training.as_ref().unwrap().images, 20);
    assert_eq!(bundle.manifest().selection.excluded, ["black.png"]);
}

/// Pictures without any difference make features without any, and a model all the same: one that
/// scores whatever a camera may show, or none.
#[test]
fn a_model_of_pictures_that_hardly_differ_has_a_score_for_every_picture_or_is_not_made() {
    let workshop = Workshop::new(2);
    for (number, name) in ["000.png", "001.png"].iter().enumerate() {
        let grey = image::RgbImage::from_pixel(96, 96, image::Rgb([90 + number as u8; 3]));
        grey.save(workshop.good().join(name)).expect("writable");
    }
    let trained = workshop.train("--false-reject-rate 0.5 --epochs 40");
    if trained.code == 0 {
        flawd(arguments!["model", "verify", workshop.bundle()]).succeeded();
    } else {
        trained.failed(1, &["cannot score a picture of", "too few or too alike"]);
        assert!(!workshop.bundle().exists());
    }
}
