//! One flat graph of a file: functions inlined, nodes sorted, what no output needs dropped, before any operator is judged.

use super::error::{ImportError, ReadError};
use super::proto::{Attribute, Attributes, Body, File, Function, GraphMessage, NODES, NodeMessage, PortInfo};
use super::tensor::Tensor;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Most function calls inside each other.
const DEPTH: usize = 64;

/// Versions of operator sets by domain.
pub(super) type Imports = Arc<Vec<(String, i64)>>;

/// A node of a flat graph.
#[derive(Debug, Clone)]
pub struct FlatNode {
    /// Its name, else that of its first result.
    pub name: String,
    /// Its operator set; empty for the standard operators.
    pub domain: String,
    /// Its operator.
    pub op: String,
    /// Names of its operands; an empty name is an operand left out.
    pub inputs: Vec<String>,
    /// Names of its results; an empty name is a result that nobody reads.
    pub outputs: Vec<String>,
    /// Its attributes.
    pub attributes: Attributes,
    pub(super) imports: Imports,
}

impl FlatNode {
    /// Version of the node's operator set.
    pub fn version(&self) -> i64 {
        self.imports.iter().find(|(d, _)| *d == self.domain).map_or(1, |(_, v)| *v)
    }

    /// The operator, as `domain::op` if it is not a standard one.
    pub fn operator(&self) -> String {
        if self.domain.is_empty() { self.op.clone() } else { format!("{}::{}", self.domain, self.op) }
    }
}

/// A flat graph.
#[derive(Debug, Clone, Default)]
pub struct Flat {
    /// Nodes, operands before users.
    pub nodes: Vec<FlatNode>,
    /// Constants by name.
    pub constants: HashMap<String, Arc<Tensor>>,
    /// Inputs that are not constants.
    pub inputs: Vec<PortInfo>,
    /// Results.
    pub outputs: Vec<PortInfo>,
    /// Nodes of the file.
    pub read: usize,
    /// Nodes that no output needs.
    pub dead: usize,
    /// Function calls that were inlined.
    pub inlined: usize,
}

/// The flat graph of a file. Where its author and vitc both define an operator, `known` says that vitc's definition is taken.
///
/// # Errors
/// If the graph contradicts itself or is beyond a limit.
pub(super) fn flatten(file: &File, known: &dyn Fn(&str, &str) -> bool, wanted: &[String]) -> Result<Flat, ImportError> {
    let functions =
        file.functions.iter().map(|f| ((f.domain.as_str(), f.name.as_str(), f.overload.as_str()), f)).collect();
    let mut inliner = Inliner { functions, known, nodes: Vec::new(), calls: Vec::new(), inlined: 0 };
    inliner.graph(&file.graph.nodes, &Arc::new(file.imports.clone()), &Scope::default())?;
    let mut flat = Flat { nodes: inliner.nodes, inlined: inliner.inlined, ..Flat::default() };
    flat.interface(&file.graph, wanted)?;
    flat.read = file.graph.nodes.len();
    flat.sort()?;
    Ok(flat)
}

/// The flat graph of a graph inside a node, which sees names of the graphs around it.
pub(super) fn flatten_body(body: &Body, imports: &Imports) -> Result<Flat, ImportError> {
    let node = |n: &NodeMessage| n.flat(n.attributes.clone(), imports, &Scope::default());
    let mut flat = Flat { nodes: body.0.nodes.iter().map(node).collect(), ..Flat::default() };
    flat.interface(&body.0, &[])?;
    flat.sort()?;
    Ok(flat)
}

/// How names inside a function are called outside.
#[derive(Default)]
struct Scope {
    /// In front of inner names, with the separator.
    prefix: String,
    ports: HashMap<String, String>,
    attributes: Attributes,
}

impl Scope {
    fn name(&self, inner: &str) -> String {
        match self.ports.get(inner) {
            Some(outer) => outer.clone(),
            None if inner.is_empty() => String::new(),
            None => format!("{}{inner}", self.prefix),
        }
    }

    /// Attributes with references to the caller's resolved; a reference to what the caller does not say is absent.
    fn resolved(&self, attributes: &Attributes) -> Attributes {
        if self.prefix.is_empty() {
            return attributes.clone();
        }
        let one = |(name, value): &(String, Attribute)| match value {
            Attribute::Reference(of) => {
                self.attributes.iter().find(|(n, _)| n == of).map(|(_, value)| (name.clone(), value.clone()))
            }
            Attribute::Graph(body) => Some((name.clone(), Attribute::Graph(Arc::new(Body(self.graph(&body.0)))))),
            other => Some((name.clone(), other.clone())),
        };
        attributes.iter().filter_map(one).collect()
    }

