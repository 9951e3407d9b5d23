//! From a file to a graph: the walk over the nodes of the flat graph.
//!
//! Each value of the file is known ([`known`]), a constant (a node over weights) or computed at run time (a node). Shape arithmetic ends here: no known value
//! is read by a node except as an attribute or a constant. What cannot be taken is collected, not stopped at, so that one message names all of it.

mod call;
mod chain;
mod cx;
mod hidden;
mod known;
mod moves;
mod once;
mod ops;
mod options;
mod places;
mod ports;
mod refusal;
mod value;
mod weights;

pub use options::ImportOptions;
pub use weights::FileWeights;

use super::error::{ImportError, Refused};
use super::external::{DataFiles, map};
use super::flat::{Flat, FlatNode, flatten};
use super::proto::{Attribute, File, PortInfo};
use super::tensor::{Elem, Elements, Tensor};
use call::Call;
use chain::Producers;
use cx::Cx;
use refusal::Refusal;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use value::Val;
use vitc_ir::{Dim, Graph, Op, Output, validate};

/// Most values that are proposed to cut the graph at, beside outputs.
const CUTS: usize = 4;

/// How many nodes the file has, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Nodes of the file.
    pub read: usize,
    /// Nodes that no output needs.
    pub dead: usize,
    /// Calls of functions that were written out.
    pub inlined: usize,
    /// Nodes that only computed what is known: shapes and constants.
    pub folded: usize,
    /// Nodes that became part of the graph.
    pub taken: usize,
}

/// An imported file.
#[derive(Debug)]
pub struct Imported {
    /// Its graph, as the file has it.
    pub graph: Graph,
    /// The constants of the graph.
    pub weights: FileWeights,
    /// The batch.
    pub batch: Dim,
    /// The file's inputs, with every size that was given.
    pub inputs: Vec<PortInfo>,
    /// Element type of each output as the file has it.
    pub outputs: Vec<Elem>,
    /// Program that wrote the file.
    pub producer: String,
    /// Version of the standard operators.
    pub opset: i64,
    /// Keys and values.
    pub metadata: Vec<(String, String)>,
    /// What became of the nodes.
    pub statistics: Statistics,
    /// What should be known about the import.
    pub notes: Vec<String>,
    /// The file's own graph, flat, for whoever runs it.
    pub flat: Flat,
}

/// Read the ONNX file at `path`.
///
/// # Errors
/// See [`ImportError`].
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, ImportError> {
    let bytes = map(path).map_err(|e| ImportError::File(format!("cannot be opened: {e}")))?;
    let size = bytes.len();
    let file = File::decode(bytes)?;
    let mut flat = flatten(&file, &ops::is_known, &options.outputs)?;
    external(&mut flat, path)?;
    let opset = file.imports.iter().find(|(d, _)| d.is_empty()).map_or(1, |(_, v)| *v);
    let ports = ports::bind(&flat.inputs, options)?;
    let mut cx = Cx::new(Graph::new(options.name.clone(), vitc_ir::Stage::Paper), ports.batch, size);
    if opset > 24 {
        cx.note(format!("opset {opset} is newer than the 24 that were tested"));
    }
    let mut walk = Walk::new(&flat);
    walk.inputs(&mut cx, &ports)?;
    walk.nodes(&mut cx, &flat);
    let outputs = walk.outputs(&mut cx, &flat)?;
    let statistics = Statistics { read: flat.read, dead: flat.dead, inlined: flat.inlined, ..walk.statistics };
    let (graph, weights, mut notes) = cx.finish();
    let (graph, masks) =
        hidden::bound(graph, &weights).map_err(|e| ImportError::File(format!("a mask does not hold together: {e}")))?;
    if masks > 0 {
        notes.push("masks whose numbers are beyond 65504 hide by that number".into());
    }
    validate(&graph, None).map_err(|e| ImportError::File(format!("the graph does not hold together: {e}")))?;
    let inputs = ports.infos;
    let File { producer, metadata, .. } = file;
    Ok(Imported {
        graph,
        weights,
        batch: ports.batch,
        inputs,
        outputs,
        producer,
        opset,
        metadata,
        statistics,
        notes,
        flat,
    })
}

