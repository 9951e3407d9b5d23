//! Writes what `torch.save` writes, for tests: the zip archive and the legacy stream, around any nesting of dicts.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod dense;

use std::collections::{BTreeMap, BTreeSet};
use vitc::checkpoint::Shapes;

/// The prefixes under which lie tensors that `is_model` accepts, as [`Checkpoint::select`](vitc::checkpoint::Checkpoint::select) asks for them.
pub(crate) fn prefixes(is_model: impl Fn(&Shapes) -> bool) -> impl Fn(&Shapes) -> Vec<String> {
    move |shapes| {
        let dots = shapes.keys().flat_map(|key| key.match_indices('.').map(|(dot, _)| &key[..dot]));
        let all: BTreeSet<&str> = dots.chain([""]).collect();
        let under = |prefix: &str| -> Shapes {
            let start = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
            let inside =
                |(key, shape): (&String, &Vec<usize>)| Some((key.strip_prefix(&start)?.to_string(), shape.clone()));
            shapes.iter().filter_map(inside).collect()
        };
        all.into_iter().filter(|prefix| is_model(&under(prefix))).map(str::to_string).collect()
    }
}

/// Something to be saved.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Int(i64),
    Text(&'static str),
    Tensor(Tensor),
    Dict(Vec<(String, Item)>),
    /// An `argparse.Namespace`.
    Namespace(Vec<(String, Item)>),
    Tuple(Vec<Item>),
    /// A call without arguments of a function of `torch._utils`.
    Call(&'static str),
}

/// A dense tensor.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    /// `FloatStorage` and so on.
    pub(crate) class: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) elements: usize,
    pub(crate) data: Vec<u8>,
}

impl Item {
    /// A dict of named items.
    pub(crate) fn dict(items: impl IntoIterator<Item = (impl Into<String>, Item)>) -> Item {
        Item::Dict(items.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// An f32 tensor.
    pub(crate) fn f32(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Item {
        let data: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Item::Tensor(Tensor { class: "FloatStorage", shape: shape.to_vec(), elements: data.len() / 4, data })
    }
}

/// Pickles in protocol 2, collecting the storages.
#[derive(Default)]
struct Pickler<'t> {
    bytes: Vec<u8>,
    storages: Vec<&'t Tensor>,
}

impl<'t> Pickler<'t> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.put(b"X");
        self.put(&(text.len() as u32).to_le_bytes());
        self.put(text.as_bytes());
    }

    fn int(&mut self, n: i64) {
        self.put(b"\x8a\x08");
        self.put(&n.to_le_bytes());
    }

    fn entries(&mut self, items: &'t [(String, Item)]) {
        self.put(b"}(");
        for (key, item) in items {
            self.text(key);
            self.item(item);
        }
        self.put(b"u");
    }

    fn item(&mut self, item: &'t Item) {
        match item {
            Item::Int(n) => self.int(*n),
            Item::Text(text) => self.text(text),
            Item::Dict(items) => self.entries(items),
            Item::Namespace(items) => {
                self.put(b"cargparse\nNamespace\n)\x81");
                self.entries(items);
                self.put(b"b");
            }
            Item::Tuple(items) => {
                self.put(b"(");
                items.iter().for_each(|item| self.item(item));
                self.put(b"t");
            }
            Item::Call(function) => self.put(format!("ctorch._utils\n{function}\n)R").as_bytes()),
            Item::Tensor(tensor) => {
                self.put(b"ctorch._utils\n_rebuild_tensor_v2\n((");
                self.text("storage");
                self.put(format!("ctorch\n{}\n", tensor.class).as_bytes());
                self.text(&self.storages.len().to_string());
                self.text("cpu");
                self.int(tensor.elements as i64);
                self.put(b"tQ");
                self.int(0);
                let strides = (0..tensor.shape.len()).map(|i| tensor.shape[i + 1..].iter().product());
                for dims in [tensor.shape.clone(), strides.collect()] {
                    self.put(b"(");
                    dims.iter().for_each(|&d| self.int(d as i64));
                    self.put(b"t");
                }
                self.put(b"\x89ccollections\nOrderedDict\n)RtR");
                self.storages.push(tensor);
            }
        }
    }
}

fn pickled(item: &Item) -> (Vec<u8>, Vec<&Tensor>) {
    let mut pickler = Pickler::default();
    pickler.put(b"\x80\x02");
    pickler.item(item);
    pickler.put(b".");
    (pickler.bytes, pickler.storages)
}

