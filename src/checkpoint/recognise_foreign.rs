//! What a file or folder is if it is no checkpoint that can be read: each a clear error with what to do.
//!
//! Files are known by their first bytes, archives by their members, folders by their files, and readable checkpoints without a model by what
//! they hold instead. Extensions are never trusted, except to tell a shard from a whole.

use super::contents::Contents;
use super::error::{CheckpointError, count, shortened, some_of};
use super::tensor::TensorInfo;
use super::zip::Members;
use super::{relatives, safetensors};
use crate::message;
use crate::message::{Listing, Message, Setting};
use std::collections::BTreeMap;
use std::path::Path;

/// What to do with a network that is not built here.
const FROM_ITS_CODE: &str = "export it to ONNX from its own code (torch.onnx.export) and give vitc that file";

/// The checkpoint behind an artifact.
const ORIGINAL: &str = "the PyTorch or .safetensors checkpoint that this file was made from";

/// `give --weights …`.
fn give(what: &str) -> Message {
    message!("give ", Setting::Weights, format!(" {what}"))
}

/// What to do in Python, or with another tool, to get `file`.
fn make(how: &str, file: &str) -> Message {
    message!(format!("{how}, then "), Setting::Weights.to(file))
}

fn foreign(what: &str, why: impl Into<String>, todo: impl Into<Message>) -> CheckpointError {
    CheckpointError::new(what, "", why.into(), todo)
}

/// Known by the first bytes.
pub(super) fn by_bytes(bytes: &[u8], path: &Path) -> Result<(), CheckpointError> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).trim_start().to_ascii_lowercase();
    let error = if bytes.is_empty() {
        foreign("the file is empty", "it has 0 bytes", "copy or download it again")
    } else if starts(b"version https://git-lfs.github.com/spec/v1") {
        foreign(
            "this is a Git LFS pointer, not the checkpoint",
            format!("its {} bytes of text only name the real file", bytes.len()),
            "run git lfs pull in that repository, or download the file from its web page",
        )
    } else if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        foreign(
            "this is a web page, not a checkpoint",
            "it begins with HTML or XML: a download answered with a page (a login, an error, a link's preview)",
            "open the link in a browser, find the direct download (on GitHub: Raw; on Hugging Face: resolve, not blob), fetch again",
        )
    } else if starts(b"GGUF") || starts(b"ggml") || starts(b"lmgg") {
        foreign("this is a GGUF or GGML file", "that format holds language models for llama.cpp", give(ORIGINAL))
    } else if at(4, b"TFL3") {
        foreign("this is a TensorFlow Lite model", "it is an exported graph, not a checkpoint", give(ORIGINAL))
    } else if starts(b"\x89HDF\r\n\x1a\n") {
        foreign(
            "this is an HDF5 file, as Keras writes",
            "Keras weights have other names and layouts than the papers' PyTorch code",
            give(ORIGINAL),
        )
    } else if starts(b"\x93NUMPY") {
        foreign("this is a NumPy array", "one .npy file holds one array, not a model", give(ORIGINAL))
    } else if starts(b"\x1f\x8b")
        || starts(b"\x28\xb5\x2f\xfd")
        || starts(b"\xfd7zXZ")
        || starts(b"7z\xbc\xaf")
        || starts(b"BZh")
    {
        foreign(
            "the checkpoint is compressed",
            "it begins as gzip, zstd, xz, bzip2 or 7z data",
            message!("unpack it (gunzip, unzstd, unxz, 7z x) and ", give("what comes out")),
        )
    } else if at(257, b"ustar") || looks_like_torch_tar(bytes) {
        foreign(
            "this is a tar archive",
            "either an archive around a checkpoint, or PyTorch's own format before 0.1.10, which PyTorch itself no longer loads safely",
            "unpack it with tar -xf, or load and save it again with PyTorch",
        )
    } else if is_onnx(bytes, path) {
        foreign(
            "this is an ONNX model",
            "it is an exported graph; vitc builds the graph itself, from the architecture and a checkpoint",
            give(ORIGINAL),
        )
    } else {
        return Ok(());
    };
    Err(error)
}

fn looks_like_torch_tar(bytes: &[u8]) -> bool {
    bytes.starts_with(b"./") && bytes.len() >= 512 && bytes[2..100].contains(&0)
}

