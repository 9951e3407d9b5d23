//! The architectures and passes against logits of the papers' own code: paper graph, deploy graph and each target's
//! graph, computed in f64.

mod common;

use common::golden::Golden;
use vitc::arch::NameTable;

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