/// Map the data files that live constants lie in.
fn external(flat: &mut Flat, path: &Path) -> Result<(), ImportError> {
    let mut files = DataFiles::beside(path);
    let live: HashSet<String> = flat.nodes.iter().flat_map(super::flat::needed).map(str::to_string).collect();
    let outputs: HashSet<String> = flat.outputs.iter().map(|o| o.name.clone()).collect();
    flat.constants.retain(|name, _| live.contains(name) || outputs.contains(name));
    let mut resolve = |tensor: &mut Arc<Tensor>| -> Result<(), ImportError> {
        if let Elements::External { .. } = tensor.elements {
            *tensor = Arc::new(files.resolve(tensor).map_err(ImportError::File)?);
        }
        Ok(())
    };
    flat.constants.values_mut().try_for_each(&mut resolve)?;
    for node in &mut flat.nodes {
        for (_, attribute) in &mut node.attributes {
            if let Attribute::Tensor(tensor) = attribute {
                resolve(tensor)?;
            }
        }
    }
    Ok(())
}

/// Note what is not taken, and for the first of its kind the way there.
fn refuse(refused: &mut Vec<Refused>, node: &FlatNode, refusal: Refusal, chain: impl FnOnce() -> Option<String>) {
    let (op, why) = (node.operator(), refusal.why);
    let told = |r: &Refused| {
        r.op == op && r.why.strip_prefix(&why).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
    };
    match refused.iter_mut().find(|r| told(r)) {
        Some(known) => known.nodes.push(node.name.clone()),
        None => {
            let chain = if refusal.computed { chain() } else { None };
            let why = chain.map_or_else(|| why.clone(), |chain| format!("{why}: {chain}"));
            refused.push(Refused { op, nodes: vec![node.name.clone()], why });
        }
    }
}

/// Which node of a graph is the last to read a value, of those that are no outputs.
fn last_readers(flat: &Flat) -> HashMap<&str, usize> {
    let mut last = HashMap::new();
    for (at, node) in flat.nodes.iter().enumerate() {
        last.extend(super::flat::needed(node).map(|name| (name, at)));
    }
    flat.outputs.iter().for_each(|port| {
        last.remove(port.name.as_str());
    });
    last
}

/// The name of an output: its own, unless an input has it, which the output of another file cannot have too.
fn output_name(cx: &mut Cx, flat: &Flat, name: &str) -> String {
    let taken = |name: &str| flat.inputs.iter().any(|i| i.name == name);
    if !taken(name) {
        return name.to_string();
    }
    let names = |n: &String| !taken(n) && flat.outputs.iter().all(|o| o.name != *n);
    let free = (1..).map(|i| if i == 1 { format!("{name}_output") } else { format!("{name}_output{i}") }).find(names);
    let free = free.unwrap_or_else(|| name.to_string());
    cx.note(format!("output {name} is called {free}: an input has its name"));
    free
}

/// The walk over the nodes.
struct Walk {
    values: HashMap<String, Val>,
    refused: Vec<Refused>,
    /// Values at which the graph could be cut in front of what is refused.
    cut: Vec<String>,
    /// Values that first meet what comes out of something that is refused.
    met: Vec<String>,
    statistics: Statistics,
}

impl Walk {
    fn new(flat: &Flat) -> Walk {
        let constants = flat.constants.iter().map(|(name, tensor)| (name.clone(), Val::Tensor(tensor.clone())));
        let (cut, met) = (Vec::new(), Vec::new());
        Walk { values: constants.collect(), refused: Vec::new(), cut, met, statistics: Statistics::default() }
    }

    fn inputs(&mut self, cx: &mut Cx, ports: &ports::Ports) -> Result<(), ImportError> {
        for (info, shape) in ports.infos.iter().zip(&ports.shapes) {
            let value = cx
                .input(&info.name, info.elem.unwrap_or(Elem::F32), shape)
                .map_err(|refusal| ImportError::File(format!("input {}: {}", info.name, refusal.why)))?;
            self.values.insert(info.name.clone(), value);
        }
        Ok(())
    }

