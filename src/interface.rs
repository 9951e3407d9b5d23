//! The interface around a model: pixels in place of normalised values, probabilities in place of scores, names of inputs and outputs.
//!
//! All of it is part of the graph before any pass runs. Pixels p in 0..255 become (p − 255·mean)·1/(255·std) per channel. The passes carry the
//! factor into the stem; the difference stays, because the stem pads with zeros, which must stand for the mean.

use crate::message;
use crate::message::{Message, Setting};
use crate::signature::{Likelihood, OutputRole, Signature};
use vitc_exporters::coreml;
use vitc_exporters::metadata::{Layout, Preprocessing};
use vitc_ir::{BinaryKind, Built, Copier, DType, Graph, Net, Node, Op, Output, Shape, Type, UnaryKind, Value};

/// What is put around a model.
#[derive(Debug, Clone, Copy)]
pub struct InterfaceOptions<'a> {
    /// Take pixels in 0..255 and normalise them by this; `None` for input that is normalised already.
    pub pixels: Option<&'a Preprocessing>,
    /// Return probabilities for the scores.
    pub probabilities: Option<Likelihood>,
    /// Name of the input; `None` for the model's own.
    pub input_name: Option<&'a str>,
    /// Names of the outputs; one name for several outputs is numbered from 1. Empty for the model's own.
    pub output_names: &'a [String],
}

/// The paper graph of a model with this around it, and its signature then.
///
/// # Errors
/// If the model has no scores to make probabilities of, or a name is given twice or to nothing.
pub fn wrap(
    paper: &Graph,
    signature: &Signature,
    options: InterfaceOptions<'_>,
) -> Result<(Graph, Signature), Message> {
    let mut copy = Copier::new(paper, paper.stage);
    for (id, node) in paper.nodes() {
        if node.op != Op::Input {
            copy.node(id).map_err(|e| e.to_string())?;
            continue;
        }
        let name = options.input_name.unwrap_or(&node.path);
        let input = copy.new.push_leaf(Op::Input, node.types[0].clone(), name).map_err(|e| e.to_string())?;
        let value = options.pixels.map_or(input, |p| normalised(&mut copy.new, input, p));
        copy.set(id.into(), value);
    }
    let mut graph = copy.finish().map_err(|e| e.to_string())?;
    let mut signature = signature.clone();
    if let Some(likelihood) = options.probabilities {
        probabilities(&mut graph, &mut signature, likelihood)?;
    }
    rename_outputs(&mut graph, options.output_names)?;
    let names = || graph.inputs().map(|(_, n)| &n.path).chain(graph.outputs.iter().map(|o| &o.name));
    if let Some((_, twice)) = names().enumerate().find(|&(i, name)| names().take(i).any(|n| n == name)) {
        let twice = format!("two inputs or outputs are named {twice}\n  give another ");
        return Err(message!(twice, Setting::InputName, " or ", Setting::OutputName));
    }
    signature.rename(&graph);
    Ok((graph, signature))
}

/// How the ports of a file lie there, where that is not how the graph computes with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// How the numbers of a picture lie in the input.
    pub layout: Layout,
    /// Element types of 8 bits that inputs have in the file, in the order of the graph; `None` and what is missing are the graph's own.
    pub inputs: Vec<Option<DType>>,
    /// The same of outputs, whose values must be whole numbers of that type.
    pub outputs: Vec<Option<DType>>,
}