/// ONNX has no magic number: field 1 (IR version, a small number) and then field 2 (producer) or 7 (graph), as exporters write it.
fn is_onnx(bytes: &[u8], path: &Path) -> bool {
    if safetensors::looks_like(bytes) {
        return false;
    }
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    matches!(bytes, [0x08, version, 0x12 | 0x3a | 0x42, ..] if (1..=32).contains(version))
        || (named && bytes.first() == Some(&0x08))
}

/// Known by the name: one shard of several.
pub(super) fn by_name(path: &Path) -> Result<(), CheckpointError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let place = path.display().to_string();
    if name.contains("zero_pp_rank_") || name.ends_with("_optim_states.pt") {
        return Err(deepspeed().within(&place));
    }
    if name.ends_with(".index") || name.contains(".data-0") || name.ends_with(".msgpack") {
        return Err(other_framework(&name).within(&place));
    }
    if name.ends_with(".distcp") {
        return Err(distributed().within(&place));
    }
    let stem = name.rsplit_once('.').map_or(name.as_str(), |s| s.0);
    let of = stem.rsplit_once("-of-").filter(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let shard =
        of.and_then(|(rest, _)| rest.rsplit_once('-')).is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
    if shard && of.is_some_and(|(_, n)| n.parse() != Ok(1u32)) {
        return Err(CheckpointError::new(
            "this is one shard of a checkpoint",
            place,
            "its name says that the checkpoint lies in several files",
            give("the folder that holds all shards and their .index.json"),
        ));
    }
    Ok(())
}

/// A file of TensorFlow's or Flax's checkpoints, by its name.
fn other_framework(name: &str) -> CheckpointError {
    let (framework, what) = match name.ends_with(".msgpack") {
        true => ("this is a checkpoint of Flax", "JAX"),
        false => ("this is a checkpoint of TensorFlow", "TensorFlow"),
    };
    foreign(
        framework,
        format!("{what} weights have other names and layouts than the papers' PyTorch code"),
        give(ORIGINAL),
    )
}

/// Known by the members of the archive.
pub(super) fn by_members(members: &Members<'_>) -> Result<(), CheckpointError> {
    let ends = |suffix: &str| members.keys().any(|name| *name == suffix || name.ends_with(&format!("/{suffix}")));
    let error = if ends("archive_format") || ends("serialized_exported_program.json") || ends("models/model.json") {
        foreign(
            "this is an exported program (.pt2)",
            "torch.export writes a traced graph; vitc builds the graph itself, from the architecture and the weights",
            make("in PyTorch: torch.save(torch.export.load('model.pt2').state_dict, 'weights.pth')", "weights.pth"),
        )
    } else if ends("constants.pkl") {
        foreign(
            "this is a TorchScript model",
            "torch.jit.save writes a program with its weights; vitc runs no program out of a file",
            make("in PyTorch: torch.save(torch.jit.load('model.pt').state_dict(), 'weights.pth')", "weights.pth"),
        )
    } else if ends("model.weights.h5") {
        foreign(
            "this is a Keras model",
            "Keras weights have other names and layouts than the papers' PyTorch code",
            give(ORIGINAL),
        )
    } else if members.keys().any(|name| name.ends_with(".npy")) {
        foreign(
            "this is a NumPy archive",
            "a .npz file holds arrays without PyTorch's names for them",
            "save the arrays with safetensors: safetensors.numpy.save_file(dict(numpy.load('weights.npz')), 'weights.safetensors')",
        )
    } else {
        return Ok(());
    };
    Err(error)
}

/// A zip archive without the pickled object.
pub(super) fn unknown_archive(members: &Members<'_>) -> CheckpointError {
    let names: Vec<&str> = members.keys().copied().collect();
    let holds = if names.is_empty() { "nothing".into() } else { some_of(names.into_iter(), 6) };
    foreign(
        "this zip archive is no checkpoint",
        format!("torch.save puts a member data.pkl into it; this one holds {holds}"),
        "if a checkpoint is in it, unpack it first",
    )
}

