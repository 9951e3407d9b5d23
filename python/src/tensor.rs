//! Python's tensors as tensors of a checkpoint, where they lie: nothing is copied.
//!
//! Two protocols are read: NumPy's array interface, for arrays that NumPy itself made, and DLPack. What neither says is refused; what lies on another
//! device or runs backwards is made ordinary in Python before it comes here.
//!
//! Invariant: the owner of the memory is held for as long as a slice of it can be had. That another thread of the program writes to a tensor while it is
//! read cannot be excluded, as for a mapped file: every pattern of bits is a valid element, and no size is read twice.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};
use std::ffi::{CStr, c_void};
use std::sync::Arc;
use vitc::checkpoint::{ElementType, HeldTensor};
use vitc_ir::StoredType;

/// Memory that an object of Python's keeps alive.
struct Borrowed {
    start: *const u8,
    length: usize,
    _owner: Py<PyAny>,
}

// SAFETY: the memory is read only, and stays where it is while its owner lives, whichever thread holds it; releasing the owner on another thread is PyO3's
// to defer until the interpreter's lock is held.
#[allow(unsafe_code)]
unsafe impl Send for Borrowed {}
// SAFETY: as above: shared access reads.
#[allow(unsafe_code)]
unsafe impl Sync for Borrowed {}

impl AsRef<[u8]> for Borrowed {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: `start` and `length` span the tensor's first to last element, as the protocol's producer, which `_owner` keeps alive, describes them.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// A tensor as a protocol describes it.
struct Described {
    start: *const u8,
    dtype: ElementType,
    shape: Vec<usize>,
    /// In elements.
    strides: Option<Vec<usize>>,
}

/// The tensor of `(dict, name, array or capsule, type or None)`. The type stands for one that NumPy has no letter for.
pub(crate) fn held(entry: &Bound<'_, PyAny>) -> PyResult<HeldTensor> {
    let (dict, name, object, kind): (String, String, Bound<'_, PyAny>, Option<String>) = entry.extract()?;
    let found = match object.cast::<PyCapsule>() {
        Ok(capsule) => of_capsule(capsule, &name)?,
        Err(_) => of_array(&object, kind.as_deref(), &name)?,
    };
    let length = span(&found).ok_or_else(|| refused(&name, "its size overflows"))?;
    let bytes = Arc::new(Borrowed { start: found.start, length, _owner: object.unbind() });
    Ok(HeldTensor { dict, name, dtype: found.dtype, shape: found.shape, strides: found.strides, bytes })
}

fn refused(name: &str, why: &str) -> PyErr {
    PyValueError::new_err(format!("tensor {name}: {why}"))
}

/// Bytes from the first element to behind the last.
fn span(found: &Described) -> Option<usize> {
    if found.shape.contains(&0) {
        return Some(0);
    }
    let last = match &found.strides {
        None => found.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))? - 1,
        Some(strides) => found
            .shape
            .iter()
            .zip(strides)
            .try_fold(0usize, |sum, (&d, &s)| sum.checked_add((d - 1).checked_mul(s)?))?,
    };
    last.checked_add(1)?.checked_mul(found.dtype.bytes())
}

/// An array of NumPy's.
fn of_array(array: &Bound<'_, PyAny>, kind: Option<&str>, name: &str) -> PyResult<Described> {
    let interface = array.getattr("__array_interface__")?;
    let interface = interface.cast::<PyDict>()?;
    let get = |key: &str| interface.get_item(key)?.ok_or_else(|| refused(name, "its array interface is incomplete"));
    let (start, _): (usize, bool) = get("data")?.extract()?;
    let shape: Vec<usize> = get("shape")?.extract()?;
    let letters: String = get("typestr")?.extract()?;
    let known = match kind {
        Some("bfloat16") => Some(ElementType::Float(StoredType::BF16)),
        _ => of_letters(&letters),
    };
    let dtype = known.ok_or_else(|| refused(name, &format!("its type {letters} is none of a checkpoint's")))?;
    let strides: Option<Vec<usize>> = get("strides")?.extract()?;
    let elements = |bytes: &usize| bytes.is_multiple_of(dtype.bytes()).then(|| bytes / dtype.bytes());
    let strides = strides.map(|s| s.iter().map(elements).collect::<Option<Vec<usize>>>());
    let strides = match strides {
        Some(None) => return Err(refused(name, "its strides are no whole elements")),
        Some(strides) => strides,
        None => None,
    };
    Ok(Described { start: start as *const u8, dtype, shape, strides })
}