/// A target's graph whose ports lie otherwise: pictures not as `[B,C,H,W]`, whole numbers as bytes. What turns inputs is in front of everything else,
/// what turns outputs behind it.
///
/// # Errors
/// If a port cannot be turned.
pub fn laid(graph: Graph, stored: &Stored) -> Built<Graph> {
    let bytes = stored.inputs.iter().chain(&stored.outputs).any(Option::is_some);
    if !stored.layout.channels_last && !bytes {
        return Ok(graph);
    }
    let mut copy = Copier::new(&graph, graph.stage);
    let mut bytes = stored.inputs.iter().copied().chain(std::iter::repeat(None));
    for (id, node) in graph.nodes() {
        if node.op != Op::Input {
            copy.node(id)?;
            continue;
        }
        let value = input(&mut copy.new, node, stored.layout, bytes.next().flatten())?;
        copy.set(id.into(), value);
    }
    let mut graph = copy.finish()?;
    for (i, to) in stored.outputs.iter().enumerate().filter_map(|(i, to)| Some((i, (*to)?))) {
        let Output { name, value } = graph.outputs[i].clone();
        let path = format!("{name}.bytes");
        graph.outputs[i].value = graph.push(Op::Cast { to }, &[value], &path)?.into();
    }
    Ok(graph)
}

/// An input that lies so in the file, as the graph reads it.
fn input(graph: &mut Graph, node: &Node, layout: Layout, bytes: Option<DType>) -> Built<Value> {
    let mut ty = node.types[0].clone();
    let to = ty.dtype;
    ty.dtype = bytes.unwrap_or(to);
    let turned = layout.channels_last && ty.shape.rank() == 4;
    if turned {
        ty.shape.0[1..].rotate_left(1);
    }
    let mut value = graph.push_leaf(Op::Input, ty, &node.path)?;
    if bytes.is_some() {
        value = graph.push(Op::Cast { to }, &[value], &format!("{}.floats", node.path))?.into();
    }
    if turned {
        let perm = vec![0, 3, 1, 2];
        value = graph.push(Op::Transpose { perm }, &[value], &format!("{}.planes", node.path))?.into();
    }
    Ok(value)
}

/// A target's graph whose ports all have axes: those without are vectors of one element, as everything between them is by then.
///
/// # Errors
/// If something else than a vector stands behind such an input.
pub fn vectors(graph: Graph) -> Built<Graph> {
    let scalar = |v: Value| graph.shape(v).rank() == 0;
    if !graph.inputs().any(|(id, _)| scalar(id.into())) && !graph.outputs.iter().any(|o| scalar(o.value)) {
        return Ok(graph);
    }
    let one = Shape::fixed(&[1]);
    let mut copy = Copier::new(&graph, graph.stage);
    for (id, node) in graph.nodes() {
        match &node.op {
            Op::Input if scalar(id.into()) => {
                let ty = Type { shape: one.clone(), ..node.types[0].clone() };
                let vector = copy.new.push_leaf(Op::Input, ty, &node.path)?;
                copy.set(id.into(), vector);
            }
            Op::Reshape { shape } if (*shape == one || shape.rank() == 0) && !graph.is_constant(id.into()) => {
                let x = copy.get(node.inputs[0])?;
                match *copy.new.shape(x) == one {
                    true => copy.set(id.into(), x),
                    false => {
                        let vector = copy.new.push(Op::Reshape { shape: one.clone() }, &[x], &node.path)?;
                        copy.set(id.into(), vector.into());
                    }
                }
            }
            _ => drop(copy.node(id)?),
        }
    }
    copy.finish()
}

/// Softmax over the classes, or sigmoid of each, of every output that holds scores.
fn probabilities(graph: &mut Graph, signature: &mut Signature, likelihood: Likelihood) -> Result<(), Message> {
    let alone = graph.outputs.len() == 1;
    let mut found = false;
    for (i, port) in signature.outputs.iter_mut().enumerate() {
        let OutputRole::Scores { classes, over } = port.role else { continue };
        let name = if alone { "probabilities".to_string() } else { port.name.clone() };
        let op = match likelihood {
            Likelihood::OneOf if classes == 1 => {
                let why = format!(": {} has one class, and softmax over one class is always 1\n  use ", port.name);
                let todo = " for the probability of a model that was trained with one score";
                return Err(message!(Setting::Softmax, why, Setting::Sigmoid.on(), todo));
            }
            Likelihood::OneOf => Op::Softmax { axis: 1 },
            Likelihood::EachOf => Op::Unary(UnaryKind::Sigmoid),
        };
        let node = graph.push(op, &[graph.outputs[i].value], &name).map_err(|e| e.to_string())?;
        graph.outputs[i] = Output { name, value: node.into() };
        port.role = OutputRole::Probabilities { classes, over };
        found = true;
    }
    let given = match likelihood {
        Likelihood::OneOf => Setting::Softmax,
        Likelihood::EachOf => Setting::Sigmoid,
    };
    if found { Ok(()) } else { Err(message!(given, ": the model returns no class scores\n  leave it out")) }
}

