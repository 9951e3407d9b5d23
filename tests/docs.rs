//! The book's commands do what its pages say they do: every command of a `sh` block is run, in the order of its page, in a folder with the files that people
//! would have. Blocks marked `device`, `setup`, `pytorch` or `example` need what is not here; Python's are run by `tests/wheel`.

mod common;
mod torch_file;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use torch_file::{Item, archive};
use vitc::arch::seeded::SeededWeights;
use vitc_ir::Weights;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages, as the table of contents lists them.
fn pages() -> Vec<PathBuf> {
    let folder = repository().join("docs/src");
    let contents = fs::read_to_string(folder.join("SUMMARY.md")).unwrap();
    let names = contents.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    names.map(|name| folder.join(name)).collect()
}

/// The commands of the blocks in `sh`.
fn commands(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) => inside = !inside && language == "sh",
            None if inside && !line.is_empty() => found.push(line.to_string()),
            None => {}
        }
    }
    found
}

fn run(folder: &Path, command: &str) -> Output {
    let command = command.split(" #").next().unwrap_or(command);
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[0], "vitc", "{command}: mark the block as what it needs");
    let program = env!("CARGO_BIN_EXE_vitc");
    Command::new(program).args(&words[1..]).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn passes(folder: &Path, command: &str) {
    let output = run(folder, command);
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// What people have: a checkpoint with inputs and answers, a segmenter, an ONNX file, pictures, names of classes.
fn fill(folder: &Path) {
    let golden = repository().join("golden");
    let graph = common::paper("efficientformerv2-s0", None);
    let seeded = SeededWeights::new(&graph, 0);
    let tensor = |(key, ty): (&str, &vitc_ir::Type)| {
        let shape = ty.shape.at(1);
        let stored = seeded.weight(key, shape.iter().product()).unwrap();
        let numbers = stored.bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
        (key.to_string(), Item::f32(&shape, numbers))
    };
    let model = Item::dict(graph.weights().map(tensor));
    fs::write(folder.join("eformer_s0_450.pth"), archive(&Item::dict([("model", model)]))).unwrap();
    passes(folder, "vitc export --weights eformer_s0_450.pth --target onnx --save-io io -q -o a.onnx");
    for (wanted, name) in [(".input.", "x.npy"), (".logits.", "logits.npy")] {
        let names = fs::read_dir(folder.join("io")).unwrap().map(|e| e.unwrap().path());
        let mut arrays: Vec<PathBuf> = names.filter(|p| p.to_string_lossy().contains(wanted)).collect();
        arrays.retain(|p| p.extension().is_some_and(|e| e == "npy"));
        arrays.sort();
        fs::copy(&arrays[0], folder.join(name)).unwrap();
    }
    fs::remove_dir_all(folder.join("io")).unwrap();
    fs::remove_file(folder.join("a.onnx")).unwrap();
    let manifest = fs::read(golden.join("dense/casvit_xs_semfpn_128x160.json")).unwrap();
    let manifest = serde_json::from_slice(&manifest).unwrap();
    fs::write(folder.join("segmenter.pth"), torch_file::dense::checkpoint(&manifest, &|_| true)).unwrap();
    fs::copy(golden.join("onnx/shape_any_size.onnx"), folder.join("model.onnx")).unwrap();
    let labels: String = (0..1000).map(|i| format!("class {i}\n")).collect();
    fs::write(folder.join("labels.txt"), labels).unwrap();
    for to in ["cat.jpg", "val/cat/1.jpg", "pictures/1.jpg"] {
        let to = folder.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(golden.join("pictures/smooth.jpg"), to).unwrap();
    }
    for (i, to) in
        ["street.png", "val/dog/2.png", "pictures/2.png", "pictures/3.png", "pictures/4.png"].iter().enumerate()
    {
        let to = folder.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(golden.join(format!("pictures/expected{}.png", i + 1)), to).unwrap();
    }
}

#[test]
fn every_command_of_the_book_works() {
    let filled = tempfile::tempdir().unwrap();
    fill(filled.path());
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        let folder = tempfile::tempdir().unwrap();
        copy(filled.path(), folder.path());
        for command in commands(&text) {
            let output = run(folder.path(), &command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {command}\n{said}", page.display());
            count += 1;
        }
    }
    assert!(count > 25, "{count} commands");
}

#[test]
fn the_book_is_whole() {
    let pages = pages();
    let entries = fs::read_dir(repository().join("docs/src")).unwrap().map(|e| e.unwrap().path());
    let mut missing: Vec<PathBuf> = entries.filter(|p| !p.ends_with("SUMMARY.md") && !pages.contains(p)).collect();
    missing.retain(|p| p.extension().is_some_and(|e| e == "md"));
    assert!(missing.is_empty(), "no page of the contents: {missing:?}");
    for page in pages.iter().chain([&repository().join("README.md")]) {
        let text = fs::read_to_string(page).unwrap();
        for included in text.split("{{#include ").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            let (path, anchor) = included.split_once(':').unwrap();
            let text = fs::read_to_string(page.with_file_name(path)).unwrap();
            assert!(text.contains(&format!("<!-- ANCHOR: {anchor} -->")), "{included}");
        }
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let path = link.split('#').next().unwrap();
            let there = path.is_empty() || path.contains("://") || page.with_file_name(path).exists();
            assert!(there, "{}: {link} leads nowhere", page.display());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap().path()) {
        let place = to.join(entry.file_name().unwrap());
        if entry.is_dir() { copy(&entry, &place) } else { fs::copy(&entry, &place).map(|_| ()).unwrap() }
    }
}
