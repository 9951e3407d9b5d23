//! State dicts of real models, as the golden manifests list them, with values that every element type holds exactly.

use super::common::merged;
use super::torch_file::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use vitc::arch::seeded::SeededWeights;
use vitc::arch::{self, Backbone, BuildOptions, Family, NameTable, Shapes, Variant};
use vitc_ir::{Op, StoredType, eval};

/// A state dict: names and shapes.
pub(crate) struct State {
    pub(crate) family: &'static Family,
    pub(crate) variant: &'static Variant,
    pub(crate) entries: Vec<Entry>,
}

/// A tensor of a state dict.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Upstream's name.
    pub(crate) key: String,
    /// The architecture's.
    pub(crate) canonical: String,
    pub(crate) shape: Vec<usize>,
    /// False for counters and indices.
    pub(crate) float: bool,
}

/// Element types by the table's word: for matrices and kernels, for vectors.
fn types(word: &str) -> [StoredType; 2] {
    match word {
        "f32" => [StoredType::F32; 2],
        "f16" => [StoredType::F16; 2],
        "bf16" => [StoredType::BF16; 2],
        "f64" => [StoredType::F64; 2],
        "mixed" => [StoredType::F16, StoredType::F32],
        other => panic!("{other} is no element type"),
    }
}

/// `elements` numbers k/64 with |k| ≤ 127, which bf16 holds exactly, at a phase of the key and the copy.
fn values(key: &str, elements: usize, dtype: StoredType, copy: usize) -> Vec<u8> {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let phase = (hash % 255) as usize + copy;
    let period: Vec<u8> = (0..255)
        .flat_map(|i| {
            let x = ((i + phase) % 255) as f64 / 64.0 - 127.0 / 64.0;
            match dtype {
                StoredType::F16 => half::f16::from_f64(x).to_le_bytes().to_vec(),
                StoredType::BF16 => half::bf16::from_f64(x).to_le_bytes().to_vec(),
                StoredType::F32 => (x as f32).to_le_bytes().to_vec(),
                StoredType::F64 => x.to_le_bytes().to_vec(),
                StoredType::I8 | StoredType::U8 => vec![(64.0 * x) as i8 as u8],
            }
        })
        .collect();
    let mut bytes = period.repeat(elements.div_ceil(255));
    bytes.truncate(elements * dtype.bytes());
    bytes
}

impl State {
    /// The state dict of a golden manifest; see the table of forms.
    pub(crate) fn load(name: &str, model: &str) -> State {
        let Backbone { family, variant } = arch::find(model).unwrap_or_else(|e| panic!("{e}"));
        let (manifest, changed) = name.split_once('+').unwrap_or((name, ""));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{manifest}.json"));
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let spelled = |t: &&NameTable| t.code_base == "timm" && manifest.ends_with("timm");
        let table = family.spellings.iter().map(|s| &s.table).find(spelled).unwrap_or(&family.spellings[0].table);
        let entry = |(key, entry): (&String, &serde_json::Value)| Entry {
            key: key.clone(),
            canonical: table.canonical(key),
            shape: entry[0].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect(),
            float: entry[1] != "int64",
        };
        let entries = json["tensors"].as_object().unwrap().iter().map(entry).collect();
        let mut state = State { family, variant, entries };
        match changed {
            "" => {}
            "merged" => {
                let training = state.entries.drain(..).filter(|e| e.float).map(|e| (e.key, e.shape));
                let merged = merged(&training.collect::<Shapes>()).into_iter();
                let entry = |(key, shape): (String, _)| Entry { canonical: key.clone(), key, shape, float: true };
                state.entries = merged.map(entry).collect();
            }
            side => state.set_map([side.parse::<usize>().unwrap() / 32; 2]),
        }
        state
    }

    /// Other classifiers: `10`, `10/first` (the first head alone), `none`.
    pub(crate) fn set_head(&mut self, head: &str) {
        let (classes, first) = head.split_once('/').map_or((head, false), |(classes, _)| (classes, true));
        let lies_under = |key: &str, head: &str| key.strip_prefix(head).is_some_and(|rest| rest.starts_with('.'));
        let heads = self.family.heads;
        self.entries.retain_mut(|entry| match heads.iter().position(|head| lies_under(&entry.canonical, head)) {
            None => true,
            Some(_) if classes == "none" => false,
            Some(index) => {
                entry.shape[0] = classes.parse().unwrap();
                index == 0 || !first
            }
        });
    }