/// `(x − 255·mean)·1/(255·std)`, without the parts that change nothing.
fn normalised(graph: &mut Graph, x: Value, p: &Preprocessing) -> Value {
    let path = graph.producer(x).path.clone();
    let mut net = Net::within(graph, path);
    let mut y = x;
    let per_channel = |of: &[f64], f: fn(f64) -> f64| of.iter().map(|&x| f(x)).collect::<Vec<_>>();
    if p.mean.iter().any(|m| *m != 0.0) {
        let mean = net.literal("mean", &[1, p.mean.len(), 1, 1], &per_channel(&p.mean, |m| 255.0 * m));
        y = net.binary("centred", BinaryKind::Sub, y, mean);
    }
    let scale = net.literal("scale", &[1, p.std.len(), 1, 1], &per_channel(&p.std, |s| 1.0 / (255.0 * s)));
    net.binary("scaled", BinaryKind::Mul, y, scale)
}

fn rename_outputs(graph: &mut Graph, names: &[String]) -> Result<(), Message> {
    let count = graph.outputs.len();
    let names: Vec<String> = match names {
        [] => return Ok(()),
        [one] if count > 1 => (1..=count).map(|i| format!("{one}{i}")).collect(),
        names if names.len() == count => names.to_vec(),
        _ => {
            let own: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
            let todo = if count > 1 { format!(", which is numbered, or {count}") } else { String::new() };
            let what = format!(": {} names for {}\n  give one name{todo}", names.len(), own.join(", "));
            return Err(message!(Setting::OutputName, what));
        }
    };
    graph.outputs.iter_mut().zip(names).for_each(|(output, name)| output.name = name);
    Ok(())
}

/// Names of a file's ports that a format does not take, spelled so that it does; what was renamed.
pub fn fit_names(
    graph: &mut Graph,
    signature: &mut Signature,
    package: bool,
    check: fn(&str) -> Result<(), String>,
) -> Vec<Message> {
    let mut notices = Vec::new();
    if !package {
        return notices;
    }
    let mut taken: Vec<String> = Vec::new();
    let mut fitting = |name: &str| {
        let letter = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let mut new: String = name.chars().map(letter).collect();
        if new.starts_with(|c: char| c.is_ascii_digit()) || new.is_empty() {
            new.insert(0, '_');
        }
        while check(&new).is_err() || taken.contains(&new) {
            new.push_str("_0");
        }
        taken.push(new.clone());
        if new != name {
            notices.push(format!("{name} is called {new} there: the format takes no such name").into());
        }
        new
    };
    let inputs: Vec<_> = graph.inputs().map(|(id, node)| (id, node.path.clone())).collect();
    for (id, name) in inputs {
        let new = fitting(&name);
        if new != name {
            graph.rename(id, &new);
        }
    }
    for output in &mut graph.outputs {
        output.name = fitting(&output.name);
    }
    signature.rename(graph);
    notices
}

