//! The promise, on random graphs: one that validates gives a graph, bytes, or an error that names the node, in time. No pass, exporter or evaluator
//! panics or loops on it, and what passes make of it is valid and computes the same.
//!
//! `VITC_CASES` is the number of graphs, `VITC_FIRST` the first seed. Three in four are anything that the shape rules take, one is as papers draw them.

#![allow(clippy::print_stdout, reason = "the tally is read with --nocapture")]

use std::collections::BTreeMap;
use std::io::sink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vitc_exporters::coreai::{self, Function};
use vitc_exporters::coreml::Interface;
use vitc_exporters::metadata::WeightSource;
use vitc_exporters::{ExportError, Metadata, coreml, onnx};
use vitc_ir::target::{AttentionForm, Format};
use vitc_ir::testing::{Options, Rng, any_graph, random_graph, random_weights, same_function};
use vitc_ir::valid::{ValidError, validate};
use vitc_ir::{DType, Dim, Graph, Target};
use vitc_passes::canonical::CANONICAL;
use vitc_passes::{Context, FoldTables, LowerOptions, PassError, PassReport, Spectral, TalkingHeads, equalize};

/// About half a minute on two cores.
const CASES: u64 = 10_000;

/// Passes are exact in real arithmetic; what is left is the rounding of f64.
const EXACT: f64 = 1e-8;

/// Far above what any of these graphs takes on a machine that does nothing else.
const LONGEST: Duration = Duration::from_secs(20);

/// Nodes that may come of each node. Attention spelled head by head on eight heads makes most.
const GROWTH: usize = 100;

/// What became of the cases.
#[derive(Default)]
struct Tally {
    /// How often each thing happened.
    events: BTreeMap<String, usize>,
    /// Rewrites of each pass.
    hits: BTreeMap<&'static str, usize>,
    /// What the promise forbids, with the seed.
    broken: Vec<(u64, String)>,
}

impl Tally {
    fn count(&mut self, what: impl Into<String>) {
        *self.events.entry(what.into()).or_default() += 1;
    }

    fn hits(&mut self, report: &[PassReport]) {
        for r in report {
            *self.hits.entry(r.pass).or_default() += r.count;
        }
    }

    fn add(&mut self, other: Tally) {
        other.events.into_iter().for_each(|(what, n)| *self.events.entry(what).or_default() += n);
        other.hits.into_iter().for_each(|(pass, n)| *self.hits.entry(pass).or_default() += n);
        self.broken.extend(other.broken);
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |n| n.parse().expect("a number of cases"))
}

fn paper(seed: u64) -> Graph {
    match seed % 4 {
        3 => {
            random_graph(seed, Options { batch: if seed % 8 == 3 { Dim::Batch(1) } else { Dim::Fixed(2) }, blocks: 3 })
        }
        _ => any_graph(seed),
    }
}

/// A target and everything that can be chosen for it.
fn context(rng: &mut Rng, target: &Target) -> Context {
    let (f32, f16) = (DType::F32, DType::F16);
    let form = [AttentionForm::Compact, AttentionForm::Fused, AttentionForm::PerHead, AttentionForm::Operator];
    let options = LowerOptions {
        precision: rng.pick(&[f32, f32, f16]),
        input: rng.pick(&[f32, f32, f16]),
        output: rng.pick(&[f32, f32, f16]),
        spectral: rng.pick(&[Spectral::Auto, Spectral::Auto, Spectral::Dense, Spectral::Separable]),
        attention: if rng.chance(50) { None } else { Some(rng.pick(&form)) },
        talking_heads: rng.pick(&[TalkingHeads::Auto, TalkingHeads::Fuse, TalkingHeads::Keep]),
        fold_tables: rng.pick(&[FoldTables::Auto, FoldTables::Always, FoldTables::Never]),
    };
    let mut target = target.clone();
    // Small graphs show what large ones do where launches cost much, or little.
    if rng.chance(50) {
        target.cost.launch *= rng.pick(&[0.0, 0.01, 100.0]);
        target.cost.rate *= rng.pick(&[1e-6, 1.0, 1e3]);
        target.cost.bandwidth *= rng.pick(&[1e-6, 1.0, 1e3]);
        target.merge_siblings = rng.range(2, 3);
        target.split_maps = target.split_maps.map(|_| 1);
        target.streamed_weights = target.streamed_weights.map(|(rows, _)| (rows, rng.pick(&[4, 64])));
    }
    Context::new(&target, &options)
}

