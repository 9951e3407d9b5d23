//! Which heads a checkpoint's model has: the family's own, those that somebody wrote, or none.

use super::account::{Account, Leftover, outline, printable, shapes};
use super::nature::{Nature, says_embedding, says_head};
use super::request::ModelError;
use crate::arch::heads::sequence::{self, Found, Sources};
use crate::arch::heads::{HeadName, Kind, OwnHead, Reads};
use crate::arch::{Family, FamilyScores, Head, Shapes};
use crate::message;
use crate::message::{Message, Setting};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// The heads of a model.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Which of the family's classifiers.
    pub(super) family: Head,
    /// What becomes of the family's scores beside other heads.
    pub(super) scores: FamilyScores,
    /// Heads that somebody wrote.
    pub(super) own: Vec<OwnHead>,
    /// What they are made of.
    pub(super) tensors: Vec<Leftover>,
    /// Lines for the summary about heads that were not asked for.
    pub(super) lines: Vec<String>,
}

/// What a trunk offers to heads.
#[derive(Debug)]
pub(super) struct Offer {
    /// Widths of what can be read.
    pub(super) sources: Sources,
    /// The family's classifiers that are stored.
    pub(super) held: Vec<&'static str>,
    /// Keys that the stage maps alone ask for.
    pub(super) maps: BTreeSet<String>,
    /// Channels of the map that is pooled.
    pub(super) channels: usize,
    /// Where the trunk stands in the file.
    pub(super) place: String,
}

/// The heads among what the trunk does not ask for, which are taken out of it.
pub(super) fn heads(
    names: &[HeadName],
    family: &Family,
    offer: &Offer,
    account: &mut Account,
    path: &Path,
) -> Result<Heads, ModelError> {
    let mut of_family = names.iter().filter_map(|name| name.of_family(family.heads));
    // `head` is also what people call their own.
    let is_own = |name: &&HeadName| name.of_family(family.heads).is_none() || own_of_this_name(name, offer, account);
    let own: Vec<&HeadName> = names.iter().filter(is_own).collect();
    if names.is_empty() {
        return found(offer, account, path);
    }
    let scores = if names.len() > own.len() { FamilyScores::Returned } else { FamilyScores::Dropped };
    let mut heads = Heads { family: of_family.next_back().unwrap_or_default(), scores, ..Heads::default() };
    for name in own {
        let (head, tensors) = asked(name, offer, account)?;
        heads.own.push(head);
        heads.tensors.extend(tensors);
    }
    let is_head = |all: &[Leftover]| {
        all.iter().all(|l| l.nature == Nature::Head)
            || matches!(sequence::heads(&shapes(all), &offer.sources), Found::Heads(_))
    };
    let others = account.take_groups(is_head);
    if !others.is_empty() {
        heads.lines.push(format!("not asked for: {}", outline(&others)));
    }
    Ok(heads)
}

/// Whether a name that the family's classifiers have is here that of somebody's own layers.
fn own_of_this_name(name: &HeadName, offer: &Offer, account: &Account) -> bool {
    !offer.held.contains(&name.prefix.as_str()) && account.leftovers.iter().any(|l| stands_at(l, &name.prefix))
}

/// Whether a tensor lies at one of the places of a head's name.
fn stands_at(leftover: &Leftover, prefix: &str) -> bool {
    let at = |name: &str, place: &str| name.strip_prefix(place).is_some_and(|rest| rest.starts_with('.'));
    let names = [Some(&leftover.name), leftover.upstream.as_ref()];
    !leftover.within && prefix.split('+').any(|place| names.into_iter().flatten().any(|name| at(name, place)))
}

