//! A model from a checkpoint: recognise family, spelling and variant, decide resolution and classes, bind every tensor.

use super::{Digest, Model, ModelError, ModelRequest, Named, Origin, WeightSource, choices, preprocessing};
use crate::arch::{self, BuildOptions, Family, Head, Results, Shapes};
use crate::checkpoint::{self, Checkpoint, NameTable, Selected};
use crate::signature::Signature;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use vitc_ir::Graph;

/// The family that these names and shapes belong to, and whose spelling they are.
fn spelling(shapes: &Shapes) -> Option<(&'static Family, &'static NameTable)> {
    let pairs = arch::FAMILIES.iter().flat_map(|f| f.tables.iter().map(move |t| (*f, t)));
    pairs.into_iter().find(|(family, table)| (family.signature)(&canonical(shapes, table)))
}

/// The same for a model that is not whole: at least half of the names are some variant's.
struct Resembling(Vec<(&'static Family, BTreeSet<String>)>);

impl Resembling {
    fn new() -> Resembling {
        Resembling(arch::FAMILIES.iter().map(|family| (*family, family.keys())).collect())
    }

    fn spelling(&self, shapes: &Shapes) -> Option<(&'static Family, &'static NameTable)> {
        let named = |(family, keys): &(&'static Family, BTreeSet<String>), table: &NameTable| {
            let known =
                |key: &String| keys.contains(key) || (family.leftover)(key) || key.ends_with("num_batches_tracked");
            canonical(shapes, table).keys().filter(|key| known(key)).count()
        };
        let pairs = self.0.iter().flat_map(|entry| entry.0.tables.iter().map(move |table| (entry, table)));
        let best = pairs.map(|(entry, table)| (named(entry, table), entry.0, table)).max_by_key(|(n, ..)| *n)?;
        (2 * best.0 >= shapes.len()).then_some((best.1, best.2))
    }
}

fn canonical(shapes: &Shapes, table: &NameTable) -> Shapes {
    shapes.iter().map(|(key, shape)| (table.canonical(key), shape.clone())).collect()
}

pub(super) fn load(request: &ModelRequest, named: Option<Named>, path: &Path) -> Result<Model, ModelError> {
    let checkpoint = Checkpoint::open(path)?;
    let blake3 = digest(checkpoint.clone());
    let whole_model = checkpoint.select(&|shapes| spelling(shapes).is_some(), &request.select);
    // Only a model that is not whole, which will not bind, takes the longer search: what is missing is then named.
    let selected = whole_model.or_else(|error| {
        let resembling = Resembling::new();
        checkpoint.select(&|shapes| resembling.spelling(shapes).is_some(), &request.select).map_err(|_| error)
    })?;
    let shapes = selected.shapes();
    let recognised = spelling(&shapes).or_else(|| Resembling::new().spelling(&shapes));
    // A prefix that the user chose need not be recognised; then the named family must do.
    let (family, table) = recognised.or(named.map(|(f, _)| (f, &f.tables[0]))).ok_or_else(|| {
        let prefix = &selected.prefix;
        ModelError::Other(format!(
            "the tensors under {prefix} are not recognised\n  name the MODEL that they belong to"
        ))
    })?;
    let shapes = selected.canonical_shapes(table);
    let (variant, whole_variant) = variant(named, family, &shapes, path)?;
    let config = checkpoint.config().cloned().unwrap_or_default();
    let mut notices = selected.notices.clone();

    let resolution = resolution(request, family, &shapes, config.input_size)?.unwrap_or_else(|| {
        let [h, w] = variant.resolution;
        notices.push(format!(
            "the checkpoint does not say its input size: {h}x{w}, as published; --resolution changes it"
        ));
        variant.resolution
    });
    let classes = classes(request, family, &shapes)?;
    let options = BuildOptions {
        variant,
        batch: request.batch,
        resolution,
        classes: classes.unwrap_or(variant.classes),
        tensors: Some(&shapes),
        head: request.head,
        results: request.results,
        choices: choices(request, family)?,
    };
    let graph = (family.build)(&options)?;
    let forms = selected.forms(table);
    let graph = if forms.is_empty() { graph } else { forms.multiplied_out(&graph) };
    if !forms.is_empty() {
        notices.push(format!("{} weights were stored as factors and are multiplied out", forms.len()));
    }
    let heads = heads(family, &graph);
    let model = checkpoint::Model { name: variant.name, nearest: named.is_none() && !whole_variant, heads: &heads };
    let required = graph.weights().map(|(key, ty)| (key, ty.shape.at(1)));
    let whole = whole(family, &options)?;
    let unused = |key: &str| (family.leftover)(key) || whole.contains(key);
    let weights = checkpoint::bind(&selected, table, required, &unused, &model)?;
    if request.results == Results::Logits && classes.is_none() {
        classifier_beside(&selected, path, &heads)?;
    }
    let preprocessing = preprocessing(variant, Some(&config));
    Ok(Model {
        name: variant.name.into(),
        origin: Origin::Paper { family, variant },
        signature: Signature::of_picture(&graph, preprocessing, family.roles(&options)),
        batch: request.batch,
        resolution,
        weights: WeightSource::Checkpoint {
            path: path.to_path_buf(),
            blake3,
            found: found(&selected, table),
            config: Box::new(config),
            weights,
        },
        graph,
        notices,
    })
}

/// Starts hashing. Who asks before it is done waits.
fn digest(checkpoint: Checkpoint) -> Digest {
    let hashing = std::thread::spawn(move || checkpoint.blake3());
    LazyLock::new(Box::new(|| hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
}

/// The variant asked for, or the nearest to the tensors, and whether all of the nearest is there. Then its tensors must be those of both.
fn variant(
    named: Option<Named>,
    family: &'static Family,
    shapes: &Shapes,
    path: &Path,
) -> Result<(&'static arch::Variant, bool), ModelError> {
    let (closest, whole) = family.closest_variant(shapes);
    let Some((asked_family, asked)) = named else { return Ok((closest, whole)) };
    let other_family = asked_family.id != family.id;
    if other_family || (whole && asked.name != closest.name && !family.serves(closest, asked, shapes)) {
        return Err(ModelError::Other(format!(
            "{} holds {}, not {}\n  leave MODEL out to export what it holds, or give the other checkpoint",
            path.display(),
            closest.name,
            asked.name
        )));
    }
    Ok((asked, whole))
}

/// The resolution that the request, the position tables and the configuration decide, in this order; nothing may contradict the tables.
fn resolution(
    request: &ModelRequest,
    family: &Family,
    shapes: &Shapes,
    config: Option<[usize; 2]>,
) -> Result<Option<[usize; 2]>, ModelError> {
    let tables = (family.table_resolutions)(shapes);
    let fits = |size: &[usize; 2]| tables.is_empty() || tables.contains(&size.map(|side| side.next_multiple_of(32)));
    let sizes = || tables.iter().map(|[h, w]| format!("--resolution {h}x{w}")).collect::<Vec<_>>().join(" or ");
    match (request.resolution, config.filter(fits), tables.first()) {
        (Some(asked), ..) if fits(&asked) => Ok(Some(asked)),
        (Some([h, w]), _, Some([th, tw])) => Err(ModelError::Other(format!(
            "--resolution {h}x{w}: the position tables in the checkpoint are for {th}x{tw}\n  use {}, or fine-tune at {h}x{w} first",
            sizes()
        ))),
        (None, None, Some([h, w])) if h != w => Err(ModelError::Other(format!(
            "the checkpoint does not say its input size, and its position tables are for none that is square\n  name the one that was trained: {}",
            sizes()
        ))),
        (_, config, table) => Ok(config.or(table.copied())),
    }
}

/// Refuses to leave a classifier behind that lies beside the model.
fn classifier_beside(selected: &Selected, path: &Path, heads: &[checkpoint::Head<'_>]) -> Result<(), ModelError> {
    let near = |key: &str| key.split('.').zip(selected.prefix.split('.')).take_while(|(a, b)| a == b).count();
    let linear = |(key, shape): (&'_ String, &Vec<usize>)| {
        let head = heads.iter().find(|h| matches!(shape[..], [_, features] if features == h.features))?;
        Some((near(key), key.strip_suffix(".weight")?.to_string(), shape.clone(), head.key))
    };
    let Some((_, layer, shape, head)) = selected.beside.iter().filter_map(linear).max_by_key(|found| found.0) else {
        return Ok(());
    };
    let joined = if selected.prefix.is_empty() { head.to_string() } else { format!("{}.{head}", selected.prefix) };
    Err(ModelError::Other(format!(
        "the model in the checkpoint has no classifier, and beside it lies a tensor shaped as one\n  where: {}, under {}\n  why: {layer}.weight, \
         {}x{}, reads the {} features that the model pools\n  to do: --rename {layer}={joined} makes it the classifier; --output features exports the \
         features without it",
        path.display(),
        selected.prefix,
        shape[0],
        shape[1],
        shape[1]
    )))
}

/// The number of classes of the checkpoint's heads, if it has any.
fn classes(request: &ModelRequest, family: &Family, shapes: &Shapes) -> Result<Option<usize>, ModelError> {
    let rows = |head: &str| shapes.get(&format!("{head}.weight")).and_then(|s| s.first().copied());
    let held: Vec<(&str, usize)> = family.heads.iter().filter_map(|&h| Some((h, rows(h)?))).collect();
    let used = match request.head {
        Head::Average => held.first(),
        Head::Class => held.iter().find(|(h, _)| *h == family.heads[0]),
        Head::Distillation => held.iter().find(|(h, _)| *h != family.heads[0]),
    };
    if let (Head::Average, Results::Logits, Some((first, n))) = (request.head, request.results, held.first())
        && let Some((other, m)) = held.iter().find(|(_, m)| m != n)
    {
        return Err(ModelError::Other(format!(
            "{first} has {n} classes and {other} has {m}: one of them was retrained and the other was not\n  use --head head for the retrained one"
        )));
    }
    if let (Some(asked), Some((head, n))) = (request.classes, used)
        && asked != *n
    {
        return Err(ModelError::Other(format!(
            "--num-classes {asked}: {head} in the checkpoint has {n} classes\n  leave --num-classes out, or give the checkpoint that was trained for {asked}"
        )));
    }
    if request.head != Head::Average && used.is_none() {
        let names: Vec<&str> = held.iter().map(|(h, _)| *h).collect();
        let there = if names.is_empty() { "no classifier at all".to_string() } else { names.join(" and ") };
        return Err(ModelError::Other(format!("--head: the checkpoint holds {there}\n  leave --head out")));
    }
    Ok(used.map(|(_, n)| *n))
}

/// The family's classifiers with the width of what they read, for messages about renamed ones.
fn heads(family: &'static Family, graph: &Graph) -> Vec<checkpoint::Head<'static>> {
    let columns = |key: &str| {
        let weight = graph.weights().find(|(k, _)| k.strip_suffix(".weight") == Some(key));
        weight.map(|(_, ty)| ty.shape.at(1)).and_then(|s| s.get(1).copied())
    };
    let pooled = graph.outputs.first().and_then(|o| graph.shape(o.value).0.last().copied()).map_or(0, |d| d.at(1));
    // All classifiers read the same; without any, the result itself is what one would read.
    let features = family.heads.iter().find_map(|key| columns(key)).unwrap_or(pooled);
    family.heads.iter().map(|&key| checkpoint::Head { key, features }).collect()
}

/// Keys that the whole model asks for: what a request for less than its logits leaves unused.
fn whole(family: &Family, options: &BuildOptions<'_>) -> Result<BTreeSet<String>, ModelError> {
    let graph = (family.build)(&BuildOptions { head: Head::Average, results: Results::Logits, ..options.clone() })?;
    Ok(graph.weights().map(|(key, _)| key.to_string()).collect())
}

/// What was recognised, for the summary.
fn found(selected: &Selected, table: &NameTable) -> Vec<String> {
    let copy = if selected.ema { ", the averaged copy" } else { "" };
    let under = if selected.prefix.is_empty() { String::new() } else { format!(" under {}", selected.prefix) };
    vec![format!("{} spelling, {} tensors{under}{copy}", table.code_base, selected.tensors.len())]
}
