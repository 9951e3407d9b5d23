//! A pickle's dicts, lists, texts and numbers as a JSON document: what settings are read from. Tensors, and whatever else no setting is, are null.

use super::pickle::{Id, Pickle, Value};
use serde_json::{Map, Value as Json};

/// Deepest nesting that is followed, most values taken, and longest text: bounds the document, which may refer to one value many times.
const DEPTH: usize = 8;
const VALUES: usize = 1 << 18;
const LONGEST: usize = 4096;

/// The pickle's root as a document.
pub(super) fn document(pickle: &Pickle<'_>) -> Json {
    Reader { pickle, left: VALUES }.value(pickle.root, 0)
}

struct Reader<'p, 'a> {
    pickle: &'p Pickle<'a>,
    left: usize,
}

impl Reader<'_, '_> {
    fn value(&mut self, id: Id, depth: usize) -> Json {
        if depth > DEPTH || self.left == 0 {
            return Json::Null;
        }
        self.left -= 1;
        match self.pickle.get(id) {
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::from(*n),
            Value::Float(x) => Json::from(*x),
            Value::Str(text) if text.len() <= LONGEST => Json::from(*text),
            Value::List(items) | Value::Tuple(items) => items.iter().map(|&id| self.value(id, depth + 1)).collect(),
            Value::Dict(_) | Value::Object(_) => self.dict(id, depth),
            _ => Json::Null,
        }
    }

    /// A dict, or an object's attributes; omegaconf keeps its values one object further in.
    fn dict(&mut self, id: Id, depth: usize) -> Json {
        let entries = self.pickle.entries(id);
        if entries.is_empty() {
            return Json::Null;
        }
        let named = |name: &str| entries.iter().find(|(k, _)| self.pickle.str(*k) == Some(name)).map(|e| e.1);
        if let Some(inner) = named("_content").or(named("_val")) {
            return self.value(inner, depth + 1);
        }
        let mut map = Map::new();
        for &(key, value) in entries {
            let name = match self.pickle.get(key) {
                Value::Str(name) if name.len() <= LONGEST => name.to_string(),
                Value::Int(n) => n.to_string(),
                _ => continue,
            };
            // Tensors by the hundred hold no setting.
            let value = self.value(value, depth + 1);
            if !value.is_null() {
                map.insert(name, value);
            }
        }
        Json::Object(map)
    }
}
