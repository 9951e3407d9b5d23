//! CoreML: a package that the system compiles for the Neural Engine.

use super::description::{Content, FileFormat};
use crate::interface;
use crate::message::Setting;
use crate::place::Form;
use std::path::Path;
use vitc_exporters::coreml::{self, CLASS_LABEL, CLASS_PROBABILITIES};
use vitc_exporters::{ExportError, Summary};
use vitc_ir::DType;
use vitc_ir::target::Format;

/// The releases that hold ML Programs.
const VERSIONS: [u32; 5] = [15, 16, 17, 18, 26];

pub(super) static FORMAT: FileFormat = FileFormat {
    noun: "package",
    suffix: ".mlpackage",
    form: Form::Package,
    version: Setting::Ios,
    title: "ML Program for iOS",
    versions: &VERSIONS,
    usual_version: VERSIONS[0],
    at: |ios| Format::CoreMl { ios },
    needed_version: Some(coreml::minimum_ios),
    version_word: "iOS",
    attention_operator: 18,
    check_name: |name| interface::check_name(name, true),
    fixed_batch: Some("CoreML packages here have a fixed batch: flexible shapes leave the Neural Engine"),
    one_function: Some("CoreML packages here hold one function"),
    dynamic_batch: None,
    picture: Some("a CoreML image is one picture"),
    // Pictures are f32 in a package.
    plain_picture: None,
    picture_type: |_| DType::F32,
    interface_type: |_| DType::F32,
    label_outputs: Some([CLASS_LABEL, CLASS_PROBABILITIES]),
    single_precision: Some("fp32 does not run on the Neural Engine, only on GPU and CPU"),
    cast_interface: None,
    neural_engine: true,
    own_weights: Some("a package always keeps its weights in a file of their own"),
    write,
};

fn write(content: &Content<'_>, place: &Path) -> Result<(Summary, Option<String>), ExportError> {
    let Content { graph, numbers, target, interface, metadata, .. } = *content;
    std::fs::create_dir(place)?;
    Ok((coreml::write(graph, numbers, target, interface, metadata, place)?, None))
}
