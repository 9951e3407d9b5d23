//! Core AI: an asset that the system specialises for the device.

use super::description::{Content, FileFormat};
use crate::interface;
use crate::message::Setting;
use crate::place::Form;
use std::path::Path;
use vitc_exporters::coreai::{self, Function};
use vitc_exporters::coreml::InputForm;
use vitc_exporters::{ExportError, Summary};
use vitc_ir::target::Format;

/// The first systems that load assets.
const IOS: u32 = 27;

pub(super) static FORMAT: FileFormat = FileFormat {
    noun: "asset",
    suffix: ".aimodel",
    form: Form::Package,
    version: Setting::Ios,
    versions: &[IOS],
    usual_version: IOS,
    title: "Core AI asset for iOS",
    at: |ios| Format::CoreAi { ios },
    needed_version: None,
    version_word: "iOS",
    attention_operator: IOS,
    check_name: |name| interface::check_name(name, false),
    fixed_batch: None,
    one_function: None,
    dynamic_batch: Some(
        "the Neural Engine wants fixed shapes: an asset with a batch that is chosen when it runs stays on GPU and CPU",
    ),
    picture: Some("a Core AI image is one picture"),
    plain_picture: Some("pictures of these assets are red, green and blue"),
    picture_type: |precision| precision,
    interface_type: |precision| precision,
    label_outputs: None,
    single_precision: Some("fp32 does not run on the Neural Engine, only on GPU and CPU"),
    cast_interface: Some("the casts at input and output leave the Neural Engine"),
    neural_engine: true,
    own_weights: Some("an asset always keeps its weights in its own folder"),
    write,
};

fn write(content: &Content<'_>, place: &Path) -> Result<(Summary, Option<String>), ExportError> {
    let Content { name, graph, numbers, interface, metadata, .. } = *content;
    std::fs::create_dir(place)?;
    let picture = interface.input == InputForm::Image;
    let mut functions = vec![Function { name, graph, numbers, picture }];
    functions.extend(content.others.iter().map(|f| Function {
        name: f.name,
        graph: f.graph,
        numbers: f.numbers,
        picture,
    }));
    Ok((coreai::write(&functions, metadata, place)?, None))
}