/// One target of each format.
fn targets(rng: &mut Rng) -> [Target; 4] {
    let opset = |rng: &mut Rng| rng.range(11, 23) as u32;
    let coreml = Target::coreml(rng.pick(&[15, 16, 17, 18, 26]));
    [Target::onnx(opset(rng)), Target::tensorrt(opset(rng)), coreml, Target::coreai(27)]
}

/// Everything for one seed; what it breaks is returned as text.
fn case(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let graph = paper(seed);
    validate(&graph, None).map_err(|e| format!("the generator made an invalid graph: {e}"))?;
    let rng = &mut Rng::new(seed);
    match vitc_passes::run_to_rest(&graph, CANONICAL, &Context::independent(), &mut |_, _| ()) {
        Ok((recovered, _)) => drop(sound("canonical", &graph, &recovered, None, tally, seed)?),
        Err(e) => refused(&e, tally)?,
    }
    let mut deployed = graph.clone();
    match vitc_passes::deploy(&graph) {
        Ok((result, report)) => {
            tally.hits(&report);
            sound("deploy", &graph, &result, None, tally, seed)?;
            deployed = result;
        }
        Err(e) => refused(&e, tally)?,
    }
    if deployed.stage == graph.stage {
        return Ok(());
    }
    for target in targets(rng) {
        let context = context(rng, &target);
        let name = context.target.name();
        let what = format!("{name} {:?} {:?}", context.target.format, context.options);
        match vitc_passes::lower_observed(&deployed, &context, &mut |_, _| ()) {
            Ok((lowered, report)) => {
                tally.hits(&report);
                let named = |e| format!("{what}: {e}");
                if sound(name, &graph, &lowered, Some(&context), tally, seed).map_err(named)? {
                    equalized(&lowered, &context, tally, seed).map_err(named)?;
                    exported(&lowered, &context.target, seed, tally).map_err(named)?;
                }
            }
            Err(e) => refused(&e, tally).map_err(|e| format!("{what}: {e}"))?,
        }
    }
    Ok(())
}

/// An error says which pass and which node.
fn refused(error: &PassError, tally: &mut Tally) -> Result<(), String> {
    tally.count(format!("{} refuses", error.pass));
    if error.node.is_empty() { Err(format!("an error without a node: {error}")) } else { Ok(()) }
}

/// What passes made is valid, not much larger, and computes the same. False if the target cannot have it.
fn sound(
    list: &str,
    before: &Graph,
    after: &Graph,
    context: Option<&Context>,
    tally: &mut Tally,
    seed: u64,
) -> Result<bool, String> {
    match validate(after, context.map(|c| &c.target)) {
        // The exporter says so too. What leaves nothing between an input and an output has no artifact.
        Err(e @ (ValidError::Target { .. } | ValidError::Stage { .. } | ValidError::Output { .. }))
            if context.is_some() =>
        {
            tally.count(format!("{list}: {}", kind(&e.to_string())));
            return Ok(false);
        }
        result => result.map_err(|e| format!("{list}: {e}\n--- after\n{after}"))?,
    }
    if after.len() > GROWTH * (before.len() + 1) {
        return Err(format!("{list}: {} nodes became {}", before.len(), after.len()));
    }
    let half = |g: &Graph| g.nodes().any(|(_, n)| n.types.iter().any(|t| t.dtype == DType::F16));
    let o = context.map(|c| &c.options);
    if half(before) || o.is_some_and(|o| [o.precision, o.input, o.output].contains(&DType::F16)) {
        tally.count(format!("{list}: half precision"));
        return Ok(true);
    }
    let same = same_function(before, after, seed, EXACT).map_err(|e| format!("{list}: {e}\n--- after\n{after}"))?;
    tally.count(format!("{list}: {}", if same { "the same function" } else { "not a finite function" }));
    Ok(true)
}

