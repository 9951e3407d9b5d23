//! What a configuration that is kept as text decides: colours and their order, anchors, sizes.

use super::torch_file::dense::{manifest, tensors};
use super::torch_file::{Item, archive};
use vitc::arch::Results;
use vitc::model::{Model, ModelRequest};

/// The detector of `golden/dense` with this text beside it, as mmengine saves it.
fn detector(text: &'static str, results: Results) -> Result<Model, String> {
    let meta = Item::dict([("mmengine_version", Item::Text("0.10.3")), ("cfg", Item::Text(text))]);
    let tensors = tensors(&manifest("casvit_xs_retinanet_128x160"), &|_| true);
    let file = Item::dict([("meta", meta), ("state_dict", Item::dict(tensors))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch_12.pth");
    std::fs::write(&path, archive(&file)).unwrap();
    let request = ModelRequest { results, ..ModelRequest::checkpoint(&path) };
    Model::load(&request).map_err(|e| vitc::cli::explained(&e))
}

/// Values of these keys of the metadata.
fn facts<'m>(model: &'m Model, keys: &[&str]) -> Vec<&'m str> {
    let value = |key: &&str| model.facts.iter().find(|(k, _)| k == key).map_or("", |(_, value)| value.as_str());
    keys.iter().map(value).collect()
}

#[test]
fn anchors_and_offsets_are_as_the_text_says() {
    let keys = ["vitc.anchors.centre_offset", "vitc.boxes.means", "vitc.boxes.stds", "vitc.anchors.ratios"];
    let text = "bbox_head=dict(anchor_generator=dict(center_offset=0.5, octave_base_scale=4, ratios=[1.0, 2.0, 4.0]),\
                bbox_coder=dict(target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]))\
                train_pipeline=[dict(type='Resize', scale=(640, 200))]";
    let model = detector(text, Results::Boxes).unwrap();
    assert_eq!(facts(&model, &keys), ["0.5", "0,0,0,0", "0.1,0.1,0.2,0.2", "1,2,4"]);
    assert_eq!(model.resolution, [224, 640]);
    let model = detector("", Results::Logits).unwrap();
    assert_eq!(facts(&model, &keys), ["0", "0,0,0,0", "1,1,1,1", "0.5,1,2"]);
    let error = detector("target_stds=[0.1, 0.1]", Results::Boxes).unwrap_err();
    assert!(error.contains("box-stds takes four numbers"), "{error}");
}

/// The part that a setting stands in decides, not what others say; what is built in one way only stops where the text has another.
#[test]
fn what_the_text_says_of_the_parts_is_built_or_stops() {
    let line = |text, wanted: &str| {
        let model = detector(text, Results::Logits).unwrap();
        assert!(model.weights.found().iter().any(|line| line.starts_with(wanted)), "{:?}", model.weights.found());
        model
    };
    line(
        "neck=dict(num_outs=5, relu_before_extra_convs=True), rpn_head=dict(num_outs=3)",
        "extra-relu true <- relu_before",
    );
    line("", "extra-relu false, assumed");
    let model = line(
        "bbox_head=dict(anchor_generator=dict(scales=[4, 5, 6], strides=[8, 16, 32, 64, 100]))",
        "anchor-scales 4,5,6",
    );
    assert_eq!(facts(&model, &["vitc.anchors.sizes", "vitc.anchors.strides"]), ["4,5,6", "8,16,32,64,100"]);
    for (text, wanted) in [
        ("neck=dict(upsample_cfg=dict(mode='bilinear'))", "upsample_cfg.mode the value bilinear"),
        ("bbox_head=dict(bbox_coder=dict(type='TBLRBBoxCoder'))", "bbox_coder.type the value TBLRBBoxCoder"),
        ("neck=[dict(num_outs=5), dict(num_outs=6)]", "gives num_outs several values"),
        ("neck=dict(num_outs=7, add_extra_convs='on_input')", "5 output convolutions, and 7 levels are asked for"),
    ] {
        let error = detector(text, Results::Logits).unwrap_err();
        assert!(error.contains(wanted), "{error}");
        assert!(detector(text, Results::Pyramid).is_ok(), "{text}");
    }
}

/// Mean and deviation stand in the order that the network sees; ours are of red, green and blue.
#[test]
fn colours_are_in_the_order_that_the_text_says() {
    for (order, bgr) in [("to_rgb=False", true), ("bgr_to_rgb=False", true), ("bgr_to_rgb=True", false), ("", false)] {
        let text: &'static str =
            Box::leak(format!("data_preprocessor=dict(mean=[51, 102, 153], std=[51, 51, 255], {order})").into());
        let model = detector(text, Results::Logits).unwrap();
        let preprocessing = model.signature.preprocessing().unwrap();
        let mean = if bgr { [0.6, 0.4, 0.2] } else { [0.2, 0.4, 0.6] };
        let std = if bgr { [1.0, 0.2, 0.2] } else { [0.2, 0.2, 1.0] };
        assert_eq!([&preprocessing.mean[..], &preprocessing.std], [mean, std], "{order}");
        assert_eq!(preprocessing.layout.bgr, bgr, "{order}");
    }
    // Readers of another kind do not swap either, and have the mean in their order.
    let model = detector("img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], to_rgb=False)", Results::Logits).unwrap();
    let preprocessing = model.signature.preprocessing().unwrap();
    assert!(!preprocessing.layout.bgr && preprocessing.mean == [0.485, 0.456, 0.406], "{preprocessing:?}");
}
