//! A bias that would push the weights out of their range stays, values near the end of fp16 stay in fp32, and the artifact says so.

use super::range_gate::shifts;
use super::*;
use crate::arch::seeded::SeededWeights;
use crate::arch::{self, BuildOptions};
use vitc_ir::{DType, Stored, WeightError};
use vitc_passes::RowShift;

/// Seeded weights with the biases of one layer multiplied.
struct Hostile {
    weights: SeededWeights,
    factor: f32,
}

impl Weights for Hostile {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let stored = self.weights.weight(key, elements)?;
        if key != "levels.3.blocks.1.attn.qkv.bias" {
            return Ok(stored);
        }
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]) * self.factor;
        let bytes: Vec<u8> = stored.bytes.chunks_exact(4).flat_map(|b| number(b).to_le_bytes()).collect();
        Ok(Stored { dtype: stored.dtype, bytes: bytes.into() })
    }
}

#[test]
fn a_bias_that_would_drown_the_weights_stays() {
    let backbone = arch::find("fastervit-0-any-res").expect("is a model");
    let options = BuildOptions { resolution: [64; 2], ..BuildOptions::new(backbone) };
    let paper = options.build().expect("builds").graph;
    let (deploy, _) = vitc_passes::deploy(&paper).expect("deploys");
    let options = LowerOptions::new(DType::F32, DType::F32);
    for target in [Target::onnx(20), Target::tensorrt(17)] {
        let gated = |factor: f32| {
            let weights = Hostile { weights: SeededWeights::new(&paper, 0), factor };
            lower(&deploy, &target, &options, &weights, Asked::default(), &mut |_, _| ()).expect("lowers")
        };
        let count =
            |g: &Lowered| g.passes.iter().filter(|p| p.pass == "null_direction").map(|p| p.count).sum::<usize>();
        let paths = |g: &Lowered| -> Vec<String> {
            let there = |s: &&RowShift| g.graph.find(&s.shift).is_some() && g.graph.find(&s.rows).is_some();
            shifts(&g.passes).filter(there).map(|s| s.layer.clone()).collect()
        };
        let kept = gated(1.0);
        assert!(count(&kept) > 0 && kept.decisions.is_empty() && kept.notices().is_empty(), "{}", target.name());
        assert_eq!(paths(&kept).len(), count(&kept));
        assert!(
            kept.passes.iter().any(|p| p.notes.iter().any(|n| n.to_string().starts_with("rows move by at most 0.")))
        );
        let refused = gated(1e4);
        let mut others = paths(&kept);
        others.retain(|path| path != "levels.3.blocks.1.attn.qkv");
        assert_eq!((paths(&refused), count(&refused)), (others.clone(), count(&kept) - 1), "{}", target.name());
        assert_eq!(refused.computed.len(), others.len());
        let sentences: Vec<String> = refused.decisions.iter().map(Decision::to_string).collect();
        assert!(matches!(&sentences[..], [one] if one.starts_with("the bias of levels.3.blocks.1.attn.qkv stays")));
        let notice = refused.notices().pop().expect("the user is told");
        assert!(notice.contains("the bias of a layer") && notice.contains("levels.3.blocks.1.attn.qkv"), "{notice}");
    }
}

/// A layer whose results are large, and what brings them back; a large constant; and a part that stays in fp16.
#[test]
fn what_comes_near_the_end_of_fp16_is_an_island() {
    let text = "graph g  stage=deploy\n%x: f32[1,4] = input\n%a: f32[1,4] = mul(%x, 30000)\n%b: f32[1,4] = tanh(%a)\n\
        %c: f32[1,4] = add(%b, 1)\n%d: f32[1,4] = min(%c, 100000)\n%y: f32[1,4] = exp(%d)\noutputs y=%y";
    let deploy = vitc_ir::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let weights = SeededWeights::new(&deploy, 0);
    let options = LowerOptions::new(DType::F16, DType::F32);
    let lowered = |target: &Target, factor: f32| {
        let inputs = vec![vec![[0.1, -0.5, 1.0, 0.0].iter().map(|x| x * factor).collect()]];
        let ranges = RangeInputs { on: "two numbers".into(), inputs };
        let asked = Asked { ranges: Some(ranges), ..Asked::default() };
        lower(&deploy, target, &options, &weights, asked, &mut |_, _| ()).expect("lowers")
    };
    let wide = |l: &Lowered| -> Vec<String> {
        let single = |n: &vitc_ir::Node| n.types[0].dtype == DType::F32 && !matches!(n.op, vitc_ir::Op::Cast { .. });
        l.graph.run_time_nodes().filter(|(_, n)| single(n)).map(|(_, n)| n.path.clone()).collect()
    };
    for target in [Target::onnx(17), Target::tensorrt(17), Target::coreml(16), Target::coreai(27)] {
        let large = lowered(&target, 1.0);
        assert_eq!(wide(&large), ["a", "b", "d"], "{}", target.name());
        let [said] = &large.notices()[..] else { panic!("{:?}", large.decisions) };
        assert!(
            said.starts_with("3 nodes compute in fp32") && said.contains("measured on two numbers: a (3.000e4)"),
            "{said}"
        );
        assert_eq!(wide(&lowered(&target, 0.1)), ["d"], "{}", target.name());
    }
}

