//! What `torch.save` writes: the zip archive of PyTorch 1.6 and later, and the stream of five pickles before it.
//!
//! Both hold one pickled object, in which a tensor is a call of a rebuilding function on a reference to a storage. The object is walked for
//! dicts and the tensors in them; everything else (optimizer settings, Namespaces, schedulers) is passed over, and whole modules are noted
//! but not opened. A container that is reachable twice is visited once, and depth, names and their number are capped.

use super::contents::{Contents, MAX_KEY, MAX_TENSORS};
use super::dense_config::DenseConfig;
use super::document::document;
use super::error::{CheckpointError, shortened};
use super::pickle::{self, Id, Object, Pickle, Value};
use super::tensor::{ElementType, TensorInfo};
use super::zip::{Member, Members};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use vitc_ir::StoredType;

/// Deepest nesting of containers that is searched for tensors.
const MAX_DEPTH: usize = 32;
/// Most dimensions of a tensor; PyTorch's own limit.
const MAX_RANK: usize = 64;
/// The first pickle of the legacy stream, in whatever protocol, is this number.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// True if the bytes begin as the legacy stream does.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x80) && bytes[..bytes.len().min(32)].windows(LEGACY_MAGIC.len()).any(|w| w == LEGACY_MAGIC)
}

/// The folder of the archive that holds the pickled object, and the object.
pub(super) fn saved_object<'m, 'a>(members: &'m Members<'a>) -> Option<(&'a str, &'m Member)> {
    let roots = members.iter().filter_map(|(name, member)| Some((name.strip_suffix("data.pkl")?, member)));
    roots.into_iter().find(|(root, _)| root.is_empty() || root.ends_with('/'))
}

/// The tensors of the archive whose pickled `object` lies under `root`; the file has the number `file`.
pub(super) fn read_zip(
    bytes: &[u8],
    members: &Members<'_>,
    (root, object): (&str, &Member),
    file: usize,
) -> Result<Contents, CheckpointError> {
    let member = |name: &str| members.get(format!("{root}{name}").as_str());
    if let Some(order) = member("byteorder")
        && bytes[order.range.clone()] != *b"little"
    {
        return Err(big_endian());
    }
    if let Some((name, _)) = members.iter().find(|(name, m)| name.starts_with(root) && !m.stored) {
        return Err(CheckpointError::new(
            "the checkpoint is compressed",
            format!("member {}", shortened(name)),
            "torch.save stores tensors as they are; this archive was packed again by another tool",
            "unpack it and pack it without compression (zip -0 -r), or torch.load and torch.save it again",
        ));
    }
    let pickle = pickle::decode(&bytes[object.range.clone()]).map_err(|e| e.within(&format!("{root}data.pkl")))?;
    let storage = |key: &str| member(&format!("data/{key}")).map(|m| (file, m.range.clone()));
    Reader::of(&pickle, &storage).read()
}

/// The tensors of an unpacked archive: its pickle, its byte order, and where each storage lies.
pub(super) fn read_unpacked(bytes: &[u8], order: &[u8], storage: &Storage<'_>) -> Result<Contents, CheckpointError> {
    if *order != *b"little" {
        return Err(big_endian());
    }
    Reader::of(&pickle::decode(bytes)?, storage).read()
}

/// True if the bytes begin as a pickle does that torch did not write.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, ..])
}

/// The NumPy arrays of a plain pickle, as detectron2's model zoo keeps weights; the file has the number `file`.
pub(super) fn read_plain(bytes: &[u8], file: usize) -> Result<Contents, CheckpointError> {
    let pickle = pickle::decode(bytes)?;
    Reader { arrays: Some(file), ..Reader::of(&pickle, &|_| None) }.read()
}

