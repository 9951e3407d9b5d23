//! Values from outside as people keep them: an array a file, or several in one, for outputs by name or in their order.

use super::npy::{self, Array, NpyError};
use crate::checkpoint::zip;
use crate::runner::Named;
use std::path::{Path, PathBuf};

/// A file with expected values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedFile {
    /// The output that it belongs to; `None` for the next one in order, or for those that the file names.
    pub output: Option<String>,
    /// A `.npy` file, or an `.npz` file of several arrays.
    pub path: PathBuf,
}

/// Expected values of one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Which output; `None` for the next one in order.
    pub output: Option<String>,
    /// The values.
    pub array: Array,
}

impl ExpectedFile {
    /// The arrays of the file.
    ///
    /// # Errors
    /// If it cannot be read, or is an archive although one output is named.
    pub fn read(&self) -> Result<Vec<Expected>, NpyError> {
        let bytes = npy::bytes(&self.path)?;
        if !zip::looks_like(&bytes) {
            let array = npy::parse(&bytes).map_err(|what| npy::format(&self.path, what))?;
            return Ok(vec![Expected { output: self.output.clone(), array }]);
        }
        let fail = |what: String| NpyError::Archive { path: self.path.display().to_string(), what };
        if let Some(output) = &self.output {
            return Err(fail(format!(
                "holds arrays with names of their own, so it is not for the output {output} alone"
            )));
        }
        archive(&bytes).map_err(fail)
    }
}

/// The arrays of an `.npz` file. `numpy.savez` calls arrays without a name `arr_0`, `arr_1`, …: they are meant in this order.
fn archive(bytes: &[u8]) -> Result<Vec<Expected>, String> {
    let members = zip::members(bytes).map_err(|e| format!("is damaged: {e}"))?;
    let mut arrays = Vec::new();
    for (name, member) in &members {
        let Some(output) = name.strip_suffix(".npy") else { continue };
        if !member.stored {
            return Err(format!("holds {output} compressed"));
        }
        let array = npy::parse(&bytes[member.range.clone()]).map_err(|what| format!("its array {output} {what}"))?;
        arrays.push(Expected { output: Some(output.to_string()), array });
    }
    if arrays.is_empty() {
        return Err("holds no arrays".into());
    }
    let number = |e: &Expected| e.output.as_ref()?.strip_prefix("arr_")?.parse::<usize>().ok();
    let numbers: Option<Vec<usize>> = arrays.iter().map(number).collect();
    if let Some(numbers) = numbers {
        let mut numbered: Vec<_> = numbers.into_iter().zip(arrays).collect();
        numbered.sort_by_key(|(number, _)| *number);
        arrays = numbered.into_iter().map(|(_, e)| Expected { output: None, ..e }).collect();
    }
    Ok(arrays)
}

/// The arrays in the order of the outputs; what does not fit if they do not belong to them one to one.
pub(super) fn matched<'a>(outputs: &[Named], expected: &'a [Expected]) -> Result<Vec<&'a Array>, String> {
    let named = expected.iter().filter(|e| e.output.is_some()).count();
    let all = || outputs.iter().map(|o| format!("{} {:?}", o.name, o.shape)).collect::<Vec<_>>().join(", ");
    let fail = |what: String| {
        let first = outputs.first().map_or("NAME", |o| &o.name);
        let todo = format!(
            "give one array for each, in this order or by name ({first}=FILE.npy), or one .npz file of arrays with these names"
        );
        Err(format!("{what}\n  the artifact's outputs are {}\n  {todo}", all()))
    };
    if let Some(e) = expected.iter().find(|e| e.output.as_ref().is_some_and(|n| outputs.iter().all(|o| o.name != *n))) {
        return fail(format!(
            "expected values are given for {}, which is no output",
            e.output.as_deref().unwrap_or("")
        ));
    }
    if expected.len() != outputs.len() {
        return fail(format!("expected values are given for {} of {} outputs", expected.len(), outputs.len()));
    }
    if named == 0 {
        return Ok(expected.iter().map(|e| &e.array).collect());
    }
    if named < expected.len() {
        return fail("expected values are given with names and without".into());
    }
    let of = |output: &Named| expected.iter().find(|e| e.output.as_ref() == Some(&output.name)).map(|e| &e.array);
    match outputs.iter().map(of).collect() {
        Some(arrays) => Ok(arrays),
        None => fail("expected values are given twice for one output".into()),
    }
}

/// What `NAME=FILE` or `FILE` means: a file of that whole name comes first.
impl From<&str> for ExpectedFile {
    fn from(text: &str) -> ExpectedFile {
        match text.split_once('=').filter(|(name, _)| !name.is_empty() && !Path::new(text).exists()) {
            Some((name, path)) => ExpectedFile { output: Some(name.into()), path: path.into() },
            None => ExpectedFile { output: None, path: text.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(output: Option<&str>, name: &str) -> ExpectedFile {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/arrays").join(name);
        ExpectedFile { output: output.map(str::to_string), path }
    }

    fn outputs() -> Vec<Named> {
        let output = |name: &str, shape: &[usize]| Named { name: name.into(), shape: shape.to_vec(), data: Vec::new() };
        vec![output("first", &[1, 2, 3]), output("second", &[1, 2])]
    }

    /// Archives as `numpy.savez` writes them, in another order than the outputs.
    #[test]
    fn arrays_belong_to_outputs_by_name_or_in_order() {
        for name in ["named.npz", "unnamed.npz"] {
            let expected = file(None, name).read().unwrap();
            let shapes: Vec<_> = matched(&outputs(), &expected).unwrap().iter().map(|a| a.shape.clone()).collect();
            assert_eq!(shapes, [vec![1, 2, 3], vec![1, 2]], "{name}");
        }
        let one = |output: Option<&str>| Expected {
            output: output.map(str::to_string),
            array: Array { shape: vec![], data: vec![] },
        };
        for (expected, what) in [
            (vec![one(None)], "for 1 of 2 outputs"),
            (vec![one(Some("first"))], "for 1 of 2 outputs"),
            (vec![one(Some("third")), one(Some("first"))], "for third, which is no output"),
            (vec![one(Some("first")), one(None)], "with names and without"),
            (vec![one(Some("first")), one(Some("first"))], "twice for one output"),
            (vec![one(None), one(None), one(None)], "for 3 of 2 outputs"),
        ] {
            let error = matched(&outputs(), &expected).unwrap_err();
            assert!(error.contains(what) && error.contains("first [1, 2, 3], second [1, 2]"), "{error}");
        }
    }

    #[test]
    fn archives_that_cannot_be_read_are_errors() {
        let compressed = file(None, "compressed.npz").read().unwrap_err().to_string();
        assert!(compressed.contains("holds first compressed") && compressed.contains("numpy.savez"), "{compressed}");
        let for_one = file(Some("first"), "named.npz").read().unwrap_err().to_string();
        assert!(for_one.contains("names of their own"), "{for_one}");
        let whole = std::fs::read(file(None, "named.npz").path).unwrap();
        for cut in 0..whole.len() {
            assert!(archive(&whole[..cut]).is_err(), "{cut}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            let _ = archive(&damaged);
        }
    }
}
