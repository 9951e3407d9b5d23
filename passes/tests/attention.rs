//! Attention, windows and what surrounds them: each lowering keeps the function on shapes that the families have and on
//! odd ones.

mod common;

use common::{deploy, lower, lower_under};
use vitc_ir::net::paper;
use vitc_ir::op::{AttentionLayout, Generator, OffsetOrder, Sampling};
use vitc_ir::target::AttentionForm;
use vitc_ir::testing::assert_same_function;
use vitc_ir::valid::validate;
use vitc_ir::{ConvSpec, DType, Dim, Graph, Net, Op, Output, PadMode, Real, Shape, Target, Type, Value};
use vitc_passes::{Context, Decisions, FoldTables, LowerOptions, Note, PassReport, TalkingHeads};

/// Passes are exact in real arithmetic; what is left is the rounding of f64.
const EXACT: f64 = 1e-9;

const BATCHES: [Dim; 3] = [Dim::Fixed(1), Dim::Fixed(2), Dim::Batch(1)];

fn targets() -> [Target; 4] {
    [Target::onnx(17), Target::onnx(20), Target::tensorrt(17), Target::coreml(15)]
}

fn graph(input: Shape, build: impl FnOnce(&mut Net, Value) -> Value) -> Graph {
    let mut graph = paper("test");
    let net = &mut Net::new(&mut graph);
    let image = net.input("image", Type::new(DType::F32, input));
    let value = build(net, image);
    graph.outputs.push(Output { name: "y".into(), value });
    graph
}

fn options() -> LowerOptions {
    LowerOptions::new(DType::F32, DType::F32)
}

/// Lower for a target, prove that the function is the same, and return the result with the report.
fn lowered(paper: &Graph, target: &Target, options: &LowerOptions) -> (Graph, Vec<PassReport>) {
    lowered_under(paper, &Context::new(target, options))
}

fn lowered_under(paper: &Graph, context: &Context) -> (Graph, Vec<PassReport>) {
    let (deployed, _) = deploy(paper);
    let (result, report) = lower_under(&deployed, context, &mut |_, _| ());
    let target = &context.target;
    validate(&result, Some(target)).unwrap_or_else(|e| panic!("{}: {e}\n{result}", target.name()));
    assert_same_function(paper, &result, 5, EXACT);
    (result, report)
}

fn rewrites(report: &[PassReport], pass: &str) -> usize {
    report.iter().filter(|r| r.pass == pass).map(|r| r.count).sum()
}

fn count(graph: &Graph, word: &str) -> usize {
    graph.run_time_nodes().filter(|(_, n)| n.op.word() == word).count()
}

/// Windowed attention with carriers as FasterViT has it, two blocks: `grid` windows of side `side`, `t` carriers per
/// window and axis.
fn hierarchical(batch: Dim, grid: [usize; 2], side: usize, t: usize, propagate: bool) -> Graph {
    let (c, heads) = (12, 2);
    let map = grid.map(|g| g * side);
    let windows = grid[0] * grid[1];
    graph(Shape::batched(batch, &[c, map[0], map[1]]), |net, x| {
        let carriers = grid.map(|g| g * t);
        let ct = net.push("small", Op::Resize { sampling: Sampling::LINEAR, size: carriers, scale: None }, &[x]);
        let ct = net.push("tokens", Op::WindowPartition { window: [t; 2] }, &[ct]);
        let all = Shape::batched(batch, &[windows * t * t, c]);
        let each = Shape::batched(batch.times(windows), &[t * t, c]);
        let mut ct = net.reshape("all", ct, all.clone());
        let mut x = net.push("partition", Op::WindowPartition { window: [side; 2] }, &[x]);
        for block in 0..2 {
            let mut net = net.at(format!("blocks.{block}"));
            let p = net.weight("p", &[side * side, c]);
            x = net.at("p").add(x, p);
            let mut y = net.reshape("hat.each", ct, each.clone());
            y = net.push("hat.map", Op::WindowMerge { window: [t; 2], map: carriers }, &[y]);
            y = net.push("hat.raster", Op::WindowPartition { window: carriers }, &[y]);
            let p = net.weight("hat.p", &[windows * t * t, c]);
            y = net.at("hat.p").add(y, p);
            y = attend(&mut net.at("hat"), y, heads);
            let swapped = [carriers[1], carriers[0]];
            y = net.push("hat.swapped", Op::WindowMerge { window: swapped, map: swapped }, &[y]);
            y = net.push("hat.back", Op::WindowPartition { window: [t; 2] }, &[y]);
            x = net.concat("concat", &[y, x], 1);
            x = attend(&mut net, x, heads);
            let parts = net.split("split", x, 1, &[t * t, side * side]);
            x = parts[1];
            if propagate && block == 1 {
                let y = net.push("small", Op::WindowMerge { window: [t; 2], map: [t; 2] }, &[parts[0]]);
                let y =
                    net.push("large", Op::Resize { sampling: Sampling::NEAREST, size: [side; 2], scale: None }, &[y]);
                let y = net.push("large.tokens", Op::WindowPartition { window: [side; 2] }, &[y]);
                x = net.at("propagate").add(x, y);
            }
            ct = net.reshape("all", parts[0], all.clone());
        }
        let x = net.push("merge", Op::WindowMerge { window: [side; 2], map }, &[x]);
        net.at("norm").layer_norm(x, 1, 1e-6)
    })
}

