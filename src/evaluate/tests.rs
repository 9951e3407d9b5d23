//! Artifacts whose class is the strongest colour, on pictures of which that is known.

use super::*;
use std::fs::File;
use std::path::PathBuf;
use tempfile::TempDir;
use vitc_exporters::Metadata;
use vitc_exporters::metadata::{Fit, Layout, Preprocessing, WeightSource};
use vitc_exporters::onnx;
use vitc_ir::{DType, Stored, StoredType, Target, WeightError, Weights, parse};

/// What the classes red, green and blue see of the three colours.
struct Colours(&'static [f32; 9]);

const RIGHT: &[f32; 9] = &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
/// Takes blue for green.
const BLIND: &[f32; 9] = &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0];

impl Weights for Colours {
    fn weight(&self, _: &str, _: usize) -> Result<Stored<'_>, WeightError> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(Stored { dtype: StoredType::F32, bytes: bytes.into() })
    }
}

/// A folder with an artifact and pictures.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Fixture {
        Fixture(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An artifact for pictures of 4x4, two at once: scores of the picture, or of each 2x2 pixels.
    fn artifact(&self, name: &str, weights: &'static [f32; 9], maps: bool, labels: Option<&str>) -> PathBuf {
        let scores = if maps {
            "%s: f32[2,3,2,2] = avg_pool(%c){kernel=2, stride=2, pad=0}"
        } else {
            "%s: f32[2,3] = reduce_mean(%c){axes=[2,3]}"
        };
        let graph = format!(
            "graph g  stage=target\n%image: f32[2,3,4,4] = input\n%c: f32[2,3,4,4] = conv(%image, weight\"w\":f32[3,3,1,1]){{stride=1, pad=0}}\n{scores}\noutputs logits=%s"
        );
        let graph = parse(&graph).unwrap_or_else(|e| panic!("{e}"));
        let mut metadata = Metadata::new("colours", WeightSource::Seeded { seed: 0 }, DType::F32);
        metadata.preprocessing = Some(Preprocessing {
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            layout: Layout::default(),
            fit: if maps { Fit::Stretch } else { Fit::Crop },
            crop: 1.0,
            interpolation: "bilinear".into(),
            normalised_inside: false,
        });
        metadata.extra.extend(maps.then(|| ("vitc.task".to_string(), "segmentation".to_string())));
        metadata.extra.extend(labels.map(|l| (crate::artifact::LABELS_KEY.to_string(), l.to_string())));
        let path = self.path(name);
        let target = Target::onnx(17);
        onnx::write(&graph, &Colours(weights), &target, &metadata, &mut File::create(&path).unwrap()).unwrap();
        path
    }

    /// A file of these pixels, row by row.
    fn png(&self, name: &str, width: usize, colour: png::ColorType, pixels: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let height = pixels.len() / width / colour.samples();
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), width as u32, height as u32);
        encoder.set_color(colour);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    }

    /// A picture of one colour.
    fn plain(&self, name: &str, colour: [u8; 3]) {
        self.png(name, 4, png::ColorType::Rgb, &colour.repeat(16));
    }
}

const RED: [u8; 3] = [200, 10, 10];
const GREEN: [u8; 3] = [10, 200, 10];
const BLUE: [u8; 3] = [10, 10, 200];

fn request(artifact: PathBuf, source: Source) -> Request {
    Request { artifact, against: None, source, output: None, sight: Sight::default() }
}

fn judge(request: &Request) -> Result<Evaluation, EvaluateError> {
    evaluate(request, &|_, _| ())
}

#[test]
fn folders_are_classes_by_order_or_by_name() {
    let f = Fixture::new();
    for (name, colour) in
        [("x/1-red/a.png", RED), ("x/1-red/b.png", GREEN), ("x/2-green/more/c.png", GREEN), ("x/3/d.png", BLUE)]
    {
        f.plain(name, colour);
    }
    f.plain("x/.hidden/e.png", RED);
    let model = f.artifact("m.onnx", RIGHT, false, None);
    let found = judge(&request(model.clone(), Source::Folders(f.path("x")))).unwrap();
    let marks = found.judged.marks.unwrap();
    assert_eq!((found.pictures, found.classes, marks.correct, marks.top1), (4, 3, Some(3), Some(0.75)));
    let shares: Vec<_> = marks.per_class.iter().map(|c| c.top1.unwrap()).collect();
    assert_eq!(shares, [0.5, 1.0, 1.0]);

    // Two folders for three classes, in an order that is not the classes': names decide where they are known.
    f.plain("y/green/a.png", GREEN);
    f.plain("y/blue/a.png", BLUE);
    let unnamed = judge(&request(model, Source::Folders(f.path("y")))).unwrap();
    assert_eq!((unnamed.judged.marks.unwrap().correct, unnamed.notices.len()), (Some(1), 1));
    let named = f.artifact("n.onnx", RIGHT, false, Some("[\"red\",\"green\",\"blue\"]"));
    let found = judge(&request(named.clone(), Source::Folders(f.path("y")))).unwrap();
    assert_eq!((found.judged.marks.unwrap().correct, found.notices.len()), (Some(2), 0));
    f.plain("y/yellow/a.png", RED);
    let error = judge(&request(named.clone(), Source::Folders(f.path("y")))).unwrap_err();
    assert!(matches!(&error, EvaluateError::Classes { path, .. } if path.ends_with("yellow")), "{error}");
    for name in ["z/1/a.png", "z/2/a.png", "z/3/a.png", "z/4/a.png"] {
        f.plain(name, RED);
    }
    assert!(matches!(judge(&request(named.clone(), Source::Folders(f.path("z")))), Err(EvaluateError::Classes { .. })));
    assert!(matches!(judge(&request(named, Source::Folders(f.path("x/3")))), Err(EvaluateError::NoClassFolders(_))));
}