/// The head that is asked for by name.
fn asked(name: &HeadName, offer: &Offer, account: &mut Account) -> Result<(OwnHead, Vec<Leftover>), ModelError> {
    let HeadName { prefix, reads } = name;
    let tensors = account.take(|l| stands_at(l, prefix));
    let given = Setting::Head.to(prefix);
    if tensors.is_empty() {
        let there = outline(&account.leftovers);
        let there = if there.is_empty() { "nothing beside the trunk".to_string() } else { there };
        return Err(ModelError::Other(message!(
            given,
            format!(": the checkpoint has no layers of this name\n  it holds {there}")
        )));
    }
    if let (Some(Reads::Scores), false) = (reads, offer.sources.iter().any(|(r, _)| *r == Reads::Scores)) {
        return Err(ModelError::Other(message!(given, ": the trunk has no classifier whose scores it could read")));
    }
    let place = prefix.rsplit('+').next().unwrap_or(prefix);
    let why = match sequence::head(place, &shapes(&tensors), &offer.readable(*reads)) {
        Found::Heads(heads) => match heads.into_iter().next() {
            Some(head) if reads.is_none() && head.minds_the_pooling() => by_position(&head),
            Some(head) => return Ok((head, tensors)),
            None => return Err(ModelError::Other(message!(given, ": it has no layers"))),
        },
        Found::Doubt(why) | Found::No(why) => why,
    };
    Err(ModelError::Other(message!(
        given,
        format!(": {why}\n  say what it reads, where that is the doubt: "),
        Setting::Head.to(format!("{prefix}={}", offer.words()))
    )))
}

/// What is not certain about convolutions with an activation between them.
fn by_position(head: &OwnHead) -> String {
    format!(
        "{} is made of convolutions with something between them that does not commute with a mean: on every position of the map, pooled \
         afterwards, they return something else than on the pooled features",
        printable(&head.place)
    )
}

impl Offer {
    /// What a head may read that says this of it. Both kinds of pooling together are read where that is said, since their order is in no file.
    fn readable(&self, reads: Option<Reads>) -> Sources {
        let both = match reads {
            Some(Reads::MaxMean | Reads::MeanMax) => reads.map(|reads| (reads, 2 * self.channels)),
            _ => None,
        };
        let wanted = |(r, _): &&(Reads, usize)| reads.is_none_or(|reads| reads == *r);
        self.sources.iter().filter(wanted).copied().chain(both).collect()
    }

    /// Whether this place follows the trunk's in one sequence of modules: `1` behind `0` or `0.model`.
    fn is_followed_by(&self, place: &str) -> bool {
        let mut pairs = self.place.split('.').zip(place.split('.'));
        let first = pairs.find(|(a, b)| a != b).and_then(|(a, b)| Some((a.parse::<u8>().ok()?, b.parse::<u8>().ok()?)));
        first.is_some_and(|(trunk, head)| trunk < head)
    }

    /// The one head behind the trunk in a sequence of modules that begins as fastai's do, with both kinds of pooling and their BatchNorm.
    fn fastai(&self, tensors: &Shapes) -> Found {
        let sources = self.readable(Some(Reads::MaxMean));
        let found = sequence::heads(tensors, &sources);
        let is_fastai = |heads: &[OwnHead]| match heads {
            [head] => {
                let normed = head.layers.first().is_some_and(|layer| matches!(layer.kind, Kind::BatchNorm { .. }));
                normed && self.is_followed_by(&head.place)
            }
            _ => false,
        };
        match found {
            Found::Heads(heads) if is_fastai(&heads) => Found::Heads(heads),
            _ => Found::No(String::new()),
        }
    }

    /// What can be read, as a user would say it.
    fn words(&self) -> String {
        self.sources.iter().map(|(reads, _)| reads.word()).collect::<Vec<_>>().join("|")
    }
}

