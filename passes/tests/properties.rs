//! Every pass preserves the function, on random graphs with random weights, and finds nothing to do in its own result.

mod common;

use common::{deploy, lower, lower_observed};
use vitc_ir::testing::{Options, Rng, assert_same_function, random_graph};
use vitc_ir::valid::validate;
use vitc_ir::{BinaryKind, DType, Dim, Graph, Op, Target};
use vitc_passes::{Context, DEPLOY, LowerOptions, equalize};

const SEEDS: u64 = 150;
/// Passes are exact in real arithmetic; what is left is the rounding of f64.
const EXACT: f64 = 1e-9;

fn targets() -> Vec<Target> {
    vec![Target::onnx(17), Target::onnx(20), Target::tensorrt(17), Target::coreml(15)]
}

fn graphs() -> impl Iterator<Item = (u64, Graph)> {
    (0..SEEDS).map(|seed| {
        let batch = if seed % 2 == 0 { Dim::Batch(1) } else { Dim::Fixed(2) };
        (seed, random_graph(seed, Options { batch, blocks: 3 }))
    })
}

#[test]
fn each_deploy_pass_preserves_the_function() {
    let mut hits = vec![0; DEPLOY.len()];
    for (seed, paper) in graphs() {
        let mut graph = paper;
        for (i, pass) in DEPLOY.iter().enumerate() {
            let name = pass.name;
            let result =
                (pass.run)(&graph, &Context::independent()).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}"));
            let after = result.graph.pruned();
            validate(&after, None).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}"));
            assert_same_function(&graph, &after, seed, EXACT);
            hits[i] += result.count;
            graph = after;
        }
    }
    for (pass, hits) in DEPLOY.iter().zip(hits) {
        assert!(
            hits > 0,
            "{} found nothing to do in {SEEDS} random graphs, so this test says nothing about it",
            pass.name
        );
    }
}

#[test]
fn deploying_twice_changes_nothing() {
    for (seed, paper) in graphs() {
        let (once, _) = deploy(&paper);
        let (twice, report) = deploy(&once);
        assert_eq!(once.to_string(), twice.to_string(), "seed {seed}: {report:?}");
    }
}

#[test]
fn lowering_preserves_the_function_and_says_only_what_the_target_has() {
    for target in targets() {
        for (seed, paper) in graphs() {
            let (graph, _) = deploy(&paper);
            let options = LowerOptions::new(DType::F32, DType::F32);
            let (lowered, _) = lower_observed(&graph, &target, &options, &mut |pass, graph| {
                validate(graph, None).unwrap_or_else(|e| panic!("{pass}, {}, seed {seed}: {e}", target.name()));
            });
            validate(&lowered, Some(&target)).unwrap_or_else(|e| panic!("{}, seed {seed}: {e}", target.name()));
            assert_same_function(&paper, &lowered, seed, EXACT);
        }
    }
}

#[test]
fn half_precision_types_every_value_and_keeps_the_interface() {
    for target in targets() {
        for (seed, paper) in graphs() {
            let (graph, _) = deploy(&paper);
            for interface in [DType::F32, DType::F16] {
                let (half, _) = lower(&graph, &target, &LowerOptions::new(DType::F16, interface));
                validate(&half, Some(&target)).unwrap_or_else(|e| panic!("{}, seed {seed}: {e}", target.name()));
                assert!(half.inputs().all(|(_, n)| n.types[0].dtype == interface));
                assert!(half.outputs.iter().all(|o| half.ty(o.value).dtype == interface));
                if interface == DType::F32 {
                    assert_same_function(&paper, &half, seed, 0.1);
                }
            }
        }
    }
}

