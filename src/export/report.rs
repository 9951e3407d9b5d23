//! The report of an export: what came out of the road, for a summary, a page or a program.

use super::lowered::Lowered;
use super::options::Labels;
use super::request::Request;
use super::rounding::Rounding;
use crate::check::{CheckReport, Fidelity, Outside};
use crate::decide;
use crate::decide::quantize::{LayerLine, Point};
use crate::engine_rules::{self, Finding};
use crate::message::Message;
use crate::model::WeightSource;
use crate::port::{Port, dtype};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vitc_exporters::Summary;
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::{DType, Type};
use vitc_passes::PassReport;

/// What an export did.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the model.
    pub model: String,
    /// Where its weights come from.
    pub weights: WeightsLine,
    /// Name of the target.
    pub target: String,
    /// The file format and its version: `ONNX opset 17`, `ML Program for iOS 15`.
    pub format: String,
    /// Input height and width.
    pub resolution: [usize; 2],
    /// Batch size, or `dynamic`.
    pub batch: String,
    /// What goes in.
    pub inputs: Vec<Port>,
    /// How a picture becomes the input.
    pub preprocessing: String,
    /// Where each setting of the input and the labels come from: `mean <- best.pt: mean`.
    pub settings: Vec<String>,
    /// What comes out.
    pub outputs: Vec<Port>,
    /// The functions, if there are several: model, size and ports above are those of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionLine>,
    /// Element types.
    pub precision: Precision,
    /// The files.
    pub artifact: Written,
    /// What rounding did to the constants.
    pub rounding: Rounding,
    /// Apple's rules for the Neural Engine that the artifact breaks; empty for other targets too.
    pub engine_rules: Vec<Finding>,
    /// What each pass did, in order.
    pub passes: Vec<PassLine>,
    /// What was quantised; absent if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<QuantisationLine>,
    /// What the check found; absent if it did not run.
    pub check: Option<CheckReport>,
    /// How the artifact compares with the trained model itself; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<CheckReport>,
    /// How the artifact compares with values from outside; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Outside>,
    /// The page about the export; absent if none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<PathBuf>,
    /// What the user should know.
    pub notices: Vec<Message>,
    /// What was written: graphs, weights, and what is known of them.
    #[serde(skip)]
    pub lowered: Lowered,
}

/// What was quantised.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantisationLine {
    /// Its name.
    pub form: &'static str,
    /// Bits that 8-bit weights use: 7 of them where sums of 16 bits must not overflow.
    pub weight_bits: u32,
    /// Layers that are quantised.
    pub quantised: usize,
    /// Layers that stay as they are.
    pub float: usize,
    /// Weights that are quantised, and all weights of layers.
    pub weights: [u64; 2],
    /// Share of the multiply-accumulates that are quantised layers'.
    pub macs: f64,
    /// Calibration pictures, and BLAKE3 of their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<(usize, String)>,
    /// How many of them it was fitted to, in passes, where memory did not allow all; it is judged on all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted_to: Option<usize>,
    /// How far the artifact is from the model on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
    /// And on others; their bounds judge nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Fidelity>,
    /// What was looked at to reach a goal: size against loss.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Point>,
    /// Every layer.
    pub layers: Vec<LayerLine>,
}

impl QuantisationLine {
    fn of(request: &Request, lowered: &Lowered) -> Option<QuantisationLine> {
        let (asked, quantised) = (request.numbers.quantize.as_ref()?, lowered.quantised.as_ref()?);
        let layers = quantised.decided.layers.clone();
        let own = |l: &&LayerLine| l.why.is_none();
        let graph = &quantised.graph;
        let plans = &quantised.decided.plan.layers;
        // Where products of codes were asked for, those count.
        let products = plans.values().any(|plan| plan.quantised_input);
        let counts = |path: &String| plans.get(path).is_some_and(|plan| plan.quantised_input || !products);
        let planned = graph.run_time_nodes().filter(|(_, n)| counts(&n.path));
        let macs: u64 = planned.map(|(_, n)| vitc_ir::cost::macs(graph, n)).sum();
        Some(QuantisationLine {
            form: asked.scheme.name(),
            weight_bits: asked.weight_bits(request.target),
            quantised: layers.iter().filter(own).count(),
            float: layers.iter().filter(|l| l.why.is_some()).count(),
            weights: [
                layers.iter().filter(own).map(|l| l.weights as u64).sum(),
                layers.iter().map(|l| l.weights as u64).sum(),
            ],
            macs: macs as f64 / vitc_ir::cost::total_macs(graph).max(1) as f64,
            calibration: lowered.calibration.as_ref().map(|c| (c.count, c.blake3.clone())),
            fitted_to: quantised.decided.fitted_to,
            fidelity: None,
            evaluation: None,
            curve: quantised.decided.curve.clone(),
            layers,
        })
    }
}

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum WeightsLine {
    /// A trained checkpoint.
    Checkpoint {
        /// File or folder.
        file: PathBuf,
        /// BLAKE3 of its bytes.
        blake3: String,
        /// What was recognised in it: spelling, prefix, what was left out.
        found: Vec<String>,
    },
    /// Generated: for latency only.
    Seeded {
        /// The seed.
        seed: u64,
    },
}