/// Bytes that are nothing known.
pub(super) fn unknown(bytes: &[u8]) -> CheckpointError {
    if bytes.first() == Some(&0x80) && matches!(bytes.get(1), Some(2..=5)) {
        return foreign(
            "this is a pickle, but not one of torch.save",
            "it begins as a Python pickle without PyTorch's header; tensors in it are stored by calls of arbitrary code",
            "load it in Python and save the tensors: torch.save({k: torch.as_tensor(v) for k, v in weights.items()}, 'weights.pth')",
        );
    }
    if matches!(bytes.first(), Some(b'{' | b'[')) {
        return foreign(
            "this is JSON text, not a checkpoint",
            "a configuration, an index, or the error that a download was answered with",
            give("the file with the tensors, or the folder that holds both"),
        );
    }
    let head: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    foreign(
        "this is no checkpoint",
        format!("it begins with the bytes {}, as neither .safetensors nor a file of torch.save does", head.join(" ")),
        give("a .safetensors, .pth, .pt, .bin or .pth.tar file, or a Hugging Face folder"),
    )
}

/// Known by the files of the folder.
pub(super) fn by_folder(folder: &Path) -> Result<(), CheckpointError> {
    let has = |name: &str| folder.join(name).exists();
    let error = if has("Manifest.json") && has("Data") {
        foreign("this is a CoreML package", "an .mlpackage is an artifact, not a checkpoint", give(ORIGINAL))
    } else if has("saved_model.pb") {
        foreign("this is a TensorFlow SavedModel", "it is an exported graph, not a checkpoint", give(ORIGINAL))
    } else if has("adapter_config.json") || has("adapter_model.safetensors") || has("adapter_model.bin") {
        lora("the folder holds adapter_config.json or adapter weights")
    } else if has(".metadata") {
        distributed()
    } else if has("zero_to_fp32.py") || has("zero_pp_rank_0_mp_rank_00_optim_states.pt") {
        deepspeed()
    } else {
        return Ok(());
    };
    Err(error.within(&folder.display().to_string()))
}

fn lora(why: &str) -> CheckpointError {
    foreign(
        "these are LoRA adapters that were not merged",
        format!("{why}: low-rank updates that mean nothing without the base weights"),
        make("in Python: peft_model.merge_and_unload().save_pretrained('merged')", "merged"),
    )
}

fn distributed() -> CheckpointError {
    foreign(
        "this is a distributed (FSDP) checkpoint",
        "every rank wrote a part of the tensors",
        make(
            "in PyTorch: torch.distributed.checkpoint.format_utils.dcp_to_torch_save(folder, 'weights.pth')",
            "weights.pth",
        ),
    )
}

fn deepspeed() -> CheckpointError {
    foreign(
        "this is a part of a DeepSpeed ZeRO checkpoint",
        "every rank wrote a part of the tensors",
        make("run python zero_to_fp32.py FOLDER weights.pth, which DeepSpeed puts beside the shards", "weights.pth"),
    )
}

/// A checkpoint that was read and holds no tensors.
pub(super) fn without_tensors(contents: &Contents) -> CheckpointError {
    special(contents, &BTreeMap::new()).unwrap_or_else(|| {
        let top: Vec<&str> = contents.top.iter().map(String::as_str).collect();
        let holds = if top.is_empty() { "nothing by name".into() } else { some_of(top.into_iter(), 8) };
        let save = make("in PyTorch: torch.save(model.state_dict(), 'weights.pth')", "weights.pth");
        foreign("the checkpoint holds no tensors", format!("it was read to the end and holds {holds}"), save)
    })
}

/// A checkpoint whose tensors no family recognises.
pub(super) fn without_model(
    contents: &Contents,
    tensors: &BTreeMap<String, &TensorInfo>,
    named: Option<&str>,
) -> CheckpointError {
    special(contents, tensors).unwrap_or_else(|| {
        let known = relatives::network(tensors.keys().map(String::as_str));
        let named = named.map(|name| format!("the checkpoint calls its model {}", shortened(name)));
        if known.is_some() || named.is_some() {
            let names = known.map(|network| format!("its tensors have the names of {network}"));
            let why = names.into_iter().chain(named).collect::<Vec<_>>().join("; ");
            let families = message!(FROM_ITS_CODE, "; ", Listing::Models, " shows the networks that vitc builds");
            return foreign("the checkpoint is of a network that vitc does not build", why, families);
        }
        let shown: Vec<String> = tensors.iter().take(6).map(|(key, t)| format!("{} {t}", shortened(key))).collect();
        let names = some_of(shown.iter().map(String::as_str), 6);
        foreign(
            "no known model is in the checkpoint",
            format!("the names of its {} fit no family: {names}", count(tensors.len(), "tensor")),
            message!(
                Listing::Models,
                " shows the families and ",
                Listing::Tensors,
                " the tensors; where only names differ, use ",
                Setting::Rename.to("OLD=NEW")
            ),
        )
    })
}

