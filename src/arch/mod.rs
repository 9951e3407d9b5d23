//! Architectures: one file per paper, each reading top to bottom as the paper's figure, in the vocabulary of [`layers`].
//!
//! Imports run one way: `family` (types), `layers` and `heads`, a file per paper, and this list of them all.

mod affnet;
mod casvit;
mod choice;
mod conv_module;
mod dsm;
mod efficientformerv2;
mod family;
mod fastervit;
mod ffnet;
mod ffnet_seg;
mod ffnet_sr;
mod finish;
mod fmvit;
mod fused;
pub mod heads;
mod layers;
mod nearest;
mod parts;
mod prediction;
mod results;
pub mod seeded;

pub use crate::checkpoint::{NameTable, Shapes};
pub use choice::{Choice, FamilyScores, Head};
pub use family::{
    ArchError, Backbone, Build, BuildOnMaps, BuildOptions, EvalTransform, Family, MapHead, Neck, PositionTables,
    Spelling, StageMap, StageOutputs, Variant,
};
pub use fused::folded;
pub use parts::{Built, Parts};
pub use prediction::Anchors;
pub use results::{Results, StageSet};

use crate::message;
use crate::message::{Explain, Listing, Message};

/// Every family, in the order of `vitc list`.
pub static FAMILIES: &[&Family] = &[
    &fmvit::FAMILY,
    &affnet::FAMILY,
    &efficientformerv2::FAMILY,
    &fastervit::FAMILY,
    &casvit::FAMILY,
    &ffnet_seg::FAMILY,
    &ffnet::FAMILY,
    &ffnet_sr::FAMILY,
    &dsm::FAMILY,
];

/// No variant of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct UnknownModel {
    /// What was asked for.
    pub name: String,
    /// The most similar names.
    pub nearest: Vec<&'static str>,
}

impl Explain for UnknownModel {
    fn message(&self) -> Message {
        let UnknownModel { name, nearest } = self;
        let nearest = nearest.join(", ");
        message!(format!("there is no model `{name}`; the nearest are {nearest}; `"), Listing::Models, "` shows all")
    }
}

/// Every published backbone, in the order of `vitc list`.
pub fn backbones() -> impl Iterator<Item = Backbone> {
    FAMILIES.iter().flat_map(|&family| family.variants.iter().map(move |variant| Backbone { family, variant }))
}

/// The backbone of a name: `efficientformerv2-s0`, upstream's `efficientformerv2_s0`, or timm's with a tag behind a dot.
///
/// # Errors
/// If no variant has the name; the error lists the nearest.
pub fn find(name: &str) -> Result<Backbone, UnknownModel> {
    let plain = |s: &str| s.to_ascii_lowercase().replace('_', "-");
    let wanted = plain(name.split('.').next().unwrap_or(name));
    let named = |v: &Variant| plain(v.name) == wanted || v.aliases.iter().any(|a| plain(a) == wanted);
    backbones().find(|b| named(b.variant)).ok_or_else(|| {
        let mut names: Vec<&'static str> = backbones().map(|b| b.variant.name).collect();
        names.sort_by_key(|n| crate::nearest::edit_distance(n, &wanted));
        names.truncate(4);
        UnknownModel { name: name.to_string(), nearest: names }
    })
}