#[test]
fn inputs_and_outputs_have_their_own_element_types() {
    let target = Target::coreml(16);
    for precision in [DType::F32, DType::F16] {
        for (input, output) in [(DType::F32, DType::F16), (DType::F16, DType::F32), (DType::F16, DType::F16)] {
            for (seed, paper) in graphs().take(20) {
                let options = LowerOptions { input, output, ..LowerOptions::new(precision, DType::F32) };
                let (typed, _) = lower(&deploy(&paper).0, &target, &options);
                validate(&typed, Some(&target)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                assert!(typed.inputs().all(|(_, n)| n.types[0].dtype == input));
                assert!(typed.outputs.iter().all(|o| typed.ty(o.value).dtype == output));
                let inner = typed.run_time_nodes().filter(|(_, n)| !matches!(n.op, Op::Cast { .. } | Op::Input));
                assert!(inner.flat_map(|(_, n)| &n.types).all(|t| t.dtype == precision || !t.dtype.is_float()));
            }
        }
    }
}

/// Whatever power of two each region gets, the function stays, to the last bit of the arithmetic of the evaluator.
#[test]
fn factors_between_layers_preserve_the_function() {
    for target in targets().into_iter().chain([Target::coreai(27)]) {
        let (mut scaled, mut joined) = (0, 0);
        for (seed, paper) in graphs() {
            let (graph, _) = lower(&deploy(&paper).0, &target, &LowerOptions::new(DType::F32, DType::F32));
            let rng = &mut Rng::new(seed);
            let found = equalize::regions(&graph).regions;
            joined += found.iter().filter(|r| r.values.len() > 1).count();
            let exponents = found.into_iter().map(|r| (r.name, rng.range(0, 24) as i32 - 12)).collect();
            let (after, report) =
                equalize::equalize(&graph, &exponents, &mut |_, _| ()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            validate(&after, Some(&target)).unwrap_or_else(|e| panic!("{}, seed {seed}: {e}", target.name()));
            assert_same_function(&graph, &after, seed, EXACT);
            let nodes = |g: &Graph| g.run_time_nodes().count();
            assert_eq!(nodes(&graph), nodes(&after), "seed {seed}");
            scaled += report.iter().map(|r| r.count).sum::<usize>();
        }
        assert!(scaled > SEEDS as usize && joined > 10, "{}: {scaled} constants, {joined} regions", target.name());
    }
}

/// Pixels minus their mean, over their deviation, in front of kernels that pad: the factor goes into every kernel, the mean stays.
#[test]
fn a_factor_on_the_input_goes_into_padded_kernels() {
    let graph = |rng: &mut Rng, extra: &str| {
        let (stride, pad) = (rng.range(1, 2), rng.range(0, 2));
        let scale = rng.pick(&[
            "mul(%m, weight\"s\":f32[1,4,1,1])",
            "div(%m, literal[3]:f32[])",
            "mul(weight\"s\":f32[4,1,1], %m)",
        ]);
        let kernel = |name: &str, groups: usize, pad: usize| {
            let (w, side) = (4 / groups, 2 * pad + 1);
            format!(
                "%{name}: f32[B,6,H,W] = conv(%s, weight\"{name}.w\":f32[6,{w},{side},{side}], weight\"{name}.b\":f32[6]){{stride={stride}, pad={pad}, groups={groups}}}\n"
            )
        };
        let out = |n: usize| (n - 1) / stride + 1;
        let convs = kernel("a", 1, pad) + &kernel("b", 2, 1) + &kernel("c", 1, 0);
        let convs = convs.replace("H,W", &format!("{},{}", out(7), out(5)));
        let text = format!(
            "graph g  stage=paper\n%x: f32[B,4,7,5] = input\n%m: f32[B,4,7,5] = sub(%x, literal[1,2,3,4]:f32[4,1,1])\n\
             %s: f32[B,4,7,5] = {scale}\n{convs}outputs a=%a, b=%b, c=%c{extra}"
        );
        vitc_ir::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    };
    let count = |graph: &Graph, wanted: fn(&Op) -> bool| graph.run_time_nodes().filter(|(_, n)| wanted(&n.op)).count();
    let factors = |g: &Graph| count(g, |op| matches!(op, Op::Binary(BinaryKind::Mul | BinaryKind::Div)));
    for seed in 0..SEEDS {
        let paper = graph(&mut Rng::new(seed), "");
        let (after, _) = deploy(&paper);
        assert_same_function(&paper, &after, seed, EXACT);
        assert_eq!((factors(&after), count(&after, |op| *op == Op::Binary(BinaryKind::Sub))), (0, 1), "{after}");
        // Something else wants the scaled pixels: nothing is gained by a second copy of the kernels.
        let (after, _) = deploy(&graph(&mut Rng::new(seed), ", s=%s"));
        assert_eq!(factors(&after), 1, "{after}");
    }
}
