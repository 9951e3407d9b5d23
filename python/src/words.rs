//! How a message that names settings reads in Python: as keyword arguments.

use vitc::message::{Given, Listing, Message, Part, Setting, Value};

/// A message in the words of the Python package.
pub(crate) fn words(message: &Message) -> String {
    message.written(|part| match part {
        Part::Text(text) => text.clone(),
        Part::Setting(given) => setting(given),
        Part::Listing(Listing::Models) => "vitc.models()".into(),
        Part::Listing(Listing::Tensors) => "vitc.inspect(model, tensors=True)".into(),
    })
}

/// The keyword argument.
fn name(setting: Setting) -> &'static str {
    match setting {
        Setting::Place => "path",
        Setting::Weights => "model",
        Setting::Model => "architecture",
        setting => setting.name(),
    }
}

fn setting(Given { setting, value }: &Given) -> String {
    let name = name(*setting);
    match value {
        Value::Open => name.into(),
        Value::On => format!("{name}=True"),
        Value::Off => format!("{name}=False"),
        Value::To(value) => match setting {
            // The element types are arguments of their own.
            Setting::Precision => format!("{value}=True"),
            setting => format!("{name}={}", literal(*setting, value)),
        },
    }
}

/// The value as Python writes it.
fn literal(setting: Setting, value: &str) -> String {
    let pair = || value.split_once('=').map(|(key, value)| format!("{{{key:?}: {value:?}}}"));
    let size = || value.split_once('x').map(|(h, w)| format!("({h}, {w})"));
    match setting {
        Setting::Choice | Setting::Rename => pair().unwrap_or_else(|| format!("{value:?}")),
        Setting::Ignore | Setting::Head | Setting::Outputs | Setting::OutputName => format!("[{value:?}]"),
        Setting::Resolution => size().unwrap_or_else(|| value.into()),
        _ if value.parse::<f64>().is_ok() => value.into(),
        _ => format!("{:?}", value.trim_end()),
    }
}
