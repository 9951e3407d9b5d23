//! Where every tensor of a checkpoint goes: nothing is left out in silence.
//!
//! A tensor is asked for by the trunk or by a head; or it stands behind the output that was asked for; or it is known to compute nothing; or it
//! was left out on request. Each of these is a line of the summary. What remains stops the export, and is said to be what it seems to be.

use super::nature::{Nature, nature};
use crate::arch::{Family, Shapes};
use crate::checkpoint::{NameTable, Selected, TensorInfo, is_average, merged_shapes};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A tensor that the trunk does not ask for.
#[derive(Debug, Clone)]
pub(super) struct Leftover {
    /// Its name in the dict of the model, or in the file where it lies in another dict.
    pub(super) name: String,
    /// The tensor.
    pub(super) tensor: TensorInfo,
    /// The shortest name that it lies under and nothing of the trunk does.
    pub(super) group: String,
    /// Whether it lies inside a module of the trunk.
    pub(super) within: bool,
    /// Whether it lies under the trunk's prefix.
    pub(super) inside: bool,
    /// What it is.
    pub(super) nature: Nature,
    /// Its name behind the trunk's prefix, if it lies there.
    pub(super) upstream: Option<String>,
    /// The family's classifier in whose place it stands, if it lies under that name.
    pub(super) slot: Option<&'static str>,
}

/// All that the trunk does not ask for.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) leftovers: Vec<Leftover>,
    /// Why those that are called heads are none, if they are not.
    pub(super) no_head: Option<String>,
}

impl Account {
    /// Of the tensors in the file that the trunk, which asks for `trunk` in its own spelling, does not ask for.
    pub(super) fn of(selected: &Selected, table: &NameTable, trunk: &BTreeSet<String>, family: &Family) -> Account {
        // In the trunk's own spelling and in the file's: what a table does not know keeps the file's.
        let used = selected.tensors.keys().filter(|key| trunk.contains(&selected.whole(key, table)));
        let modules: HashSet<&str> = trunk.iter().chain(used).map(|key| first(key)).collect();
        let names = Names::of(selected, table, trunk);
        let mut leftovers = Vec::new();
        for (upstream, tensor) in &selected.tensors {
            let canonical = selected.canonical(upstream, table);
            let counter = upstream.rsplit('.').next() == Some("num_batches_tracked");
            let within = modules.contains(first(&canonical)) || modules.contains(first(upstream));
            if trunk.contains(&selected.whole(upstream, table)) || (family.leftover)(&canonical) || (counter && within)
            {
                continue;
            }
            let name = names.shown(&selected.file_name(upstream)).to_string();
            let group = names.group(&name);
            let copied = name.strip_prefix("ema_").is_some_and(|rest| names.flat.contains(rest));
            let nature = match if copied { Nature::Copy } else { nature(upstream) } {
                // Inside a module of the trunk a name says less: what is not a counter may compute.
                found if within && found.leftover().is_some() && found != Nature::Counter => Nature::Unknown,
                found => found,
            };
            let (tensor, upstream) = (tensor.clone(), Some(upstream.clone()));
            let under = |head: &&&str| canonical.strip_prefix(**head).is_some_and(|rest| rest.starts_with('.'));
            let slot = family.heads.iter().find(under).copied();
            leftovers.push(Leftover { name, tensor, group, within, inside: true, nature, upstream, slot });
        }
        for (file, tensor) in &selected.beside {
            let name = names.shown(file).to_string();
            let group = names.group(&name);
            let nature = names.nature(file);
            leftovers.push(Leftover {
                name,
                tensor: tensor.clone(),
                group,
                within: false,
                inside: false,
                nature,
                upstream: None,
                slot: None,
            });
        }
        Account { leftovers, no_head: None }
    }

    /// Take those that `wanted` says.
    pub(super) fn take(&mut self, wanted: impl Fn(&Leftover) -> bool) -> Vec<Leftover> {
        let (taken, rest) = std::mem::take(&mut self.leftovers).into_iter().partition(wanted);
        self.leftovers = rest;
        taken
    }

    /// Take out the groups that lie outside the trunk's modules and are `wanted`.
    pub(super) fn take_groups(&mut self, wanted: impl Fn(&[Leftover]) -> bool) -> Vec<Leftover> {
        let groups = grouped(&self.leftovers);
        let taken = groups.into_iter().filter(|(_, all)| all.iter().all(|l| !l.within) && wanted(all));
        let names: HashSet<String> = taken.map(|(name, _)| name).collect();
        self.take(|l| names.contains(&l.group))
    }

    /// Those known to compute nothing, a phrase for each reason, taken out.
    pub(super) fn known(&mut self) -> Vec<String> {
        let known = self.take(|l| l.nature.leftover().is_some());
        let mut by_nature: BTreeMap<Nature, Vec<Leftover>> = BTreeMap::new();
        known.into_iter().for_each(|l| by_nature.entry(l.nature).or_default().push(l));
        let line = |(nature, all): (Nature, Vec<Leftover>)| {
            Some(format!("not used: {}, {}", outline(&all), nature.leftover()?))
        };
        by_nature.into_iter().filter_map(line).collect()
    }
}

