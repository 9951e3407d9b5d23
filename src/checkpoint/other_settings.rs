//! What the configuration's text says of a model's parts and is built in one way only: norms, activations, kinds of convolutions, how boxes are coded.
//!
//! No key shows these. Where the text gives one of them another value than the one that is built, the model is another, and an export would be
//! wrong without a sign of it.

use super::literals::{Literal, sections, values};

/// A setting that is built otherwise than the text has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSetting {
    /// The part of the configuration (`neck`).
    pub part: &'static str,
    /// The setting (`upsample_cfg.mode`).
    pub setting: String,
    /// What the text gives it.
    pub value: String,
}

/// Parts of a configuration that are read.
pub(super) const NECK: &str = "neck";
pub(super) const SEGMENTS: &str = "decode_head";
pub(super) const DETECTS: &str = "bbox_head";

/// A setting of a part: the part, the dict inside it that holds the setting (empty for the part itself), its name, and the values that are built.
type Built = (&'static str, &'static str, &'static str, &'static [&'static str]);

const BUILT: &[Built] = &[
    (NECK, "", "end_level", &["-1"]),
    (NECK, "upsample_cfg", "mode", &["nearest"]),
    (NECK, "act_cfg", "type", &[]),
    (NECK, "conv_cfg", "type", CONVOLUTIONS),
    (NECK, "norm_cfg", "type", NORMS),
    (NECK, "norm_cfg", "eps", EPS),
    (SEGMENTS, "", "input_transform", &["multiple_select"]),
    (SEGMENTS, "", "interpolate_mode", &["bilinear"]),
    (SEGMENTS, "act_cfg", "type", ACTIVATIONS),
    (SEGMENTS, "conv_cfg", "type", CONVOLUTIONS),
    (SEGMENTS, "norm_cfg", "type", NORMS),
    (SEGMENTS, "norm_cfg", "eps", EPS),
    (DETECTS, "act_cfg", "type", ACTIVATIONS),
    (DETECTS, "conv_cfg", "type", CONVOLUTIONS),
    (DETECTS, "norm_cfg", "type", NORMS),
    (DETECTS, "norm_cfg", "eps", EPS),
    (DETECTS, "loss_cls", "use_sigmoid", &["true"]),
    (DETECTS, "anchor_generator", "type", &["AnchorGenerator"]),
    (DETECTS, "anchor_generator", "scale_major", &["true"]),
    (DETECTS, "anchor_generator", "base_sizes", &[]),
    (DETECTS, "anchor_generator", "centers", &[]),
    (DETECTS, "bbox_coder", "type", &["DeltaXYWHBBoxCoder"]),
    (DETECTS, "bbox_coder", "add_ctr_clamp", &["false"]),
    (DETECTS, "bbox_coder", "clip_border", &["true"]),
];

const ACTIVATIONS: &[&str] = &["ReLU"];
const CONVOLUTIONS: &[&str] = &["Conv", "Conv2d"];
const NORMS: &[&str] = &["BN", "BN2d", "SyncBN", "MMSyncBN", "naiveSyncBN", "GN"];
const EPS: &[&str] = &["0.00001"];

/// What of the text is built otherwise.
pub(super) fn other_settings(text: &str) -> Vec<OtherSetting> {
    let other = |&(part, dict, setting, built): &Built| {
        let parts = sections(text, part);
        let dicts: Vec<&str> = match dict {
            "" => parts,
            // Dicts that only one kind of part has say enough by themselves.
            dict if parts.is_empty() && !dict.ends_with("_cfg") => sections(text, dict),
            dict => parts.into_iter().flat_map(|part| sections(part, dict)).collect(),
        };
        let given = dicts.into_iter().flat_map(|dict| values(dict, setting)).map(written);
        let value = given.into_iter().find(|value| !built.contains(&value.as_str()))?;
        let setting = if dict.is_empty() { setting.to_string() } else { format!("{dict}.{setting}") };
        Some(OtherSetting { part, setting, value })
    };
    BUILT.iter().filter_map(other).collect()
}

/// A literal as the table has it, short.
fn written(literal: Literal) -> String {
    match literal {
        Literal::Bool(value) => value.to_string(),
        Literal::Number(value) => value.to_string(),
        Literal::Text(text) => text.chars().filter(|c| !c.is_control()).take(32).collect(),
        Literal::List(items) => format!("a list of {}", items.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::other_settings;

    #[test]
    fn what_is_built_otherwise_is_found_in_its_part_only() {
        for (text, wanted) in [
            ("neck=dict(upsample_cfg=dict(mode='bilinear'))", "neck.upsample_cfg.mode bilinear"),
            (
                "neck=dict(upsample_cfg=dict(mode='nearest'), act_cfg=None), backbone=dict(act_cfg=dict(type='GELU'))",
                "",
            ),
            ("decode_head=dict(norm_cfg=dict(type='SyncBN', eps=1e-05))", ""),
            ("decode_head=dict(norm_cfg=dict(type='BN', eps=0.001))", "decode_head.norm_cfg.eps 0.001"),
            ("decode_head=[dict(conv_cfg=dict(type='ConvWS'))]", "decode_head.conv_cfg.type ConvWS"),
            (
                "bbox_head=dict(loss_cls=dict(type='FocalLoss', use_sigmoid=True), bbox_coder=dict(type='DeltaXYWHBBoxCoder'))",
                "",
            ),
            ("bbox_head=dict(loss_cls=dict(use_sigmoid=False))", "bbox_head.loss_cls.use_sigmoid false"),
            ("bbox_head=dict(bbox_coder=dict(type='TBLRBBoxCoder'))", "bbox_head.bbox_coder.type TBLRBBoxCoder"),
            ("auxiliary_head=dict(act_cfg=dict(type='GELU'))", ""),
            ("x=dict(bbox_coder=dict(type='TBLRBBoxCoder'))", "bbox_head.bbox_coder.type TBLRBBoxCoder"),
        ] {
            let found = other_settings(text).into_iter().map(|o| format!("{}.{} {}", o.part, o.setting, o.value));
            assert_eq!(found.collect::<Vec<_>>().join(", "), wanted, "{text}");
        }
    }
}
