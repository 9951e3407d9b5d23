//! Hints that are followed: whatever flag a message names is given, and what comes out is right to the golden numbers, or another message.
//!
//! Once a hint, made because a shape fitted, had people throw away the norms of a detector's maps; the check was green, since its reference lacked them too.

use super::case::Case;
use super::common::command::vitc;
use serde_json::json;
use std::collections::BTreeSet;
use vitc::runner::{Program, Request};

/// Flags that change what is exported, and whether a value follows.
const FLAGS: &[(&str, bool)] = &[
    ("--output", true),
    ("--head", true),
    ("--choice", true),
    ("--resolution", true),
    ("--ignore", true),
    ("--strip-prefix", true),
    ("--rename", true),
    ("--batch", true),
    ("--argmax", false),
    ("--upsample", false),
    ("--decode", false),
    ("--sigmoid", false),
    ("--softmax", false),
    ("--ema", false),
    ("--no-ema", false),
];

/// Deepest chain of hints.
const DEPTH: usize = 3;

/// The flags that a text names with what it says of them. Words in capitals stand for what a person knows; alternatives of a choice are for whoever
/// knows that the assumption is wrong.
fn hints(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let words: Vec<&str> = text.split_whitespace().collect();
    for (i, word) in words.iter().enumerate() {
        let plain = |word: &str| word.trim_matches(|c| "(),;:.".contains(c)).to_string();
        let Some(&(flag, valued)) = FLAGS.iter().find(|(flag, _)| *flag == plain(word)) else { continue };
        if !valued {
            found.insert(flag.to_string());
            continue;
        }
        let Some(value) = words.get(i + 1).map(|value| plain(value).replace('\'', "")) else { continue };
        let placeholder =
            value.split(['=', 'x', '|']).any(|part| part.len() > 1 && part.chars().all(char::is_uppercase));
        let ends = word.ends_with(|c| ",;:.)".contains(c));
        if placeholder || ends || (flag == "--choice" && value.contains('|')) {
            continue;
        }
        let (name, alternatives) = value.rsplit_once('=').map_or(("", value.as_str()), |(name, all)| (name, all));
        let start = if name.is_empty() { String::new() } else { format!("{name}=") };
        found.extend(alternatives.split('|').map(|value| format!("{flag} {start}{value}")));
    }
    found
}

/// A command with one more flag; what is said once is replaced.
fn with(command: &str, hint: &str) -> String {
    let flag = hint.split(' ').next().unwrap_or_default();
    let once = ["--output", "--resolution", "--batch", "--strip-prefix"].contains(&flag);
    let mut words: Vec<&str> = command.split(' ').collect();
    if let (true, Some(at)) = (once, words.iter().position(|word| *word == flag)) {
        words.drain(at..at + 2);
    }
    let mut command = words.join(" ");
    if !command.contains(hint) {
        command = format!("{command} {hint}");
    }
    command
}

/// What following the hints of a case came to.
#[derive(Default)]
struct Followed {
    /// Commands that were run.
    seen: BTreeSet<String>,
    /// Files that came out and were held against the golden numbers.
    held: usize,
    /// Files whose numbers the authors' code was not asked for: the maps of a net that has only its result.
    unknown: Vec<String>,
}

/// Export, follow what is said, and hold each file that comes out against the golden numbers.
fn follow(case: &Case, command: &str, depth: usize, followed: &mut Followed) {
    if !followed.seen.insert(command.to_string()) {
        return;
    }
    let run = vitc(case.folder.path(), command);
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    match run.status.code() {
        Some(0) if hold(case, command) => followed.held += 1,
        Some(0) => followed.unknown.push(command.to_string()),
        Some(1 | 2) => assert!(said.contains("error:"), "{command}: {said}"),
        code => panic!("{}: {command} ended with {code:?}: {said}", case.name),
    }
    if depth < DEPTH {
        hints(&said).iter().for_each(|hint| follow(case, &with(command, hint), depth + 1, followed));
    }
}

/// Every output of the file is what the authors' code answers. Whether their answers are known.
fn hold(case: &Case, command: &str) -> bool {
    let program = Program::open(&case.folder.path().join("out.onnx")).unwrap_or_else(|e| panic!("{command}: {e}"));
    let session = program.load(Request::outputs(1)).unwrap_or_else(|e| panic!("{command}: {e}"));
    let image = vitc::arch::seeded::noise("input", 0, case.input().iter().product());
    let answers = session.run_in_order(&[&image]).unwrap_or_else(|e| panic!("{command}: {e}"));
    let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_string();
    let stems: Vec<String> = answers.iter().map(|answer| stem(&answer.name)).collect();
    let golden: Vec<String> = match stems[0].as_str() {
        "stage" => case.named("features"),
        "neck" => case.named("neck"),
        "cls" => case.named("cls").into_iter().chain(case.named("box")).collect(),
        "logits" if answers[0].shape[2..] == case.input()[2..] => vec!["logits_full".into()],
        _ => answers.iter().map(|answer| answer.name.clone()).collect(),
    };
    if golden.is_empty() {
        return false;
    }
    let known = golden.iter().all(|name| case.manifest["outputs"].get(name).is_some());
    assert!(known && golden.len() == answers.len(), "{}: {command} answers {golden:?}", case.name);
    let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.hold(&answers, &golden, false)));
    assert!(held.is_ok(), "{}: {command} gives wrong numbers", case.name);
    true
}

