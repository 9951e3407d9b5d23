//! Necks and heads that read maps: which of them a checkpoint holds around its trunk, and what it says of their settings.
//!
//! A part is found by keys that no other has, under whatever prefix they lie; of several copies the one nearest to the trunk is taken.

use super::account::{Account, Leftover, outline, printable};
use super::nature::Nature;
use super::request::{ModelError, ModelRequest};
use crate::arch::heads::{MAP_HEADS, NECKS};
use crate::arch::{Backbone, Choice, MapHead, Neck, Results, Shapes};
use crate::checkpoint::{DenseConfig, Selected, TensorInfo, merged_shapes};
use crate::message;
use crate::message::{Message, Setting};
use std::collections::{BTreeMap, BTreeSet};

/// Input sides of dense models whose files do not say them.
const SIDE: usize = 512;
/// What sizes of detectors are rounded up to.
const STEP: usize = 32;

/// A part and what stands in front of its names in the file, without the last dot.
#[derive(Debug)]
struct Placed<P: 'static> {
    part: &'static P,
    prefix: String,
}

/// The parts of a dense model.
#[derive(Debug)]
pub(super) struct Dense {
    neck: Option<Placed<Neck>>,
    head: Option<Placed<MapHead>>,
    /// What reads the maps and is not built, as names in the file say it.
    second_stage: Option<&'static str>,
    /// Whether FCOS reads the neck, whose configurations have a ReLU in it.
    centres: bool,
}

impl Dense {
    /// The parts in the file around this trunk.
    pub(super) fn find(selected: &Selected) -> Result<Dense, ModelError> {
        let inside = selected.tensors.iter().map(|(key, tensor)| (selected.file_name(key), tensor));
        let all = inside.chain(selected.beside.iter().map(|(name, tensor)| (name.clone(), tensor)));
        // A weight that is stored as factors counts as itself.
        let names: BTreeSet<String> = merged_shapes(&all.collect()).into_keys().collect();
        let head = MAP_HEADS
            .iter()
            .map(|head| nearest(&names, &selected.prefix, *head, (head.anchors, head.scope), head.name));
        let heads: Vec<_> = head.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        // Of two whose keys are there, the one that has more of them.
        let head = heads.into_iter().max_by_key(|h| (common(&h.prefix, &selected.prefix), h.part.anchors.len()));
        let of_head =
            |prefix: &str| head.as_ref().is_some_and(|head| !head.part.scope.is_empty() && head.prefix == prefix);
        let mut neck = None;
        for part in NECKS {
            // UPerNet has a pyramid of its own.
            let found = nearest(&names, &selected.prefix, *part, (part.anchors, part.scope), part.name)?;
            neck = neck.or(found.filter(|found| !of_head(&found.prefix)));
        }
        let says = |word: &str| names.iter().any(|name| name.split('.').any(|segment| segment == word));
        let second_stage = [("rpn_head", RPN), ("roi_head", RPN), ("transformer", TRANSFORMER), ("ssd_heads", SSDLITE)];
        let second_stage = second_stage.into_iter().find(|(word, _)| says(word)).map(|(_, what)| what);
        Ok(Dense { neck, head, second_stage, centres: says("conv_centerness") })
    }