/// Whatever factors its regions get, a graph in single precision computes the same.
fn equalized(graph: &Graph, context: &Context, tally: &mut Tally, seed: u64) -> Result<(), String> {
    let rng = &mut Rng::new(seed);
    let regions = equalize::regions(graph).regions.into_iter();
    let exponents = regions.map(|region| (region.name, rng.range(0, 16) as i32 - 8)).collect();
    match equalize::equalize(graph, &exponents, &mut |_, _| ()) {
        Ok((after, report)) => {
            tally.hits(&report);
            sound("equalize", graph, &after, Some(context), tally, seed).map(drop)
        }
        Err(e) => refused(&e, tally),
    }
}

/// The exporter writes the graph or says why not.
fn exported(graph: &Graph, target: &Target, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let weights = random_weights(seed, graph);
    let metadata = Metadata::new(graph.name.clone(), WeightSource::Seeded { seed }, graph.precision());
    let written = match target.format {
        Format::Onnx { .. } | Format::TensorRt { .. } => onnx::write(graph, &weights, target, &metadata, &mut sink()),
        Format::CoreMl { .. } => {
            let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
            coreml::write(graph, &weights, target, &Interface::default(), &metadata, folder.path())
        }
        Format::CoreAi { .. } => {
            let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
            let function = Function { name: "main", graph, numbers: (&weights).into(), picture: false };
            coreai::write(&[function], &metadata, folder.path())
        }
    };
    let name = target.name();
    match written {
        Ok(_) => tally.count(format!("{name}: bytes")),
        Err(ExportError::NotLowered { path, .. }) if !path.is_empty() => tally.count(format!("{name}: no spelling")),
        Err(e @ ExportError::Constant(_)) => tally.count(format!("{name}: constant: {}", kind(&e.to_string()))),
        Err(ExportError::Target { what, .. }) => tally.count(format!("{name}: {}", kind(&what))),
        Err(e) => return Err(format!("{name}: {e}")),
    }
    Ok(())
}

/// A message without names and numbers.
fn kind(message: &str) -> String {
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphabetic() || c == ',');
    let words: Vec<&str> = message.split_whitespace().filter(plain).collect();
    words.join(" ")
}

fn guarded(seed: u64) -> Tally {
    let mut tally = Tally::default();
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| case(seed, &mut tally)));
    let took = start.elapsed();
    let broken = match result {
        Ok(Ok(())) if took > LONGEST => Some(format!("took {took:?}")),
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
            Some(format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    if let Some(what) = broken {
        tally.broken.push((seed, what));
    }
    tally
}

#[test]
fn a_graph_that_validates_gives_a_graph_bytes_or_an_error() {
    let (cases, first) = (number("VITC_CASES", CASES), number("VITC_FIRST", 0));
    let (next, total) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + cases {
                        break;
                    }
                    let tally = guarded(seed);
                    total.lock().expect("no thread panicked with the tally").add(tally);
                }
            });
        }
    });
    let mut total = total.into_inner().expect("no thread panicked with the tally");
    total.broken.sort();
    println!("{cases} graphs");
    total.events.iter().for_each(|(what, n)| println!("{n:9} {what}"));
    total.hits.iter().for_each(|(pass, n)| println!("{n:9} rewrites by {pass}"));
    for (seed, what) in total.broken.iter().take(40) {
        println!("seed {seed}: {what}\n--- given\n{}", paper(*seed));
    }
    assert!(total.broken.is_empty(), "{} of {cases} graphs break the promise, shown above", total.broken.len());
    let idle: Vec<&str> =
        vitc_passes::all().iter().map(|p| p.name).filter(|n| total.hits.get(n).is_none_or(|h| *h == 0)).collect();
    // What recovers an operator from its spelling proves itself on that spelling, which chance does not make.
    let idle: Vec<&str> = idle.into_iter().filter(|n| CANONICAL.iter().all(|p| p.name != *n)).collect();
    assert!(
        idle.is_empty(),
        "these passes found nothing to do in {cases} graphs, so they are not tested here: {idle:?}"
    );
}