/// One of several functions of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionLine {
    /// Its name.
    pub name: String,
    /// Input height and width.
    pub resolution: [usize; 2],
    /// Batch size, or `dynamic`.
    pub batch: String,
    /// What goes in.
    pub inputs: Vec<Port>,
    /// What comes out.
    pub outputs: Vec<Port>,
    /// Multiply-accumulates for one image.
    pub macs: u64,
}

impl FunctionLine {
    fn of(lowered: &Lowered) -> FunctionLine {
        let (inputs, outputs) = Port::behind(&lowered.interface, &lowered.graph);
        FunctionLine {
            name: lowered.function.clone(),
            resolution: lowered.model.resolution,
            batch: batch(lowered),
            inputs,
            outputs,
            macs: vitc_ir::cost::total_macs(&lowered.graph),
        }
    }
}

/// What breaks the Neural Engine's rules, if the artifact is for it. Types at the ports of a CoreML package are the system's to convert.
fn engine_rules(lowered: &Lowered) -> Vec<Finding> {
    let format = lowered.kind.format();
    let graphs: Vec<_> = lowered.functions().map(|f| &f.graph).collect();
    if format.neural_engine { engine_rules::findings(&graphs, format.cast_interface.is_none()) } else { Vec::new() }
}

/// Batch size, or `dynamic`.
fn batch(lowered: &Lowered) -> String {
    lowered.model.batch.fixed().map_or("dynamic".into(), |n| n.to_string())
}

/// Element types of the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Precision {
    /// `fp32` or `fp16`.
    pub compute: &'static str,
    /// `fp32` or `fp16`.
    pub interface: &'static str,
    /// Whether `compute` is the target's default rather than asked for.
    pub default: bool,
    /// Run-time nodes that compute in fp32 all the same (islands), casts not counted.
    pub islands: usize,
}

/// The files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Whether it stays: not if only a page about it was wanted.
    pub kept: bool,
    /// Name of the file beside it that holds its weights, if they are not inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_file: Option<String>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Operations, constants not counted.
    pub nodes: usize,
    /// Operations by kind.
    pub ops: BTreeMap<String, usize>,
    /// Elements of its float constants.
    pub parameters: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
}

/// What one pass did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassLine {
    /// Name of the pass.
    pub pass: String,
    /// Number of rewrites.
    pub rewrites: usize,
    /// Run-time nodes before.
    pub before: usize,
    /// Run-time nodes after.
    pub after: usize,
    /// Transposes and reshapes among them, before and after.
    pub moves: [usize; 2],
    /// What could not be done and why.
    pub notes: Vec<String>,
}

impl From<&PassReport> for PassLine {
    fn from(r: &PassReport) -> Self {
        PassLine {
            pass: r.pass.into(),
            rewrites: r.count,
            before: r.before,
            after: r.after,
            moves: r.moves,
            notes: r.notes.iter().filter(|n| n.is_for_people()).map(ToString::to_string).collect(),
        }
    }
}

