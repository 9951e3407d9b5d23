//! The folder: `Manifest.json`, `Data/com.apple.CoreML/model.mlmodel`, `Data/com.apple.CoreML/weights/weight.bin`.
//!
//! The manifest lists the items under identifiers. Nothing depends on their value, so they come from a hash of the
//! model: equal models make equal packages.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Folder of the model, below the package.
const DATA: &str = "Data/com.apple.CoreML";

/// The model file of a package that is being written.
pub(super) fn model_path(package: &Path) -> PathBuf {
    package.join(DATA).join("model.mlmodel")
}

/// The weight file of a package that is being written.
pub(super) fn weight_path(package: &Path) -> PathBuf {
    package.join(DATA).join("weights").join("weight.bin")
}

/// The manifest for a model of these bytes.
pub(super) fn manifest(model: &[u8], has_weights: bool) -> String {
    let item = |name: &str, description: &str| {
        json!({
            "author": "com.apple.CoreML",
            "description": description,
            "name": name,
            "path": format!("com.apple.CoreML/{name}"),
        })
    };
    let root = identifier("model", model);
    let mut items = serde_json::Map::new();
    items.insert(root.clone(), item("model.mlmodel", "CoreML Model Specification"));
    if has_weights {
        items.insert(identifier("weights", model), item("weights", "CoreML Model Weights"));
    }
    let manifest: Value =
        json!({ "fileFormatVersion": "1.0.0", "itemInfoEntries": items, "rootModelIdentifier": root });
    format!("{manifest:#}\n")
}

/// A UUID (version 8: of our own making) from an item's role and the model's bytes.
fn identifier(role: &str, model: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(role.as_bytes()).update(&[0]).update(model);
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id[6] = 0x80 | id[6] & 0x0f;
    id[8] = 0x80 | id[8] & 0x3f;
    let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_names_both_items_and_follows_the_model() {
        let text = manifest(b"model", true);
        assert_eq!(text, manifest(b"model", true));
        assert_ne!(text, manifest(b"other", true));
        let v: Value = serde_json::from_str(&text).unwrap();
        let items = v["itemInfoEntries"].as_object().unwrap();
        assert_eq!(items.len(), 2);
        let root = v["rootModelIdentifier"].as_str().unwrap();
        assert_eq!(items[root]["path"], "com.apple.CoreML/model.mlmodel");
        assert!(items.values().any(|i| i["path"] == "com.apple.CoreML/weights"));
        for id in items.keys() {
            assert_eq!(id.len(), 36);
            assert_eq!(id.to_lowercase(), *id);
            assert_eq!((id.as_bytes()[14], id.matches('-').count()), (b'8', 4));
        }
        assert_eq!(manifest(b"model", false).matches("\"path\"").count(), 1);
    }
}
