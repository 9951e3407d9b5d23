//! What a checkpoint of dense prediction says besides the tensors: mmcv's and mmengine's `meta` with names and colours of the classes and the
//! configuration as text, of which a handful of literals is read.

use super::literals::{Literal, literal, sections, values};
use super::other_settings::{DETECTS, NECK, OtherSetting, SEGMENTS, other_settings};
use super::pickle::{Id, Pickle};

/// More classes than any palette has.
const MAX_CLASSES: usize = 1 << 16;
/// Longest side of an image that is believed.
const MAX_SIDE: f64 = 16384.0;

/// What is said. Everything is optional; a value of an unexpected kind counts as absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DenseConfig {
    /// Names of the classes, in order.
    pub classes: Option<Vec<String>>,
    /// Colour of each class: red, green, blue.
    pub palette: Option<Vec<[u8; 3]>>,
    /// Height and width of the crops that were trained on.
    pub crop_size: Option<[usize; 2]>,
    /// Height and width that pictures are resized to within.
    pub image_scale: Option<[usize; 2]>,
    /// Mean per channel of pixels in 0..1.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation per channel of pixels in 0..1.
    pub std: Option<[f64; 3]>,
    /// Whether the network sees blue, green and red; then mean and deviation are in this order too.
    pub bgr: Option<bool>,
    /// Values of choices, by the choice's name, and the name that the text has for it.
    pub choices: Vec<(&'static str, String, &'static str)>,
    /// Settings that the text gives several values for one part.
    pub unclear: Vec<(&'static str, &'static str)>,
    /// Settings that are built otherwise.
    pub others: Vec<OtherSetting>,
}

impl DenseConfig {
    /// From the `meta` of a pickled checkpoint, if it has one that says anything.
    pub(super) fn from_pickle(pickle: &Pickle<'_>) -> Option<DenseConfig> {
        let entry =
            |of: Id, name: &str| pickle.entries(of).iter().find(|(k, _)| pickle.str(*k) == Some(name)).map(|e| e.1);
        let meta = entry(pickle.root, "meta")?;
        let dataset = entry(meta, "dataset_meta").unwrap_or(meta);
        let any = |names: [&str; 2]| names.into_iter().find_map(|name| entry(dataset, name));
        let classes = any(["CLASSES", "classes"]).and_then(|id| texts(pickle, id));
        let palette = any(["PALETTE", "palette"]).and_then(|id| colours(pickle, id));
        let text = ["config", "cfg"].into_iter().find_map(|name| pickle.str(entry(meta, name)?));
        let config = DenseConfig { classes, palette, ..text.map(DenseConfig::from_text).unwrap_or_default() };
        (config != DenseConfig::default()).then_some(config)
    }

    /// From the configuration's text.
    fn from_text(text: &str) -> DenseConfig {
        let numbers = |name: &str| literal(text, name)?.numbers();
        let size = |name: &str| match numbers(name)?[..] {
            [side] => sides([side, side]),
            [height, width] => sides([height, width]),
            _ => None,
        };
        // The mean of pixels in 0..255.
        let scaled = |name: &str| {
            let three = <[f64; 3]>::try_from(numbers(name)?).ok()?;
            three.iter().all(|x| (0.0..=255.0).contains(x)).then(|| three.map(|x| x / 255.0))
        };
        // Pictures are read as blue, green, red; either conversion swaps them.
        let swaps = ["to_rgb", "bgr_to_rgb", "rgb_to_bgr"].map(|name| literal(text, name));
        let swaps = |wanted: bool| swaps.iter().flatten().any(|said| *said == Literal::Bool(wanted));
        // Pictures that are read as red, green, blue are not swapped either: then the mean is in that order, as ImageNet's is written, or says no order.
        let mean = scaled("mean");
        let read_as_rgb =
            mean.is_some_and(|[r, _, b]| r == 0.0 && b == 0.0 || [r, b] == [123.675 / 255.0, 103.53 / 255.0]);
        let (mut choices, mut unclear) = (Vec::new(), Vec::new());
        for &(choice, name, parts) in CHOICES {
            match &given(text, name, parts)[..] {
                [said] => choices.extend(value(said).map(|value| (choice, value, name))),
                [] => {}
                _ => unclear.push((choice, name)),
            }
        }
        DenseConfig {
            crop_size: size("crop_size"),
            // Written as width, height; the longer side goes with the longer of the picture, which is taken to be its width.
            image_scale: ["img_scale", "scale"].into_iter().find_map(|name| Some(wide(size(name)?))),
            mean,
            std: scaled("std").filter(|std| std.iter().all(|x| *x > 0.0)),
            bgr: (swaps(true) || swaps(false)).then(|| !swaps(true) && !read_as_rgb),
            choices,
            unclear,
            others: other_settings(text),
            ..DenseConfig::default()
        }
    }
}

