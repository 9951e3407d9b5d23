//! Hostile checkpoints: damaged, absurd and malicious bytes end in an error, never in a panic, a hang or a large allocation.

mod torch_file;

use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use torch_file::{Item, archive, legacy, prefixes, safetensors, zip, zip_as};
use vitc::checkpoint::{
    BoundPart, Checkpoint, CheckpointError, ElementType, ModelHints, NameTable, SelectOptions, bind,
};
use vitc_ir::Weights;

/// Open, select, bind and read every tensor, as an export does.
fn load(bytes: &[u8]) -> Result<usize, CheckpointError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let checkpoint = Checkpoint::open(file.path())?;
    let selected =
        checkpoint.select(&prefixes(|shapes| shapes.contains_key("head.weight")), &SelectOptions::default())?;
    let floats = selected.tensors.iter().filter(|(_, t)| matches!(t.dtype, ElementType::Float(_)));
    let required = floats.map(|(key, tensor)| (key.as_str(), tensor.shape.clone()));
    let model = ModelHints { name: "net", nearest: false };
    let mut elements = 0;
    match bind(&[BoundPart { selected: &selected, table: &NameTable::IDENTITY, scope: "" }], required, &model) {
        Err(error) => assert!(error.to_string().len() < 100_000),
        Ok(weights) => {
            for (key, tensor) in weights.tensors() {
                let n = tensor.elements();
                elements += weights.weight(key, n).unwrap().bytes.len() / tensor.dtype.bytes();
            }
        }
    }
    assert!(checkpoint.blake3().len() == 64);
    Ok(elements)
}

fn state() -> Item {
    let tensor = |n: usize| Item::f32(&[n, 2], (0..2 * n).map(|i| i as f32));
    Item::dict([("head.weight", tensor(3)), ("a.weight", tensor(2)), ("a.bias", tensor(1)), ("b.weight", tensor(4))])
}

