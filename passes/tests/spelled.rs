//! Attention in random spellings: recovered or not, the function stays, and most of them are recovered. `VITC_CASES` is their number.

use std::collections::BTreeMap;
use vitc_ir::testing::{assert_same_function, spelled_attention};
use vitc_ir::{DType, Op, Target, validate};
use vitc_passes::{CANONICAL, Context, LowerOptions, run_to_rest};

#[test]
fn attention_keeps_its_function_however_it_is_spelled() {
    let context = Context::new(&Target::onnx(17), &LowerOptions::new(DType::F32, DType::F32));
    let (cases, mut layouts) =
        (std::env::var("VITC_CASES").map_or(2_000, |n| n.parse().expect("a number")), BTreeMap::new());
    for seed in 0..cases {
        let graph = spelled_attention(seed);
        let (after, _) = run_to_rest(&graph, CANONICAL, &context, &mut |_, _| ())
            .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{graph}"));
        validate(&after, None).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{graph}\n{after}"));
        let same = std::panic::catch_unwind(|| assert_same_function(&graph, &after, seed, 1e-8));
        assert!(same.is_ok(), "seed {seed}\n{graph}\n{after}");
        let found = after.run_time_nodes().find_map(|(_, n)| match &n.op {
            Op::Attention { layout, bias, talking, .. } => Some(format!("{layout:?} bias={bias} talking={talking}")),
            _ => None,
        });
        *layouts.entry(found.unwrap_or("none".into())).or_insert(0) += 1;
    }
    // Two layouts, with and without bias and mixes; what is left are mixes and biases of axes that are no heads, and axes in unequal orders.
    assert_eq!(layouts.len(), 9, "{layouts:?}");
    assert!(layouts["none"] * 4 < cases, "only {} of {cases} are recovered", cases - layouts["none"]);
}
