//! The card of a published folder: what is in it, what was checked, under which licence. Markdown with the header that model hubs read.

use super::files::{PublishedFile, SUMS, WEIGHTS};
use crate::export::{Report, WeightsLine};
use crate::port::Port;
use std::fmt::Write;
use std::path::Path;

/// The card of these exports.
pub(super) fn card(place: &Path, reports: &[Report], files: &[PublishedFile], license: Option<&str>) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let mut out = header(license);
    let _ = writeln!(out, "\n# {}\n", first.model);
    out.push_str(&about(first, license));
    out.push_str(&artifacts(place, reports));
    out.push_str(&checks(reports));
    out.push_str(&listing(files));
    out
}

/// What model hubs read. A licence that is no identifier is a licence of its own name.
fn header(license: Option<&str>) -> String {
    let identifier =
        |text: &&str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
    let license = license.map(str::to_string);
    let lower = license.as_deref().map(str::to_ascii_lowercase);
    let lines = match (lower.as_deref().filter(identifier), &license) {
        (Some(known), _) => format!("license: {known}\n"),
        (None, Some(own)) => format!("license: other\nlicense_name: {}\n", serde_json::json!(own)),
        (None, None) => "license: unknown\n".into(),
    };
    format!("---\nlibrary_name: vitc\ntags: [vision-transformer, onnx, coreml]\n{lines}---\n")
}

fn about(report: &Report, license: Option<&str>) -> String {
    let mut out = String::new();
    let paper = report.lowered.model.origin.citation();
    if !paper.is_empty() {
        let _ = writeln!(out, "{paper}\n");
    }
    match &report.weights {
        WeightsLine::Checkpoint { file, blake3, .. } => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(out, "- made from: {}, BLAKE3 `{blake3}`", plain(&name));
        }
        WeightsLine::Seeded { seed } => {
            let _ = writeln!(out, "- weights: **generated from seed {seed}, untrained**: for measuring latency only");
        }
    }
    let _ = writeln!(out, "- licence of the weights: {}", license.map_or("not said".into(), plain));
    if !report.preprocessing.is_empty() {
        let _ = writeln!(out, "- a picture becomes the input so: {}", plain(&report.preprocessing));
    }
    out
}

fn artifacts(place: &Path, reports: &[Report]) -> String {
    let mut out =
        "\n## Files for devices\n\n| file | for | computes in | size | input | output |\n|---|---|---|---|---|---|\n"
            .to_string();
    let ports = |ports: &[Port]| {
        ports.iter().map(|p| format!("{} {} {}", plain(&p.name), p.dtype, p.shape)).collect::<Vec<_>>().join(", ")
    };
    for report in reports {
        let path = report.artifact.path.strip_prefix(place).unwrap_or(&report.artifact.path).display();
        let mb = report.artifact.bytes as f64 / 1e6;
        let [inputs, outputs] = [&report.inputs, &report.outputs].map(|p| ports(p));
        let (format, compute) = (&report.format, report.precision.compute);
        let _ = writeln!(
            out,
            "| `{path}` | {} ({format}) | {compute} | {mb:.1} MB | {inputs} | {outputs} |",
            report.target
        );
    }
    out
}

/// The table of every check. Its numbers are those that the export printed.
fn checks(reports: &[Report]) -> String {
    let mut out = "\n## What was checked\n\nEach file was run and compared, value by value, with the model that it was made from.\n".to_string();
    for report in reports {
        if let Some(fidelity) = report.fidelity() {
            let _ = writeln!(out, "\n{}, quantised, against the model: {fidelity}", report.target);
        }
        let Some(check) = &report.check else {
            if report.fidelity().is_none() {
                let _ = writeln!(out, "\n{}: not checked", report.target);
            }
            continue;
        };
        let _ = writeln!(out, "\n{}:\n", report.target);
        out.push_str(
            "| input | output | largest error | allowed | largest value | verdict |\n|---|---|---|---|---|---|\n",
        );
        for run in &check.runs {
            let c = &run.comparison;
            let verdict = if run.passed { "agrees" } else { "differs" };
            let (input, output) = (plain(&run.of()), plain(&run.output));
            let _ = writeln!(
                out,
                "| {input} | {output} | {:.2e} | {:.2e} | {:.2e} | {verdict} |",
                c.max_error, run.allowed, c.max_reference
            );
        }
    }
    out
}

fn listing(files: &[PublishedFile]) -> String {
    let mut out = format!("\n## Every file\n\nThe hashes stand in `{SUMS}` too, as b3sum prints and checks them.\n");
    if files.iter().any(|file| file.path == WEIGHTS) {
        out.push_str("The weights and `config.json` are what vitc reads from this folder: it makes the same files of them again.\n");
    }
    out.push_str("\n| file | bytes | BLAKE3 |\n|---|---|---|\n");
    for file in files {
        let _ = writeln!(out, "| `{}` | {} | `{}` |", file.path, file.bytes, file.blake3);
    }
    out
}

/// A text that a stranger wrote, so that it stays a text: nothing in it is markup or ends a cell.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '<' => out.push_str("&lt;"),
            '|' | '`' | '*' | '[' | ']' | '\\' | '_' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_is_no_markup() {
        assert_eq!(plain("a|b\n<script>[x](y)"), r"a\|b &lt;script>\[x\](y)");
    }

    #[test]
    fn a_licence_is_an_identifier_or_has_a_name() {
        assert!(header(Some("Apache-2.0")).contains("license: apache-2.0\n"));
        let own = header(Some("NVIDIA: \"research\"\nonly"));
        assert!(own.contains("license: other\nlicense_name: \"NVIDIA: \\\"research\\\"\\nonly\"\n"), "{own}");
        assert!(header(None).contains("license: unknown\n"));
    }
}