/// Whether an ONNX file (or a CoreML package, which knows fewer) can have an input or output of this name.
///
/// # Errors
/// In words for the command line, if not.
pub fn check_name(name: &str, package: bool) -> Result<(), String> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let holds = |more: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || more.contains(c));
    let (letters, more) = if package { (" and _", "") } else { (", _ . and -", ".-") };
    if !begins || !holds(more) {
        return Err(format!("{name:?} is no name: use letters, digits{letters}, no digit first"));
    }
    if package && !coreml::is_identifier(name) {
        return Err(format!("{name:?} is a word of CoreML's own language\n  use another, such as {name}_0"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Over;
    use vitc_exporters::metadata::{Fit, Layout};
    use vitc_ir::parse;

    fn plain() -> InterfaceOptions<'static> {
        InterfaceOptions { pixels: None, probabilities: None, input_name: None, output_names: &[] }
    }

    fn scores() -> Graph {
        let text = "graph g  stage=paper\n%image: f32[B,3,2,2] = input\n%pool: f32[B,3] = reduce_mean(%image){axes=[2,3]}\noutputs logits=%pool";
        parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Of a graph that returns scores of three classes.
    fn signature(graph: &Graph) -> Signature {
        let role = OutputRole::Scores { classes: 3, over: Over::Rows };
        Signature::of_picture(graph, preprocessing([0.0; 3], [1.0; 3]), vec![role; graph.outputs.len()])
    }

    fn preprocessing(mean: [f64; 3], std: [f64; 3]) -> Preprocessing {
        let (mean, std) = (mean.to_vec(), std.to_vec());
        Preprocessing {
            mean,
            std,
            layout: Layout::default(),
            fit: Fit::Crop,
            crop: 1.0,
            interpolation: "bicubic".into(),
            normalised_inside: true,
        }
    }

    #[test]
    fn a_mean_of_zero_is_not_subtracted() {
        let ops = |p: &Preprocessing| {
            let paper = scores();
            let (graph, _) = wrap(&paper, &signature(&paper), InterfaceOptions { pixels: Some(p), ..plain() }).unwrap();
            graph.run_time_nodes().map(|(_, n)| n.op.word()).collect::<Vec<_>>()
        };
        let with = ops(&preprocessing([0.5, 0.0, 0.0], [1.0; 3]));
        let without = ops(&preprocessing([0.0; 3], [1.0; 3]));
        assert_eq!((with.contains(&"sub"), without.contains(&"sub")), (true, false));
        assert!(with.contains(&"mul") && without.contains(&"mul"), "pixels are in 0..255");
    }

    #[test]
    fn names_go_to_inputs_and_outputs() {
        let named = |names: &[&str], graph: &Graph| {
            let output_names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            let options = InterfaceOptions { input_name: Some("x"), output_names: &output_names, ..plain() };
            let (graph, signature) = wrap(graph, &signature(graph), options)?;
            assert_eq!((graph.inputs().next().unwrap().1.path.as_str(), signature.inputs[0].name.as_str()), ("x", "x"));
            Ok::<_, Message>(graph.outputs.iter().map(|o| o.name.clone()).collect::<Vec<_>>())
        };
        let one = scores();
        let mut two = scores();
        two.outputs.push(vitc_ir::Output { name: "more".into(), value: two.outputs[0].value });
        assert_eq!(named(&[], &one).unwrap(), ["logits"]);
        assert_eq!(named(&["y"], &one).unwrap(), ["y"]);
        assert_eq!(named(&["y"], &two).unwrap(), ["y1", "y2"]);
        assert_eq!(named(&["y", "z"], &two).unwrap(), ["y", "z"]);
        for (names, graph) in
            [(vec!["y", "z"], &one), (vec!["a", "b", "c"], &two), (vec!["x"], &one), (vec!["y", "y"], &two)]
        {
            assert!(named(&names, graph).is_err(), "{names:?}");
        }
    }

    #[test]
    fn formats_differ_in_the_names_they_take() {
        for (name, onnx, package) in [
            ("image", true, true),
            ("_x9", true, true),
            ("input.1", true, false),
            ("fp16", true, false),
            ("", false, false),
            ("9x", false, false),
            ("a b", false, false),
            ("a:b", false, false),
            ("größe", false, false),
        ] {
            assert_eq!((check_name(name, false).is_ok(), check_name(name, true).is_ok()), (onnx, package), "{name}");
        }
    }
}
