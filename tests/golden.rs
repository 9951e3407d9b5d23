//! The architectures and passes against logits of the papers' own code: paper graph, deploy graph and each target's
//! graph, computed in f64.

mod common;

use common::golden::Golden;
use vitc::arch::NameTable;
use vitc_ir::{DType, Target};
use vitc_passes::LowerOptions;

fn agrees(data: &str, model: &str) {
    let golden = Golden::load(data, &NameTable::IDENTITY);
    golden.assert_all_agree(&golden.paper(model, &[]));
}

/// Logits of the reference design's PyTorch implementation: the authors published none.
#[test]
fn fmvit_t() {
    agrees("fmvit/fmvit_t", "fmvit-t");
}

#[test]
fn fmvit_m() {
    agrees("fmvit/fmvit_m", "fmvit-m");
}

#[test]
fn cas_vit_xs() {
    agrees("casvit/rcvit_xs", "cas-vit-xs");
}

#[test]
fn ffnet_1() {
    agrees("ffnet/ffnet_1", "ffnet-1");
}

#[test]
fn efficientformerv2_s0() {
    agrees("efficientformerv2/efficientformerv2_s0", "efficientformerv2-s0");
}

#[test]
fn efficientformerv2_s0_without_distillation_head() {
    agrees("efficientformerv2/efficientformerv2_s0_nodist", "efficientformerv2-s0");
}

#[test]
fn efficientformerv2_s0_in_timms_spelling() {
    let backbone = vitc::arch::find("efficientformerv2-s0").expect("a known model");
    let timm =
        backbone.family.spellings.iter().map(|s| &s.table).find(|t| t.code_base == "timm").expect("a known spelling");
    let golden = Golden::load("efficientformerv2/efficientformerv2_s0_timm", timm);
    golden.assert_all_agree(&golden.paper("efficientformerv2-s0", &[]));
}

#[test]
fn fastervit_0() {
    agrees("fastervit/faster_vit_0_224", "fastervit-0");
}

/// A rectangular grid of windows, padded; carriers that land in other windows than they came from.
#[test]
fn fastervit_0_any_res() {
    agrees("fastervit/faster_vit_0_any_res_256x320", "fastervit-0-any-res");
}

#[test]
fn affnet_et() {
    agrees("affnet/affnet_et", "affnet-et");
}

/// Odd spectra: the last maps are 7x7.
#[test]
fn affnet_et_at_224() {
    agrees("affnet/affnet_et_224", "affnet-et");
}

/// BatchNorm as the norm of the inner blocks, recognised from the keys.
#[test]
fn affnet_et_with_batch_norm() {
    agrees("affnet/affnet_et_bn", "affnet-et");
}

#[test]
fn dsm_t() {
    agrees("dsm/dsm_t", "dsm-t");
}

/// In half precision, every value rounded as it is stored: 1 % of the largest logit.
#[test]
fn spectral_families_in_half_precision() {
    for (data, model) in
        [("affnet/affnet_et", "affnet-et"), ("affnet/affnet_et_224", "affnet-et"), ("dsm/dsm_t", "dsm-t")]
    {
        let golden = Golden::load(data, &NameTable::IDENTITY);
        let (deploy, _) = vitc_passes::deploy(&golden.paper(model, &[])).expect("passes run");
        for target in [Target::onnx(17), Target::tensorrt(17), Target::coreml(15)] {
            let (half, _) =
                vitc_passes::lower(&deploy, &target, &LowerOptions::new(DType::F16, DType::F32)).expect("passes run");
            let (error, largest) = (golden.error(&half), golden.largest());
            assert!(error <= 0.01 * largest, "{data} for {}: {error:e} of {largest}", target.name());
        }
    }
}