    /// The neck.
    pub(super) fn neck(&self) -> Option<&'static Neck> {
        self.neck.as_ref().map(|placed| placed.part)
    }

    /// The head that reads maps.
    pub(super) fn head(&self) -> Option<&'static MapHead> {
        self.head.as_ref().map(|placed| placed.part)
    }

    /// Whether there is any part.
    pub(super) fn is_any(&self) -> bool {
        self.neck.is_some() || self.head.is_some()
    }

    /// The parts' choices.
    pub(super) fn choices(&self) -> Vec<&'static Choice> {
        let neck = self.neck().map_or(&[][..], |neck| neck.choices);
        neck.iter().chain(self.head().map_or(&[][..], |head| head.choices)).copied().collect()
    }

    /// Shapes of the parts' tensors under the names that the graph has for them.
    pub(super) fn shapes(&self, selected: &Selected) -> Shapes {
        let inside = selected.tensors.iter().map(|(key, tensor)| (selected.file_name(key), tensor));
        let all = inside.chain(selected.beside.iter().map(|(name, tensor)| (name.clone(), tensor)));
        merged_shapes(&all.filter_map(|(name, tensor)| Some((self.key(&name)?, tensor))).collect())
    }

    /// The graph's key for a name in the file, if it is a part's.
    fn key(&self, name: &str) -> Option<String> {
        let under = |prefix: &str, scope: &str, anchors: &[&str]| {
            let rest = match prefix {
                "" => name,
                prefix => name.strip_prefix(prefix)?.strip_prefix('.')?,
            };
            match scope {
                // In the trunk's own place only the modules of the anchors are the head's.
                "" => anchors.iter().any(|a| first(a) == first(rest)).then(|| rest.to_string()),
                scope => Some(format!("{scope}.{rest}")),
            }
        };
        let neck = self.neck.as_ref().and_then(|n| under(&n.prefix, n.part.scope, n.part.anchors));
        neck.or_else(|| self.head.as_ref().and_then(|h| under(&h.prefix, h.part.scope, h.part.anchors)))
    }

    /// Take the parts' tensors out of the account: those that what is asked for reads, by the graph's keys; a line names the others.
    pub(super) fn take(
        &self,
        results: Results,
        selected: &Selected,
        account: &mut Account,
        lines: &mut Vec<String>,
    ) -> BTreeMap<String, TensorInfo> {
        let named = |l: &Leftover| match &l.upstream {
            Some(upstream) => self.key(&selected.file_name(upstream)),
            None => self.key(&file_name(selected, &l.name)),
        };
        let (mut read, mut behind) = (BTreeMap::new(), Vec::new());
        for leftover in account.take(|l| named(l).is_some()) {
            let Some(key) = named(&leftover) else { continue };
            let of_neck = self.neck.as_ref().is_some_and(|neck| key.starts_with(&format!("{}.", neck.part.scope)));
            if !(results.are_final() || results == Results::Neck && of_neck) {
                behind.push(leftover);
            } else if key.rsplit('.').next() != Some("num_batches_tracked") {
                read.insert(key, leftover.tensor);
            }
        }
        if self.is_any() && !results.are_final() {
            let part = |l: &Leftover| l.name.split('.').any(|segment| BEHIND.contains(&segment));
            behind.extend(account.take(|l| !l.inside && part(l)));
        }
        if !behind.is_empty() {
            lines.push(format!("behind {}: {}", output(results), outline(&behind)));
        }
        lines.extend(self.neck.as_ref().map(|n| format!("neck {}, under {}", n.part.name, printable(&n.prefix))));
        let place = |h: &Placed<MapHead>| format!("head {}, under {}", h.part.name, shown(&h.prefix));
        lines.extend(self.head.as_ref().map(place));
        read
    }

    /// Stops if a stage's output has no norm and one in front of it has: then it is missing. Which stages have one, in order.
    pub(super) fn check_norms(held: &[(&str, bool)]) -> Result<(), ModelError> {
        let mut before = held.iter().skip_while(|(_, held)| !held);
        match before.find(|(_, held)| !held) {
            None => Ok(()),
            Some((norm, _)) => Err(ModelError::Other(
                format!(
                    "the checkpoint has norms on stages' outputs, and {norm} is missing\n  give the whole checkpoint"
                )
                .into(),
            )),
        }
    }

    /// Stops where the whole model is asked for and is more than the parts that are known.
    pub(super) fn refuse(
        &self,
        results: Results,
        account: &Account,
        (normed, classified): (bool, bool),
    ) -> Result<(), ModelError> {
        if !results.are_final() || self.head.is_some() {
            return Ok(());
        }
        let left = &account.leftovers;
        let reads_maps = |l: &Leftover| !l.within && l.nature == Nature::Dense;
        let pyramid = message!(Setting::Output.to("pyramid"), " exports the maps that the backbone returns");
        if self.neck.is_some() {
            let what = self.second_stage.unwrap_or(UNKNOWN);
            let left = if account.leftovers.is_empty() { "no head".into() } else { outline(&account.leftovers) };
            return Err(ModelError::Request(message!(
                format!("the checkpoint has a neck, and behind it {left}: {what}\n  "),
                Setting::Output.to("neck"),
                " exports the neck's maps, ",
                pyramid
            )));
        }
        if !classified && left.iter().any(reads_maps) && !left.iter().any(|l| l.within) {
            let what = self.second_stage.unwrap_or(UNKNOWN);
            let what =
                format!("the checkpoint has no classifier, and beside its backbone {}: {what}\n  ", outline(left));
            return Err(ModelError::Request(message!(what, pyramid)));
        }
        if normed && !classified && (results != Results::Logits || account.leftovers.is_empty()) {
            let what = "the checkpoint is the backbone of a detector or segmenter: it has norms on the stages' outputs and no classifier\n  ";
            return Err(ModelError::Request(message!(what, pyramid)));
        }
        Ok(())
    }

    /// What the file says of the choices that the request leaves open, with a line for each; and a line for each that nothing decides.
    ///
    /// # Errors
    /// If the file says what is built otherwise, or two things at once.
    pub(super) fn settings(
        &self,
        request: &ModelRequest,
        backbone: Backbone,
        (said, shapes): (Option<&DenseConfig>, &Shapes),
        lines: &mut Vec<String>,
    ) -> Result<BTreeMap<String, String>, ModelError> {
        let mut settings = request.choices.clone();
        let final_too = request.results.are_final();
        let neck = self.neck().filter(|_| final_too || request.results == Results::Neck);
        let head = self.head().filter(|_| final_too);
        built_otherwise(said, [neck.map(|neck| neck.scope), head.map(|head| head.scope)])?;
        let mut choices = neck.map_or(Vec::new(), |neck| neck.choices.to_vec());
        choices.extend(head.map_or(&[][..], |head| head.choices));
        if self.is_any() || matches!(request.results, Results::Pyramid | Results::Stages(_)) {
            choices.extend(backbone.family.choices.iter().filter(|c| c.name == "output-stride"));
        }
        choices.retain(|choice| !settings.contains_key(choice.name) && matters(choice, shapes));
        for choice in choices {
            if let Some((_, name)) = said.and_then(|said| said.unclear.iter().find(|(c, _)| *c == choice.name)) {
                let what = format!("the config's text gives {name} several values\n  say which was trained: ");
                let given = Setting::Choice.to(format!("{}=…", choice.name));
                return Err(ModelError::Other(message!(what, given)));
            }
            let said = said.and_then(|said| said.choices.iter().find(|(name, ..)| *name == choice.name));
            let said = said.map(|(_, value, source)| (spelled(choice, value), source));
            let line = if let Some((value, source)) = said.filter(|(value, _)| choice.takes(value)) {
                settings.insert(choice.name.into(), value.clone());
                format!("{} {value} <- {source} in the config's text", choice.name)
            } else if let Some((value, why)) = self.assumed(choice, shapes) {
                settings.insert(choice.name.into(), value.into());
                format!("{} {value}, assumed: {why}", choice.name)
            } else if choice.values[0] != "auto" {
                format!("{} {}, assumed: {}", choice.name, choice.values[0], unrecorded(choice))
            } else if choice.name == "output-stride" {
                let stride = self.head().and_then(|head| head.backbone_stride).unwrap_or(32);
                match self.second_stage {
                    Some(SSDLITE) => format!("{} {stride}, as SSDLite has it", choice.name),
                    _ => format!("{} {stride}, assumed: {}", choice.name, unrecorded(choice)),
                }
            } else {
                continue;
            };
            lines.push(line);
        }
        Ok(settings)
    }

    /// What is assumed of a choice because of the parts that there are, and why.
    fn assumed(&self, choice: &Choice, shapes: &Shapes) -> Option<(&'static str, &'static str)> {
        match choice.name {
            "levels" if self.second_stage == Some(RPN) => {
                Some(("5", "one more than convolutions, as two-stage detectors have them"))
            }
            "extra-relu" if self.centres => Some(("true", "FCOS's configurations have it")),
            "extra-convs" => extra_convs(shapes),
            _ => None,
        }
    }

    /// Height and width of the input that the file says or that are usual, and whence.
    pub(super) fn size(&self, said: Option<&DenseConfig>) -> Result<([usize; 2], &'static str), ModelError> {
        let detects = self.head().is_some_and(|head| head.scope == "bbox_head") || self.second_stage.is_some();
        if self.head().is_some_and(|head| head.scope.is_empty()) {
            let what = "the checkpoint enlarges pictures of any size: name the one that the file is for with ";
            return Err(ModelError::Request(message!(what, Setting::Resolution.to("HEIGHTxWIDTH"))));
        }
        if let Some(size) = said.and_then(|said| said.crop_size) {
            return Ok((size, "crop_size in the config's text"));
        }
        match said.and_then(|said| said.image_scale).filter(|_| detects) {
            Some(size) => Ok((size.map(|side| side.next_multiple_of(STEP)), "img_scale in the config's text")),
            None => Ok(([SIDE; 2], "usual, the file does not say")),
        }
    }
}

