//! The options that say which model with which weights: the same for every command that needs one.

use crate::arch::Results;
use crate::arch::heads::HeadName;
use crate::checkpoint::SelectOptions;
use crate::message::Setting;
use crate::model::ModelRequest;
use clap::Args;
use std::path::PathBuf;
use vitc_ir::Dim;

/// Which weights.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// The trained weights: .safetensors, .pth, .pt, .bin, or a folder as Hugging Face and timm lay it out.
    #[arg(long, value_name = "PATH", help_heading = "Weights")]
    pub(super) weights: Option<PathBuf>,

    /// Seed of the generated weights of a model without --weights [default: 0].
    #[arg(long, value_name = "N", conflicts_with = "weights", help_heading = "Weights")]
    pub(super) seed: Option<u64>,

    /// Take the averaged copy of the weights.
    #[arg(long, requires = "weights", conflicts_with = "no_ema", help_heading = "Weights")]
    ema: bool,

    /// Take the raw weights beside an averaged copy: what happens without a flag, but without a notice.
    #[arg(long, requires = "weights", help_heading = "Weights")]
    no_ema: bool,

    /// Take the tensors under this prefix.
    #[arg(long, value_name = "PREFIX", requires = "weights", help_heading = "Weights")]
    strip_prefix: Option<String>,

    /// Rename tensors: whole dotted segments, wherever they occur; `*` stands for one segment. Repeatable.
    #[arg(long, value_name = "OLD=NEW", value_parser = pair, requires = "weights", help_heading = "Weights")]
    rename: Vec<(String, String)>,

    /// Leave out the tensors of this name, or under it; `*` stands for any run of characters. Repeatable.
    #[arg(long, value_name = "KEY|PATTERN", requires = "weights", help_heading = "Weights")]
    ignore: Vec<String>,

    /// Decide what a checkpoint does not show; a wrong name lists the choices. Repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, help_heading = "Weights")]
    choice: Vec<(String, String)>,

    /// Which head of several, by the name in front of its layers, and what it reads where its width leaves that open; `average`, `head` and
    /// `dist_head` are the trunk's own. Repeatable: each is an output.
    #[arg(long, value_name = "PREFIX[=features|scores|map|max-mean|mean-max]", value_parser = head, help_heading = "Weights")]
    pub(super) head: Vec<HeadName>,
}

/// A head's name.
fn head(text: &str) -> Result<HeadName, String> {
    let name = HeadName::read(text);
    if name.prefix.is_empty() || name.prefix.contains(['=', ',']) {
        return Err("expected the name in front of a head's layers, and perhaps =features, =scores or =map".into());
    }
    Ok(name)
}

/// Two words with `=` between them.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected two words with `=` between them".into()),
    }
}

impl ModelArgs {
    /// A setting that was given and belongs to models by name.
    pub(super) fn named(&self) -> Option<Setting> {
        let given = [
            (self.weights.is_some(), Setting::Weights),
            (self.seed.is_some(), Setting::Seed),
            (!self.choice.is_empty(), Setting::Choice),
            (!self.head.is_empty(), Setting::Head),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, setting)| setting)
    }

    /// The library's request, at batch 1 and whatever resolution the model has.
    pub(super) fn request(&self, name: Option<String>) -> ModelRequest {
        ModelRequest {
            file: None,
            name,
            weights: self.weights.clone().map(Into::into),
            seed: self.seed.unwrap_or(0),
            batch: Dim::Fixed(1),
            resolution: None,
            channels: None,
            classes: None,
            heads: self.head.clone(),
            results: Results::Logits,
            choices: self.choice.iter().cloned().collect(),
            select: SelectOptions {
                ema: if self.ema { Some(true) } else { self.no_ema.then_some(false) },
                strip_prefix: self.strip_prefix.clone(),
                rename: self.rename.clone(),
                ignore: self.ignore.clone(),
            },
        }
    }
}