    /// EfficientFormerV2's position tables for another map of the last stage.
    pub(crate) fn set_map(&mut self, [height, width]: [usize; 2]) {
        for entry in self.entries.iter_mut().filter(|e| e.key.ends_with("attention_biases")) {
            entry.shape[1] = height * width * if entry.canonical.starts_with("network.5.") { 4 } else { 1 };
        }
    }

    /// The tensors whose names contain `part`; panics if there is none.
    pub(crate) fn named(&mut self, part: &str) -> Vec<&mut Entry> {
        let found: Vec<&mut Entry> = self.entries.iter_mut().filter(|e| e.key.contains(part)).collect();
        assert!(!found.is_empty(), "no tensor is called {part}");
        found
    }

    /// Every tensor by its name in the file; `copy` tells copies with other values apart.
    pub(crate) fn tensors(&self, prefix: &str, dtype: &str, copy: usize) -> Vec<(String, Tensor)> {
        let derived = self.derived();
        let tensor = |Entry { key, canonical, shape, float }: &Entry| {
            let elements = shape.iter().product();
            let (class, data) = match (derived.get(canonical), float) {
                (Some(values), true) if canonical.ends_with("relative_coords_table") => {
                    ("FloatStorage", values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect())
                }
                (Some(values), false) => {
                    ("LongStorage", values.iter().flat_map(|&x| (x as i64).to_le_bytes()).collect())
                }
                (None, false) => ("LongStorage", vec![0; 8 * elements]),
                (_, true) => {
                    let dtype = types(dtype)[usize::from(shape.len() <= 1)];
                    let class = match dtype {
                        StoredType::F32 => "FloatStorage",
                        StoredType::F16 => "HalfStorage",
                        StoredType::BF16 => "BFloat16Storage",
                        StoredType::F64 => "DoubleStorage",
                        StoredType::I8 => "CharStorage",
                        StoredType::U8 => "ByteStorage",
                    };
                    (class, values(canonical, elements, dtype, copy))
                }
            };
            (format!("{prefix}{key}"), Tensor { class, shape: shape.clone(), elements, data })
        };
        self.entries.iter().map(tensor).collect()
    }

    /// Buffers that the model derives from its geometry, by canonical key.
    pub(crate) fn derived(&self) -> BTreeMap<String, Vec<f64>> {
        let shapes: Shapes = self.entries.iter().map(|e| (e.canonical.clone(), e.shape.clone())).collect();
        let (variant, _) = self.family.closest_variant(&shapes);
        let mut options = BuildOptions::new(Backbone { family: self.family, variant });
        options.tensors = Some(&shapes);
        options.resolution =
            (self.family.position_tables)(&shapes).map_or(options.resolution, |tables| tables.sizes[0]);
        let Ok(built) = options.build() else { return BTreeMap::new() };
        let weights = SeededWeights::new(&built.graph, 0);
        let mut derived = BTreeMap::new();
        for Entry { canonical, shape, float, .. } in
            self.entries.iter().filter(|e| (self.family.leftover)(&e.canonical))
        {
            let module = canonical.rsplit_once('.').map_or("", |k| k.0);
            let generated = built.graph.nodes().find(|(_, node)| {
                let inside = node.path.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
                let alike = node.types[0].shape.elements() == shape.iter().product::<usize>();
                inside && alike && matches!(node.op, Op::Generate(_)) && node.types[0].dtype.is_float() == *float
            });
            if let Some((id, _)) = generated {
                let values = eval::constant(&built.graph, &weights, id.into()).unwrap();
                derived.insert(canonical.clone(), values.into_iter().collect());
            }
        }
        derived
    }

    /// Type and bytes of a weight by its canonical key.
    pub(crate) fn expected(&self, key: &str, shape: &[usize], dtype: &str) -> (StoredType, Vec<u8>) {
        let rank = self.entries.iter().find(|e| e.canonical == key).map_or(shape.len(), |e| e.shape.len());
        let dtype = types(dtype)[usize::from(rank <= 1)];
        (dtype, values(key, shape.iter().product(), dtype, 0))
    }
}
