//! What a user reads who gives the wrong file: every message is a snapshot in `golden/errors`, and each says what to do.

mod torch_file;

use std::path::Path;
use torch_file::{Item, archive, legacy, prefixes, safetensors, zip, zip_as};
use vitc::checkpoint::{BoundPart, Checkpoint, ModelHints, NameTable, SelectOptions, Selected, bind};
use vitc::cli::explained;

/// A small model: key and shape.
const NET: [(&str, &[usize]); 5] = [
    ("patch_embed.0.weight", &[4, 3, 3, 3]),
    ("patch_embed.0.bias", &[4]),
    ("stage.norm.weight", &[4]),
    ("head.weight", &[5, 4]),
    ("head.bias", &[5]),
];

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn net(prefix: &str) -> Tensors {
    let tensor = |&(key, shape): &(&str, &[usize])| {
        (format!("{prefix}{key}"), shape.to_vec(), vec![0.5; shape.iter().product()])
    };
    NET.iter().map(tensor).collect()
}

fn item(tensors: Tensors) -> Item {
    Item::dict(tensors.into_iter().map(|(key, shape, values)| (key, Item::f32(&shape, values))))
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/checkpoints").join(name)).unwrap()
}

/// Opens `name` in a folder with these files, selects and binds strictly; the message that ends it.
fn message(name: &str, files: &[(&str, &[u8])], options: &SelectOptions) -> String {
    message_for(&NET, name, files, options)
}

/// The same for a model that asks for other tensors.
fn message_for(net: &[(&str, &[usize])], name: &str, files: &[(&str, &[u8])], options: &SelectOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let recognised = prefixes(|shapes| shapes.contains_key("patch_embed.0.weight"));
    let required = net.iter().map(|(key, shape)| (*key, shape.to_vec()));
    let model = ModelHints { name: "net-s", nearest: false };
    let error = match Checkpoint::open(&folder.path().join(name)).and_then(|c| c.select(&recognised, options)) {
        Err(error) => explained(&error),
        Ok(selected) => match bind(&[whole(&selected)], required, &model) {
            Err(error) => explained(&*error),
            Ok(_) => panic!("{name} was accepted"),
        },
    };
    assert!(["\n  where: ", "\n  why: ", "\n  to do: "].iter().all(|part| error.contains(part)), "{error}");
    error.replace(folder.path().to_str().unwrap(), "…")
}

/// The tensors as the only part of a model.
fn whole(selected: &Selected) -> BoundPart<'_> {
    BoundPart { selected, table: &NameTable::IDENTITY, scope: "" }
}

fn snapshot(case: &str, message: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden/errors");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("checkpoint-{case}"), message));
}

/// A file that is no checkpoint.
fn check(case: &str, name: &str, bytes: &[u8]) {
    snapshot(case, &message(name, &[(name, bytes)], &SelectOptions::default()));
}

