//! Where files go, and which files of an earlier export leave.

use super::error::Error;
use super::format::TargetKind;
use super::request::Request;
use crate::artifact::Artifact;
use crate::message::Message;
use std::path::{Path, PathBuf};
use vitc_ir::DType;

/// Where the artifact of `model` goes.
pub(super) fn artifact_place(request: &Request, model: &str) -> Result<PathBuf, Error> {
    let suffix = request.target.format().suffix;
    let target = request.target.target(None);
    let precision = match request.numbers.precision.filter(|p| *p != target.default_precision()) {
        Some(DType::F16) => "-fp16",
        Some(_) => "-fp32",
        None => "",
    };
    let what = format!("an artifact of target {}", target.name());
    let Some(file) = &request.model.file else {
        return named_place(request.artifact.output.as_deref(), &format!("{model}{precision}{suffix}"), suffix, &what);
    };
    // Never the file's own name.
    let own = file.path.extension().is_some_and(|e| format!(".{}", e.to_string_lossy()) == suffix);
    let mark = match request.target {
        TargetKind::Onnx => "-vitc",
        TargetKind::TensorRt => "-trt",
        TargetKind::CoreMl if own => "-vitc",
        TargetKind::CoreMl | TargetKind::CoreAi => "",
    };
    let name = format!("{model}{mark}{precision}{suffix}");
    let place = named_place(request.artifact.output.as_deref(), &name, suffix, &what)?;
    let same = |path: &Path| path.canonicalize().is_ok_and(|p| place.canonicalize().is_ok_and(|q| p == q));
    match same(&file.path) {
        true => Err(Error::Usage(Message::from(format!(
            "{} is the file that is read\n  give the artifact another name",
            place.display()
        )))),
        false => Ok(place),
    }
}

/// Where a file goes: the place asked for, or its default name, there or in a folder that is asked for. `what` the file is ends in `suffix`.
///
/// # Errors
/// If the place asked for has another suffix.
pub fn named_place(output: Option<&Path>, name: &str, suffix: &str, what: &str) -> Result<PathBuf, Error> {
    let Some(output) = output else { return Ok(PathBuf::from(name)) };
    let text = output.to_string_lossy();
    let fits = text.ends_with(suffix);
    if text.ends_with(['/', '\\']) && !text.trim_end_matches(['/', '\\']).ends_with(suffix) || output.is_dir() && !fits
    {
        return Ok(output.join(name));
    }
    if !fits {
        let named = Path::new(&*text).with_extension(&suffix[1..]);
        return Err(Error::Usage(Message::from(format!(
            "{text}: {what} ends in {suffix}\n  use {}, or {text}/ to put the default name inside a folder",
            named.display()
        ))));
    }
    Ok(output.to_path_buf())
}

/// Data files of the artifact in the place that the staged one does not use: nobody needs them once it is replaced.
pub(super) fn outdated_data_files(place: &Path, staged: &Path) -> Vec<PathBuf> {
    let open = |path: &Path| if path.is_file() { Artifact::open(path).ok() } else { None };
    let Some(old) = open(place).filter(|a| a.is_from_vitc() && !a.data_files.is_empty()) else { return Vec::new() };
    let kept = open(staged).map(|a| a.data_files).unwrap_or_default();
    old.data_files.into_iter().filter(|n| !kept.contains(n)).map(|n| place.with_file_name(n)).collect()
}
