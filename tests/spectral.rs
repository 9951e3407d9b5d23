//! The families whose tokens mix in a spectrum: what their files hold, which checkpoints they take, and what they refuse.

mod common;
mod torch_file;

use common::command::{stderr, vitc};
use common::{paper, shapes};
use torch_file::safetensors;
use vitc::arch::{self, BuildOptions, Shapes};
use vitc_ir::testing::assert_same_function;
use vitc_ir::{DType, Dim, Generator, Graph, Op, Target, Value, cost, validate};
use vitc_passes::{LowerOptions, Spectral, deploy, lower};

const VARIANTS: [&str; 8] = ["affnet-et", "affnet-t", "affnet", "affnet-base", "dsm-t", "dsm-s", "dsm-m", "dsm-b"];

fn targets() -> [Target; 3] {
    [Target::onnx(17), Target::tensorrt(17), Target::coreml(15)]
}

fn built(name: &str, resolution: Option<[usize; 2]>, batch: Dim, tensors: Option<&Shapes>) -> Graph {
    let backbone = arch::find(name).unwrap_or_else(|e| panic!("{e}"));
    let mut options = BuildOptions { batch, tensors, ..BuildOptions::new(backbone) };
    options.resolution = resolution.unwrap_or(backbone.variant.resolution);
    options.build().unwrap_or_else(|e| panic!("{e}")).graph
}

fn lowered(paper: &Graph, target: &Target, spectral: Spectral) -> Graph {
    let options = LowerOptions { spectral, ..LowerOptions::new(DType::F32, DType::F32) };
    let (graph, _) = lower(&deploy(paper).expect("passes run").0, target, &options).expect("passes run");
    validate(&graph, Some(target)).unwrap_or_else(|e| panic!("{e}"));
    graph
}

/// Nodes of the file at opset 17: fewer than half of what PyTorch's exporter and onnxslim make of AFFNet-ET (764), and two thirds of DSM-T's (526).
#[test]
fn files_have_few_nodes() {
    for (model, most) in [("affnet-et", 330), ("dsm-t", 370)] {
        let nodes = lowered(&paper(model, None), &Target::onnx(17), Spectral::Auto).run_time_nodes().count();
        assert!(nodes <= most, "{model}: {nodes} nodes, at most {most} expected");
    }
}

/// Elements of the stored constants that come from a transform's basis and from nothing trained.
fn bases(graph: &Graph) -> u64 {
    let mut basis = vec![false; graph.len()];
    let mut trained = vec![false; graph.len()];
    for (id, node) in graph.nodes() {
        let at = id.0 as usize;
        let any = |marks: &[bool]| node.inputs.iter().any(|v| marks[v.node.0 as usize]);
        basis[at] =
            any(&basis) || matches!(node.op, Op::Generate(Generator::DftBasis { .. } | Generator::DctBasis { .. }));
        trained[at] = any(&trained) || matches!(node.op, Op::Weight { .. });
    }
    let stored = cost::emitted_constants(graph).into_iter();
    let of_basis = |v: &Value| basis[v.node.0 as usize] && !trained[v.node.0 as usize];
    stored.filter(of_basis).map(|v| graph.shape(v).elements() as u64).sum()
}

/// At any size of the image, and only a demand may exceed it.
#[test]
fn bases_stay_below_half_of_the_weights() {
    let mut exceeded = 0;
    for model in VARIANTS {
        for (resolution, batch) in
            [([224, 224], Dim::Fixed(1)), ([256, 192], Dim::Batch(1)), ([512, 512], Dim::Fixed(1))]
        {
            let graph = built(model, Some(resolution), batch, None);
            let half = cost::trained_parameters(&graph) / 2;
            for target in targets() {
                let stored = bases(&lowered(&graph, &target, Spectral::Auto));
                assert!(0 < stored && stored <= half, "{model} {resolution:?} {}: {stored} of {half}", target.name());
                exceeded += usize::from(bases(&lowered(&graph, &target, Spectral::Dense)) > half);
            }
        }
    }
    assert!(exceeded > 0, "no forced form was larger, so this test says nothing");
}