/// x + attention(norm(x)), with a bias per pair of tokens.
fn attend(net: &mut Net, x: Value, heads: usize) -> Value {
    let (n, c) = (net.dim(x, 1), net.dim(x, 2));
    let y = net.at("norm").layer_norm(x, 2, 1e-5);
    let qkv = net.at("qkv").linear(y, 3 * c, true);
    let parts = net.split("parts", qkv, 2, &[c; 3]);
    let bias = net.weight("bias", &[heads, n, n]);
    let scale = ((c / heads) as f64).powf(-0.5);
    let qkv = [parts[0], parts[1], parts[2]];
    let y = net.attention("attention", qkv, Some(bias), heads, scale, AttentionLayout::Tokens);
    let y = net.at("proj").linear(y, c, true);
    net.add(x, y)
}

#[test]
fn carriers_of_every_grid() {
    for batch in BATCHES {
        for (grid, side, t) in [([2, 2], 3, 2), ([3, 3], 2, 1), ([2, 3], 4, 2), ([3, 1], 3, 2), ([1, 1], 5, 2)] {
            for propagate in [false, true] {
                let paper = hierarchical(batch, grid, side, t, propagate);
                for target in targets() {
                    lowered(&paper, &target, &options());
                }
            }
        }
    }
}

/// Nothing moves between the partition and the merge on a square grid; on a rectangular one a gather per block is left.
#[test]
fn carriers_stay_where_they_lie() {
    for (grid, gathers) in [([2, 2], 0), ([2, 3], 2)] {
        let paper = hierarchical(Dim::Batch(1), grid, 4, 2, false);
        let (result, _) = lowered(&paper, &Target::onnx(20), &options());
        assert_eq!(count(&result, "gather"), gathers, "{result}");
        // Two steps to cut each of the maps and to merge, and per attention of which there are four: operands, keys, result.
        assert_eq!(count(&result, "transpose"), 3 * 2 + 4 * 3, "{result}");
        let (result, _) = lowered(&paper, &Target { row_moves: false, ..Target::onnx(20) }, &options());
        assert_eq!(count(&result, "transpose"), 3 + 4 * 3, "{result}");
    }
}

#[test]
fn positions_join_the_bias_before_them() {
    let paper = hierarchical(Dim::Fixed(1), [2, 2], 3, 2, false);
    let (result, report) = lowered(&paper, &Target::onnx(20), &options());
    assert_eq!(rewrites(&report, "merge_constant_sums"), 1, "{result}");
}

#[test]
fn no_view_of_windows_is_above_the_rank() {
    for batch in BATCHES {
        for (map, window) in [([6, 6], [3, 2]), ([4, 6], [4, 6]), ([4, 6], [2, 6]), ([4, 6], [4, 3]), ([3, 3], [1, 1])]
        {
            let paper = graph(Shape::batched(batch, &[5, map[0], map[1]]), |net, x| {
                let x = net.push("partition", Op::WindowPartition { window }, &[x]);
                // A product of windows and no token operator, so the general spelling is needed.
                let x =
                    net.push("pad", Op::Pad { before: vec![0; 3], after: vec![0, 0, 1], mode: PadMode::ZERO }, &[x]);
                net.push("merge", Op::WindowMerge { window, map }, &[x])
            });
            for target in targets() {
                let (result, _) = lowered(&paper, &target, &options());
                let rank = result.run_time_nodes().map(|(_, n)| n.types[0].shape.rank()).max();
                assert!(rank.is_some_and(|r| r <= 6.min(target.rank_limit)));
            }
        }
    }
}

