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
    let lowered = |factor: f32| {
        let inputs = vec![vec![[0.1, -0.5, 1.0, 0.0].iter().map(|x| x * factor).collect()]];
        let ranges = RangeInputs { on: "two numbers".into(), inputs };
        let asked = Asked { ranges: Some(ranges), ..Asked::default() };
        lower(&deploy, &Target::tensorrt(17), &options, &weights, asked, &mut |_, _| ()).expect("lowers")
    };
    let wide = |l: &Lowered| -> Vec<String> {
        let single = |n: &vitc_ir::Node| n.types[0].dtype == DType::F32 && !matches!(n.op, vitc_ir::Op::Cast { .. });
        l.graph.run_time_nodes().filter(|(_, n)| single(n)).map(|(_, n)| n.path.clone()).collect()
    };
    let large = lowered(1.0);
    assert_eq!(wide(&large), ["a", "b", "d"]);
    let [said] = &large.notices()[..] else { panic!("{:?}", large.decisions) };
    assert!(
        said.starts_with("3 nodes compute in fp32") && said.contains("measured on two numbers: a (3.000e4)"),
        "{said}"
    );
    assert_eq!(wide(&lowered(0.1)), ["d"]);
}
