//! ONNX: one file, and above the format's limit a data file beside it.

use super::description::{Content, FileFormat};
use crate::interface;
use crate::message::Setting;
use crate::place::Form;
use std::fs::File;
use std::path::Path;
use vitc_exporters::onnx::{self, DataFile};
use vitc_exporters::{ExportError, Summary};
use vitc_ir::DType;
use vitc_ir::target::Format;

pub(super) static FORMAT: FileFormat = FileFormat {
    noun: "file",
    suffix: ".onnx",
    form: Form::File,
    version: Setting::Opset,
    title: "ONNX opset",
    versions: &[11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23],
    usual_version: 17,
    at: |opset| Format::Onnx { opset },
    needed_version: None,
    version_word: "opset",
    attention_operator: 23,
    check_name: |name| interface::check_name(name, false),
    fixed_batch: None,
    one_function: Some("an ONNX file holds one graph"),
    dynamic_batch: None,
    picture: None,
    plain_picture: None,
    picture_type: |_| DType::F32,
    interface_type: |_| DType::F32,
    label_outputs: None,
    single_precision: None,
    cast_interface: None,
    neural_engine: false,
    own_weights: None,
    write,
};

/// The data file's name carries a hash of what decides its content, so that a model file never meets another export's data.
fn write(content: &Content<'_>, place: &Path) -> Result<(Summary, Option<String>), ExportError> {
    let Content { graph, numbers, target, metadata, external_data, .. } = *content;
    let mut out = File::create(place)?; // the exporter buffers both
    if !external_data && onnx::size_of(graph, target, metadata)? <= onnx::INLINE_LIMIT {
        return Ok((onnx::write(graph, numbers, target, metadata, &mut out)?, None));
    }
    let mut hash = blake3::Hasher::new();
    hash.update(graph.to_string().as_bytes());
    metadata.entries().iter().for_each(|(key, value)| {
        hash.update(key.as_bytes()).update(value.as_bytes());
    });
    let stem = place.file_stem().unwrap_or_default().to_string_lossy();
    let location = format!("{stem}-{}.data", &hash.finalize().to_hex()[..8]);
    let mut data = File::create(place.with_file_name(&location))?;
    let file = DataFile { location: &location, out: &mut data };
    let summary = onnx::write_external(graph, numbers, target, metadata, &mut out, file)?;
    Ok((summary, Some(location)))
}