fn small_files() -> Vec<Vec<u8>> {
    let wrapped = Item::dict([
        ("epoch", Item::Int(3)),
        ("args", Item::Namespace(vec![("model".into(), Item::Text("efficientformerv2_s0"))])),
        ("model", state()),
    ]);
    let tensors: Vec<_> = ["head.weight", "a.weight", "a.bias", "b.weight"]
        .iter()
        .map(|key| (key.to_string(), vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]))
        .collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/checkpoints");
    let mut files = vec![archive(&wrapped), legacy(&wrapped), archive(&state()), safetensors(&tensors)];
    for name in ["strided_legacy.pth", "protocol5.pth", "parameters.pth", "weight_norm.pth", "whole_module.pth"] {
        files.push(std::fs::read(golden.join(name)).unwrap());
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_are_survived(
        which in 0usize..9,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = small_files().swap_remove(which);
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        // Whatever it still says, it is a result and not a panic.
        let _ = load(&file);
    }

    #[test]
    fn a_truncated_file_is_an_error(which in 0usize..8, at in any::<prop::sample::Index>()) {
        let file = small_files().swap_remove(which);
        let error = load(&file[..at.index(file.len())]).unwrap_err().to_string();
        prop_assert!(error.contains("to do: "), "{error}");
    }

    #[test]
    fn any_bytes_are_survived(head in prop::sample::select(vec![&b""[..], b"PK\x03\x04", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{"]),
                              tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = load(&[head, &tail].concat());
    }

    #[test]
    fn any_pickle_is_survived(program in prop::collection::vec(
        prop::sample::select(&b".NKJMGUXC()]}\x85\x86\x87tldaesu012qrhjcRQb\x80\x81\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95\x00\x01\n"[..]), 0..200)) {
        let mut pickle = b"\x80\x02".to_vec();
        pickle.extend(program);
        let _ = load(&zip([("x/data.pkl", pickle.as_slice())]));
    }
}

fn message(bytes: &[u8]) -> String {
    load(bytes).unwrap_err().to_string()
}

/// An archive around one pickle.
fn pickle(program: &[u8]) -> Vec<u8> {
    zip([("x/data.pkl", program)])
}

#[test]
fn undamaged_files_load() {
    for (i, file) in small_files().iter().take(8).enumerate() {
        assert!(load(file).unwrap_or_else(|e| panic!("{i}: {e}")) >= 16);
    }
}

#[test]
fn zip64_is_read_and_its_lies_are_found() {
    let members = [("a", &b"one"[..]), ("b", b"two")];
    let wide = zip_as(members, 0, true);
    assert!(message(&wide).contains("this one holds a, b"), "{}", message(&wide));
    // Each of the 8-byte fields in turn claims more than there is.
    let fields = wide.windows(8).enumerate().filter(|(_, w)| w[2..] == [0; 6] && w[0] != 0).map(|(at, _)| at);
    for at in fields.collect::<Vec<_>>() {
        for lie in [u64::MAX, 1 << 63, u64::MAX - 20] {
            let mut file = wide.clone();
            file[at..at + 8].copy_from_slice(&lie.to_le_bytes());
            assert!(message(&file).contains("to do: "));
        }
    }
}

#[test]
fn absurd_sizes_are_refused() {
    for length in [1u64 << 63, u64::MAX, u64::MAX - 7, 1 << 40, 100_000_001, 100] {
        let mut file = length.to_le_bytes().to_vec();
        file.extend(b"{}      ");
        assert!(message(&file).contains("the header claims"), "{length}");
    }
    let shapes = ["[9223372036854775807,2]", "[4294967296,4294967296]", "[18446744073709551615]", "[1000000]"];
    for shape in shapes {
        let header = format!(r#"{{"head.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[0,16]}}}}"#);
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend([0; 16]);
        assert!(message(&file).contains("damaged"), "{shape}");
    }
    // Strings that claim 2^32 or 2^64 bytes, an integer of 2^31 bytes, a memo slot of 2^32 - 1.
    for program in [
        &b"\x80\x02X\xff\xff\xff\xffabc."[..],
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        b"\x80\x02Nj\xff\xff\xff\xff.",
        b"\x80\x02\x87.",
        b"\x80\x02((t((((",
        b"\x80\x02",
        b"",
    ] {
        assert!(message(&pickle(program)).contains("damaged"), "{program:?}");
    }
    assert!(message(&pickle(b"\x80\x02Nr\xff\xff\xff\xff.")).contains("no tensors"));
}

#[test]
fn bombs_stay_small() {
    // A list nested a million deep, a list that holds itself, and 60 levels of lists that each hold the one below twice.
    let deep = [&b"\x80\x02"[..], &vec![b']'; 1_000_000], &vec![b'a'; 999_999], b"."].concat();
    assert!(message(&pickle(&deep)).contains("no tensors"));
    assert!(message(&pickle(b"\x80\x02]q\x00h\x00a.")).contains("no tensors"));
    let mut doubled = b"\x80\x02]q\x00".to_vec();
    for level in 0..60u8 {
        doubled.extend([b']', b'q', level + 1, b'h', level, b'a', b'h', level, b'a']);
    }
    doubled.push(b'.');
    assert!(message(&pickle(&doubled)).contains("no tensors"));
    // More instructions than any checkpoint needs.
    let endless = [&b"\x80\x02"[..], &b"N0".repeat(4_100_000)].concat();
    assert!(message(&pickle(&endless)).contains("absurdly long"));
}

#[test]
fn an_expanded_view_is_bounded() {
    // Shape (2^40), stride 0, over one element.
    let mut program = b"\x80\x02}X\x0b\0\0\0head.weightctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0\x30X\x03\0\0\0cpuK\x01tQK\0".to_vec();
    program.extend(b"\x8a\x06\0\0\0\0\0\x01\x85K\0\x85\x89}tRs.");
    let file = zip([("x/data.pkl", program.as_slice()), ("x/data/0", &[0; 4])]);
    assert!(message(&file).contains("do not fit"), "{}", message(&file));
}

#[test]
fn a_malicious_pickle_is_only_read() {
    let witness = std::env::temp_dir().join(format!("vitc-hostile-{}", std::process::id()));
    let command = format!("touch {}", witness.display());
    let mut program = b"\x80\x02cposix\nsystem\nX".to_vec();
    program.extend((command.len() as u32).to_le_bytes());
    program.extend(command.bytes());
    program.extend(b"\x85R.");
    assert!(message(&pickle(&program)).contains("no tensors"));
    assert!(!witness.exists());
}

#[test]
fn two_members_of_one_name_are_refused() {
    let file = zip([("x/data.pkl", &b"\x80\x02}."[..]), ("x/data.pkl", b"\x80\x02N.")]);
    assert!(message(&file).contains("two members"));
}