    fn nodes(&mut self, cx: &mut Cx, flat: &Flat) {
        let producers = Producers::of(flat);
        let last = last_readers(flat);
        for (at, node) in flat.nodes.iter().enumerate() {
            let before = cx.graph.len();
            let results = self.node(cx, node, &producers);
            match cx.graph.len() > before {
                true => self.statistics.taken += 1,
                false => self.statistics.folded += 1,
            }
            for (i, name) in node.outputs.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
                let missing =
                    || Val::Missing(format!("result {i} of {} {} is not computed", node.operator(), node.name));
                let result = match &results {
                    Some(results) => results.get(i).cloned().unwrap_or_else(missing),
                    None => Val::Poison,
                };
                self.values.insert(name.clone(), result);
            }
            // Arrays that are known and that nobody reads any more make room for others.
            for name in super::flat::needed(node).filter(|name| last.get(name) == Some(&at)) {
                if let Some(Val::Known(_)) = self.values.get(name)
                    && let Some(known) = self.values.remove(name)
                {
                    cx.release(&known);
                }
            }
        }
    }

    /// Results of a node; `None` if it, or something in front of it, is refused.
    fn node(&mut self, cx: &mut Cx, node: &FlatNode, producers: &Producers<'_>) -> Option<Vec<Val>> {
        let named = |name: &String| match name.is_empty() {
            true => Val::Absent,
            false => self.values.get(name).cloned().unwrap_or(Val::Missing(format!("nothing produces {name}"))),
        };
        let inputs: Vec<Val> = node.inputs.iter().map(named).collect();
        // A truth or an index as a result helps nobody, and an input is none.
        let useful = |v: &Val| match v {
            Val::Node(v, elem) => elem.is_float() && *cx.graph.op(*v) != Op::Input && !cx.graph.is_constant(*v),
            _ => false,
        };
        let useful = node.inputs.iter().zip(&inputs).filter(|(_, v)| useful(v));
        let useful: Vec<String> = useful.map(|(name, _)| name.clone()).collect();
        if inputs.iter().any(|v| matches!(v, Val::Poison)) {
            if self.met.is_empty() {
                self.met = useful;
            }
            // What cannot be taken whatever stands in front of it is said at once.
            if let Some(why) = ops::never(&node.domain, &node.op) {
                refuse(&mut self.refused, node, Refusal { computed: false, ..why }, || None);
            }
            return None;
        }
        let missing = inputs.iter().find_map(|v| if let Val::Missing(why) = v { Some(why.clone()) } else { None });
        let call = Call::new(node, inputs, cx.path(&node.name));
        let done = match missing {
            Some(why) => Err(why.into()),
            None => ops::apply(cx, &call, &self.values),
        };
        match done {
            Ok(results) => Some(results),
            Err(refusal) => {
                let values = &self.values;
                let computed =
                    |name: &str| matches!(values.get(name), Some(Val::Node(v, _)) if !cx.graph.is_constant(*v));
                refuse(&mut self.refused, node, refusal, || producers.chain(node, computed));
                self.cut.extend(useful);
                None
            }
        }
    }

    /// The outputs, in order.
    fn outputs(&mut self, cx: &mut Cx, flat: &Flat) -> Result<Vec<Elem>, ImportError> {
        let mut elems = Vec::new();
        for port in &flat.outputs {
            let value = match self.values.get(&port.name) {
                Some(Val::Poison) => continue,
                Some(value) => value.clone(),
                None => return Err(ImportError::Request(format!("the file has no value {:?}", port.name))),
            };
            match cx.output(&value, &port.name) {
                Ok((value, elem)) => {
                    let name = output_name(cx, flat, &port.name);
                    cx.graph.outputs.push(Output { name, value });
                    elems.push(elem);
                }
                Err(refusal) => {
                    let why = refusal.why;
                    self.refused.push(Refused { op: format!("output {}", port.name), nodes: Vec::new(), why });
                }
            }
        }
        if self.refused.is_empty() {
            return if elems.is_empty() { Err(ImportError::File("the graph has no output".into())) } else { Ok(elems) };
        }
        let sound = cx.graph.outputs.iter().map(|o| o.name.clone()).collect();
        Err(ImportError::Refused { operators: std::mem::take(&mut self.refused), cut: self.cut(sound) })
    }

    /// Where the graph could be cut: the outputs that are `sound`, and the last values in front of what is refused, if they are few.
    fn cut(&mut self, sound: Vec<String>) -> Vec<String> {
        let mut cut = sound;
        let outputs = cut.len();
        for name in std::mem::take(&mut self.cut) {
            if !cut.contains(&name) {
                cut.push(name);
            }
        }
        if cut.len() > outputs + CUTS {
            cut.truncate(outputs);
        }
        // Numbers that are refused, as lengths of masks are, have nothing in front of them: what meets them has.
        if cut.is_empty() { std::mem::take(&mut self.met) } else { cut }
    }
}