/// A checkpoint's tensors with others in place of some.
fn changed(model: &str, change: impl Fn(&str, &[usize], &mut Shapes)) -> Shapes {
    let plain = shapes(&paper(model, None));
    let mut tensors = plain.clone();
    plain.iter().for_each(|(key, shape)| change(key, shape, &mut tensors));
    tensors
}

fn count(graph: &Graph, word: &str) -> usize {
    graph.run_time_nodes().filter(|(_, n)| n.op.word() == word).count()
}

/// BatchNorm in place of the inner blocks' norms, and PReLU in place of each activation, show in the keys.
#[test]
fn norms_and_activations_are_recognised_from_the_keys() {
    let plain = built("affnet-et", Some([64, 64]), Dim::Fixed(1), None);
    let batch_norm = changed("affnet-et", |key, shape, tensors| {
        // Norms directly below `global_rep.N` are not part of a convolution layer.
        if key.contains("global_rep") && !key.contains(".block.") && key.ends_with(".weight") && shape.len() == 1 {
            let place = key.trim_end_matches("weight");
            for statistic in ["running_mean", "running_var"] {
                tensors.insert(format!("{place}{statistic}"), shape.to_vec());
            }
        }
    });
    let prelu = changed("affnet-et", |key, shape, tensors| {
        let activated = !key.contains("red_1x1") && !key.contains("conv_proj");
        if let Some(place) = key.strip_suffix("norm.weight").filter(|p| p.ends_with("block.") && activated) {
            tensors.insert(format!("{place}act.weight"), shape.to_vec());
        }
    });
    let everywhere = {
        let mut tensors = prelu.clone();
        for key in prelu.keys().filter_map(|k| k.strip_suffix("filter.w1")) {
            tensors.insert(format!("{key}filter.act.weight"), vec![1]);
            tensors.insert(format!("{key}filter.act2.weight"), vec![1]);
        }
        tensors
    };
    // 21 norms; 37 convolution layers with an activation, 9 filters with two.
    for (tensors, norms, slopes) in [(batch_norm, 21, 0), (prelu, 0, 37), (everywhere, 0, 37 + 18)] {
        let graph = built("affnet-et", Some([64, 64]), Dim::Fixed(1), Some(&tensors));
        assert_eq!(count(&graph, "batch_norm"), count(&plain, "batch_norm") + norms);
        assert_eq!(count(&graph, "prelu"), slopes);
        // Every tensor is asked for.
        assert_eq!(graph.weights().count(), tensors.len());
        // Without norms, random weights square themselves out of range in filter after filter: golden data has that variant.
        for target in targets().iter().filter(|_| norms == 0) {
            assert_same_function(&graph, &lowered(&graph, target, Spectral::Auto), 1, 1e-4);
        }
    }
}

#[test]
fn a_checkpoint_of_another_size_is_refused() {
    for [held, asked] in [["affnet-et", "affnet-t"], ["affnet-t", "affnet"], ["dsm-t", "dsm-s"]] {
        let folder = tempfile::tempdir().unwrap();
        let tensors: Vec<_> = shapes(&paper(held, None))
            .into_iter()
            .map(|(key, shape)| (key, shape.clone(), vec![0.5; shape.iter().product()]))
            .collect();
        std::fs::write(folder.path().join("model.safetensors"), safetensors(&tensors)).unwrap();
        let output = vitc(folder.path(), &format!("export {asked} --weights model.safetensors --target onnx"));
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("model.safetensors holds {held}, not {asked}")), "{error}");
        assert!(error.contains("leave MODEL out"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written");
    }
}

/// An option about what the model does not have is wrong use, and nothing is written.
#[test]
fn an_option_about_an_absent_part_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (model, target, option, part) in [
        ("efficientformerv2-s0", "onnx", ["--spectral", "dense"], "Fourier or cosine transforms"),
        ("ffnet-1", "tensorrt-onnx", ["--talking-heads", "fuse"], "talking heads"),
    ] {
        let output = vitc(folder.path(), &format!("export {model} --target {target} --no-check {}", option.join(" ")));
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(&format!("{}: {model} has no {part}", option[0])), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