/// The tensors of a legacy stream; the file has the number `file`.
pub(super) fn read_legacy(bytes: &[u8], file: usize) -> Result<Contents, CheckpointError> {
    let mut at = 0;
    let mut next = |what: &str| {
        let pickle = pickle::decode(&bytes[at..]).map_err(|e| e.within(&format!("{what} at byte {at}")))?;
        at += pickle.length;
        Ok::<_, CheckpointError>(pickle)
    };
    next("magic number")?;
    next("protocol version")?;
    let system = next("system description")?;
    let little = |&(k, v): &(Id, Id)| system.str(k) == Some("little_endian") && *system.get(v) == Value::Bool(false);
    if system.entries(system.root).iter().any(little) {
        return Err(big_endian());
    }
    let object = next("saved object")?;
    let keys = next("list of storages")?;
    // Element sizes stand in the object's references, the data in the order of the list.
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for value in &object.values {
        if let Value::Persistent(id) = value
            && let Some(reference) = StorageReference::of(&object, *id)
        {
            sizes.insert(reference.key, reference.dtype.map_or(1, ElementType::bytes));
        }
    }
    let mut storages: HashMap<&str, Range<usize>> = HashMap::new();
    for key in keys.sequence(keys.root).unwrap_or_default().iter().filter_map(|&id| keys.str(id)) {
        let range = (|| {
            let length = u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?);
            let size = usize::try_from(length).ok()?.checked_mul(*sizes.get(key)?)?;
            let start = at + 8;
            let stop = start.checked_add(size).filter(|&stop| stop <= bytes.len())?;
            at = stop;
            Some(start..stop)
        })();
        let range = range.ok_or_else(|| {
            let why = format!(
                "storage {} does not fit the {} bytes of the file: it was cut off",
                shortened(key),
                bytes.len()
            );
            CheckpointError::damaged(format!("byte {at}"), why)
        })?;
        storages.insert(key, range);
    }
    let storage = |key: &str| Some((file, storages.get(key)?.clone()));
    Reader::of(&object, &storage).read()
}

fn big_endian() -> CheckpointError {
    CheckpointError::new(
        "the checkpoint is big-endian",
        "byte order mark",
        "it was saved on a big-endian machine; vitc reads little-endian data",
        "load and save it again with PyTorch on an x86 or ARM machine",
    )
}

/// `('storage', type, key, device, elements[, view])`.
struct StorageReference<'a> {
    key: &'a str,
    dtype: Option<ElementType>,
    /// Offset and number of elements, where this storage is a part of the named one (before PyTorch 1.0).
    view: Option<(usize, usize)>,
}

impl<'a> StorageReference<'a> {
    fn of(pickle: &Pickle<'a>, id: Id) -> Option<StorageReference<'a>> {
        let parts = pickle.sequence(id)?;
        if parts.len() < 5 || pickle.str(parts[0]) != Some("storage") {
            return None;
        }
        let (_, class) = pickle.global(parts[1])?;
        let view = parts.get(5).and_then(|&v| pickle.sequence(v)).filter(|v| v.len() == 3);
        let view = view.and_then(|v| Some((pickle.size(v[1])?, pickle.size(v[2])?)));
        Some(StorageReference { key: pickle.str(parts[2])?, dtype: storage_type(class), view })
    }
}

fn storage_type(class: &str) -> Option<ElementType> {
    Some(match class {
        "FloatStorage" => ElementType::F32,
        "DoubleStorage" => ElementType::Float(StoredType::F64),
        "HalfStorage" => ElementType::Float(StoredType::F16),
        "BFloat16Storage" => ElementType::Float(StoredType::BF16),
        "LongStorage" => ElementType::Int(8),
        "IntStorage" => ElementType::Int(4),
        "ShortStorage" => ElementType::Int(2),
        "CharStorage" => ElementType::Int(1),
        "ByteStorage" => ElementType::Uint(1),
        "BoolStorage" => ElementType::Bool,
        "ComplexFloatStorage" => ElementType::Complex(8),
        "ComplexDoubleStorage" => ElementType::Complex(16),
        _ => return None,
    })
}

/// `torch.<name>` as an element type.
fn torch_dtype(name: &str) -> Option<ElementType> {
    Some(match name {
        "float32" => ElementType::F32,
        "float64" => ElementType::Float(StoredType::F64),
        "float16" => ElementType::Float(StoredType::F16),
        "bfloat16" => ElementType::Float(StoredType::BF16),
        "uint16" => ElementType::Uint(2),
        "uint32" => ElementType::Uint(4),
        "uint64" => ElementType::Uint(8),
        _ if name.starts_with("float8") => ElementType::Float8,
        _ => return None,
    })
}

/// The file and the bytes of a storage.
type Storage<'s> = dyn Fn(&str) -> Option<(usize, Range<usize>)> + 's;

struct Reader<'p, 'a> {
    pickle: &'p Pickle<'a>,
    storage: &'p Storage<'p>,
    /// The file of NumPy arrays, where those are the tensors.
    arrays: Option<usize>,
    found: Contents,
    seen: HashSet<Id>,
}

/// A tensor, or why a call that makes one is not read.
enum Rebuilt {
    Tensor(TensorInfo),
    Skipped(String),
    NoTensor,
}

impl<'p, 'a> Reader<'p, 'a> {
    fn of(pickle: &'p Pickle<'a>, storage: &'p Storage<'p>) -> Self {
        Reader { pickle, storage, arrays: None, found: Contents::default(), seen: HashSet::new() }
    }
}

impl Reader<'_, '_> {
    fn read(mut self) -> Result<Contents, CheckpointError> {
        self.walk(self.pickle.root, &mut String::new(), 0, 0)?;
        self.found.document = Some(document(self.pickle));
        self.found.dense = DenseConfig::from_pickle(self.pickle);
        Ok(self.found)
    }

