//! Writes an asset: the program's frame first, each large constant as it comes out of the evaluator, then the hash and what the asset says about
//! itself.

mod builder;
mod bytecode;
mod codes;
mod composites;
mod constants;
mod dialect;
mod encode;
mod function;
mod program;
mod spell;

use super::{HASH, METADATA, PROGRAM};
use crate::{ExportError, Metadata, Summary};
use builder::Builder;
use composites::Composites;
use constants::Constants;
use dialect::OperationName;
use encode::{Frame, encode};
pub use function::Function;
use program::{Element, GraphOperation, Program, Region, Tensor};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use spell::{Body, element, sizes};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use vitc_ir::eval::{self, StreamError};
use vitc_ir::{Value, cost};

/// Bytes that are gathered before they are written; what is larger goes straight through.
const BUFFER: usize = 1 << 20;

/// What readers ask of an asset before anything else.
const ASSET_VERSION: &str = "2.0";

/// Write the asset of these functions into `dir`, an existing empty folder: build it beside its place and rename it.
///
/// Constants that several functions have in common are stored once. The number of every constant is computed on the way, rounded
/// once, and checked; nothing of the graphs is changed.
///
/// # Errors
/// If a node was not lowered, names of functions, inputs or outputs are empty or taken, a weight is missing or not finite, or writing fails. What
/// is in `dir` then is no asset.
pub fn write(functions: &[Function<'_>], metadata: &Metadata, dir: &Path) -> Result<Summary, ExportError> {
    let constants = Constants::new(functions)?;
    let mut composites = Composites::default();
    let mut graphs = Vec::new();
    for (function, elements) in functions.iter().zip(&constants.elements) {
        names(function)?;
        graphs.push(graph(function, elements, &mut composites)?);
    }
    graphs.append(&mut composites.graphs);
    let op_counts = crate::count(graphs.iter().flat_map(|g| words(&g.region)));
    let program = Program { graphs, blobs: constants.blobs.clone() };
    let frame = encode(&program);

    let (program_bytes, stats) = stream(functions, &constants, &frame, &dir.join(PROGRAM), &dir.join(HASH))?;
    let record = record(metadata);
    fs::write(dir.join(METADATA), &record)?;
    Ok(Summary {
        nodes: op_counts.iter().map(|(_, n)| n).sum(),
        op_counts,
        parameters: functions.iter().map(|f| cost::parameters(f.graph)).max().unwrap_or(0),
        bytes: program_bytes + 32 + record.len() as u64,
        constants: stats,
    })
}

/// The operations of a region that are no constants and not its end.
fn words(region: &Region) -> impl Iterator<Item = &'static str> {
    let inert = [OperationName::Constant, OperationName::Output, OperationName::Yield];
    region.operations.iter().map(|o| o.name).filter(move |n| !inert.contains(n)).map(OperationName::text)
}

/// Two outputs of one name load, and one of them is lost; an output without a name ends the reader's process.
fn names(function: &Function<'_>) -> Result<(), ExportError> {
    let mut taken = HashSet::new();
    let graph = function.graph;
    let names = graph.inputs().map(|(_, n)| &n.path).chain(graph.outputs.iter().map(|o| &o.name));
    for name in names {
        if name.is_empty() || name.contains('\0') || !taken.insert(name) {
            let what = format!("the name {name:?} of an input or output of {} is empty or taken", function.name);
            return Err(ExportError::Target { name: "coreai", what });
        }
    }
    Ok(())
}