/// The members of an archive of PyTorch 1.6 and later.
pub(crate) fn archive_members(item: &Item) -> BTreeMap<String, Vec<u8>> {
    let (pickle, storages) = pickled(item);
    let mut members = BTreeMap::from([("x/data.pkl".to_string(), pickle), ("x/byteorder".into(), b"little".to_vec())]);
    members.extend(storages.iter().enumerate().map(|(i, t)| (format!("x/data/{i}"), t.data.clone())));
    members
}

/// The archive of PyTorch 1.6 and later.
pub(crate) fn archive(item: &Item) -> Vec<u8> {
    let members = archive_members(item);
    zip(members.iter().map(|(name, data)| (name.as_str(), data.as_slice())))
}

/// The stream before PyTorch 1.6.
pub(crate) fn legacy(item: &Item) -> Vec<u8> {
    let (pickle, storages) = pickled(item);
    let mut head = Pickler::default();
    head.put(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}");
    head.text("little_endian");
    head.put(b"\x88s.");
    head.put(&pickle);
    head.put(b"\x80\x02](");
    (0..storages.len()).for_each(|i| head.text(&i.to_string()));
    head.put(b"e.");
    for tensor in storages {
        head.put(&(tensor.elements as u64).to_le_bytes());
        head.put(&tensor.data);
    }
    head.bytes
}

/// A zip archive of stored members.
pub(crate) fn zip<'m>(members: impl IntoIterator<Item = (&'m str, &'m [u8])>) -> Vec<u8> {
    zip_as(members, 0, false)
}

/// The same, saying that the compression method is `method`; sizes and offsets in zip64 fields if `wide`.
pub(crate) fn zip_as<'m>(members: impl IntoIterator<Item = (&'m str, &'m [u8])>, method: u16, wide: bool) -> Vec<u8> {
    let (mut file, mut directory, mut entries) = (Vec::new(), Vec::new(), 0u16);
    for (name, data) in members {
        let (start, size) = (file.len(), data.len());
        let mut local = b"PK\x03\x04\x14\0\0\0".to_vec();
        local.extend(method.to_le_bytes());
        local.extend([0; 16]);
        local.extend((name.len() as u16).to_le_bytes());
        local.extend([0; 2]);
        local.extend(name.as_bytes());
        file.extend(local);
        file.extend_from_slice(data);
        let narrow = |n: usize| if wide { u32::MAX } else { n as u32 }.to_le_bytes();
        let mut extra = Vec::new();
        if wide {
            extra.extend([1, 0, 24, 0]);
            [size, size, start].iter().for_each(|&n| extra.extend((n as u64).to_le_bytes()));
        }
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0");
        directory.extend(method.to_le_bytes());
        directory.extend([0; 8]);
        directory.extend(narrow(size));
        directory.extend(narrow(size));
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend((extra.len() as u16).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(narrow(start));
        directory.extend(name.as_bytes());
        directory.extend(extra);
        entries += 1;
    }
    let (start, size) = (file.len() as u64, directory.len() as u64);
    file.extend(directory);
    if wide {
        let end64 = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend(44u64.to_le_bytes());
        file.extend([0; 12]);
        file.extend(u64::from(entries).to_le_bytes());
        file.extend(u64::from(entries).to_le_bytes());
        file.extend(size.to_le_bytes());
        file.extend(start.to_le_bytes());
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(end64.to_le_bytes());
        file.extend(1u32.to_le_bytes());
    }
    file.extend(b"PK\x05\x06\0\0\0\0");
    let entries = if wide { u16::MAX } else { entries };
    file.extend(entries.to_le_bytes());
    file.extend(entries.to_le_bytes());
    file.extend(if wide { u32::MAX } else { size as u32 }.to_le_bytes());
    file.extend(if wide { u32::MAX } else { start as u32 }.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A `.safetensors` file of f32 tensors.
pub(crate) fn safetensors(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let tensor = |(key, shape, values): &(String, Vec<usize>, Vec<f32>)| match Item::f32(shape, values.iter().copied())
    {
        Item::Tensor(tensor) => (key.clone(), tensor),
        other => panic!("{other:?} is no tensor"),
    };
    safetensors_file(&tensors.iter().map(tensor).collect::<Vec<_>>())
}

/// A `.safetensors` file.
pub(crate) fn safetensors_file(tensors: &[(String, Tensor)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (key, tensor) in tensors {
        let start = data.len();
        data.extend(&tensor.data);
        let dtype = match tensor.class {
            "FloatStorage" => "F32",
            "HalfStorage" => "F16",
            "BFloat16Storage" => "BF16",
            "DoubleStorage" => "F64",
            "LongStorage" => "I64",
            other => panic!("{other} has no counterpart"),
        };
        let entry = serde_json::json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]});
        header.insert(key.clone(), entry);
    }
    let header = serde_json::to_string(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    file
}
