//! Publishing: artifacts for several targets, the weights they were made from and a card about them, as one folder that a model hub takes.
//!
//! Invariants: the folder appears complete or not at all; each artifact walked the whole road, its check included; trained weights in the folder were
//! read back and are the model's, so `weights=FOLDER` makes the same artifacts again, with those settings that the card names.

mod card;
mod config;
mod files;
mod weights;

pub use files::PublishedFile;

use crate::export::{self, Error, Lowered, Observer, Report, RequestBuilder};
use crate::message;
use crate::message::Setting;
use crate::model::{Model, ModelError, ModelRequest, WeightSource};
use crate::place::{Form, PlaceError, Staging};
use card::Card;
use files::{CARD, SUMS, WEIGHTS};
use std::path::{Path, PathBuf};
use vitc_exporters::metadata::{Layout, Preprocessing};

/// A folder that was published.
#[derive(Debug)]
pub struct Published {
    /// The folder.
    pub folder: PathBuf,
    /// Its files, by their paths in it.
    pub files: Vec<PublishedFile>,
    /// The export for each target.
    pub reports: Vec<Report>,
}

/// Whether the folder at `path` is empty, or holds what vitc published and nothing else: every file as its list of hashes has it.
pub fn written_by_vitc(path: &Path) -> bool {
    let empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    empty || config::is_ours(path) && files::are_as_listed(path)
}

/// Export the model to each target into a folder of its own below `place`, and put weights, settings, card and hashes beside them.
///
/// # Errors
/// See [`Error`]. If one artifact cannot be made or fails its check there is none, and what was at `place` is there still. Trained weights give way to
/// generated ones by `force` only.
pub fn publish(
    builders: Vec<RequestBuilder>,
    place: &Path,
    force: bool,
    observer: &Observer<'_>,
) -> Result<Published, Error> {
    let generated = builders.iter().all(|b| b.model.weights.is_none() && b.model.file.is_none());
    if generated && !force && place.join(WEIGHTS).exists() {
        let what =
            format!("{}: trained weights lie there, and generated ones would take their place\n  ", place.display());
        let todo = message!("publish elsewhere, or replace them with ", Setting::Force.on());
        return Err(Error::Usage(message!(what, todo)));
    }
    let staging = Staging::begin(place, Form::Package, force, written_by_vitc)?;
    let root = staging.artifact();
    let asked = builders.first().map(|builder| (builder.model.clone(), builder.about.license.clone()));
    let mut reports = Vec::new();
    for mut builder in builders {
        let folder = root.join(builder.target.name());
        create(&folder)?;
        builder.artifact.output = Some(folder);
        let made = export::export(&builder.build().map_err(Error::Usage)?, observer);
        let mut report = made.map_err(of_no_place)?;
        // Where it will be.
        if let Ok(inside) = report.artifact.path.strip_prefix(&root) {
            report.artifact.path = place.join(inside);
        }
        reports.push(report);
    }
    if let (Some(first), Some((asked, license))) = (reports.first(), asked) {
        observer(export::Event::Step("writing weights and card"));
        config::write(&root, first)?;
        let mut beside = Vec::new();
        // Generated weights are never put where trained ones are looked for, and a model file's are inside the artifacts.
        if matches!(first.lowered.model.weights, WeightSource::Checkpoint { .. }) {
            weights::write(&first.lowered.model, &root.join(WEIGHTS))?;
            beside = read_back(&first.lowered, asked, &root)?;
        }
        let listed = files::list(&root, &[])?;
        let card = Card { place, reports: &reports, files: &listed, license: license.as_deref(), beside: &beside };
        files::write(&root.join(CARD), card.text().as_bytes())?;
    }
    let files = files::list(&root, &[SUMS])?;
    files::write(&root.join(SUMS), files::sums(&files).as_bytes())?;
    observer(export::Event::Step("putting the folder in its place"));
    staging.commit()?;
    Ok(Published { folder: place.to_path_buf(), files, reports })
}

/// The error of an artifact that has no place of its own: nothing was in it before, and nothing of it is kept.
fn of_no_place(mut error: Error) -> Error {
    if let Error::Check { report, .. } = &mut error {
        report.artifact.kept = false;
    }
    error
}

/// The settings beside the folder with which it is read as the model that was exported, with pictures prepared as its artifacts say.
///
/// # Errors
/// If there are none.
fn read_back(lowered: &Lowered, asked: ModelRequest, root: &Path) -> Result<Vec<String>, Error> {
    let model = &lowered.model;
    let plain = ModelRequest {
        weights: Some(root.to_path_buf().into()),
        batch: model.batch,
        results: asked.results,
        ..ModelRequest::checkpoint(root)
    };
    let sized = ModelRequest { resolution: Some(model.resolution), ..plain.clone() };
    let said = ModelRequest { choices: asked.choices, heads: asked.heads, ..sized.clone() };
    for request in [plain, sized, said] {
        if Model::load(&request).is_ok_and(|again| is_same(lowered, &again)) {
            return Ok(settings(&request));
        }
    }
    let what = "what was written is read back as another model, or as one that sees pictures otherwise, so nothing is published";
    Err(ModelError::Other(
        format!("{what}\n  export the artifacts one by one, and publish them beside the checkpoint").into(),
    )
    .into())
}

/// Whether a model is the one that was exported: graph, weights, and how it sees pictures.
fn is_same(lowered: &Lowered, again: &Model) -> bool {
    let model = &lowered.model;
    let (own, read) = (model.weights.weights(), again.weights.weights());
    let equal = |(key, ty): (&str, &vitc_ir::Type)| {
        let elements = ty.shape.at(1).iter().product();
        matches!((own.weight(key, elements), read.weight(key, elements)), (Ok(a), Ok(b)) if a.dtype == b.dtype && a.bytes == b.bytes)
    };
    // How pixels reach the artifact is asked of an export, not of the model.
    let seen = |p: &Preprocessing| Preprocessing {
        normalised_inside: false,
        layout: Layout { bgr: p.layout.bgr, ..Layout::default() },
        ..p.clone()
    };
    again.name == model.name
        && again.graph.to_string() == model.graph.to_string()
        && lowered.preprocessing.as_ref().map(seen) == again.signature.preprocessing().map(seen)
        && model.graph.weights().all(equal)
}

/// What a request says besides the folder.
fn settings(request: &ModelRequest) -> Vec<String> {
    let size = request.resolution.map(|[h, w]| format!("resolution {h}x{w}"));
    let choices = request.choices.iter().map(|(name, value)| format!("choice {name}={value}"));
    let heads = request.heads.iter().map(|head| match head.reads {
        Some(reads) => format!("head {}={}", head.prefix, reads.word()),
        None => format!("head {}", head.prefix),
    });
    size.into_iter().chain(choices).chain(heads).collect()
}

fn create(folder: &Path) -> Result<(), PlaceError> {
    std::fs::create_dir_all(folder).map_err(|source| PlaceError::Io {
        what: "create a folder here",
        path: folder.to_path_buf(),
        source,
    })
}