/// Attention over maps: q with `key` channels per head, v with `value`.
fn map_attention(batch: Dim, heads: usize, [key, value]: [usize; 2], talking: bool) -> Graph {
    graph(Shape::batched(batch, &[6, 3, 4]), |net, x| {
        let [q, k, v] = [("q", key), ("k", key), ("v", value)].map(|(name, d)| {
            let x = net.at(name).conv(x, ConvSpec::new(heads * d, 1));
            net.unary(format!("{name}.act"), vitc_ir::UnaryKind::Tanh, x)
        });
        let q = net.at("q.proj").conv(q, ConvSpec::new(heads * key, 1));
        let n = 12;
        let mut inputs = vec![q, k, v, net.weight("bias", &[heads, n, n])];
        if talking {
            for (name, dims) in
                [("w1", vec![heads; 2]), ("b1", vec![heads]), ("w2", vec![heads; 2]), ("b2", vec![heads])]
            {
                inputs.push(net.weight(name, &dims));
            }
        }
        let scale = Real((key as f64).powf(-0.5));
        let op = Op::Attention { heads, scale, layout: AttentionLayout::Channels, bias: true, talking };
        let y = net.push("attention", op, &inputs);
        net.at("proj").conv(y, ConvSpec::new(6, 1))
    })
}

#[test]
fn heads_of_every_width() {
    for batch in BATCHES {
        for (heads, widths) in [(1, [8, 8]), (2, [16, 32]), (4, [4, 16]), (3, [5, 7]), (2, [16, 8])] {
            let paper = map_attention(batch, heads, widths, false);
            for target in targets() {
                let (result, _) = lowered(&paper, &target, &options());
                if target.name() == "tensorrt-onnx" {
                    let softmax = result.run_time_nodes().find(|(_, n)| n.op.word() == "softmax");
                    assert!(softmax.is_some());
                    for (_, n) in result.run_time_nodes().filter(|(_, n)| n.path == "attention.values") {
                        let width = n.types[0].shape.dim(3);
                        assert!(width >= 16 && width % 8 == 0, "{width}");
                    }
                }
            }
        }
    }
}

#[test]
fn talking_heads_fuse_and_keep() {
    for batch in BATCHES {
        for (heads, widths, fuses) in
            [(4, [4, 8], true), (2, [8, 8], true), (8, [4, 16], true), (3, [4, 8], false), (4, [4, 6], false)]
        {
            let paper = map_attention(batch, heads, widths, true);
            for talking_heads in [TalkingHeads::Auto, TalkingHeads::Fuse, TalkingHeads::Keep] {
                let options = LowerOptions { talking_heads, ..options() };
                let (_, report) = lowered(&paper, &Target::tensorrt(17), &options);
                let fused = rewrites(&report, "fuse_talking_heads") > 0;
                assert_eq!(fused, fuses && talking_heads != TalkingHeads::Keep, "{heads} {widths:?} {talking_heads:?}");
                for other in [Target::onnx(20), Target::coreml(15)] {
                    let (_, report) = lowered(&paper, &other, &options);
                    assert_eq!(rewrites(&report, "fuse_talking_heads"), 0);
                }
            }
        }
    }
}

