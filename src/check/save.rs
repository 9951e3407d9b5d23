//! Inputs and reference outputs as files, for runs elsewhere.

use super::CheckError;
use super::cases::Case;
use super::compare::classes_of;
use super::npy::{self, NpyError};
use crate::runner::{Named, Port};
use crate::signature::OutputRole;
use std::path::Path;

/// Write one case's inputs and reference outputs, these under the names that the artifact gives them. A single input is called `input`.
pub(super) fn save(
    folder: &Path,
    case: &Case,
    ports: &[Port],
    outputs: &[Named],
    roles: &[OutputRole],
    answers: &[&Named],
) -> Result<(), CheckError> {
    let io = |path: &Path, source| NpyError::Io { path: path.display().to_string(), source };
    std::fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
    let words: Vec<&str> = case.name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let stem = format!("{}-b{}", words.join("-"), case.batch);
    let input = |(port, data): (&Port, &Vec<f32>)| {
        let name = if ports.len() == 1 { "input" } else { &port.name };
        Named { name: name.into(), shape: port.shape.clone(), data: data.clone() }
    };
    let inputs = ports.iter().zip(&case.candidate).map(input);
    let outputs = outputs.iter().zip(answers).enumerate().map(|(i, (o, a))| {
        let data = match roles.get(i) {
            // The reference answers with the scores of these classes.
            Some(OutputRole::Classes { classes }) => classes_of(&o.data, [*classes, o.shape.iter().skip(2).product()]),
            _ => o.data.clone(),
        };
        Named {
            name: a.name.clone(),
            shape: if data.len() == o.data.len() { o.shape.clone() } else { a.shape.clone() },
            data,
        }
    });
    for value in inputs.chain(outputs) {
        let path = folder.join(format!("{stem}.{}.npy", value.name));
        npy::write(&path, &value.shape, &value.data)?;
        let raw = path.with_extension("raw");
        let bytes: Vec<u8> = value.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&raw, bytes).map_err(|e| io(&raw, e))?;
    }
    Ok(())
}
