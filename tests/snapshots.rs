//! The smallest variant of every family in every text form: paper and deploy graph, ONNX, MIL. A change to a pass shows here as the
//! nodes that it changed.
//!
//! `INSTA_UPDATE=always cargo test --release --workspace snapshots` writes them anew.

use vitc::arch::seeded::SeededWeights;
use vitc::arch::{self, BuildOptions};
use vitc_exporters::metadata::{Metadata, WeightSource};
use vitc_exporters::{coreml, onnx};
use vitc_ir::{DType, Graph, Target};
use vitc_passes::LowerOptions;

/// The graph for a target, computing in `precision` between f32 interfaces.
fn lowered(deploy: &Graph, target: &Target, precision: DType) -> (Graph, Metadata) {
    let (graph, _) = vitc_passes::lower(deploy, target, &LowerOptions::new(precision, DType::F32)).expect("passes run");
    let metadata = Metadata::new(deploy.name.clone(), WeightSource::Seeded { seed: 0 }, precision);
    (graph, metadata)
}

fn snapshot(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../golden/snapshots/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Every form of a model on square images of this many pixels, batch 1.
fn forms(model: &str, side: usize) {
    let backbone = arch::find(model).unwrap_or_else(|e| panic!("{e}"));
    let options = BuildOptions { resolution: [side; 2], ..BuildOptions::new(backbone) };
    let paper = options.build().unwrap_or_else(|e| panic!("{e}")).graph;
    let (deploy, _) = vitc_passes::deploy(&paper).expect("passes run");
    snapshot("ir", &format!("{model}.paper"), &paper.to_string());
    snapshot("ir", &format!("{model}.deploy"), &deploy.to_string());
    for (name, target, precision) in
        [("onnx20-f32", Target::onnx(20), DType::F32), ("tensorrt17-f16", Target::tensorrt(17), DType::F16)]
    {
        let (graph, metadata) = lowered(&deploy, &target, precision);
        let text = onnx::text(&graph, &target, &metadata).unwrap_or_else(|e| panic!("{model}: {e}"));
        snapshot("onnx", &format!("{model}.{name}"), &text);
    }
    let mut target = Target::coreml(15);
    let (graph, metadata) = lowered(&deploy, &target, DType::F16);
    let interface = coreml::Interface::default();
    let (ios, _) = coreml::minimum_ios(&graph, &interface).unwrap_or_else(|e| panic!("{model}: {e}"));
    target = Target::coreml(ios);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let weights = SeededWeights::new(&paper, 0);
    coreml::write(&graph, &weights, &target, &interface, &metadata, folder.path())
        .unwrap_or_else(|e| panic!("{model}: {e}"));
    let text = coreml::text(folder.path()).unwrap_or_else(|e| panic!("{model}: {e}"));
    snapshot("coreml", &format!("{model}.f16"), &text);
}

/// In a module of its name, so that the filter `snapshots` runs these tests.
mod snapshots {
    use super::forms;

    #[test]
    fn fmvit() {
        forms("fmvit-t", 64);
    }

    #[test]
    fn affnet() {
        forms("affnet-et", 64);
    }

    #[test]
    fn efficientformerv2() {
        forms("efficientformerv2-s0", 64);
    }

    #[test]
    fn fastervit() {
        forms("fastervit-0-any-res", 64);
    }

    #[test]
    fn cas_vit() {
        forms("cas-vit-xs", 64);
    }

    #[test]
    fn ffnet() {
        forms("ffnet-1", 64);
    }

    #[test]
    fn dsm() {
        forms("dsm-t", 64);
    }
}