/// LoRA adapters among these names.
pub(super) fn adapters<'k>(mut keys: impl Iterator<Item = &'k String>) -> Option<CheckpointError> {
    let adapter = keys.find(|key| key.split('.').any(|segment| segment.starts_with("lora_")))?;
    Some(lora(&format!("the checkpoint holds {}", shortened(adapter))))
}

/// Tensors, by name and kind, that cannot be read.
pub(super) fn unread(skipped: &[&(String, String)]) -> Option<CheckpointError> {
    let (first, kind) = skipped.first()?;
    if kind.contains("DTensor") || kind.contains("Sharded") {
        return Some(distributed());
    }
    let names: Vec<&str> = skipped.iter().map(|(name, _)| name.as_str()).collect();
    let why =
        format!("{} of kind {}: {}", count(names.len(), "tensor"), shortened(kind), some_of(names.into_iter(), 4));
    if kind == "_rebuild_qtensor" {
        let smaller = message!("; ", Setting::Precision.to("fp16"), " on the ONNX targets halves a file's size");
        let todo = message!(give("the checkpoint from before quantization"), smaller);
        return Some(foreign("this model is quantized", why, todo));
    }
    Some(foreign(
        "the checkpoint holds tensors of a kind that vitc does not read",
        why,
        message!(
            "save dense floating-point tensors: torch.save({k: torch.as_tensor(v).float() for k, v in weights.items()}, 'weights.pth'); \
             if the model does not need them: ",
            Setting::Ignore.to(shortened(first))
        ),
    ))
}

/// What the objects and names in a checkpoint say it is.
fn special(contents: &Contents, tensors: &BTreeMap<String, &TensorInfo>) -> Option<CheckpointError> {
    if let Some((path, class)) = contents.modules.first() {
        let at = if path.is_empty() { String::new() } else { format!(" under {}", shortened(path)) };
        let name = if path.is_empty() {
            "model".into()
        } else {
            format!("checkpoint['{}']", shortened(path).replace('.', "']['"))
        };
        return Some(foreign(
            "this is a whole pickled module",
            format!("it holds an object of class {class}{at}: code that vitc does not run, and weights inside it"),
            format!(
                "in PyTorch, with the model's code at hand: checkpoint = torch.load(file, weights_only=False); \
                 torch.save({}.state_dict(), 'weights.pth')",
                if name == "model" { "checkpoint".to_string() } else { name }
            ),
        ));
    }
    if let Some(error) = adapters(tensors.keys()) {
        return Some(error);
    }
    if let Some(error) = unread(&contents.skipped.iter().collect::<Vec<_>>()) {
        return Some(error);
    }
    if contents.top.iter().any(|name| name == "ds_config" || name == "ds_version")
        && !tensors.values().any(|t| t.elements() > 0)
    {
        return Some(deepspeed());
    }
    if contents.top.iter().any(|name| name == "flat_param") || tensors.keys().any(|key| key.ends_with("_flat_param")) {
        return Some(distributed());
    }
    let of_optimizer = |key: &String| {
        let leaf = key.rsplit('.').next().unwrap_or_default();
        ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "step", "square_avg", "sum"].contains(&leaf)
    };
    let has = |name: &str| contents.top.iter().any(|n| n == name);
    if (has("state") && has("param_groups")) || (!tensors.is_empty() && tensors.keys().all(of_optimizer)) {
        return Some(foreign(
            "this file holds an optimizer's state, not a model",
            "its tensors are moments and step counts of training",
            give("the file with the model; it often lies beside this one (model.pth, checkpoint.pth)"),
        ));
    }
    None
}