    /// Everything under `id`, which is called `path`; the container around it is called by the first `around` bytes of that.
    fn walk(&mut self, id: Id, path: &mut String, around: usize, depth: usize) -> Result<(), CheckpointError> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        let pickle = self.pickle;
        if let Value::Object(object) = pickle.get(id) {
            match self.tensor(object, path, 0)? {
                Rebuilt::Tensor(tensor) => return self.insert(path, around, tensor),
                Rebuilt::Skipped(kind) => {
                    if self.found.skipped.len() < 64 {
                        self.found.skipped.push((path.clone(), kind));
                    }
                    return Ok(());
                }
                Rebuilt::NoTensor => {}
            }
            if let Some(class) = module_class(pickle, id, object) {
                if self.found.modules.len() < 8 {
                    self.found.modules.push((path.clone(), class));
                }
                return Ok(());
            }
        }
        let children: Vec<(Option<Id>, Id)> = match pickle.get(id) {
            Value::Dict(items) => items.iter().map(|&(k, v)| (Some(k), v)).collect(),
            Value::Object(object) => object.items.iter().map(|&(k, v)| (Some(k), v)).collect(),
            Value::List(items) | Value::Tuple(items) => items.iter().map(|&v| (None, v)).collect(),
            _ => return Ok(()),
        };
        if !self.seen.insert(id) {
            return Ok(());
        }
        if depth == 0 {
            let names = children.iter().filter_map(|(k, _)| pickle.str((*k)?));
            self.found.top = names.take(64).map(shortened).collect();
        }
        for (index, (key, child)) in children.into_iter().enumerate() {
            let parent = path.len();
            if parent > 0 {
                path.push('.');
            }
            match key.map(|k| pickle.get(k)) {
                Some(Value::Str(name)) => path.push_str(name),
                Some(Value::Int(n)) => path.push_str(&n.to_string()),
                Some(_) => path.push('?'),
                None => path.push_str(&index.to_string()),
            }
            // A longer name is no tensor's; cutting it off bounds what names can take.
            if path.len() <= MAX_KEY {
                self.walk(child, path, parent, depth + 1)?;
            }
            path.truncate(parent);
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, around: usize, tensor: TensorInfo) -> Result<(), CheckpointError> {
        if self.found.tensors.len() >= MAX_TENSORS {
            let why = format!("it names more than {MAX_TENSORS} tensors");
            return Err(CheckpointError::damaged("saved object", why));
        }
        if !self.found.dicts.contains(&path[..around]) {
            self.found.dicts.insert(path[..around].to_string());
        }
        match self.found.tensors.insert(path.to_string(), tensor) {
            None => Ok(()),
            Some(_) => {
                let why = "two different tensors have this name";
                Err(CheckpointError::damaged(format!("tensor {}", shortened(path)), why))
            }
        }
    }