/// A function as operations.
fn graph(
    function: &Function<'_>,
    elements: &HashMap<Value, program::Elements>,
    composites: &mut Composites,
) -> Result<GraphOperation, ExportError> {
    let graph = function.graph;
    let inputs: Vec<_> = graph.inputs().collect();
    let fail = |what: String| ExportError::Target { name: "coreai", what };
    let argument = |node: &vitc_ir::Node| -> Result<Tensor, ExportError> {
        let (ty, dims) = (&node.types[0], sizes(&node.types[0].shape));
        match (function.picture, &dims[..]) {
            (false, _) => Ok(Tensor::new(element(ty.dtype).map_err(fail)?, &dims)),
            (true, &[1, 3, height, width]) if ty.dtype.is_float() && inputs.len() == 1 => {
                Ok(Tensor::new(Element::Picture, &[height, width]))
            }
            (true, _) => Err(fail(format!("a picture is one input [1,3,H,W], found {ty} at {}", node.path))),
        }
    };
    let arguments = inputs.iter().map(|(_, n)| argument(n)).collect::<Result<Vec<_>, _>>()?;
    let mut builder = Builder::new(arguments);
    let mut values = HashMap::new();
    for ((id, node), parameter) in inputs.iter().zip(builder.parameters()) {
        let value = match function.picture {
            true => builder.picture(parameter, element(node.types[0].dtype).map_err(fail)?),
            false => parameter,
        };
        values.insert(Value::from(*id), value);
    }
    let mut body = Body { graph, builder, values, elements, composites };
    for (id, node) in graph.run_time_nodes() {
        let not_lowered = |why| ExportError::NotLowered { op: node.op.word(), path: node.path.clone(), why };
        body.node(node, id).map_err(not_lowered)?;
    }
    let results = graph.outputs.iter().map(|o| body.operand(o.value)).collect::<Result<Vec<_>, _>>().map_err(fail)?;
    let outputs = graph.outputs.iter().map(|o| o.name.clone()).zip(results.iter().copied()).collect();
    let region = body.builder.finish(OperationName::Output, &results);
    let input_names = inputs.iter().map(|(_, n)| n.path.clone()).collect();
    Ok(GraphOperation { name: function.name.to_string(), region, input_names, outputs, composite: None })
}

/// A writer that hashes what it writes.
struct Hashing<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

type Stats = Vec<(String, eval::ConstantStats)>;

/// The program's file and its hash; its length, and what rounding did to the constants.
fn stream(
    functions: &[Function<'_>],
    constants: &Constants,
    frame: &Frame,
    program: &Path,
    hash: &Path,
) -> Result<(u64, Stats), ExportError> {
    let out = BufWriter::with_capacity(BUFFER, File::create(program)?);
    let mut out = Hashing { out, hash: Sha256::new(), bytes: 0 };
    let mut stats = constants.stats.clone();
    out.write_all(&frame.before)?;
    for (number, function) in functions.iter().enumerate() {
        // The blobs of a function stand side by side, in order.
        let first = constants.sources.partition_point(|&(f, _)| f < number);
        let own = constants.sources[first..].iter().take_while(|&&(f, _)| f == number);
        let values: Vec<Value> = own.map(|&(_, v)| v).collect();
        let mut sink = |i: usize, at: usize, piece: &[u8]| -> io::Result<()> {
            if at == 0 {
                out.write_all(&frame.heads[first + i])?;
            }
            out.write_all(piece)
        };
        let report = eval::stream(function.graph, function.numbers, &values, &mut sink).map_err(|e| match e {
            StreamError::Eval(e) => ExportError::Constant(e),
            StreamError::Sink(e) => ExportError::Io(e),
        })?;
        stats.extend(values.iter().map(|&v| function.graph.value_name(v)).zip(report.constants));
    }
    out.write_all(&frame.after)?;
    out.flush()?;
    fs::write(hash, out.hash.finalize())?;
    Ok((out.bytes, stats))
}

/// What the asset says about itself, keys in a fixed order.
fn record(metadata: &Metadata) -> String {
    let own = ["author", "license", "description"];
    let entries = metadata.entries().into_iter().filter(|(key, _)| !own.contains(&key.as_str()));
    let defined: Map<String, serde_json::Value> = entries.map(|(key, value)| (key, value.into())).collect();
    let record = json!({
        "assetVersion": ASSET_VERSION,
        "author": metadata.author.clone().unwrap_or_default(),
        "creatorDefinedMetadata": defined,
        "description": metadata.summary(),
        "license": metadata.license.clone().unwrap_or_default(),
        "producer": format!("vitc {}", crate::metadata::VERSION),
    });
    format!("{record:#}\n")
}
