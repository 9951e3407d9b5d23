//! The summary of an export: the report as a person reads it.

use super::text::{bytes, si, table};
use super::{Answer, Caller, Failure, Outcome, next};
use crate::check::{Answered, Comparison, Outside};
use crate::engine_rules::Finding;
use crate::export::{FunctionLine, Report, TargetKind, WeightsLine};
use crate::message;
use crate::message::{Message, Setting};
use crate::numbers::magnitude;
use crate::port::Port;
use std::fmt::Write;

/// Kinds of operations that the summary names; the rest is counted together.
const NAMED_OPS: usize = 8;

/// Nodes that the summary names for each rule.
const NAMED_NODES: usize = 3;

/// The whole summary.
pub(super) fn text(report: &Report) -> String {
    let mut out = format!("{}\n\n", report.artifact.path.display());
    out.push_str(&facts(report));
    out.push_str(&passes(report));
    out.push_str(&engine_rules(report));
    out.push_str(&check(report));
    if let Some(page) = &report.page {
        let _ = writeln!(out, "\nreport\n  {}", page.display());
    }
    out.push_str("\nnext\n");
    for line in next::commands(report) {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// What an export answers: the text for a person, the report for a program.
pub(super) fn answer(text: String, report: Report, caller: &Caller<'_>) -> Outcome {
    let (json, warning) = (json(&report, caller)?, untrained(&report).map(|what| (caller.words)(&what)));
    Ok(Answer { text, json, warning, report: Some(Box::new(report)) })
}

/// The report for a program, with what to run next. Its notices are in the caller's words.
pub(super) fn json(report: &Report, caller: &Caller<'_>) -> Result<serde_json::Value, Failure> {
    let mut json = serde_json::to_value(report).map_err(Failure::failed)?;
    json["notices"] = report.notices.iter().map(caller.words).collect();
    json["next"] = next::commands(report).into();
    Ok(json)
}

/// The last line on stderr for weights that nobody trained.
pub(super) fn untrained(report: &Report) -> Option<Message> {
    match &report.weights {
        WeightsLine::Seeded { seed } => {
            let what = format!("untrained weights (seed {seed}): this file is for measuring latency only; give ");
            Some(message!(what, Setting::Weights, " for a real one"))
        }
        WeightsLine::Checkpoint { .. } => None,
    }
}

fn facts(report: &Report) -> String {
    let artifact = &report.artifact;
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, text: String| rows.push([name.to_string(), text]);
    let size = match (report.functions.len(), report.resolution) {
        (0, [0, 0]) => format!(", batch {}", report.batch),
        (0, [h, w]) => format!(", {h}x{w}, batch {}", report.batch),
        (n, _) => format!(", {n} functions on the same weights"),
    };
    row("model", format!("{}{size}", report.model));
    match &report.weights {
        WeightsLine::Checkpoint { file, blake3, found } => {
            row("weights", format!("{} (BLAKE3 {})", file.display(), blake3.get(..16).unwrap_or(blake3)));
            for line in found {
                row("", line.clone());
            }
        }
        WeightsLine::Seeded { seed } => row("weights", format!("generated from seed {seed}, untrained")),
    }
    row("target", format!("{}, {}", report.target, report.format));
    let ports = |ports: &[Port]| {
        let one = |p: &Port| format!("{} {} {}", p.name, p.dtype, p.shape);
        ports.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    if report.functions.is_empty() {
        row("input", ports(&report.inputs));
        row("", report.preprocessing.clone());
        report.settings.iter().for_each(|line| row("", line.clone()));
        row("output", ports(&report.outputs));
    } else {
        let function = |f: &FunctionLine| format!("{}: {} to {}", f.name, ports(&f.inputs), ports(&f.outputs));
        report.functions.iter().for_each(|f| row("function", function(f)));
        row("input", report.preprocessing.clone());
        report.settings.iter().for_each(|line| row("", line.clone()));
    }
    let p = &report.precision;
    let origin = if p.default { "the default of this target" } else { "as asked" };
    let islands = if p.islands > 0 { format!("; {} nodes in fp32", p.islands) } else { String::new() };
    row("precision", format!("{}, {origin}{islands}", p.compute));
    for (i, line) in quantisation(report).into_iter().enumerate() {
        row(if i == 0 { "quantised" } else { "" }, line);
    }
    row(
        "size",
        format!("{}, {} parameters, {} MACs", bytes(artifact.bytes), si(artifact.parameters), si(artifact.macs)),
    );
    if let Some(name) = &artifact.data_file {
        row("", format!("the weights are in {name} beside it: move both files together"));
    }
    row("constants", rounding(report));
    row("nodes", format!("{}: {}", artifact.nodes, ops(report)));
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    table(&rows, "  ")
}

/// What was quantised, and what that costs.
fn quantisation(report: &Report) -> Vec<String> {
    let Some(q) = &report.quantisation else { return Vec::new() };
    let share = 100.0 * q.weights[0] as f64 / q.weights[1].max(1) as f64;
    let (layers, macs) = (q.quantised + q.float, 100.0 * q.macs);
    let mut lines = vec![format!(
        "{}: {} of {layers} layers, {share:.1} % of their weights, {macs:.1} % of the MACs",
        q.form, q.quantised
    )];
    match (&q.calibration, &q.fidelity) {
        (Some((pictures, _)), Some(f)) => lines.push(format!("fitted to {pictures} pictures: {f}")),
        (Some((pictures, _)), None) => lines.push(format!("fitted to {pictures} pictures; the loss was not measured")),
        (None, _) => lines.push(
            "every weight rounded by itself; the loss was not measured: calibration pictures fit the weights and measure it".into(),
        ),
    }
    lines.extend(
        q.fitted_to
            .map(|n| format!("memory allowed {n} passes of them for the fit, evenly spread; it is judged on all")),
    );
    let products = report.lowered.kind == TargetKind::Onnx && q.layers.iter().any(|l| l.input_scale.is_some());
    lines.extend(products.then(|| match q.weight_bits {
        7 => "weights use 7 bits, which no x86 overflows; for a processor that is said to be vnni or arm they use 8, some 2 dB better".into(),
        _ => "weights use 8 bits: an x86 without VNNI overflows, which cost ONNX Runtime's own files 15 dB there".into(),
    }));
    lines.extend(q.evaluation.iter().map(|f| format!("judged by other pictures: {f}")));
    lines.extend(q.curve.iter().map(|point| {
        let kept = point.agreement.map_or(String::new(), |a| format!(", {:.1} % of the classes kept", 100.0 * a));
        format!("{}: {} of weights, {:.1} dB{kept}", point.layers, bytes(point.bytes), point.snr)
    }));
    lines
}

/// `largest |w| 2.31 before rounding, 2.31 after, in head.weight; 120 elements subnormal, 3 zero`.
fn rounding(report: &Report) -> String {
    let r = &report.rounding;
    let (before, after) = (magnitude(r.max_before), magnitude(r.max_after));
    let small = match report.precision.compute {
        "fp16" => match &r.equalized {
            None => format!("; rounded to subnormal {}, to zero {}", r.subnormal, r.zeroed),
            Some(e) => format!(
                "; rounded to subnormal {} instead of {}, to zero {} instead of {}, by powers of two that moved between layers",
                r.subnormal, e.subnormal_before, r.zeroed, e.zeroed_before
            ),
        },
        _ => String::new(),
    };
    if r.largest.is_empty() {
        return "no weights".into();
    }
    format!("largest |w| {before} before rounding, {after} after, in {}{small}", r.largest)
}

/// `89 Conv, 40 Add, …, 12 of 5 other kinds`.
fn ops(report: &Report) -> String {
    let mut ops: Vec<(&String, usize)> = report.artifact.ops.iter().map(|(k, &n)| (k, n)).collect();
    ops.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    let named = if ops.len() <= NAMED_OPS + 1 { ops.len() } else { NAMED_OPS };
    let mut parts: Vec<String> = ops[..named].iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    if named < ops.len() {
        let rest: usize = ops[named..].iter().map(|(_, n)| n).sum();
        parts.push(format!("{rest} of {} other kinds", ops.len() - named));
    }
    parts.join(", ")
}

/// What the passes did, and what they could not do and why.
fn passes(report: &Report) -> String {
    let did = report.passes.iter().filter(|p| p.rewrites > 0);
    let mut rows = vec![["pass", "rewrites", "nodes before", "after"].map(String::from).to_vec()];
    rows.extend(did.map(|p| vec![p.pass.clone(), p.rewrites.to_string(), p.before.to_string(), p.after.to_string()]));
    let mut out = format!("\n{}", table(&rows, "  "));
    let notes: Vec<String> =
        report.passes.iter().flat_map(|p| p.notes.iter().map(move |n| format!("  {}: {n}\n", p.pass))).collect();
    if !notes.is_empty() {
        out.push_str("\nwhat the passes could not do, or note\n");
        out.extend(notes);
    }
    out
}

/// The rules of the Neural Engine that are broken, each with its first nodes.
fn engine_rules(report: &Report) -> String {
    if report.engine_rules.is_empty() {
        return String::new();
    }
    let row = |f: &Finding| {
        let more = if f.nodes.len() > NAMED_NODES { ", …" } else { "" };
        let first = f.nodes.iter().take(NAMED_NODES).map(String::as_str).collect::<Vec<_>>().join(", ");
        vec![f.rule.to_string(), f.nodes.len().to_string(), format!("{first}{more}")]
    };
    let mut rows = vec![["rule", "nodes", "first"].map(String::from).to_vec()];
    rows.extend(report.engine_rules.iter().map(row));
    let mut out =
        "\nApple's rules for the Neural Engine that are not kept; what they say is in the report\n".to_string();
    out.push_str(&table(&rows, "  "));
    out
}

/// The check's table.
fn check(report: &Report) -> String {
    let mut out = String::new();
    match &report.check {
        Some(check) => {
            let reference = match (&report.quantisation, report.lowered.model.file()) {
                (Some(_), _) => "the quantised graph",
                (None, Some(_)) => "what it was made from",
                (None, None) => "the paper's graph",
            };
            let _ = writeln!(out, "\ncheck: the file, run in tract, against {reference}, on synthetic inputs");
            check.to_string().lines().for_each(|line| out.push_str(&format!("  {}\n", line.trim_end())));
        }
        None if report.fidelity().is_some() => {
            let reference =
                if report.lowered.model.file().is_some() { "what it was made from" } else { "the paper's graph" };
            let _ = writeln!(
                out,
                "\ncheck: the file, run in tract, against {reference}, on the calibration pictures\n  passed"
            );
            let notes = report.fidelity().into_iter().flat_map(|f| &f.notes);
            notes.for_each(|note| out.push_str(&format!("  {note}\n")));
        }
        None => out.push_str("\nnot checked\n"),
    }
    if let Some(verify) = &report.verify {
        let what = if report.quantisation.is_some() { "the model before quantisation" } else { "the file" };
        let _ = writeln!(out, "\nverified: {what}, run in tract, against the module itself, on synthetic inputs");
        verify.to_string().lines().for_each(|line| out.push_str(&format!("  {}\n", line.trim_end())));
    }
    if let Some(outside) = &report.expect {
        let _ = writeln!(out, "\n{}", expectation(outside));
    }
    out
}

/// A line about values from outside; one for each output if there are several.
pub(super) fn expectation(outside: &Outside) -> String {
    let figures = |c: &Comparison| format!("largest error {:.2e} of {:.2e}", c.max_error, c.max_reference);
    let verdict = |passed: bool| if passed { "agrees with" } else { "differs from" };
    if let [only] = &outside.outputs[..] {
        return format!("{} the expected values: {}", verdict(only.passed), figures(&only.comparison));
    }
    let line =
        |a: &Answered| format!("{} {} the expected values: {}", a.output, verdict(a.passed), figures(&a.comparison));
    outside.outputs.iter().map(line).collect::<Vec<_>>().join("\n")
}