/// The heads that nobody named, if the file leaves no doubt.
fn found(offer: &Offer, account: &mut Account, path: &Path) -> Result<Heads, ModelError> {
    let layer = |l: &&Leftover| !l.within && matches!(l.nature, Nature::Head | Nature::Unknown);
    let all: Vec<Leftover> = account.leftovers.iter().filter(layer).cloned().collect();
    if all.is_empty() {
        return Ok(Heads::default());
    }
    let mut tensors = all.clone();
    let mut found = match offer.fastai(&shapes(&tensors)) {
        Found::No(_) => sequence::heads(&shapes(&tensors), &offer.sources),
        fastai => fastai,
    };
    if matches!(found, Found::No(_)) {
        // What is no layer says nothing against those that are called heads: it stops the export by itself.
        tensors.retain(|l| l.nature == Nature::Head);
        if !tensors.is_empty() && tensors.len() < all.len() {
            found = sequence::heads(&shapes(&tensors), &offer.sources);
        }
    }
    match found {
        Found::Heads(own) => {
            let averaged = replaces_one(&own, &tensors, offer)?;
            if let (Some(why), false) = (doubt(&own, offer), averaged) {
                return Err(doubtful(&why, &own, offer, path));
            }
            let scores = if averaged { FamilyScores::Averaged } else { FamilyScores::Dropped };
            let names: HashSet<&String> = tensors.iter().map(|t| &t.name).collect();
            let taken = account.take(|l| names.contains(&l.name));
            Ok(Heads { own, tensors: taken, scores, ..Heads::default() })
        }
        Found::Doubt(why) => Err(doubtful(&why, &[], offer, path)),
        Found::No(why) => {
            account.no_head = tensors.iter().any(|l| l.nature == Nature::Head).then_some(why);
            Ok(Heads::default())
        }
    }
}

/// Whether the one head stands in the place of one of two classifiers whose mean is the result, the other being the family's own; an error if
/// the two have different numbers of classes.
fn replaces_one(own: &[OwnHead], tensors: &[Leftover], offer: &Offer) -> Result<bool, ModelError> {
    let ([head], [held]) = (own, &offer.held[..]) else { return Ok(false) };
    let slot = tensors.iter().map(|l| l.slot).reduce(|a, b| if a == b { a } else { None }).flatten();
    if head.reads != Reads::Features || slot.is_none_or(|slot| slot == *held) {
        return Ok(false);
    }
    let (place, width) = (printable(&head.place), head.width());
    match offer.sources.iter().find(|(reads, _)| *reads == Reads::Scores) {
        Some(&(_, classes)) if classes != width => Err(ModelError::Other(message!(
            format!(
                "{place} has {width} classes and {held} has {classes}: one of them was retrained and the other was not\n  use "
            ),
            Setting::Head.to(&place),
            " or ",
            Setting::Head.to(held),
            " for the retrained one"
        ))),
        _ => Ok(true),
    }
}

/// What is not certain about heads that fit.
fn doubt(own: &[OwnHead], offer: &Offer) -> Option<String> {
    let unsure = |head: &&OwnHead| {
        let last = head.layers.last();
        let bare = matches!(last.map(|l| l.kind), Some(Kind::Linear { bias: false, .. }));
        let named = last.is_some_and(|l| says_head(&l.key)) || offer.is_followed_by(&head.place);
        says_embedding(&head.place) || (bare && !named)
    };
    if let Some(head) = own.iter().find(|head| head.minds_the_pooling()) {
        return Some(by_position(head));
    }
    if let Some(head) = own.iter().find(unsure) {
        let place = printable(&head.place);
        return Some(format!("{place} has a head's shape, and its name does not say that it is one"));
    }
    let beside = own.iter().find(|head| head.reads != Reads::Scores)?;
    let held = offer.held.first()?;
    let place = printable(&beside.place);
    Some(format!("the trunk keeps its own classifier {held}, and {place} reads the {} beside it", beside.reads.word()))
}

fn doubtful(why: &str, own: &[OwnHead], offer: &Offer, path: &Path) -> ModelError {
    let what = "it is not certain which heads the model has";
    let all: Vec<Message> = own.iter().map(|head| Setting::Head.to(printable(&head.place)).into()).collect();
    let mut todo: Message = "name each head, with what it reads: ".into();
    todo.push(Setting::Head.to(format!("NAME={}", offer.words())));
    if !all.is_empty() && !own.iter().any(OwnHead::minds_the_pooling) {
        todo = message!("name those that are outputs: ", Message::joined(all, " "));
        if let Some(held) = offer.held.first() {
            todo = message!(todo, ", with ", Setting::Head.to(held), " before them if the trunk's own is one too");
        }
    }
    let place = format!("\n  where: {}\n  why: {why}\n  to do: ", path.display());
    ModelError::Other(message!(what, place, todo))
}
