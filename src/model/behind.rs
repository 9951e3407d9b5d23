//! What stands behind the output that was asked for, and what stops the export.

use super::account::{Account, Leftover, grouped, outline, printable, shapes};
use super::nature::Nature;
use crate::arch::Results;
use crate::arch::heads::sequence::{self, Found, Sources};
use crate::arch::heads::{Kind, Reads};
use crate::checkpoint::Mismatch;
use crate::message;
use crate::message::{Given, Message, Setting};

/// Words in the names of modules that stand in front of a trunk.
const IN_FRONT: &[&str] = &["input", "preproc", "normal", "stem", "color", "colour", "augment", "stn"];

/// Take out what stands behind the trunk's own output; a line that names it.
pub(super) fn behind(results: Results, prefixed: bool, sources: &Sources, account: &mut Account) -> Vec<String> {
    let output = match results {
        Results::Logits | Results::Enlarged | Results::ClassMap | Results::Boxes => return Vec::new(),
        Results::Features => "features",
        Results::Neck => "neck",
        Results::Pyramid | Results::Stages(_) => "stage maps",
    };
    let taken = account.take_groups(|all| stands_behind(all, prefixed, sources));
    if taken.is_empty() { Vec::new() } else { vec![format!("behind the {output}: {}", outline(&taken))] }
}

/// Whether a module beside the trunk's own reads what the trunk returns.
fn stands_behind(all: &[Leftover], prefixed: bool, sources: &Sources) -> bool {
    let natures = |wanted: Nature| all.iter().any(|l| l.nature == wanted);
    if natures(Nature::OutputNorm) || natures(Nature::Adapter) || natures(Nature::Calibration) {
        return false;
    }
    if all.iter().all(|l| matches!(l.nature, Nature::Head | Nature::Dense)) {
        return true;
    }
    // A head, or a norm on the features, by its layers.
    let shapes = shapes(all);
    if matches!(sequence::heads(&shapes, sources), Found::Heads(_)) {
        return true;
    }
    let features: Sources = sources.iter().filter(|(reads, _)| *reads == Reads::Features).copied().collect();
    if let Found::Heads(heads) = sequence::head("", &shapes, &features) {
        return heads.iter().all(|h| h.layers.iter().all(|l| matches!(l.kind, Kind::BatchNorm { .. })));
    }
    let name = all[0].group.to_ascii_lowercase();
    prefixed && all.iter().all(|l| !l.inside) && !IN_FRONT.iter().any(|word| name.contains(word))
}

/// What stops the export: a line for each group, and what to do.
pub(super) fn stops(account: &Account) -> Option<(Vec<Mismatch>, Message)> {
    let groups = grouped(&account.leftovers);
    let (_, first) = groups.iter().min_by_key(|(_, all)| all.iter().map(|l| l.nature).min())?;
    let nature = first.iter().map(|l| l.nature).min()?;
    let line = |(name, all): (&String, &Vec<Leftover>)| {
        let nature = all.iter().map(|l| l.nature).min().unwrap_or(Nature::Unknown);
        let more = if all.len() > 1 { format!(" and {} more", all.len() - 1) } else { String::new() };
        let fix = calibration(nature, example(all, nature));
        let leaf = all[0].name.strip_prefix(name.as_str()).unwrap_or_default();
        Mismatch {
            key: format!("{}{}", printable(name), printable(leaf)),
            found: format!("{}{more}", all[0].tensor),
            note: nature.seems().into(),
            fix,
        }
    };
    let todo = todo(nature, example(first, nature), account.no_head.as_deref());
    Some((groups.iter().map(line).collect(), todo))
}

/// The first name of this nature.
fn example(all: &[Leftover], nature: Nature) -> &str {
    all.iter().find(|l| l.nature == nature).map_or("", |l| &l.name)
}

/// The pattern that names what one tool leaves beside every layer.
fn calibration(nature: Nature, name: &str) -> Option<Given> {
    if nature != Nature::Calibration {
        return None;
    }
    let known = ["activation_post_process", "fake_quant", "observer"].into_iter().find(|word| name.contains(word));
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let pattern = known.map_or_else(|| format!("'*.{}'", printable(leaf)), |word| format!("'*{word}*'"));
    Some(Setting::Ignore.to(pattern))
}

/// What a person can do about tensors of this nature.
fn todo(nature: Nature, example: &str, no_head: Option<&str>) -> Message {
    match (nature, calibration(nature, example)) {
        (_, Some(pattern)) => message!(
            "these numbers belong to another tool's quantised model; ",
            pattern,
            " leaves them out, and the float weights are exported"
        ),
        (Nature::Adapter, _) => {
            "adapters compute: merge them into the layers that they belong to before saving, if they are linear; \
             else export the model to ONNX from its own code"
                .into()
        }
        (Nature::OutputNorm | Nature::Dense, _) => message!(
            "the checkpoint is a detector's or segmenter's: ",
            Setting::Output.to("pyramid"),
            " exports the maps that its trunk returns"
        ),
        (Nature::Head, _) => message!(
            "a head may be a sequence of linear layers and norms",
            no_head.map_or(String::new(), |why| format!(", and {}", printable(why))),
            "; ",
            Setting::Output.to("features"),
            " exports the trunk without it"
        ),
        _ => message!(
            "the model computes something that vitc would leave out: give a checkpoint of the published model, or export this one to ONNX from \
             its own code; what it is known not to need can be left out with ",
            Setting::Ignore
        ),
    }
}