const RPN: &str = "its RPN and region heads pick regions by NMS and cut them out by RoIAlign, numbers of boxes that depend on the picture, which \
                   vitc does not write";
const TRANSFORMER: &str = "its transformer attends to points that depend on the picture, which vitc does not write";
const SSDLITE: &str =
    "SSDLite's heads, which vitc does not build: no such checkpoint is published that they could be held against";
const UNKNOWN: &str = "a head of a kind that vitc does not know, or one whose tensors are not all there";

/// Modules that read what a neck or backbone returns, as mmdetection, mmsegmentation, CVNets and DINO name them.
const BEHIND: &[&str] = &[
    "auxiliary_head",
    "bbox_embed",
    "bbox_head",
    "class_embed",
    "decode_head",
    "label_enc",
    "mask_head",
    "roi_head",
    "rpn_head",
    "seg_head",
    "transformer",
];

/// Stops if the configuration's text says of the parts in these places what is built otherwise.
fn built_otherwise(said: Option<&DenseConfig>, places: [Option<&str>; 2]) -> Result<(), ModelError> {
    let others = said.map_or(&[][..], |said| &said.others);
    let Some(other) = others.iter().find(|other| places.contains(&Some(other.part))) else { return Ok(()) };
    let what = format!(
        "the config's text gives {}'s {} the value {}, which is built otherwise: the file would compute something else\n  ",
        other.part,
        other.setting,
        printable(&other.value)
    );
    let todo = message!(
        Setting::Output.to("pyramid"),
        " exports the maps in front of it; or export the model to ONNX from its own code"
    );
    Err(ModelError::Other(message!(what, todo)))
}