/// The names of choices, of the literals that decide them, and the parts of the configuration that these stand in.
const CHOICES: &[(&str, &str, &[&str])] = &[
    ("align-corners", "align_corners", &[SEGMENTS]),
    ("pool-scales", "pool_scales", &[SEGMENTS]),
    ("dilations", "dilations", &[SEGMENTS]),
    ("dilation", "dilation", &[SEGMENTS]),
    ("in-index", "in_index", &[SEGMENTS]),
    ("norm-groups", "num_groups", &[NECK, SEGMENTS, DETECTS]),
    ("extra-convs", "add_extra_convs", &[NECK]),
    ("extra-relu", "relu_before_extra_convs", &[NECK]),
    ("levels", "num_outs", &[NECK]),
    ("anchor-scale", "octave_base_scale", &[DETECTS]),
    ("anchor-octaves", "scales_per_octave", &[DETECTS]),
    ("anchor-scales", "scales", &[DETECTS]),
    ("anchor-strides", "strides", &[DETECTS]),
    ("anchor-ratios", "ratios", &[DETECTS]),
    ("anchor-centre", "center_offset", &[DETECTS]),
    ("box-means", "target_means", &[DETECTS]),
    ("box-stds", "target_stds", &[DETECTS]),
];

/// What the text gives a name in these parts; what it gives it everywhere if it has none of them.
fn given(text: &str, name: &str, parts: &[&str]) -> Vec<Literal> {
    let mut found: Vec<Literal> = Vec::new();
    let sections: Vec<&str> = parts.iter().flat_map(|part| sections(text, part)).collect();
    if sections.is_empty() {
        return literal(text, name).into_iter().collect();
    }
    for value in sections.into_iter().flat_map(|section| values(section, name)) {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// A literal as a choice's value is written.
fn value(literal: &Literal) -> Option<String> {
    match literal {
        Literal::Bool(value) => Some(value.to_string()),
        Literal::Text(text) => Some(text.clone()).filter(|t| t.len() < 32),
        Literal::Number(_) | Literal::List(_) => {
            let numbers: Vec<String> = literal.numbers()?.iter().map(f64::to_string).collect();
            (numbers.len() <= 16).then(|| numbers.join(","))
        }
    }
}

fn sides(numbers: [f64; 2]) -> Option<[usize; 2]> {
    numbers.iter().all(|n| n.fract() == 0.0 && (1.0..=MAX_SIDE).contains(n)).then(|| numbers.map(|n| n as usize))
}

/// Height and width of a lying picture of these sides.
fn wide([a, b]: [usize; 2]) -> [usize; 2] {
    [a.min(b), a.max(b)]
}

fn texts(pickle: &Pickle<'_>, id: Id) -> Option<Vec<String>> {
    let items = pickle.sequence(id).filter(|items| (1..=MAX_CLASSES).contains(&items.len()))?;
    items.iter().map(|&item| pickle.str(item).map(str::to_string)).collect()
}

fn colours(pickle: &Pickle<'_>, id: Id) -> Option<Vec<[u8; 3]>> {
    let items = pickle.sequence(id).filter(|items| (1..=MAX_CLASSES).contains(&items.len()))?;
    let colour = |&item: &Id| {
        let levels: Option<Vec<u8>> =
            pickle.sequence(item)?.iter().map(|&l| pickle.size(l).and_then(|l| u8::try_from(l).ok())).collect();
        <[u8; 3]>::try_from(levels?).ok()
    };
    items.iter().map(colour).collect()
}

#[cfg(test)]
mod tests {
    use super::DenseConfig;

    #[test]
    fn choices_are_read_in_the_part_that_they_are_of() {
        let text = "backbone=dict(dilation=4), decode_head=dict(in_index=1, dilation=2, align_corners=True), \
                    auxiliary_head=dict(in_index=2, align_corners=False), neck=[dict(num_outs=4), dict(num_outs=5)]";
        let config = DenseConfig::from_text(text);
        let said: Vec<_> = config.choices.iter().map(|(choice, value, _)| (*choice, value.as_str())).collect();
        assert_eq!(said, [("align-corners", "true"), ("dilation", "2"), ("in-index", "1")]);
        assert_eq!(config.unclear, [("levels", "num_outs")]);
    }
}