/// A small factor behind a layer, between layers that are large enough; a sum and a padded kernel stand in between.
const SMALL: &str = "graph g  stage=deploy\n%x: f32[1,4,6,6] = input\n\
    %a: f32[1,16,6,6] = conv(%x, weight\"a.w\":f32[16,4,1,1], weight\"a.b\":f32[16]){stride=1, pad=0}\n\
    %g: f32[1,16,6,6] = gelu(%a)\n\
    %s: f32[1,32,4,4] = conv(%g, mul(weight\"s.w\":f32[32,16,3,3], 0.002)){stride=1, pad=0}\n\
    %t: f32[1,32,6,6] = conv(%g, mul(weight\"t.w\":f32[32,16,3,3], 0.004), mul(weight\"t.b\":f32[32], 0.1)){stride=1, pad=1}\n\
    %p: f32[1,32,6,6] = pad(%s){before=[0,0,1,1], after=[0,0,1,1], value=0}\n\
    %y: f32[1,32,6,6] = add(%p, %t)\n%r: f32[1,32,6,6] = relu(%y)\n\
    %z: f32[1,8,6,6] = conv(%r, weight\"z.w\":f32[8,32,1,1], weight\"z.b\":f32[8]){stride=1, pad=0}\noutputs z=%z";

#[test]
fn powers_of_two_move_to_where_weights_are_small() {
    let deploy = vitc_ir::parse(SMALL).unwrap_or_else(|e| panic!("{e}"));
    let weights = SeededWeights::new(&deploy, 0);
    let options = LowerOptions::new(DType::F16, DType::F32);
    for target in [Target::onnx(20), Target::tensorrt(17), Target::coreml(16), Target::coreai(27)] {
        let lowered = |size: f32| {
            let inputs = || RangeInputs { on: "noise".into(), inputs: vec![vec![vec![size; 4 * 36]]] };
            let asked = Asked { equalize: Some(&inputs), ..Asked::default() };
            lower(&deploy, &target, &options, &weights, asked, &mut |_, _| ()).expect("lowers")
        };
        let moved = lowered(1.0);
        let told = equalized(&moved.decisions).unwrap_or_else(|| panic!("{}", target.name()));
        let exponents: Vec<i32> = told.exponents.values().copied().collect();
        assert!(matches!(exponents[..], [k] if k > 0), "{exponents:?}");
        assert!(told.after.subnormal + told.after.zeroed < (told.before.subnormal + told.before.zeroed) / 4, "{told}");
        let plain = lower(&deploy, &target, &options, &weights, Asked::default(), &mut |_, _| ()).expect("lowers");
        assert_eq!(lost(&plain.graph, &weights) - lost(&moved.graph, &weights), total(told.before) - total(told.after));
        assert_eq!(plain.graph.run_time_nodes().count(), moved.graph.run_time_nodes().count());
        vitc_ir::testing::assert_same_function(&plain.graph, &moved.graph, 1, 0.01);
        // Values that are large already have no room.
        assert_eq!(equalized(&lowered(1e7).decisions), None);
    }
}

fn total(lost: Lost) -> u64 {
    lost.subnormal + lost.zeroed
}

/// Elements of a graph's stored constants below the normal numbers of fp16.
fn lost(graph: &Graph, weights: &dyn Weights) -> u64 {
    let half = |v: &vitc_ir::Value| graph.ty(*v).dtype.is_float();
    let constants: Vec<vitc_ir::Value> = vitc_ir::cost::emitted_constants(graph).into_iter().filter(half).collect();
    let elements = vitc_ir::eval::constants(graph, weights, &constants).expect("they are there");
    let small = |x: &&f64| **x != 0.0 && half::f16::from_f64(x.abs()) < half::f16::MIN_POSITIVE;
    elements.iter().map(|e| e.iter().filter(small).count() as u64).sum()
}