/// Whether a choice decides anything about the parts that have these tensors.
fn matters(choice: &Choice, shapes: &Shapes) -> bool {
    match choice.name {
        "norm-groups" => shapes.keys().any(|key| key.split('.').any(|segment| segment == "gn")),
        "extra-relu" => {
            let [laterals, convs] = ["lateral_convs", "fpn_convs"].map(|list| convolutions(shapes, list));
            convs > laterals + 1
        }
        _ => true,
    }
}

/// How many convolutions this list of the FPN has.
fn convolutions(shapes: &Shapes, list: &str) -> usize {
    (0..shapes.len()).take_while(|i| shapes.contains_key(&format!("neck.{list}.{i}.conv.weight"))).count()
}

/// What the FPN's first extra convolution is taken to read, where its width leaves that open.
fn extra_convs(shapes: &Shapes) -> Option<(&'static str, &'static str)> {
    let width = |list: &str, i: usize, axis: usize| {
        shapes.get(&format!("neck.{list}.{i}.conv.weight")).and_then(|shape| shape.get(axis)).copied()
    };
    let laterals = convolutions(shapes, "lateral_convs");
    let (own, reads) = (width("lateral_convs", 0, 0)?, width("fpn_convs", laterals, 1)?);
    let input = width("lateral_convs", laterals.checked_sub(1)?, 1)?;
    match (reads == own, input == own) {
        (false, _) => None,
        (true, false) => Some(("on_output", "the file does not record it; on_lateral has the same width")),
        (true, true) => Some(("on_input", "the file does not record it; on_lateral and on_output have the same width")),
    }
}

