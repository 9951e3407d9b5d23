//! Damaged files: whatever stands in one, it is read or refused, in time and without a panic.

use std::path::Path;
use std::time::{Duration, Instant};
use vitc_exporters::onnx::{ImportOptions, import};
use vitc_ir::Dim;

/// Files that are tried where nothing else is said.
const FILES: usize = 1500;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A file with a few bytes changed, left out, repeated or cut off.
fn spoiled(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut all = bytes.to_vec();
    for _ in 0..=random.below(4) {
        if all.is_empty() {
            break;
        }
        let at = random.below(all.len());
        match random.below(6) {
            0 => all[at] = random.next() as u8,
            1 => all[at] ^= 1 << random.below(8),
            2 => drop(all.remove(at)),
            3 => all.insert(at, [0, 1, 0x7f, 0x80, 0xff][random.below(5)]),
            4 => {
                let end = (at + random.below(64)).min(all.len());
                let part = all[at..end].to_vec();
                let place = random.below(all.len());
                all.splice(place..place, part);
            }
            _ => all.truncate(at),
        }
    }
    all
}

fn read(path: &Path, batch: Option<Dim>) {
    let options = ImportOptions { name: "file".into(), batch, shapes: Vec::new(), outputs: Vec::new() };
    let start = Instant::now();
    // A refusal is as good as a graph.
    let _ = import(path, &options);
    assert!(start.elapsed() < Duration::from_secs(20), "{}", path.display());
}

/// A fixed number of files, or as many as `VITC_MUTATIONS` says.
#[test]
fn damaged_files_are_read_or_refused() {
    let count = std::env::var("VITC_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(FILES);
    let sources: Vec<Vec<u8>> = crate::cases().iter().map(|case| std::fs::read(case.file()).expect("a file")).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("damaged.onnx");
    let mut random = Random(7);
    for i in 0..count {
        let source = &sources[random.below(sources.len())];
        let bytes = spoiled(source, &mut random);
        std::fs::write(&path, &bytes).expect("a file");
        let batch = [None, Some(Dim::Batch(1)), Some(Dim::Fixed(2))][i % 3];
        let tried = std::panic::catch_unwind(|| read(&path, batch));
        if tried.is_err() {
            let kept = std::env::temp_dir().join(format!("vitc-damaged-{i}.onnx"));
            std::fs::write(&kept, &bytes).expect("a file");
            panic!("file {i} stops the reader, batch {batch:?}: {}", kept.display());
        }
    }
}