#[test]
fn files_of_other_kinds() {
    snapshot("missing-file", &message("absent.pth", &[], &SelectOptions::default()));
    check("empty", "model.pth", b"");
    check("git-lfs-pointer", "model.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 14\n");
    check("html-page", "model.pth", b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>");
    check("json", "config.json", b"{\"error\": \"not found\"}");
    check("gguf", "model.gguf", b"GGUF\x03\0\0\0");
    check("tflite", "model.tflite", b"\x1c\0\0\0TFL3\0\0\0\0");
    check("keras-h5", "model.h5", b"\x89HDF\r\n\x1a\n\0\0");
    check("keras-zip", "model.keras", &zip([("config.json", &b"{}"[..]), ("model.weights.h5", b"")]));
    check("numpy-archive", "model.npz", &zip([("w.npy", &b""[..])]));
    check("gzip", "model.pth.gz", b"\x1f\x8b\x08\0");
    check("onnx", "model.onnx", b"\x08\x08\x12\x07pytorch");
    check("torchscript", "model.pt", &golden("torchscript.pt"));
    check("exported-program", "model.pt2", &zip([("m/archive_format", &b"pt2"[..]), ("m/models/model.json", b"{}")]));
    check("plain-pickle", "model.pkl", b"\x80\x04\x95\x05\0\0\0\0\0\0\0}\x94.");
    check("unknown-archive", "model.zip", &zip([("readme.txt", &b"hello"[..])]));
    check("unknown-bytes", "model.bin", b"\x01\x02\x03\x04\x05\x06\x07\x08\x09");
    check("deepspeed-shard", "zero_pp_rank_0_mp_rank_00_optim_states.pt", b"x");
    check("fsdp-shard", "__0_0.distcp", b"x");
    check("shard-alone", "model-00001-of-00003.safetensors", b"x");
}

#[test]
fn damaged_files() {
    let file = archive(&item(net("")));
    check("truncated-zip", "model.pth", &file[..file.len() / 2]);
    let file = legacy(&item(net("")));
    check("truncated-legacy", "model.pth", &file[..file.len() - 30]);
    let file = safetensors(&net(""));
    check("truncated-safetensors", "model.safetensors", &file[..file.len() - 30]);
    check("truncated-safetensors-header", "model.safetensors", &file[..40]);
    check("compressed-archive", "model.pth", &zip_as([("x/data.pkl", &b"\x80\x02}."[..])], 8, false));
    let mut tensors = net("");
    tensors[0].2.truncate(9);
    check("storage-too-small", "model.pth", &archive(&item(tensors)));
    check("unknown-instruction", "model.pth", &zip([("x/data.pkl", &b"\x80\x02\x84\x01."[..])]));
}

#[test]
fn checkpoints_without_a_model() {
    check("whole-module", "model.pth", &golden("whole_module.pth"));
    check("optimizer-only", "optimizer.pth", &golden("optimizer_only.pth"));
    check(
        "no-tensors",
        "model.pth",
        &archive(&Item::dict([
            ("epoch", Item::Int(3)),
            ("args", Item::Namespace(vec![("model".into(), Item::Text("x"))])),
        ])),
    );
    let lora = vec![("base.q.lora_A.weight".to_string(), vec![2, 4], vec![0.0; 8])];
    check("lora", "adapter.safetensors", &safetensors(&lora));
    let resnet = [("conv1.weight", vec![8, 3, 7, 7]), ("bn1.weight", vec![8])];
    let resnet: Tensors =
        resnet.iter().map(|(k, s)| (k.to_string(), s.clone(), vec![0.0; s.iter().product()])).collect();
    check("wrong-family", "resnet.safetensors", &safetensors(&resnet));
    let both = Item::dict([("student", item(net(""))), ("teacher", item(net("module.")))]);
    check("several-models", "dino.pth", &archive(&both));
    let ema = SelectOptions { ema: Some(true), ..SelectOptions::default() };
    snapshot("no-ema-copy", &message("m.pth", &[("m.pth", &archive(&item(net("module."))))], &ema));
    let prefix = SelectOptions { strip_prefix: Some("encoder.".into()), ..SelectOptions::default() };
    snapshot("no-such-prefix", &message("m.pth", &[("m.pth", &archive(&item(net("module."))))], &prefix));
}

#[test]
fn models_that_do_not_fit() {
    let checked = |case: &str, tensors: &Tensors| check(case, "model.safetensors", &safetensors(tensors));
    let mut tensors = net("module.");
    tensors[3].0 = "module.classifier.1.weight".into();
    tensors[4].0 = "module.classifier.1.bias".into();
    checked("head-renamed", &tensors);
    // A model without classifier exports its features; a classifier under another name is then unexpected.
    let file = safetensors(&tensors);
    let features = message_for(&NET[..3], "m.safetensors", &[("m.safetensors", &file)], &SelectOptions::default());
    snapshot("head-renamed-features", &features);
    let mut tensors = net("");
    tensors[3].1 = vec![37, 4];
    tensors[3].2 = vec![0.0; 148];
    tensors[4].1 = vec![37];
    tensors[4].2 = vec![0.0; 37];
    checked("other-classes", &tensors);
    let mut tensors = net("");
    tensors[0].1 = vec![3, 3, 3, 3];
    tensors[0].2 = vec![0.0; 81];
    for i in [1, 2] {
        tensors[i].1 = vec![3];
        tensors[i].2 = vec![0.0; 3];
    }
    checked("channel-pruned", &tensors);
    let mut tensors = net("");
    tensors.push(("aux.projector.weight".into(), vec![2], vec![0.0; 2]));
    checked("unexpected", &tensors);
    let mut tensors = net("");
    tensors.retain(|(key, ..)| key != "stage.norm.weight");
    tensors.extend((0..14).map(|i| (format!("extra.{i}.weight"), vec![7], vec![0.0; 7])));
    checked("missing-and-unexpected", &tensors);
    let parametrized = net("").into_iter().map(|(key, shape, values)| {
        (key.replace("head.weight", "head.parametrizations.weight.original"), shape, values)
    });
    checked("spectral-norm", &parametrized.collect());
}

#[test]
fn folders() {
    let file = safetensors(&net(""));
    let case = |case: &str, files: &[(&str, &[u8])]| snapshot(case, &message("f", files, &SelectOptions::default()));
    case("folder-empty", &[("f/readme.md", b"")]);
    case("folder-several", &[("f/a.pth", b""), ("f/b.pth", b"")]);
    case("folder-lora", &[("f/adapter_config.json", b"{}"), ("f/adapter_model.safetensors", &file)]);
    case("folder-fsdp", &[("f/.metadata", b""), ("f/__0_0.distcp", b"")]);
    case("folder-deepspeed", &[("f/zero_to_fp32.py", b""), ("f/latest", b"")]);
    case("folder-mlpackage", &[("f/Manifest.json", b"{}"), ("f/Data/com.apple.CoreML/model.mlmodel", b"")]);
    case("folder-saved-model", &[("f/saved_model.pb", b"")]);
    case("folder-broken-config", &[("f/config.json", b"{"), ("f/model.safetensors", &file)]);
    let index = |file: &str| format!(r#"{{"weight_map": {{"head.weight": "{file}"}}}}"#);
    case(
        "folder-missing-shard",
        &[("f/model.safetensors.index.json", index("model-00001-of-00002.safetensors").as_bytes())],
    );
    case("folder-escaping-index", &[("f/model.safetensors.index.json", index("../secret.safetensors").as_bytes())]);
    let index = r#"{"weight_map": {"tail.weight": "a.safetensors"}}"#;
    case("folder-wrong-index", &[("f/model.safetensors.index.json", index.as_bytes()), ("f/a.safetensors", &file)]);
}