    /// A graph inside a function's node, under the names outside.
    fn graph(&self, graph: &GraphMessage) -> GraphMessage {
        let port = |p: &PortInfo| PortInfo { name: self.name(&p.name), ..p.clone() };
        let node = |n: &NodeMessage| NodeMessage {
            name: format!("{}{}", self.prefix, n.name),
            inputs: n.inputs.iter().map(|i| self.name(i)).collect(),
            outputs: n.outputs.iter().map(|o| self.name(o)).collect(),
            attributes: self.resolved(&n.attributes),
            ..n.clone()
        };
        GraphMessage {
            nodes: graph.nodes.iter().map(node).collect(),
            constants: graph
                .constants
                .iter()
                .map(|t| Arc::new(Tensor { name: self.name(&t.name), ..(**t).clone() }))
                .collect(),
            inputs: graph.inputs.iter().map(port).collect(),
            outputs: graph.outputs.iter().map(port).collect(),
        }
    }
}

impl NodeMessage {
    fn flat(&self, attributes: Attributes, imports: &Imports, scope: &Scope) -> FlatNode {
        let outputs: Vec<String> = self.outputs.iter().map(|o| scope.name(o)).collect();
        let name = match self.name.is_empty() {
            true => outputs.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default(),
            false => format!("{}{}", scope.prefix, self.name),
        };
        FlatNode {
            name,
            domain: self.domain.clone(),
            op: self.op.clone(),
            inputs: self.inputs.iter().map(|i| scope.name(i)).collect(),
            outputs,
            attributes,
            imports: imports.clone(),
        }
    }
}

/// Writes nodes one behind the other, calls replaced by bodies.
struct Inliner<'a> {
    functions: HashMap<(&'a str, &'a str, &'a str), &'a Function>,
    known: &'a dyn Fn(&str, &str) -> bool,
    nodes: Vec<FlatNode>,
    /// Functions whose bodies are being written.
    calls: Vec<&'a str>,
    inlined: usize,
}

impl<'a> Inliner<'a> {
    fn graph(&mut self, nodes: &'a [NodeMessage], imports: &Imports, scope: &Scope) -> Result<(), ImportError> {
        for node in nodes {
            let key = (node.domain.as_str(), node.op.as_str(), node.overload.as_str());
            let attributes = scope.resolved(&node.attributes);
            match self.functions.get(&key).copied().filter(|_| !(self.known)(&node.domain, &node.op)) {
                Some(function) => self.call(function, node.flat(attributes, imports, scope))?,
                None => self.nodes.push(node.flat(attributes, imports, scope)),
            }
            if self.nodes.len() > NODES || self.inlined > NODES {
                let what = format!("has more than {NODES} nodes once its functions are written out");
                return Err(ReadError::Malformed(what).into());
            }
        }
        Ok(())
    }

    fn call(&mut self, function: &'a Function, call: FlatNode) -> Result<(), ImportError> {
        if self.calls.contains(&function.name.as_str()) || self.calls.len() >= DEPTH {
            let chain = self.calls.join(" -> ");
            return Err(ImportError::File(format!(
                "the functions call each other in a circle: {chain} -> {}",
                function.name
            )));
        }
        self.inlined += 1;
        let prefix = format!("{}/", call.name);
        if prefix.len() > 1 << 16 {
            return Err(ImportError::File(format!("the name of a call of {} is too long", function.name)));
        }
        let given = |list: &[String], names: &[String]| -> Vec<(String, String)> {
            names.iter().enumerate().map(|(i, n)| (n.clone(), list.get(i).cloned().unwrap_or_default())).collect()
        };
        let mut ports: HashMap<String, String> = given(&call.inputs, &function.inputs).into_iter().collect();
        let mut passed = Vec::new();
        for (inner, outer) in given(&call.outputs, &function.outputs) {
            match ports.get(&inner).cloned() {
                // A result that is an operand.
                Some(operand) => passed.push((operand, outer)),
                None if outer.is_empty() => {}
                None => drop(ports.insert(inner, outer)),
            }
        }
        let mut attributes = call.attributes.clone();
        let defaults = function.attributes.iter().filter(|(n, _)| call.attributes.iter().all(|(m, _)| m != n));
        attributes.extend(defaults.cloned());
        let scope = Scope { prefix, ports, attributes };
        self.calls.push(&function.name);
        self.graph(&function.nodes, &Arc::new(function.imports.clone()), &scope)?;
        self.calls.pop();
        for (operand, result) in passed.into_iter().filter(|(_, r)| !r.is_empty()) {
            let (inputs, outputs) = (vec![operand], vec![result]);
            self.nodes.push(FlatNode {
                op: "Identity".into(),
                domain: String::new(),
                inputs,
                outputs,
                attributes: Vec::new(),
                ..call.clone()
            });
        }
        Ok(())
    }
}

