//! Options about parts that not every model has.

use super::error::Error;
use super::request::Request;
use crate::message;
use crate::message::Setting;
use vitc_ir::facts::Class;
use vitc_ir::{Generator, Graph, Op};
use vitc_passes::{FoldTables, Spectral, TalkingHeads};

/// An option about a part that the model does not have is an error.
pub(super) fn concerned(request: &Request, model: &str, deploy: &Graph) -> Result<(), Error> {
    let has = |part: fn(&Op) -> bool| deploy.nodes().any(|(_, n)| part(&n.op));
    let attends = has(|op| matches!(op, Op::Attention { .. }));
    let talks = has(|op| matches!(op, Op::Attention { talking: true, .. }));
    let transforms = has(|op| op.facts().class == Class::Transform);
    let tables = has(|op| matches!(op, Op::Generate(Generator::RelativeIndex { .. })));
    let numbers = &request.numbers;
    let attention = numbers.attention.unwrap_or_default().form();
    let talking_heads = numbers.talking_heads.unwrap_or(TalkingHeads::Auto);
    let options = [
        (Setting::Attention, attention.is_some(), attends, "attention that this could spell"),
        (Setting::TalkingHeads, talking_heads != TalkingHeads::Auto, talks, "talking heads"),
        (Setting::Spectral, numbers.spectral != Spectral::Auto, transforms, "Fourier or cosine transforms"),
        (Setting::FoldTables, numbers.fold_tables != FoldTables::Auto, tables, "position tables"),
    ];
    match options.into_iter().find(|&(_, given, has, _)| given && !has) {
        Some((setting, _, _, part)) => {
            Err(Error::Usage(message!(setting, format!(": {model} has no {part}\n  leave it out"))))
        }
        None => Ok(()),
    }
}
