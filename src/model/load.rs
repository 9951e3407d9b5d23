//! From a request to a model.

use super::file;
use super::loaded::{Model, WeightSource};
use super::request::{ModelError, ModelRequest};
use super::trained;
use crate::arch::seeded::SeededWeights;
use crate::arch::{self, Backbone, BuildOptions, Family, Head};
use crate::checkpoint::hub_name;
use crate::message;
use crate::message::Setting;
use std::path::Path;

/// The model of a request that names neither a model nor a checkpoint.
const DEFAULT_MODEL: &str = "fmvit-m";

impl Model {
    /// Find or recognise the model, build its paper graph, bind its weights.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn load(request: &ModelRequest) -> Result<Model, ModelError> {
        if let Some(file) = &request.file {
            return file::load(file);
        }
        let named = request.name.as_deref().map(find).transpose()?;
        match &request.weights {
            Some(weights) => trained::load(request, named, weights),
            None => seeded(request, named),
        }
    }

    /// The same model at the size of a request that differs in nothing else. Generated weights keep the numbers that they have here: they follow the
    /// statistics of a size, and one model has one set of weights.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn resized(&self, request: &ModelRequest) -> Result<Model, ModelError> {
        let mut model = Model::load(request)?;
        if let (WeightSource::Seeded { weights: own, .. }, WeightSource::Seeded { weights, .. }) =
            (&self.weights, &mut model.weights)
        {
            weights.take_over(own);
        }
        Ok(model)
    }
}

fn seeded(request: &ModelRequest, named: Option<Backbone>) -> Result<Model, ModelError> {
    let backbone = named.or_else(|| arch::find(DEFAULT_MODEL).ok()).ok_or_else(|| {
        let names: Vec<&str> = arch::backbones().map(|b| b.variant.name).collect();
        let todo = message!("name one, or give a checkpoint with ", Setting::Weights);
        ModelError::Request(message!("which model?\n  ", todo, format!("\n  models: {}", names.join(", "))))
    })?;
    let options = BuildOptions {
        batch: request.batch,
        resolution: request.resolution.unwrap_or(backbone.variant.resolution),
        channels: request.channels.unwrap_or(3),
        classes: request.classes.unwrap_or(backbone.variant.classes),
        head: family_head(request, backbone.family)?,
        results: request.results,
        choices: request.choices_of(backbone.family, &[])?,
        ..BuildOptions::new(backbone)
    };
    let built = options.build()?;
    let weights = SeededWeights::new(&built.graph, request.seed);
    let weights = WeightSource::Seeded { seed: request.seed, weights };
    Ok(Model::of(built, &options, weights, Vec::new()))
}

/// The classifier that the request names: without a checkpoint there are the family's own.
fn family_head(request: &ModelRequest, family: &Family) -> Result<Head, ModelError> {
    let mut head = Head::default();
    for name in &request.heads {
        head = name.of_family(family.heads).ok_or_else(|| {
            let given = Setting::Head.to(&name.prefix);
            ModelError::Request(message!(
                given,
                ": heads of other names come from a checkpoint\n  give it with ",
                Setting::Weights
            ))
        })?;
    }
    Ok(head)
}

/// The named model. A name that is an existing file was meant as the checkpoint.
fn find(name: &str) -> Result<Backbone, ModelError> {
    if let Some(repository) = hub_name(name) {
        let download =
            format!(": vitc downloads nothing\n  use `hf download {repository}`, which prints a folder, then ");
        return Err(ModelError::Request(message!(name, download, Setting::Weights.to("that-folder"))));
    }
    arch::find(name).map_err(|unknown| match Path::new(name).exists() {
        true => ModelError::Request(message!(
            format!("{name} is a file, and "),
            Setting::Model,
            " names an architecture\n  use ",
            Setting::Weights.to(name)
        )),
        false if names_a_file(name) => {
            ModelError::Other(message!(format!("{name}: there is no such file\n  check the spelling of the path")))
        }
        false => unknown.into(),
    })
}

/// Whether a word is meant as a file: models have no such endings.
fn names_a_file(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|e| e.to_str());
    ending
        .is_some_and(|e| ["onnx", "pth", "pt", "bin", "tar", "pkl", "safetensors", "mlpackage", "aimodel"].contains(&e))
}