impl Flat {
    fn interface(&mut self, graph: &GraphMessage, wanted: &[String]) -> Result<(), ImportError> {
        for tensor in &graph.constants {
            self.constants.insert(tensor.name.clone(), tensor.clone());
        }
        // Before IR version 4 constants were inputs too.
        self.inputs = graph.inputs.iter().filter(|i| !self.constants.contains_key(&i.name)).cloned().collect();
        self.outputs = match wanted {
            [] => graph.outputs.clone(),
            names => {
                let declared = |n: &String| graph.outputs.iter().find(|o| o.name == *n).cloned();
                let anew = |n: &String| PortInfo { name: n.clone(), elem: None, dims: None };
                names.iter().map(|n| declared(n).unwrap_or_else(|| anew(n))).collect()
            }
        };
        Ok(())
    }

    /// Live nodes in topological order, as near to the file's as that allows.
    fn sort(&mut self) -> Result<(), ImportError> {
        let nodes = std::mem::take(&mut self.nodes);
        let mut producer: HashMap<&str, usize> = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|o| !o.is_empty()) {
                let taken = producer.insert(output, i).is_some();
                if taken || self.constants.contains_key(output) || self.inputs.iter().any(|p| p.name == *output) {
                    return Err(ImportError::File(format!(
                        "{output:?} is defined twice, the second time by node {}",
                        node.name
                    )));
                }
            }
        }
        let needs: Vec<Vec<usize>> =
            nodes.iter().map(|n| needed(n).filter_map(|name| producer.get(name).copied()).collect()).collect();
        let mut live = vec![false; nodes.len()];
        let mut stack: Vec<usize> =
            self.outputs.iter().filter_map(|o| producer.get(o.name.as_str()).copied()).collect();
        while let Some(i) = stack.pop() {
            if !std::mem::replace(&mut live[i], true) {
                stack.extend(&needs[i]);
            }
        }
        let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        needs
            .iter()
            .enumerate()
            .filter(|(i, _)| live[*i])
            .for_each(|(i, n)| n.iter().for_each(|&of| readers[of].push(i)));
        let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&i| live[i] && waiting[i] == 0).collect();
        let mut order = Vec::new();
        while let Some(i) = ready.pop_first() {
            order.push(i);
            for &reader in &readers[i] {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.insert(reader);
                }
            }
        }
        let alive = live.iter().filter(|&&l| l).count();
        if order.len() < alive {
            let stuck = (0..nodes.len()).find(|&i| live[i] && waiting[i] > 0).map_or("", |i| &nodes[i].name);
            return Err(ImportError::File(format!("the graph runs in a circle through node {stuck}")));
        }
        drop(producer);
        self.dead = nodes.len() - alive;
        let mut nodes: Vec<Option<FlatNode>> = nodes.into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
        self.leave_unread();
        Ok(())
    }

    /// Results that no live node and no output reads lose their names: many writers name all results of a node.
    fn leave_unread(&mut self) {
        let outputs = self.outputs.iter().map(|o| o.name.as_str());
        let read: HashSet<String> = self.nodes.iter().flat_map(needed).chain(outputs).map(str::to_string).collect();
        for result in self.nodes.iter_mut().flat_map(|n| &mut n.outputs) {
            if !read.contains(result) {
                result.clear();
            }
        }
    }

    /// Names that this graph takes from the graphs around it.
    pub(super) fn outer_names(&self) -> HashSet<&str> {
        let own: HashSet<&str> = self.nodes.iter().flat_map(|n| n.outputs.iter().map(String::as_str)).collect();
        let inputs: HashSet<&str> = self.inputs.iter().map(|i| i.name.as_str()).collect();
        let asked = self.nodes.iter().flat_map(needed).chain(self.outputs.iter().map(|o| o.name.as_str()));
        asked.filter(|n| !own.contains(n) && !inputs.contains(n) && !self.constants.contains_key(*n)).collect()
    }
}

/// Names that a node needs: its operands, and whatever graphs inside it mention.
pub(super) fn needed(node: &FlatNode) -> Box<dyn Iterator<Item = &str> + '_> {
    let operands = node.inputs.iter().map(String::as_str).filter(|n| !n.is_empty());
    let bodies =
        node.attributes.iter().filter_map(|(_, a)| if let Attribute::Graph(body) = a { Some(&body.0) } else { None });
    Box::new(operands.chain(bodies.flat_map(mentioned)))
}

/// Names that a graph inside a node takes from the graphs around it: its own may be called like theirs.
fn mentioned(graph: &GraphMessage) -> Vec<&str> {
    let own: HashSet<&str> = (graph.nodes.iter().flat_map(|n| &n.outputs).map(String::as_str))
        .chain(graph.inputs.iter().map(|i| i.name.as_str()))
        .chain(graph.constants.iter().map(|t| t.name.as_str()))
        .collect();
    let mut names: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
    for node in &graph.nodes {
        names.extend(node.inputs.iter().map(String::as_str));
        for (_, attribute) in &node.attributes {
            if let Attribute::Graph(body) = attribute {
                names.extend(mentioned(&body.0));
            }
        }
    }
    names.retain(|name| !own.contains(name));
    names
}