#[test]
fn two_artifacts_are_compared_on_the_same_pictures() {
    let f = Fixture::new();
    for (i, colour) in [RED, GREEN, BLUE, BLUE].into_iter().enumerate() {
        f.plain(&format!("x/{i}.png"), colour);
    }
    std::fs::write(f.path("list.csv"), "path,class\n0.png,0\n1.png,1\n2.png,2\n3.png,2\n").unwrap();
    let source = Source::List { folder: f.path("x"), file: f.path("list.csv") };
    let against = Some(f.artifact("blind.onnx", BLIND, false, None));
    let asked = Request { against, ..request(f.artifact("m.onnx", RIGHT, false, None), source) };
    let found = judge(&asked).unwrap();
    let other = found.against.unwrap();
    assert_eq!((found.judged.marks.unwrap().top1, other.judged.marks.unwrap().top1), (Some(1.0), Some(0.5)));
    assert_eq!((other.same, other.of, other.agreement), (2, 4, 0.5));
    // Of pictures of which nothing is known only the agreement is counted.
    let found = judge(&Request { source: Source::Unknown(f.path("x")), ..asked }).unwrap();
    assert_eq!((found.judged.marks, found.against.unwrap().same), (None, 2));
}

#[test]
fn masks_are_judged_at_their_own_size() {
    let f = Fixture::new();
    // 8x8 pixels: the left half red, the right half green; the mask has two rows of another opinion and some without a class.
    let row: Vec<u8> = [RED.repeat(4), GREEN.repeat(4)].concat();
    f.png("x/sub/a.png", 8, png::ColorType::Rgb, &row.repeat(8));
    let mut mask = [[0u8; 4], [1; 4]].concat().repeat(8);
    mask[..8].fill(2);
    mask[8..16].fill(255);
    f.png("m/sub/a.png", 8, png::ColorType::Grayscale, &mask);
    let model = f.artifact("m.onnx", RIGHT, true, None);
    let masks = |masks: &str, zero_ignored| Source::Masks { pictures: f.path("x"), masks: f.path(masks), zero_ignored };
    let marks = judge(&request(model.clone(), masks("m", false))).unwrap().judged.marks.unwrap();
    let iou: Vec<f64> = marks.per_class.iter().map(|c| c.iou.unwrap()).collect();
    // 24 of 28 pixels each that show or are said to show red and green; blue is shown and never said.
    assert_eq!(iou, [24.0 / 28.0, 24.0 / 28.0, 0.0]);
    assert_eq!((marks.pixel_accuracy, marks.miou), (Some(48.0 / 56.0), Some(48.0 / 28.0 / 3.0)));

    // As ADE20K stores it: one more, and 0 for no class.
    let ade: Vec<u8> = mask.iter().map(|&c| if c == 255 { 0 } else { c + 1 }).collect();
    f.png("ade/sub/a.png", 8, png::ColorType::Grayscale, &ade);
    assert_eq!(judge(&request(model.clone(), masks("ade", true))).unwrap().judged.marks.unwrap(), marks);
    let error = judge(&request(model.clone(), masks("ade", false))).unwrap_err();
    assert!(matches!(error, EvaluateError::BeyondClasses { class: 3, last: 2, zero_ignored: false, .. }), "{error}");
    f.png("small/sub/a.png", 4, png::ColorType::Grayscale, &[0; 16]);
    assert!(matches!(judge(&request(model.clone(), masks("small", false))), Err(EvaluateError::MaskSize { .. })));
    assert!(matches!(judge(&request(model.clone(), masks("none", false))), Err(EvaluateError::NoMask { .. })));
    let sight = Sight { fit: Some(Fit::Crop), ..Sight::default() };
    let cropped = judge(&Request { sight, ..request(model.clone(), masks("m", false)) });
    assert!(matches!(cropped, Err(EvaluateError::Cropped(_))));
    // A classifier has no masks to be judged by, and a segmentation is not judged by folders.
    let scores = f.artifact("s.onnx", RIGHT, false, None);
    assert!(matches!(judge(&request(scores, masks("m", false))), Err(EvaluateError::Unsuited { .. })));
    assert!(matches!(judge(&request(model, Source::Folders(f.path("x")))), Err(EvaluateError::Unsuited { .. })));
}

#[test]
fn what_is_not_finite_stops_the_evaluation() {
    const OVERFLOWS: &[f32; 9] = &[f32::MAX; 9];
    let f = Fixture::new();
    f.plain("x/0/a.png", [255; 3]);
    let model = f.artifact("m.onnx", OVERFLOWS, false, None);
    let error = judge(&request(model, Source::Folders(f.path("x")))).unwrap_err();
    assert!(matches!(&error, EvaluateError::NotFinite { picture, .. } if picture.ends_with("a.png")), "{error}");
}