/// Each form on maps and tokens, with and without talking heads, which have one form only.
#[test]
fn every_form_computes_the_same() {
    let papers = |batch| {
        [
            token_attention(batch, 2, 12),
            hierarchical(batch, [2, 3], 2, 1, false),
            map_attention(batch, 2, [4, 6], false),
            map_attention(batch, 2, [4, 8], true),
        ]
    };
    for batch in BATCHES {
        for paper in papers(batch) {
            for (target, form, word) in [
                (Target::coreml(15), AttentionForm::PerHead, "matmul"),
                (Target::onnx(17), AttentionForm::PerHead, "matmul"),
                (Target::coreml(15), AttentionForm::Fused, "matmul"),
                (Target::coreml(18), AttentionForm::Operator, "attention"),
                (Target::onnx(23), AttentionForm::Operator, "attention"),
            ] {
                let options = LowerOptions { attention: Some(form), ..options() };
                let (result, report) = lowered(&paper, &target, &options);
                let talking = paper.nodes().any(|(_, n)| matches!(n.op, Op::Attention { talking: true, .. }));
                let word = if talking { "matmul" } else { word };
                // A site that cannot take the form asked for is named.
                let said = report.iter().filter(|r| r.pass == "lower_attention").flat_map(|r| &r.notes);
                let named = said.filter(|note| note.to_string().ends_with(": attention")).count();
                assert_eq!(named, usize::from(talking && form != AttentionForm::Fused), "{}: {form:?}", target.name());
                assert!(count(&result, word) > 0, "{}: {form:?}\n{result}", target.name());
                // The factor that the operator fixes is in the weights.
                assert_eq!(result.run_time_nodes().filter(|(_, n)| n.path.ends_with("q.scale")).count(), 0);
            }
        }
    }
}

/// The arithmetic grows with the batch, the kernels saved do not.
#[test]
fn many_images_keep_their_talking_heads() {
    let fuses = |images: usize| {
        let (deployed, _) = deploy(&map_attention(Dim::Fixed(images), 8, [32, 128], true));
        let target = Target::tensorrt(17);
        rewrites(&lower(&deployed, &target, &options()).1, "fuse_talking_heads") == 1
    };
    assert!(fuses(1) && !fuses(4096));
}

/// Tokens: norm, one product for queries, keys and values, attention, projection.
fn token_attention(batch: Dim, heads: usize, c: usize) -> Graph {
    graph(Shape::batched(batch, &[c, 3, 4]), |net, x| {
        let x = net.push("partition", Op::WindowPartition { window: [3, 4] }, &[x]);
        let x = attend(&mut net.at("block"), x, heads);
        net.push("merge", Op::WindowMerge { window: [3, 4], map: [3, 4] }, &[x])
    })
}

#[test]
fn odd_heads_are_padded_for_tensorrt() {
    for batch in BATCHES {
        for (heads, c, pads) in [(2, 10, 1), (1, 49, 1), (3, 72, 0), (2, 16, 1)] {
            let paper = token_attention(batch, heads, c);
            for target in targets() {
                let (_, report) = lowered(&paper, &target, &options());
                let fused = target.name() == "tensorrt-onnx";
                assert_eq!(
                    rewrites(&report, "pad_heads"),
                    if fused { pads } else { 0 },
                    "{} {heads} {c}",
                    target.name()
                );
            }
        }
    }
}

#[test]
fn biases_behind_a_norm_disappear() {
    let paper = token_attention(Dim::Fixed(1), 2, 32);
    for target in targets() {
        let saves = target.linear_rank < 3;
        for stays in [None, Some("block.proj"), Some("block.qkv")] {
            let biases_that_stay = stays.into_iter().map(str::to_string).collect();
            let decisions = Decisions { biases_that_stay, ..Decisions::default() };
            let context = Context { decisions, ..Context::new(&target, &options()) };
            let (result, report) = lowered_under(&paper, &context);
            let moves = saves && stays != Some("block.qkv");
            assert_eq!(rewrites(&report, "null_direction"), usize::from(moves), "{}\n{result}", target.name());
        }
    }
}

/// The rows really move by what is said: with the shift taken away again, the layer's are those before.
#[test]
fn what_moved_is_told() {
    let paper = token_attention(Dim::Fixed(1), 2, 32);
    let (result, report) = lowered(&paper, &Target::onnx(20), &options());
    let notes = report.iter().flat_map(|r| &r.notes);
    let shifts: Vec<_> = notes.filter_map(|n| if let Note::RowShift(shift) = n { Some(shift) } else { None }).collect();
    assert_eq!(shifts.len(), rewrites(&report, "null_direction"));
    for shift in shifts {
        assert_eq!(shift.layer, "block.qkv");
        let [rows, each] = [&shift.rows, &shift.shift]
            .map(|path| result.shape(result.find(path).expect("it keeps its path").into()).clone());
        assert_eq!((rows, each), (Shape::fixed(&[96, 32]), Shape::fixed(&[96, 1])));
    }
}

