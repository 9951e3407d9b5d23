//! How many classes the family's own heads tell apart, by what the checkpoint holds and what is asked for.

use super::account::printable;
use super::heads::Heads;
use super::request::{ModelError, ModelRequest};
use crate::arch::{Family, Head, Results, Shapes};
use crate::message;
use crate::message::Setting;

/// The number of classes of the family's heads that the checkpoint holds and `head` wants.
pub(super) fn classes(
    request: &ModelRequest,
    family: &Family,
    shapes: &Shapes,
    head: Head,
) -> Result<Option<usize>, ModelError> {
    let held = held(family, shapes);
    let used = match head {
        Head::Average => held.first(),
        Head::Class => held.iter().find(|(h, _)| *h == family.heads[0]),
        Head::Distillation => held.iter().find(|(h, _)| *h != family.heads[0]),
    };
    let named = request.heads.iter().any(|name| name.of_family(family.heads).is_some_and(|h| h != Head::Average));
    if let (Head::Average, Results::Logits, Some((first, n)), false) = (head, request.results, held.first(), named)
        && let Some((other, m)) = held.iter().find(|(_, m)| m != n)
    {
        let why =
            format!("{first} has {n} classes and {other} has {m}: one of them was retrained and the other was not");
        let todo = message!(
            "\n  use ",
            Setting::Head.to("head"),
            " or ",
            Setting::Head.to("dist_head"),
            " for the retrained one"
        );
        return Err(ModelError::Other(message!(why, todo)));
    }
    Ok(used.map(|(_, n)| *n))
}

/// The family's heads that the checkpoint holds, with their classes.
fn held(family: &Family, shapes: &Shapes) -> Vec<(&'static str, usize)> {
    let rows =
        |head: &str| shapes.get(&format!("{head}.weight")).filter(|s| s.len() == 2).and_then(|s| s.first().copied());
    family.heads.iter().filter_map(|&h| Some((h, rows(h)?))).collect()
}

/// The number of classes of the family's heads in what is asked for; what the request says of heads must agree with the file.
pub(super) fn decided_classes(
    request: &ModelRequest,
    family: &Family,
    shapes: &Shapes,
    heads: &Heads,
) -> Result<Option<usize>, ModelError> {
    let used = classes(request, family, shapes, heads.family)?;
    let mut counts: Vec<(String, usize)> = heads.own.iter().map(|h| (printable(&h.place), h.width())).collect();
    if counts.is_empty() {
        let name = match heads.family {
            Head::Distillation => family.heads.last(),
            Head::Average | Head::Class => family.heads.first(),
        };
        counts.extend(used.map(|n| (name.copied().unwrap_or_default().to_string(), n)));
    }
    if let (Some(asked), [(head, n)]) = (request.classes, &counts[..]) {
        agree(asked, head, *n)?;
    }
    if heads.family != Head::Average && used.is_none() {
        let names: Vec<&str> = held(family, shapes).iter().map(|(h, _)| *h).collect();
        let there = if names.is_empty() { "no classifier at all".to_string() } else { names.join(" and ") };
        let why = format!(": the checkpoint holds {there}\n  leave ");
        return Err(ModelError::Other(message!(Setting::Head, why, Setting::Head, " out")));
    }
    Ok(used)
}

/// What the request says of classes must agree with a head over maps.
pub(super) fn classes_of_map(request: &ModelRequest, found: Option<usize>) -> Result<(), ModelError> {
    request.classes.zip(found).map_or(Ok(()), |(asked, n)| agree(asked, "the head", n))
}

/// Whether a head has as many classes as are asked for.
fn agree(asked: usize, head: &str, n: usize) -> Result<(), ModelError> {
    if asked == n {
        return Ok(());
    }
    Err(ModelError::Other(message!(
        Setting::Classes.to(asked),
        format!(": {head} in the checkpoint has {n} classes\n  leave "),
        Setting::Classes,
        format!(" out, or give the checkpoint that was trained for {asked}")
    )))
}
