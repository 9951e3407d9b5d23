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
    let pair = || value.split_once('=').map(|(key, value)| format!("{{{}: {}}}", quoted(key), quoted(value)));
    let size = |one: &str| one.split_once('x').map_or(one.to_string(), |(h, w)| format!("({h}, {w})"));
    match setting {
        Setting::Choice | Setting::Rename => pair().unwrap_or_else(|| quoted(value)),
        Setting::Ignore | Setting::Head => format!("[{}]", quoted(value)),
        Setting::Outputs | Setting::OutputName => {
            format!("[{}]", value.split(',').map(quoted).collect::<Vec<_>>().join(", "))
        }
        Setting::Resolution => listed(value, size),
        // Numbers, or words that stand for one (`dynamic`); texts that look like a number stay texts.
        Setting::Batch
        | Setting::Mean
        | Setting::Std
        | Setting::Opset
        | Setting::Ios
        | Setting::Seed
        | Setting::Classes
        | Setting::Channels
        | Setting::Samples
        | Setting::PaletteGroup
        | Setting::MinSnr
        | Setting::Agreement => listed(value, |one| if one.parse::<f64>().is_ok() { one.into() } else { quoted(one) }),
        _ => quoted(value.trim_end()),
    }
}

/// Values with commas between them: one as it is, several as a list.
fn listed(value: &str, one: impl Fn(&str) -> String) -> String {
    match value.contains(',') {
        true => format!("[{}]", value.split(',').map(|v| one(v.trim())).collect::<Vec<_>>().join(", ")),
        false => one(value),
    }
}

/// A text between quotes, with escapes as Python reads them.
fn quoted(text: &str) -> String {
    let letter = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() && (c as u32) < 0x100 => format!("\\x{:02x}", c as u32),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(letter).collect::<String>())
}