/// Attention in windows with a table per offset; the tokens are `side`².
fn tables(batch: Dim, heads: usize, side: usize) -> Graph {
    let (c, n) = (8 * heads, side * side);
    graph(Shape::batched(batch, &[c, side, side]), |net, x| {
        let mut x = net.push("partition", Op::WindowPartition { window: [side; 2] }, &[x]);
        for block in 0..2 {
            let mut net = net.at(format!("blocks.{block}"));
            let table = net.weight("table", &[(2 * side - 1) * (2 * side - 1), heads]);
            let index =
                Generator::RelativeIndex { query: [side; 2], key: [side; 2], step: [1; 2], order: OffsetOrder::Signed };
            let index = net.generate("index", index, Type::new(DType::I32, Shape::fixed(&[n, n])));
            let bias = net.push("pairs", Op::Gather { axis: 0 }, &[table, index]);
            let bias = net.transpose("heads", bias, &[2, 0, 1]);
            let qkv = net.at("qkv").linear(x, 3 * c, true);
            let parts = net.split("parts", qkv, 2, &[c; 3]);
            let parts = [parts[0], parts[1], parts[2]];
            x = net.attention("attention", parts, Some(bias), heads, 8f64.powf(-0.5), AttentionLayout::Tokens);
        }
        net.push("merge", Op::WindowMerge { window: [side; 2], map: [side; 2] }, &[x])
    })
}

/// Gathered in the artifact or stored: the same function, one index, and nothing but the gather is added.
#[test]
fn tables_stay_tables() {
    for batch in BATCHES {
        let paper = tables(batch, 2, 3);
        for target in targets().into_iter().chain([Target::coreml(18)]) {
            for attention in [None, Some(AttentionForm::PerHead), Some(AttentionForm::Operator)] {
                if attention == Some(AttentionForm::Operator) && !target.attention_operator() {
                    continue;
                }
                let of = |fold_tables| lowered(&paper, &target, &LowerOptions { attention, fold_tables, ..options() });
                let (stored, report) = of(FoldTables::Auto);
                assert_eq!((rewrites(&report, "keep_tables"), count(&stored, "gather")), (0, 0), "{}", target.name());
                let (kept, report) = of(FoldTables::Never);
                assert_eq!(
                    (rewrites(&report, "keep_tables"), count(&kept, "gather")),
                    (2, 2),
                    "{}\n{kept}",
                    target.name()
                );
                let indices: std::collections::HashSet<Value> =
                    kept.run_time_nodes().filter(|(_, n)| n.op.word() == "gather").map(|(_, n)| n.inputs[1]).collect();
                assert_eq!(indices.len(), 1);
                if attention.is_none() {
                    assert_eq!(kept.run_time_nodes().count(), stored.run_time_nodes().count() + 2, "{kept}");
                }
            }
        }
    }
}

/// `auto` keeps a table from 8 MiB and eight times its inputs on, `always` none, in either precision by what it stores.
#[test]
fn large_biases_are_gathered() {
    let gathers = |heads, side, precision, fold_tables| {
        let (deployed, _) = deploy(&tables(Dim::Fixed(1), heads, side));
        let options = LowerOptions { fold_tables, ..LowerOptions::new(precision, DType::F32) };
        count(&lower(&deployed, &Target::onnx(20), &options).0, "gather")
    };
    // 16 heads of 784² pairs: 39 MB for a table of 0.2 MB and an index of 2.5 MB.
    assert_eq!(gathers(16, 28, DType::F32, FoldTables::Auto), 2);
    assert_eq!(gathers(16, 28, DType::F32, FoldTables::Always), 0);
    // As large, but only six times the index.
    assert_eq!(gathers(6, 40, DType::F32, FoldTables::Auto), 0);
    // 12 heads: twelve times the index in f32, six times in f16.
    assert_eq!(gathers(12, 28, DType::F32, FoldTables::Auto), 2);
    assert_eq!(gathers(12, 28, DType::F16, FoldTables::Auto), 0);
}

/// A norm that something else reads too, or that is a result, keeps its affine map.
#[test]
fn norms_with_other_readers_stay() {
    let paper = graph(Shape::batched(Dim::Batch(1), &[5, 8]), |net, x| {
        let y = net.at("norm").layer_norm(x, 2, 1e-5);
        let z = net.at("fc").linear(y, 8, true);
        let z = net.relu(z);
        net.add(y, z)
    });
    let (_, report) = lowered(&paper, &Target::onnx(20), &options());
    assert_eq!(rewrites(&report, "null_direction"), 0);
}
