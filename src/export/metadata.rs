//! What an artifact says about itself.

use super::lowered::Lowered;
use super::ports;
use super::request::Request;
use crate::arch::Results;
use crate::artifact::LABELS_KEY;
use crate::provenance;
use vitc_exporters::Metadata;

/// The entries of an artifact. A classifier holds its labels where the system looks for them, anything else in an entry.
pub(super) fn metadata(request: &Request, lowered: &Lowered) -> Metadata {
    let mut metadata = lowered.model.metadata(lowered.precision);
    let about = request.about.clone();
    metadata.preprocessing = lowered.preprocessing.clone();
    metadata.decisions = lowered.decisions.iter().map(ToString::to_string).collect();
    metadata.author = about.author;
    metadata.license = about.license;
    metadata.description = about.description;
    // A checkpoint without a classifier gives features where scores were asked for.
    let results = match request.model.results {
        Results::Logits if lowered.model.signature.are_features() => Results::Features,
        results => results,
    };
    metadata.extra = provenance::entries(&request.model, results, lowered.probabilities);
    metadata.extra.extend(lowered.model.facts.iter().cloned());
    if let (None, Some(labels)) = (&lowered.interface.labels, &lowered.labels) {
        metadata.extra.push((LABELS_KEY.into(), serde_json::json!(labels).to_string()));
    }
    metadata.extra.extend(quantisation(request, lowered));
    metadata.extra.extend(carried(lowered));
    metadata.extra.extend(about.extra);
    metadata.int32 = ports::int32(lowered);
    metadata
}

/// What was quantised, by what pictures, and BLAKE3 of what was decided.
fn quantisation(request: &Request, lowered: &Lowered) -> Vec<(String, String)> {
    let (Some(asked), Some(quantised)) = (&request.numbers.quantize, &lowered.quantised) else { return Vec::new() };
    let mut entries = vec![
        (provenance::QUANTIZE_KEY.to_string(), asked.scheme.name().to_string()),
        ("vitc.quantize.blake3".to_string(), quantised.decided.tensors.digest()),
    ];
    let goal = [(provenance::MIN_SNR_KEY, asked.goal.snr), (provenance::AGREEMENT_KEY, asked.goal.agreement)];
    entries.extend(goal.into_iter().filter_map(|(key, least)| Some((key.to_string(), least?.to_string()))));
    if let Some(c) = &lowered.calibration {
        entries.push(("vitc.calibration.pictures".into(), c.count.to_string()));
        entries.push(("vitc.calibration.blake3".into(), c.blake3.clone()));
    }
    entries
}

/// What a model file says of itself goes along, but for what another run of vitc said.
fn carried(lowered: &Lowered) -> Vec<(String, String)> {
    let all = lowered.model.file().map(|f| f.metadata.as_slice()).unwrap_or_default();
    let mut room = 1 << 16;
    let fits = |(key, value): &&(String, String)| {
        room -= ((key.len() + value.len()) as i64).min(1 << 17);
        room >= 0 && !key.is_empty() && !key.starts_with("vitc.") && !key.starts_with("com.apple.")
    };
    all.iter().filter(fits).cloned().collect()
}