/// What a person types first.
fn commands(case: &Case) -> Vec<String> {
    let input = case.input();
    let export = format!(
        "export --weights model.pth --target onnx -o out.onnx --no-check --force --resolution {}x{}",
        input[2], input[3]
    );
    let more = ["", "--output pyramid", "--output neck", "--argmax", "--upsample", "--decode"];
    more.iter().map(|more| format!("{export} {more}").trim_end().to_string()).collect()
}

/// Follow all hints from all commands.
fn all(case: &Case) -> Followed {
    let mut followed = Followed::default();
    commands(case).iter().for_each(|command| follow(case, command, 0, &mut followed));
    followed
}

#[test]
fn hints_for_golden_files_lead_to_right_numbers_or_errors() {
    // What the first command, without a flag of its own, ends with: a detector whose second stage is not built says what can be had.
    for (name, first) in [
        ("casvit_xs_semfpn_128x160", 0),
        ("casvit_xs_retinanet_128x160", 0),
        ("casvit_xs_maskrcnn_128x160", 2),
        ("efficientformerv2_s0_semfpn_256x320", 0),
        ("ffnet_2_upernet_128x160", 0),
        ("ffnet_seg_ade20k_128x160", 0),
        ("affnet_et_deeplabv3_os16_128x160", 0),
        ("affnet_et_pspnet_os16_160x128", 0),
        ("ffnet_sr_light_x2_24x40", 0),
        ("fastervit_0_dino_256x320", 2),
    ] {
        let case = Case::load(name);
        let ended = vitc(case.folder.path(), &commands(&case)[0]).status.code();
        assert_eq!(ended, Some(first), "{name}");
        let Followed { held, unknown, .. } = all(&case);
        // A super-resolution net has its picture alone.
        assert!(
            held >= 1,
            "{name}: {held} files were held against golden numbers, of these nothing is known: {unknown:?}"
        );
    }
}

/// Something was cut off, added or called otherwise.
#[test]
fn hints_for_broken_files_lead_to_right_numbers_or_errors() {
    let mut followed = 0;
    let cuts = ["backbone.norm2.", "backbone.norm6.running_mean", "decode_head.", "neck.", "neck.fpn_convs.3."];
    for cut in cuts.iter().chain(&["decode_head.conv_seg.", "decode_head.scale_heads.3.", "backbone.network.6."]) {
        let case = Case::load("casvit_xs_semfpn_128x160");
        case.write(&|key| !key.starts_with(cut));
        followed += all(&case).seen.len() - commands(&case).len();
    }
    for (key, shape) in [
        ("backbone.network.2.0.adapter.down.weight", json!([8, 56])),
        ("backbone.network.2.0.mlp.fc1.lora_A.weight", json!([4, 56])),
        ("backbone.network.2.0.mlp.fc1.input_quantizer._amax", json!([1])),
        ("backbone.norm.weight", json!([220])),
        ("backbone.norm1.weight", json!([220])),
        ("backbone.head.weight", json!([1000, 220])),
        ("neck.pafpn_convs.0.conv.weight", json!([256, 256, 3, 3])),
        ("decode_head.sep_bottleneck.0.weight", json!([128, 128, 3, 3])),
        ("decode_head.scale_heads.0.0.gn.weight", json!([128])),
        ("input_conv.weight", json!([3, 3, 1, 1])),
        ("head.fc.weight", json!([10, 220])),
    ] {
        let mut case = Case::load("casvit_xs_semfpn_128x160");
        case.manifest["tensors"][key] = json!([shape, "float32"]);
        case.write(&|_| true);
        followed += all(&case).seen.len() - commands(&case).len();
    }
    assert!(followed > 20, "{followed} hints were followed");
}

#[test]
fn hints_are_found_in_messages() {
    let text = "error: a neck\n  --output neck exports it, --output pyramid the maps\n  use --head head=features|map; '--head NAME' names it, \
                with --choice a=b|c, --ignore '*._amax' leaves out, --argmax.";
    let wanted = [
        "--argmax",
        "--head head=features",
        "--head head=map",
        "--ignore *._amax",
        "--output neck",
        "--output pyramid",
    ];
    assert_eq!(hints(text).into_iter().collect::<Vec<_>>(), wanted);
}
