//! README's first transcript is a real export: of the golden checkpoint, wrapped as the authors' script saves it.
//!
//! `TRYCMD=overwrite cargo test --release --test forms readme` writes it anew.

use super::common::golden::Golden;
use super::state::State;
use super::torch_file::{Item, Tensor, archive};
use std::path::Path;
use std::process::Command;
use vitc::arch::NameTable;
use vitc_ir::Weights;

/// The words of a text line by line. Errors depend on the processor in their last digits, so numbers with an exponent are not compared.
fn words(text: &str) -> Vec<Vec<&str>> {
    fn word(word: &str) -> &str {
        let rounded = word.contains('e') && word.parse::<f64>().is_ok();
        if rounded { "#" } else { word }
    }
    text.trim_end().lines().map(|line| line.split_whitespace().map(word).collect()).collect()
}

#[test]
fn the_readme_shows_a_real_export() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let start = readme.find("$ vitc export --weights ").unwrap();
    let shown = &readme[start..start + readme[start..].find("```").unwrap()];
    let command = shown.lines().next().unwrap();
    let words_of: Vec<&str> = command.split_whitespace().skip(2).collect();

    let golden = Golden::load("efficientformerv2/efficientformerv2_s0", &NameTable::IDENTITY);
    let derived = State::load("efficientformerv2/efficientformerv2_s0", "efficientformerv2-s0").derived();
    let tensor = |(key, shape): (&String, &Vec<usize>)| {
        let elements = shape.iter().product();
        let (class, data) = match golden.weight(key, elements) {
            Ok(stored) => ("FloatStorage", stored.bytes.into_owned()),
            Err(_) => {
                let numbers = derived.get(key).cloned().unwrap_or_else(|| vec![0.0; elements]);
                ("LongStorage", numbers.into_iter().flat_map(|x| (x as i64).to_le_bytes()).collect())
            }
        };
        (key.clone(), Item::Tensor(Tensor { class, shape: shape.clone(), elements, data }))
    };
    let model = Item::dict(golden.tensors.iter().map(tensor));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(words_of[2]), archive(&Item::dict([("model", model)]))).unwrap();

    let output = Command::new(env!("CARGO_BIN_EXE_vitc")).args(&words_of).current_dir(folder.path()).output().unwrap();
    let [stderr, stdout] = [&output.stderr, &output.stdout].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let real = format!("{command}\n{stderr}{stdout}");
    assert!(output.status.success(), "{real}");
    if std::env::var("TRYCMD").is_ok_and(|v| v == "overwrite") {
        std::fs::write(&path, readme.replace(shown, &real)).unwrap();
    } else {
        assert_eq!(words(shown), words(&real), "README.md shows another export than this one:\n{real}");
    }
}
