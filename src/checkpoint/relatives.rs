//! Networks that are not built here and are often brought: known by modules that no other has, so that a message can name them.

use std::collections::BTreeSet;

/// A network, and runs of segments that its names hold, `*` for a number. All of a row must be there.
const NETWORKS: &[(&str, &[&str])] = &[
    ("EfficientFormer (the first version)", &["stages.*.blocks.*.token_mixer.qkv", "stages.*.blocks.*.ls*.gamma"]),
    ("EfficientFormer (the first version)", &["network.*.*.token_mixer.qkv"]),
    ("FastViT", &["token_mixer.mixer.conv_kxk"]),
    ("FastViT", &["token_mixer.mixer.rbr_conv"]),
    ("MobileOne", &["stages.*.*.conv_kxk", "stages.*.*.conv_scale"]),
    ("MobileOne", &["stage*.*.rbr_conv"]),
    ("RepViT", &["token_mixer.conv.c", "channel_mixer.conv*.c"]),
    ("RepViT", &["token_mixer.*.conv.c", "channel_mixer.m"]),
    ("SwiftFormer", &["local_representation.pwconv*", "attn.to_key"]),
    ("LeViT", &["attn.qkv.linear", "attn_downsample"]),
    ("LeViT", &["blocks.*.m.qkv.c"]),
    ("MobileViT", &["transformer.*.attn.qkv", "conv_kxk"]),
    ("MobileViTv2", &["transformer.*.attn.qkv_proj"]),
    ("MobileViTv2", &["global_rep.*.pre_norm_attn"]),
    ("EfficientViT (MIT)", &["context_module.main.qkv"]),
    ("EfficientViT (Microsoft)", &["mixer.m.attn.qkvs"]),
    ("EdgeNeXt", &["blocks.*.xca"]),
    ("EdgeNeXt", &["stages.*.*.xca"]),
    ("MobileNetV4 or EfficientNet", &["blocks.*.*.conv_pw", "blocks.*.*.conv_dw"]),
    ("PoolFormer", &["network.*.*.token_mixer.pool"]),
    ("Swin Transformer", &["attn.relative_position_bias_table"]),
    ("MaxViT", &["attn_block.attn.rel_pos", "conv.conv*_*x*"]),
    ("ConvNeXt", &["stages.*.blocks.*.conv_dw", "stages.*.blocks.*.mlp.fc*"]),
    ("ConvNeXt", &["stages.*.*.dwconv", "stages.*.*.pwconv*"]),
    ("a vision transformer (ViT, DeiT, DINO)", &["blocks.*.attn.qkv", "blocks.*.mlp.fc*"]),
    ("a vision transformer of the transformers library", &["encoder.layer.*.attention.attention.query"]),
    ("CLIP", &["visual.transformer.resblocks.*.attn"]),
    ("ResNet", &["layer*.*.conv*", "layer*.*.bn*"]),
    ("DenseNet", &["features.denseblock*.denselayer*"]),
    ("MobileNetV2 or V3 of torchvision", &["features.*.conv.*"]),
    ("EfficientNet of torchvision", &["features.*.*.block.*"]),
    ("a YOLO of Ultralytics", &["model.*.cv*.conv", "model.*.m.*.cv*"]),
];

/// The network that has these names, if it is one of those that are often brought.
pub(super) fn network<'k>(names: impl Iterator<Item = &'k str>) -> Option<&'static str> {
    let mut found = vec![0u32; NETWORKS.len()];
    let dotted = |modules: &[&str]| modules.iter().map(|module| format!(".{module}.")).collect::<Vec<_>>();
    let patterns: Vec<Vec<String>> = NETWORKS.iter().map(|(_, modules)| dotted(modules)).collect();
    // Blocks of one kind have the same names but for their numbers.
    let plain: BTreeSet<String> = names.map(|name| format!(".{}.", numberless(name))).collect();
    for name in &plain {
        for (modules, found) in patterns.iter().zip(&mut found) {
            for (i, _) in modules.iter().enumerate().filter(|(_, module)| name.contains(module.as_str())) {
                *found |= 1 << i;
            }
        }
    }
    let whole =
        |(row, found): (&(&'static str, &[&str]), u32)| (found.count_ones() as usize == row.1.len()).then_some(row.0);
    NETWORKS.iter().zip(found).find_map(whole)
}

/// A name with `*` for every number.
fn numberless(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        if !c.is_ascii_digit() {
            plain.push(c);
        } else if !plain.ends_with('*') {
            plain.push('*');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn relatives_are_named() {
        for (names, wanted) in [
            (&["stages.0.blocks.0.token_mixer.mixer.conv_kxk.0.conv.weight"] as &[_], Some("FastViT")),
            (&["backbone.layer1.0.conv1.weight", "backbone.layer1.0.bn1.weight"], Some("ResNet")),
            (&["blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"], Some("a vision transformer (ViT, DeiT, DINO)")),
            (&["stages.1.0.conv_kxk.0.conv.weight", "stages.1.0.conv_scale.bn.weight"], Some("MobileOne")),
            (&["a.weight", "b.weight"], None),
        ] {
            assert_eq!(network(names.iter().copied()), wanted);
        }
    }
}
