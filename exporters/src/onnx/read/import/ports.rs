//! The sizes of a file's inputs: what the file says, what was asked for, and the batch.

use super::super::error::ImportError;
use super::super::proto::{PortInfo, PortSize};
use super::options::ImportOptions;
use std::collections::HashMap;
use vitc_ir::{Dim, Shape};

/// A file's inputs with their sizes.
pub(super) struct Ports {
    pub(super) infos: Vec<PortInfo>,
    pub(super) shapes: Vec<Shape>,
    pub(super) batch: Dim,
}

/// What is asked of one input's sizes.
type Asked<'a> = HashMap<&'a str, &'a [Option<usize>]>;

/// Give every input its sizes.
///
/// # Errors
/// If a size is open, or contradicts the file.
pub(super) fn bind(inputs: &[PortInfo], options: &ImportOptions) -> Result<Ports, ImportError> {
    let mut asked: Asked<'_> = HashMap::new();
    for (name, sizes) in &options.shapes {
        let name = match (name, inputs) {
            (Some(name), _) => name.as_str(),
            (None, [one]) => one.name.as_str(),
            (None, _) => {
                let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
                return Err(ImportError::Request(format!(
                    "a shape without a name, and the file has the inputs {}",
                    names.join(", ")
                )));
            }
        };
        asked.insert(name, sizes);
    }
    unknown(&asked, inputs)?;
    let mut open = Open::default();
    let symbolic =
        matches!(options.batch, Some(Dim::Batch(_))) || options.shapes.iter().any(|(_, s)| s.contains(&None));
    let batch = if symbolic { Dim::Batch(1) } else { options.batch.unwrap_or(Dim::Fixed(1)) };
    let mut ports = Ports { infos: Vec::new(), shapes: Vec::new(), batch };
    let mut used = false;
    for input in inputs {
        let dims = sizes(input, &asked, batch, &mut open, &mut used)?;
        let size = |d: &Dim| d.fixed().map_or(PortSize::Symbol("batch".into()), PortSize::Fixed);
        ports.infos.push(PortInfo { dims: Some(dims.iter().map(size).collect()), ..input.clone() });
        ports.shapes.push(Shape(dims));
    }
    if !open.what.is_empty() {
        return Err(ImportError::Open { what: open.what, sizes: open.sizes });
    }
    match options.batch {
        Some(batch) if !used && ports.shapes.iter().all(|s| s.0.first() != Some(&batch)) => {
            let first = ports.shapes.iter().find_map(|s| s.0.first().copied());
            let found = first.map_or("no input has one".into(), |d| format!("the file fixes it at {d}"));
            Err(ImportError::Request(format!("a batch of {batch} was asked for, and {found}")))
        }
        _ => {
            if !used {
                ports.batch = ports.shapes.iter().find_map(|s| s.0.first().copied()).unwrap_or(Dim::Fixed(1));
            }
            Ok(ports)
        }
    }
}

#[derive(Default)]
struct Open {
    what: Vec<String>,
    sizes: Vec<(String, String)>,
}

/// A name that is neither an input nor a symbol is a mistake.
fn unknown(asked: &Asked<'_>, inputs: &[PortInfo]) -> Result<(), ImportError> {
    let symbols = || {
        inputs
            .iter()
            .flat_map(|i| i.dims.iter().flatten())
            .filter_map(|d| if let PortSize::Symbol(s) = d { Some(s) } else { None })
    };
    for name in asked.keys() {
        if inputs.iter().all(|i| i.name != *name) && symbols().all(|s| s != name) {
            let mut known: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
            known.extend(symbols().filter(|s| !s.is_empty()).map(String::as_str));
            return Err(ImportError::Request(format!(
                "the file has no input and no symbol {name:?}; it has {}",
                known.join(", ")
            )));
        }
    }
    Ok(())
}

fn sizes(
    input: &PortInfo,
    asked: &Asked<'_>,
    batch: Dim,
    open: &mut Open,
    used: &mut bool,
) -> Result<Vec<Dim>, ImportError> {
    let name = &input.name;
    let wanted = asked.get(name.as_str()).copied();
    let declared = match (&input.dims, wanted) {
        (Some(dims), _) => dims.clone(),
        (None, Some(sizes)) => vec![PortSize::Symbol(String::new()); sizes.len()],
        (None, None) => {
            open.what.push(format!("{name}: not even the number of its dimensions"));
            open.sizes.push((name.clone(), "1x3x224x224".into()));
            return Ok(Vec::new());
        }
    };
    if let Some(sizes) = wanted.filter(|s| s.len() != declared.len()) {
        let what = format!("{} sizes for input {name}, which has {} dimensions", sizes.len(), declared.len());
        return Err(ImportError::Request(what));
    }
    let mut dims = Vec::new();
    let (mut proposal, mut lacks) = (Vec::new(), false);
    for (axis, size) in declared.iter().enumerate() {
        let symbol = if let PortSize::Symbol(s) = size {
            asked.get(s.as_str()).and_then(|sizes| sizes.first().copied())
        } else {
            None
        };
        let given = wanted.map(|sizes| sizes[axis]).or(symbol);
        let dim = match (size, given) {
            (PortSize::Fixed(n), Some(Some(m))) if *n != m => {
                return Err(ImportError::Request(format!(
                    "axis {axis} of input {name} is {n} in the file and {m} was asked for; its constants were computed for {n}"
                )));
            }
            (PortSize::Fixed(n), _) => Dim::Fixed(*n),
            (PortSize::Symbol(_), Some(Some(n))) => Dim::Fixed(n),
            (PortSize::Symbol(_), Some(None)) if axis > 0 => {
                return Err(ImportError::Request(format!(
                    "the batch stands first, and not on axis {axis} of input {name}"
                )));
            }
            (PortSize::Symbol(_), Some(None)) => Dim::Batch(1),
            (PortSize::Symbol(_), None) if axis == 0 => batch,
            (PortSize::Symbol(s), None) => {
                let shown = if s.is_empty() { "no name" } else { s };
                open.what.push(format!("{name}: axis {axis} ({shown})"));
                lacks = true;
                Dim::Fixed(1)
            }
        };
        *used |= matches!((size, given), (PortSize::Symbol(_), None)) && axis == 0;
        let guess = matches!((size, given), (PortSize::Symbol(_), None)) && axis > 0;
        proposal.push(if guess { "224".into() } else { dim.to_string() });
        dims.push(dim);
    }
    if lacks {
        open.sizes.push((name.clone(), proposal.join("x")));
    }
    Ok(dims)
}
