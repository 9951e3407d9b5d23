//! The card of a published folder: what is in it, what was checked, under which licence. Markdown with the header that model hubs read.

use super::files::{PublishedFile, SUMS, WEIGHTS};
use crate::export::{Report, TargetKind, WeightsLine};
use crate::port::Port;
use std::fmt::Write;
use std::path::Path;

/// What a card is about.
pub(super) struct Card<'a> {
    /// Where the folder will be.
    pub(super) place: &'a Path,
    pub(super) reports: &'a [Report],
    pub(super) files: &'a [PublishedFile],
    /// Licence of the weights.
    pub(super) license: Option<&'a str>,
    /// Settings without which the folder is read as another model.
    pub(super) beside: &'a [String],
}

impl Card<'_> {
    /// Its text.
    pub(super) fn text(&self) -> String {
        let Some(first) = self.reports.first() else { return String::new() };
        let mut out = header(self.license, &self.tags(first));
        let _ = writeln!(out, "\n# {}\n", first.model);
        out.push_str(&about(first, self.license));
        out.push_str(&artifacts(self.place, self.reports));
        out.push_str(&checks(self.reports));
        out.push_str(&listing(self.files, self.beside));
        out
    }

    /// What people look for on a hub.
    fn tags(&self, first: &Report) -> String {
        let family = (!first.lowered.model.origin.citation().is_empty()).then_some("vision-transformer");
        let format = |report: &Report| match report.lowered.kind {
            TargetKind::Onnx => "onnx",
            TargetKind::TensorRt => "tensorrt",
            TargetKind::CoreMl => "coreml",
            TargetKind::CoreAi => "core-ai",
        };
        family.into_iter().chain(self.reports.iter().map(format)).collect::<Vec<_>>().join(", ")
    }
}

/// What model hubs read. A licence that is no identifier is a licence of its own name.
fn header(license: Option<&str>, tags: &str) -> String {
    let identifier =
        |text: &&str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
    let license = license.map(str::to_string);
    let lower = license.as_deref().map(str::to_ascii_lowercase);
    let lines = match (lower.as_deref().filter(identifier), &license) {
        (Some(known), _) => format!("license: {known}\n"),
        (None, Some(own)) => format!("license: other\nlicense_name: {}\n", serde_json::json!(own)),
        (None, None) => "license: unknown\n".into(),
    };
    format!("---\nlibrary_name: vitc\ntags: [{tags}]\n{lines}---\n")
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
    let mut out = "\n## What was checked\n".to_string();
    if reports.iter().all(|r| r.check.is_some()) {
        out.push_str("\nEach file was run and compared, value by value, with the model that it was made from.\n");
    }
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

fn listing(files: &[PublishedFile], beside: &[String]) -> String {
    let mut out = format!("\n## Every file\n\nThe hashes stand in `{SUMS}` too, as b3sum prints and checks them.\n");
    if files.iter().any(|file| file.path == WEIGHTS) {
        let with = match beside {
            [] => String::new(),
            settings => format!(", with {}, which no file records", plain(&settings.join(", "))),
        };
        let _ = writeln!(
            out,
            "The weights and `config.json` are what vitc reads from this folder: it makes the same files of them again{with}."
        );
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
        assert!(header(Some("Apache-2.0"), "onnx").contains("license: apache-2.0\n"));
        let own = header(Some("NVIDIA: \"research\"\nonly"), "onnx");
        assert!(own.contains("license: other\nlicense_name: \"NVIDIA: \\\"research\\\"\\nonly\"\n"), "{own}");
        assert!(header(None, "onnx").contains("license: unknown\n"));
    }
}