    /// The tensor that a call of one of torch's rebuilding functions would make.
    fn tensor(&self, object: &Object, path: &str, depth: usize) -> Result<Rebuilt, CheckpointError> {
        if let (Some(file), Some(state)) = (self.arrays, object.state)
            && matches!(self.pickle.global(object.callable), Some((_, "_reconstruct")))
        {
            return Ok(match self.array(state, file, path)? {
                Some(tensor) => Rebuilt::Tensor(tensor),
                None => Rebuilt::Skipped("NumPy array".into()),
            });
        }
        self.rebuilt(object.callable, object.arguments, path, depth)
    }

    /// The array of a state `(version, shape, type, column by column, bytes)`; `None` for types and orders that are not read.
    fn array(&self, state: Id, file: usize, path: &str) -> Result<Option<TensorInfo>, CheckpointError> {
        let pickle = self.pickle;
        let Some(&[_, shape, dtype, columns, data]) = pickle.sequence(state) else { return Ok(None) };
        let shape = pickle.sequence(shape).filter(|s| s.len() <= MAX_RANK);
        let shape: Option<Vec<usize>> = shape.and_then(|s| s.iter().map(|&d| pickle.size(d)).collect());
        let (Some(shape), Some(dtype), Some(range)) = (shape, self.array_type(dtype), pickle.bytes(data)) else {
            return Ok(None);
        };
        if *pickle.get(columns) != Value::Bool(false) && shape.len() > 1 {
            return Ok(None);
        }
        TensorInfo::new(path, dtype, shape, file, &range, 0, None).map(Some)
    }

    /// A little-endian element type: a call of `numpy.dtype` on `f4` and the like, whose state names the byte order.
    fn array_type(&self, id: Id) -> Option<ElementType> {
        let pickle = self.pickle;
        let Value::Object(object) = pickle.get(id) else { return None };
        let name = pickle.str(*pickle.sequence(object.arguments)?.first()?)?;
        let order = object.state.and_then(|s| pickle.sequence(s)).and_then(|s| pickle.str(*s.get(1)?));
        if order == Some(">") {
            return None;
        }
        Some(match name.trim_start_matches(['<', '|', '=']) {
            "f4" => ElementType::F32,
            "f8" => ElementType::Float(StoredType::F64),
            "f2" => ElementType::Float(StoredType::F16),
            "i8" => ElementType::Int(8),
            "i4" => ElementType::Int(4),
            "u1" => ElementType::Uint(1),
            _ => return None,
        })
    }

    fn rebuilt(&self, callable: Id, arguments: Id, path: &str, depth: usize) -> Result<Rebuilt, CheckpointError> {
        let Some((module, name)) = self.pickle.global(callable) else { return Ok(Rebuilt::NoTensor) };
        let arguments = self.pickle.sequence(arguments).unwrap_or_default();
        match (module, name, arguments) {
            (
                "torch._utils",
                "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3",
                &[s, offset, size, stride, ..],
            ) => {
                // Version 3 names the element type, because its storage has none; flags follow in both.
                let third = name == "_rebuild_tensor_v3";
                let flags = arguments.get(if third { 7 } else { 6 }).map_or(&[][..], |&id| self.pickle.entries(id));
                if flags.iter().take(8).any(|&(_, set)| *self.pickle.get(set) == Value::Bool(true)) {
                    return Ok(Rebuilt::Skipped("a lazily negated or conjugated view".into()));
                }
                let dtype = if third { arguments.get(6).copied() } else { None };
                self.view(path, [s, offset, size, stride], dtype)
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", &[inner, ..])
                if depth < MAX_DEPTH =>
            {
                match self.pickle.get(inner) {
                    Value::Object(object) => self.tensor(object, path, depth + 1),
                    _ => Ok(Rebuilt::NoTensor),
                }
            }
            ("torch._tensor", "_rebuild_from_type_v2", &[function, class, inner, ..]) if depth < MAX_DEPTH => {
                let rebuilt = self.rebuilt(function, inner, path, depth + 1)?;
                Ok(match (rebuilt, self.pickle.global(class)) {
                    (Rebuilt::Skipped(_), Some((_, class))) => Rebuilt::Skipped(class.to_string()),
                    (rebuilt, _) => rebuilt,
                })
            }
            ("torch._utils", _, _) if name.starts_with("_rebuild") => Ok(Rebuilt::Skipped(name.to_string())),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct", _) => {
                Ok(Rebuilt::Skipped("NumPy array".into()))
            }
            (_, "DTensor" | "ShardedTensor", _) => Ok(Rebuilt::Skipped(name.to_string())),
            _ => Ok(Rebuilt::NoTensor),
        }
    }