/// Leftovers by the name that they share.
pub(super) fn grouped(leftovers: &[Leftover]) -> BTreeMap<String, Vec<Leftover>> {
    let mut groups: BTreeMap<String, Vec<Leftover>> = BTreeMap::new();
    leftovers.iter().for_each(|l| groups.entry(l.group.clone()).or_default().push(l.clone()));
    groups
}

/// Names and counts of groups: `neck (8 tensors), decode_head (2 tensors)`.
pub(super) fn outline(leftovers: &[Leftover]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    leftovers.iter().for_each(|l| *counts.entry(&l.group).or_default() += 1);
    counted(counts)
}

/// `neck (8 tensors), head (1 tensor) and 3 more`.
pub(super) fn counted(counts: BTreeMap<&str, usize>) -> String {
    const SHOWN: usize = 8;
    let phrase =
        |(name, n): (&&str, &usize)| format!("{} ({n} tensor{})", printable(name), if *n == 1 { "" } else { "s" });
    let mut text = counts.iter().take(SHOWN).map(phrase).collect::<Vec<_>>().join(", ");
    if counts.len() > SHOWN {
        let more: usize = counts.values().skip(SHOWN).sum();
        text.push_str(&format!(" and {more} tensors under {} more names", counts.len() - SHOWN));
    }
    text
}

/// Shapes by name; a weight that is stored as factors counts as itself.
pub(super) fn shapes(leftovers: &[Leftover]) -> Shapes {
    merged_shapes(&leftovers.iter().map(|l| (l.name.clone(), &l.tensor)).collect())
}

fn first(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// A name from a file, without control characters.
pub(super) fn printable(name: &str) -> String {
    name.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The names in the file, seen from the model's dict.
struct Names<'s> {
    selected: &'s Selected,
    /// Names of what the trunk asks for.
    used: BTreeSet<String>,
    /// Every name in the model's dict.
    own: HashSet<String>,
    /// The same with `_` for every dot, as mmcv spells its averaged copies.
    flat: HashSet<String>,
}

impl<'s> Names<'s> {
    fn of(selected: &'s Selected, table: &NameTable, trunk: &BTreeSet<String>) -> Names<'s> {
        let shown = |file: &str| shown(&selected.dict, file).to_string();
        let inside = selected.tensors.keys().map(|key| (key, shown(&selected.file_name(key))));
        let used = inside.clone().filter(|(key, _)| trunk.contains(&selected.whole(key, table))).map(|n| n.1);
        let in_dict = |file: &&String| selected.dict_of(file) == selected.dict;
        let beside = selected.beside.keys().filter(in_dict).map(|file| shown(file));
        let own: HashSet<String> = inside.clone().map(|n| n.1).chain(beside).collect();
        let flat = own.iter().map(|name| name.replace('.', "_")).collect();
        Names { selected, used: used.collect(), own, flat }
    }

    /// The name as people know it: without the dict around the model.
    fn shown<'k>(&self, file: &'k str) -> &'k str {
        shown(&self.selected.dict, file)
    }

    /// The shortest name that this one lies under and nothing of the trunk does.
    fn group(&self, name: &str) -> String {
        let free = |prefix: &&str| {
            let start = format!("{prefix}.");
            self.used.range(start.clone()..).next().is_none_or(|key| !key.starts_with(&start))
        };
        let prefixes = name.match_indices('.').take(16).map(|(dot, _)| &name[..dot]);
        prefixes.into_iter().find(free).unwrap_or(name).to_string()
    }

    /// What a tensor outside the trunk's prefix is.
    fn nature(&self, file: &str) -> Nature {
        let selected = self.selected;
        let name = self.shown(file);
        let prefix = shown(&selected.dict, &selected.prefix);
        let common = name.split('.').zip(prefix.split('.')).take_while(|(a, b)| a == b).count();
        let rest: Vec<&str> = name.split('.').skip(common).collect();
        let by_name = if rest.is_empty() { Nature::Unknown } else { nature(&rest.join(".")) };
        let other = selected.others.iter().any(|p| file.strip_prefix(p.as_str()).is_some_and(|r| r.starts_with('.')));
        let averaged = rest.iter().any(|segment| is_average(segment));
        let flat = name.strip_prefix("ema_").is_some_and(|rest| self.flat.contains(rest));
        if other || averaged || flat {
            return Nature::Copy;
        }
        let dict = selected.dict_of(file);
        if dict == selected.dict || by_name.leftover().is_some() {
            return by_name;
        }
        // In another dict: a second copy has the model's names.
        let relative = shown(dict, file);
        let relative = relative.strip_prefix("module.").unwrap_or(relative);
        // Either of the two may have been averaged under a wrapper.
        if self.own.contains(relative) || self.own.contains(&format!("module.{relative}")) {
            return Nature::Copy;
        }
        let number = selected.beside.get(file).is_some_and(|t| t.elements() <= 1);
        if number { Nature::Training } else { by_name }
    }
}

/// A name without the dict in front of it.
pub(super) fn shown<'k>(dict: &str, file: &'k str) -> &'k str {
    match dict {
        "" => file,
        dict => file.strip_prefix(dict).and_then(|rest| rest.strip_prefix('.')).unwrap_or(file),
    }
}
