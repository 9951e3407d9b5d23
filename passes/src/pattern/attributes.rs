//! An operator's attributes as the text form has them, and back.

use std::sync::Arc;
use vitc_ir::Op;
use vitc_ir::parse::{Call, Cursor};

/// Keys and values, flags with an empty value; the shape of what has one.
pub(crate) fn attributes(op: &Op) -> Vec<(String, String)> {
    let pair = |text: String| match text.split_once('=') {
        Some((key, value)) => (key.to_string(), value.to_string()),
        None => (text, String::new()),
    };
    let mut pairs: Vec<_> = op.attributes().into_iter().map(pair).collect();
    if let Op::Reshape { shape } | Op::Expand { shape } = op {
        pairs.push(("shape".to_string(), shape.to_string()));
    }
    pairs
}

/// The operator of a word with such attributes.
///
/// # Errors
/// If there is none.
pub(crate) fn operator(word: &str, attributes: &[(&str, Arc<str>)]) -> Result<Op, String> {
    let shape = attributes.iter().find(|(key, _)| *key == "shape").map(|(_, text)| format!("f32{text}"));
    let ty = shape.map(|text| Cursor::new(&text, 1).ty()).transpose().map_err(|e| e.what)?;
    let pairs = attributes.iter().filter(|(key, _)| *key != "shape").map(|(key, text)| match &**text {
        "" => key.to_string(),
        text => format!("{key}={text}"),
    });
    let text = format!("{word}{{{}}}", pairs.collect::<Vec<_>>().join(", "));
    let call = Call::read(&mut Cursor::new(&text, 1)).map_err(|e| e.what)?;
    call.attributes.operator(ty.as_ref()).map_err(|e| e.what)
}