impl Report {
    pub(super) fn new(request: &Request, lowered: Lowered, summary: &Summary, place: &Path) -> Report {
        let Lowered { model, graph, .. } = &lowered;
        let (inputs, outputs) = Port::behind(&lowered.interface, graph);
        let format = format!("{} {}", lowered.kind.format().title, lowered.version);
        let weights = match &model.weights {
            WeightSource::Seeded { seed, .. } => WeightsLine::Seeded { seed: *seed },
            WeightSource::Checkpoint { path, blake3, found, .. } | WeightSource::File { path, blake3, found, .. } => {
                WeightsLine::Checkpoint { file: path.clone(), blake3: blake3.to_string(), found: found.clone() }
            }
        };
        let single = |t: &Type| t.dtype == DType::F32;
        let computes = |op: &vitc_ir::Op| !matches!(op, vitc_ir::Op::Cast { .. });
        let islands = match lowered.precision {
            DType::F16 => graph.run_time_nodes().filter(|(_, n)| computes(&n.op) && n.types.iter().any(single)).count(),
            _ => 0,
        };
        Report {
            model: model.name.clone(),
            weights,
            target: lowered.target.name().into(),
            format,
            resolution: model.resolution,
            batch: batch(&lowered),
            inputs,
            preprocessing: lowered.preprocessing.as_ref().map(Preprocessing::describe).unwrap_or_default(),
            settings: settings(request, &lowered),
            outputs,
            functions: match lowered.others[..] {
                [] => Vec::new(),
                _ => lowered.functions().map(FunctionLine::of).collect(),
            },
            precision: Precision {
                compute: dtype(lowered.precision),
                interface: dtype(request.port_type(lowered.precision)),
                default: request.numbers.precision.is_none(),
                islands,
            },
            artifact: Written {
                path: place.to_path_buf(),
                kept: true,
                data_file: None,
                bytes: summary.bytes,
                nodes: summary.nodes,
                ops: summary.op_counts.iter().cloned().collect(),
                parameters: summary.parameters,
                macs: vitc_ir::cost::total_macs(graph),
            },
            rounding: Rounding::of(lowered.functions().map(|f| &f.graph), summary)
                .with(decide::equalized(&lowered.decisions)),
            engine_rules: engine_rules(&lowered),
            passes: lowered.passes.iter().map(PassLine::from).collect(),
            quantisation: QuantisationLine::of(request, &lowered),
            check: None,
            verify: None,
            expect: None,
            page: None,
            notices: lowered.notices.clone(),
            lowered,
        }
    }

    /// How far a quantised artifact is from its model, if pictures showed it.
    pub fn fidelity(&self) -> Option<&Fidelity> {
        self.quantisation.as_ref().and_then(|q| q.fidelity.as_ref())
    }

    /// Whether nothing was found that speaks against the artifact.
    pub fn passed(&self) -> bool {
        [&self.check, &self.verify].into_iter().flatten().all(|c| c.passed)
            && self.fidelity().is_none_or(|f| f.passed)
            && self.expect.as_ref().is_none_or(|e| e.passed)
    }
}

/// Where the settings of the input and the labels come from, as far as the checkpoint or the published evaluation decided them.
fn settings(request: &Request, lowered: &Lowered) -> Vec<String> {
    let asked = &request.interface;
    let by_request = |setting: &str| match setting {
        "mean" => asked.mean.is_some(),
        "std" => asked.std.is_some(),
        "crop" => asked.crop.is_some(),
        "interpolation" => asked.interpolation.is_some(),
        "fit" => asked.fit.is_some(),
        _ => request.model.resolution.is_some(),
    };
    if lowered.preprocessing.is_none() {
        return Vec::new();
    }
    let sources = || lowered.model.sources.iter().filter(|source| !by_request(source.setting));
    let mut lines: Vec<String> =
        sources().filter_map(|s| Some(format!("{} <- {}", s.setting, s.from.as_ref()?))).collect();
    let config = lowered.model.weights.config();
    let labels = config.and_then(|c| c.labels.as_ref()).filter(|said| lowered.labels.as_ref() == Some(&said.value));
    lines.extend(labels.filter(|_| asked.labels == Labels::Checkpoint).map(|said| format!("labels <- {}", said.from)));
    let assumed: Vec<&str> = sources().filter(|s| s.from.is_none()).map(|s| s.setting).collect();
    if config.is_some() && !assumed.is_empty() {
        lines.push(format!("assumed, as published: {}", assumed.join(", ")));
    }
    lines
}