/// The type that NumPy writes so: `<f4`.
fn of_letters(letters: &str) -> Option<ElementType> {
    let native = letters.strip_prefix(['<', '|', '='])?;
    let (kind, size) = native.split_at_checked(1)?;
    let bytes: u8 = size.parse().ok()?;
    of_kind(kind.chars().next()?, bytes)
}

fn of_kind(kind: char, bytes: u8) -> Option<ElementType> {
    Some(match (kind, bytes) {
        ('f', 2) => ElementType::Float(StoredType::F16),
        ('f', 4) => ElementType::Float(StoredType::F32),
        ('f', 8) => ElementType::Float(StoredType::F64),
        ('i', 1 | 2 | 4 | 8) => ElementType::Int(bytes),
        ('u', 1 | 2 | 4 | 8) => ElementType::Uint(bytes),
        ('c', 8 | 16) => ElementType::Complex(bytes),
        ('b', 1) => ElementType::Bool,
        _ => return None,
    })
}

/// Name of a DLPack capsule whose tensor nobody took.
const DLTENSOR: &CStr = c"dltensor";

/// DLPack's structures: <https://dmlc.github.io/dlpack/latest/c_api.html>.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    rank: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// Devices whose memory the processor reads: its own, and what it shares with CUDA and ROCm.
const READABLE: [i32; 3] = [1, 3, 11];

/// The tensor of a capsule, which keeps it alive and is not taken.
fn of_capsule(capsule: &Bound<'_, PyCapsule>, name: &str) -> PyResult<Described> {
    let tensor = capsule.pointer_checked(Some(DLTENSOR))?.cast::<DlTensor>();
    // SAFETY: a capsule of this name holds a `DLManagedTensor`, whose first member is the tensor; the producer keeps it valid while the capsule lives.
    #[allow(unsafe_code)]
    let tensor = unsafe { tensor.as_ref() };
    if !READABLE.contains(&tensor.device_type) {
        return Err(refused(name, "it lies on another device"));
    }
    let dtype = of_code(tensor).ok_or_else(|| refused(name, "its type is none of a checkpoint's"))?;
    let rank = usize::try_from(tensor.rank).map_err(|_| refused(name, "its rank is negative"))?;
    let shape = sizes(tensor.shape, rank).ok_or_else(|| refused(name, "its shape is none"))?;
    let strides = if tensor.strides.is_null() { None } else { Some(sizes(tensor.strides, rank)) };
    let strides = match strides {
        Some(None) => return Err(refused(name, "it runs backwards")),
        Some(strides) => strides,
        None => None,
    };
    let offset = usize::try_from(tensor.byte_offset).map_err(|_| refused(name, "its offset overflows"))?;
    // Wrappers around tensors (distributed, quantised, fake ones) and tensors whose memory was freed describe themselves and hold nothing.
    if tensor.data.is_null() && !shape.contains(&0) {
        return Err(refused(name, "no numbers lie behind it: gather or materialise it first"));
    }
    let start = tensor.data.cast::<u8>().cast_const().wrapping_add(offset);
    Ok(Described { start, dtype, shape, strides })
}

fn of_code(tensor: &DlTensor) -> Option<ElementType> {
    let bytes = tensor.bits.div_ceil(8);
    match (tensor.lanes, tensor.code) {
        (1, 0) => of_kind('i', bytes),
        (1, 1) => of_kind('u', bytes),
        (1, 2) => of_kind('f', bytes),
        (1, 4) if bytes == 2 => Some(ElementType::Float(StoredType::BF16)),
        (1, 5) => of_kind('c', bytes),
        (1, 6) => of_kind('b', bytes),
        (1, 7..) if bytes == 1 => Some(ElementType::Float8),
        _ => None,
    }
}

/// `rank` sizes at a pointer; `None` if one is negative.
fn sizes(at: *const i64, rank: usize) -> Option<Vec<usize>> {
    if rank == 0 {
        return Some(Vec::new());
    }
    if at.is_null() {
        return None;
    }
    // SAFETY: the protocol says that there are as many as the tensor has axes.
    #[allow(unsafe_code)]
    let sizes = unsafe { std::slice::from_raw_parts(at, rank) };
    sizes.iter().map(|&n| usize::try_from(n).ok()).collect()
}