    fn view(
        &self,
        path: &str,
        [s, offset, size, stride]: [Id; 4],
        dtype: Option<Id>,
    ) -> Result<Rebuilt, CheckpointError> {
        let pickle = self.pickle;
        let damaged = |why: &str| CheckpointError::damaged(format!("tensor {}", shortened(path)), why);
        let Value::Persistent(reference) = *pickle.get(s) else { return Err(damaged("it has no storage")) };
        let reference =
            StorageReference::of(pickle, reference).ok_or_else(|| damaged("its storage is not described"))?;
        let numbers = |id: Id| -> Option<Vec<usize>> {
            // A shape is a tuple, or a call of torch.Size on one.
            let id = match pickle.get(id) {
                Value::Object(object) => *pickle.sequence(object.arguments)?.first()?,
                _ => id,
            };
            pickle.sequence(id).filter(|s| s.len() <= MAX_RANK)?.iter().map(|&d| pickle.size(d)).collect()
        };
        let (Some(offset), Some(shape), Some(strides)) = (pickle.size(offset), numbers(size), numbers(stride)) else {
            return Err(damaged("its offset, shape or strides are not (at most 64) whole numbers of at least 0"));
        };
        if shape.len() != strides.len() {
            return Err(damaged("its shape and its strides differ in length"));
        }
        let named = dtype.and_then(|id| pickle.global(id)).and_then(|(_, name)| torch_dtype(name));
        let Some(dtype) = named.or(reference.dtype) else {
            return Ok(Rebuilt::Skipped("tensor of an unknown element type".into()));
        };
        let (file, mut storage) = (self.storage)(reference.key)
            .ok_or_else(|| damaged(&format!("its storage {} is missing", shortened(reference.key))))?;
        if let Some((offset, elements)) = reference.view {
            let part = offset.checked_mul(dtype.bytes()).zip(elements.checked_mul(dtype.bytes()));
            let part = part.and_then(|(o, n)| Some((o, o.checked_add(n)?))).filter(|&(_, stop)| stop <= storage.len());
            let (start, stop) = part.ok_or_else(|| damaged("its storage is a view outside the storage it views"))?;
            storage = storage.start + start..storage.start + stop;
        }
        TensorInfo::new(path, dtype, shape, file, &storage, offset, Some(strides)).map(Rebuilt::Tensor)
    }
}

/// The class name if the object is an `nn.Module`: its attributes include `_parameters` and `_modules`.
fn module_class(pickle: &Pickle<'_>, id: Id, object: &Object) -> Option<String> {
    let has = |name| pickle.entries(id).iter().take(64).any(|&(k, _)| pickle.str(k) == Some(name));
    if !has("_parameters") || !has("_modules") {
        return None;
    }
    let (module, name) = pickle.global(object.callable)?;
    let (module, name) = match pickle.sequence(object.arguments) {
        // copyreg._reconstructor(class, object, None)
        Some(&[class, ..]) if name == "_reconstructor" => pickle.global(class)?,
        _ => (module, name),
    };
    Some(shortened(&format!("{module}.{name}")))
}
