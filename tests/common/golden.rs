//! Golden data: what the papers' own PyTorch code computes from weights that a rule makes.
//!
//! `golden/FAMILY/VARIANT.json` lists the state dict as `key: [shape, dtype, e?]`; `VARIANT.logits.npy` holds the
//! logits in f64. A float tensor is `offset + factor·u`, u the stream of its key, with offset and factor by the key's
//! last segment; `e` scales the statistics of a BatchNorm to what enters it, so that activations keep their size. The
//! input is the stream `input` itself.

use super::shapes;
use ndarray::{ArrayD, IxDyn};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vitc::arch::{self, BuildOptions, NameTable, Shapes, seeded};
use vitc::check::npy;
use vitc_ir::{DType, Graph, Stored, StoredType, Target, WeightError, Weights, eval};
use vitc_passes::LowerOptions;

/// Largest difference from the f64 logits that the interpreter may show: the logits pass through f32 (3e-7 at 4), all
/// else is f64.
const EXACT: f64 = 1e-6;

/// One model with its reference.
pub(crate) struct Golden {
    /// Keys and shapes in canonical spelling.
    pub(crate) tensors: Shapes,
    rules: HashMap<String, Rule>,
    input: Vec<usize>,
    logits: Vec<f64>,
}

/// How a tensor is made.
struct Rule {
    /// Name of the stream.
    stream: String,
    offset: f64,
    factor: f64,
}

impl Golden {
    /// The data of `family/variant`, its keys spelled by `table`.
    pub(crate) fn load(name: &str, table: &NameTable) -> Golden {
        let file = |suffix: &str| -> PathBuf {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}{suffix}"))
        };
        let text = std::fs::read_to_string(file(".json")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let sizes = |v: &serde_json::Value| -> Vec<usize> {
            let list = v.as_array().expect("a shape is a list");
            list.iter().map(|d| d.as_u64().expect("a size is a number") as usize).collect()
        };
        let (mut tensors, mut rules) = (Shapes::new(), HashMap::new());
        for (key, entry) in manifest["tensors"].as_object().expect("tensors by key") {
            let canonical = table.canonical(key);
            let shape = sizes(&entry[0]);
            let exponent = entry.get(2).map_or(0, |e| e.as_i64().expect("an exponent is an integer"));
            if entry[1].as_str().is_some_and(|t| t.starts_with("float")) {
                rules.insert(canonical.clone(), rule(key, &shape, exponent as i32));
            }
            tensors.insert(canonical, shape);
        }
        let logits = npy::read(&file(".logits.npy")).unwrap_or_else(|e| panic!("{e}"));
        let logits = logits.data.iter().map(|&x| f64::from(x)).collect();
        Golden { tensors, rules, input: sizes(&manifest["input"]["shape"]), logits }
    }

    /// The paper graph of `model` for these tensors and this input; every tensor that the graph asks for exists in its
    /// shape.
    pub(crate) fn paper(&self, model: &str, choices: &[(&str, &str)]) -> Graph {
        let backbone = arch::find(model).unwrap_or_else(|e| panic!("{e}"));
        let mut options = BuildOptions::new(backbone);
        options.tensors = Some(&self.tensors);
        options.resolution = [self.input[2], self.input[3]];
        options.choices = choices.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let graph = options.build().unwrap_or_else(|e| panic!("{e}")).graph;
        for (key, shape) in shapes(&graph) {
            let elements = |s: &[usize]| s.iter().product::<usize>();
            let stored = self.tensors.get(&key).unwrap_or_else(|| panic!("{model} asks for {key}"));
            assert_eq!(elements(stored), elements(&shape), "{model}: {key}");
        }
        graph
    }

    /// Largest difference of the graph's first output from the reference.
    pub(crate) fn error(&self, graph: &Graph) -> f64 {
        self.error_with(graph, self)
    }

    /// The same with other weights than the manifest's.
    pub(crate) fn error_with(&self, graph: &Graph, weights: &dyn Weights) -> f64 {
        let image = seeded::noise("input", 0, self.input.iter().product());
        let image: Vec<f64> = image.into_iter().map(f64::from).collect();
        let image = ArrayD::from_shape_vec(IxDyn(&self.input), image).expect("an element per position");
        let results = eval::run(graph, weights, &[image], self.input[0]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(results[0].len(), self.logits.len(), "{}: number of logits", graph.name);
        results[0].iter().zip(&self.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    /// Largest magnitude of the reference.
    pub(crate) fn largest(&self) -> f64 {
        self.logits.iter().fold(0.0, |m, x| m.max(x.abs()))
    }

    /// Panic unless the graph's logits are the reference's.
    pub(crate) fn assert_agrees(&self, graph: &Graph) {
        let error = self.error(graph);
        assert!(error <= EXACT, "{} ({}) differs from its reference by {error:e}", graph.name, graph.stage.word());
    }

    /// Panic unless paper graph, deploy graph and the f32 target graph of each target compute the reference.
    pub(crate) fn assert_all_agree(&self, paper: &Graph) {
        self.assert_agrees(paper);
        let (deploy, _) = vitc_passes::deploy(paper).expect("passes run");
        self.assert_agrees(&deploy);
        for target in [Target::onnx(17), Target::tensorrt(17), Target::coreml(15)] {
            let options = LowerOptions::new(DType::F32, DType::F32);
            let (lowered, _) = vitc_passes::lower(&deploy, &target, &options).expect("passes run");
            let error = self.error(&lowered);
            assert!(error <= EXACT, "{} for {} differs from its reference by {error:e}", paper.name, target.name());
        }
    }
}

/// The rule for a tensor, by the last segment of its key and its number of dimensions.
fn rule(key: &str, shape: &[usize], exponent: i32) -> Rule {
    let (power, leaf) = (2f64.powi(exponent), key.rsplit('.').next().unwrap_or(key));
    let (offset, factor) = match leaf {
        "running_mean" => (0.0, 0.1 * power),
        "running_var" => (power * power, 0.5 * power * power),
        leaf if leaf.starts_with("gamma") || leaf.starts_with("layer_scale") => (0.3, 0.1),
        "weight" if shape.len() <= 1 => (1.0, 0.25),
        "weight" => (0.0, (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
        "bias" => (0.0, 0.1),
        _ => (0.0, 0.2),
    };
    // FasterViT stores one convolution under two keys.
    let stream = key.replace("global_tokenizer.to_global_feature.pos.", "global_tokenizer.pos_embed.");
    Rule { stream, offset, factor }
}

impl Weights for Golden {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let missing = || WeightError { key: key.into(), what: "is not in the manifest".into() };
        let Rule { stream, offset, factor } = self.rules.get(key).ok_or_else(missing)?;
        let noise = seeded::noise(stream, 0, elements);
        let values = noise.into_iter().map(|u| (offset + factor * f64::from(u)) as f32);
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        Ok(Stored { dtype: StoredType::F32, bytes: Cow::Owned(bytes) })
    }
}