/// Why a choice is assumed.
fn unrecorded(choice: &Choice) -> String {
    format!("the file does not record it; {}", choice.help)
}

/// What configurations write for a choice's value.
fn spelled(choice: &Choice, value: &str) -> String {
    match (choice.name, value) {
        ("extra-convs", "true") => "on_input".into(),
        _ => value.to_string(),
    }
}

/// The file's name of a tensor that the account names without the dict around the model.
fn file_name(selected: &Selected, name: &str) -> String {
    match selected.beside.contains_key(name) || selected.dict.is_empty() {
        true => name.to_string(),
        false => format!("{}.{name}", selected.dict),
    }
}

fn output(results: Results) -> &'static str {
    match results {
        Results::Features => "the features",
        Results::Neck => "the neck",
        Results::Pyramid | Results::Stages(_) => "the stage maps",
        Results::Logits | Results::Enlarged | Results::ClassMap | Results::Boxes => "the scores",
    }
}

fn shown(prefix: &str) -> String {
    if prefix.is_empty() { "the top level".into() } else { printable(prefix) }
}

fn first(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// Segments that two names begin with alike.
fn common(a: &str, b: &str) -> usize {
    a.split('.').zip(b.split('.')).take_while(|(a, b)| a == b).count()
}

/// The place of a part's keys that is nearest to the trunk.
fn nearest<P>(
    names: &BTreeSet<String>,
    trunk: &str,
    part: &'static P,
    (anchors, scope): (&[&str], &str),
    what: &str,
) -> Result<Option<Placed<P>>, ModelError> {
    let Some((lead, others)) = anchors.split_first() else { return Ok(None) };
    let prefixes = names.iter().filter_map(|name| match name.strip_suffix(lead)? {
        "" => Some(""),
        prefix => prefix.strip_suffix('.'),
    });
    let complete = |prefix: &&str| {
        others.iter().all(|a| names.contains(&if prefix.is_empty() { a.to_string() } else { format!("{prefix}.{a}") }))
    };
    let mut found: Vec<&str> = prefixes.filter(complete).collect();
    found.sort_by_key(|prefix| (std::cmp::Reverse(common(prefix, trunk)), prefix.split('.').count()));
    match found[..] {
        [] => Ok(None),
        [first, second, ..] if common(first, trunk) == common(second, trunk) => {
            let which =
                format!("the checkpoint has several of {what}: under {} and {}\n  ", shown(first), shown(second));
            let todo: Message = message!("leave one out with ", Setting::Ignore.to(printable(second)));
            Err(ModelError::Other(message!(which, todo)))
        }
        // Keys that say little by themselves are looked for with the part's own name.
        [prefix, ..] if lead.starts_with(&format!("{scope}.")) => {
            let prefix = if prefix.is_empty() { scope.to_string() } else { format!("{prefix}.{scope}") };
            Ok(Some(Placed { part, prefix }))
        }
        [prefix, ..] => Ok(Some(Placed { part, prefix: prefix.to_string() })),
    }
}
