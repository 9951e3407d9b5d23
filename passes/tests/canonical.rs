//! Graphs as exporters spell them, through the whole canonical list: what is recovered, and that the function stays.

use vitc_ir::testing::assert_same_function;
use vitc_ir::{Graph, Target, parse, validate};
use vitc_passes::{CANONICAL, Context, LowerOptions, run_to_rest};

fn recovered(text: &str) -> Vec<&'static str> {
    let graph: Graph = parse(&format!("graph g  stage=paper\n{text}")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let context = Context::new(&Target::onnx(17), &LowerOptions::new(vitc_ir::DType::F32, vitc_ir::DType::F32));
    let (after, _) = run_to_rest(&graph, CANONICAL, &context, &mut |_, _| ()).unwrap_or_else(|e| panic!("{e}"));
    validate(&after, None).unwrap_or_else(|e| panic!("{e}\n{after}"));
    // Exporters round their numbers to f32.
    assert_same_function(&graph, &after, 3, 1e-7);
    after.run_time_nodes().map(|(_, n)| n.op.word()).collect()
}

/// Two spellings each of the quotient, of the variance, and of scale and shift, on two axes.
#[test]
fn layer_norm_in_all_its_spellings() {
    for (x, axis, c) in [("f32[B,5,4]", 2, "f32[4]"), ("f32[B,4,3,2]", 1, "f32[4,1,1]")] {
        let mean = |name: &str, of: &str| {
            let ty = x.replacen(
                &format!(",{}", if axis == 2 { "5,4" } else { "4" }),
                if axis == 2 { ",5,1" } else { ",1" },
                1,
            );
            format!("%{name}: {ty} = reduce_mean({of}){{axes=[{axis}], keep}}\n")
        };
        let input = format!("%x: {x} = input\n") + &mean("m", "%x") + &format!("%d: {x} = sub(%x, %m)\n");
        let variances = [
            mean("v", "mul(%d, %d)"),
            mean("q", "mul(%x, %x)")
                + &mean("v", "%x").replace(&format!("reduce_mean(%x){{axes=[{axis}], keep}}"), "sub(%q, mul(%m, %m))"),
        ];
        let quotients = ["div(%d, sqrt(add(%v, 0.00001)))", "mul(div(1, sqrt(add(0.00001, %v))), %d)"];
        let (g, b) = (format!("weight\"g\":{c}"), format!("weight\"b\":{c}"));
        let affines = [format!("add(mul(%n, {g}), {b})"), format!("add({b}, mul({g}, %n))")];
        for variance in &variances {
            for quotient in quotients {
                let norm = format!("{input}{variance}%n: {x} = {quotient}\n");
                assert_eq!(recovered(&format!("{norm}outputs n=%n")), ["layer_norm"], "{norm}");
                for affine in &affines {
                    let text = format!("{norm}%y: {x} = {affine}\noutputs y=%y");
                    assert_eq!(recovered(&text), ["layer_norm"], "{text}");
                }
            }
        }
    }
}

/// What only looks like a norm: another axis in the variance, and the deviation of a sample.
#[test]
fn norms_that_are_none_stay() {
    let text = |axis: usize, ty: &str, factor: &str| {
        format!(
            "%x: f32[B,5,4] = input\n%m: f32[B,5,1] = reduce_mean(%x){{axes=[2], keep}}\n%d: f32[B,5,4] = sub(%x, %m)\n\
            %v: {ty} = reduce_mean(mul(%d, %d)){{axes=[{axis}], keep}}\n%w: {ty} = mul(%v, {factor})\n\
            %y: f32[B,5,4] = div(%d, sqrt(add(%w, 0.001)))\noutputs y=%y"
        )
    };
    assert!(!recovered(&text(1, "f32[B,1,4]", "1")).contains(&"layer_norm"));
    assert!(!recovered(&text(2, "f32[B,5,1]", "1.3333334")).contains(&"layer_norm"));
}

/// A block of a vision transformer without attention's moves, as an exporter of few operators writes it.
#[test]
fn a_block_in_primitive_operators() {
    let t = "f32[B,5,4]";
    let block = format!(
        "%x: {t} = input\n%m: f32[B,5,1] = reduce_mean(%x){{axes=[2], keep}}\n%d: {t} = sub(%x, %m)\n\
        %v: f32[B,5,1] = reduce_mean(mul(%d, %d)){{axes=[2], keep}}\n%n: {t} = div(%d, sqrt(add(%v, 0.000001)))\n\
        %a: {t} = add(mul(%n, weight\"g\":f32[4]), weight\"b\":f32[4])\n\
        %h: f32[B,5,8] = add(weight\"b1\":f32[8], matmul(%a, weight\"w1\":f32[4,8]))\n\
        %e: f32[B,5,8] = erf(mul(%h, 0.70710677))\n%u: f32[B,5,8] = mul(mul(%h, 0.5), add(1, %e))\n\
        %o: {t} = add(matmul(%u, weight\"w2\":f32[4,8]){{transpose_b}}, weight\"b2\":f32[4])\n\
        %r: {t} = add(%x, %o)\n%g: {t} = mul(sigmoid(%r), %r)\n\
        %p: {t} = exp(sub(%g, reduce_max(%g){{axes=[2], keep}}))\n\
        %y: {t} = div(%p, reduce_sum(%p){{axes=[2], keep}})\noutputs y=%y"
    );
    assert_eq!(recovered(&block), ["layer_norm", "linear", "gelu", "linear", "add", "silu", "softmax"]);
}

#[test]
fn batch_norm_by_its_formula() {
    let t = "f32[B,4,3,2]";
    let w = |key: &str| format!("weight\"{key}\":f32[1,4,1,1]");
    // The deviation over constants, as it is or folded into the scale.
    let var = w("running_var");
    for y in [
        format!("mul(div(%c, sqrt(add({var}, 0.001))), {})", w("g")),
        format!("mul(%c, div({}, sqrt(add({var}, 0.001))))", w("g")),
    ] {
        let text =
            format!("%x: {t} = input\n%c: {t} = sub(%x, {})\n%y: {t} = add({y}, {})\noutputs y=%y", w("m"), w("b"));
        assert_eq!(recovered(&text), ["batch_norm"], "{text}");
    }
}
