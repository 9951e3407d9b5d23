//! Round trips, error texts and hostile texts.

use super::*;
use crate::testing::{Options, Rng, random_graph};
use crate::validate;

/// Every operator, attribute form and kind of name.
const ALL: &str = r#"graph every-op  stage=paper
%image: f32[B,4,8,8] = input
%"odd name, \"quoted\" \\ \u{a}": f32[B,4,8,8] = relu(%image)
%unit: f32[1,4,8,8] = input
%stem: f32[B,8,4,4] = conv(%image, weight"stem.weight":f32[8,2,3,3], weight"stem.bias":f32[8]){stride=2, pad=1, groups=2}
%wide: f32[B,4,5,9] = conv(%image, weight"a key, \"b\"":f32[4,4,1,2]){stride=[2,1], pad=[0,0,1,2]}
%bn: f32[B,8,4,4] = batch_norm(%stem, weight"g":f32[8], weight"b":f32[8], weight"m":f32[8], weight"v":f32[8]){eps=1e-5}
%clip: f32[B,8,4,4] = clip(%bn){lo=-0, hi=inf}
%prelu: f32[B,8,4,4] = prelu(%clip, literal[0.25]:f32[1])
%more: f32[B,8,4,4] = mul(%prelu, 0.5)
%half: f16[B,8,4,4] = cast(%more){to=f16}
%third: f16[B,8,4,4] = mul(%half, 0.25:f16[])
%p, %p:1: f32[B,3,4,4], f32[B,5,4,4] = split(%bn){axis=1, sizes=[3,5]}
%cat: f32[B,8,4,4] = concat(%p:1, %p){axis=1}
%cut: f32[B,2,4,3] = slice(%cat){axis1=1..8:4, axis3=0..3}
%pad: f32[B,4,5,5] = pad(%cut){before=[0,1,0,2], after=[0,1,1,0]}
%up: f32[B,4,10,10] = resize(%pad){kernel=linear, coordinates=half_pixel, size=10}
%down: f32[B,4,3,5] = resize(%up){kernel=nearest, rounding=floor, coordinates=asymmetric, size=[3,5]}
%pool: f32[B,8,2,2] = avg_pool(%cat){kernel=3, stride=2, pad=[1,1,0,0]}
%tokens: f32[B,8,4] = reshape(%pool)
%nlc: f32[B,4,8] = transpose(%tokens){perm=[0,2,1]}
%norm: f32[B,4,8] = layer_norm(%nlc, weight"ln.g":f32[8], weight"ln.b":f32[8]){axes=[2], eps=0.001}
%fc: f32[B,4,6] = linear(%norm, weight"fc.weight":f32[6,8], weight"fc.bias":f32[6])
%attn: f32[B,4,6] = attention(%fc, %fc, %fc, weight"bias":f32[2,4,4], weight"w1":f32[2,2], weight"b1":f32[2], weight"w2":f32[2,2], weight"b2":f32[2]){heads=2, scale=0.5, layout=tokens, bias, talking}
%plain: f32[B,8,4,4] = attention(%bn, %bn, %bn){heads=4, scale=0.125, layout=channels}
%gram: f32[B,6,6] = matmul(%fc, %attn){transpose_a}
%soft: f32[B,6,6] = softmax(%gram){axis=2}
%sum: f32[B] = reduce_sum(%soft){axes=[1,2]}
%keep: f32[B,1,6] = reduce_mean(%soft){axes=[1], keep}
%max: f32[B,6] = reduce_max(%soft){axes=[1]}
%taken: f32[B,4,9,6] = gather(%soft, relative_index{query=2, key=3, step=[1,2], order=signed}:i32[4,9]){axis=1}
%wide6: f32[B,5,6] = expand(%keep)
%re, %re:1: f32[B,4,8,5], f32[B,4,8,5] = rfft2(%image){norm=ortho}
%back: f32[B,4,8,8] = irfft2(%re, %re:1){norm=backward, width=8}
%d: f32[B,4,8,8] = dct2(%back)
%i: f32[B,4,8,8] = idct2(%d)
%win: f32[4B,16,4] = window_partition(%i){window=4}
%map: f32[B,4,8,8] = window_merge(%win){window=4, map=8}
@fill: f32[1,6] = fill{value=1e-20}
@iota: i32[6] = iota{axis=0}
@eye: f32[3,3] = eye
@cos: f32[8,5] = dft_basis{n=8, part=cos}
@dct: f32[8,8] = dct_basis{n=8}
@band: f32[3,6] = band_mask{grid=[2,3]}
@log: f32[15,2] = log_coords{window=[2,3]}
@grid: f32[9,2] = grid_coords{side=3}
outputs "the map"=%map, w=weight"fc.weight":f32[6,8], half=%half
"#;

#[test]
fn every_operator_reads_back() {
    let graph = parse(ALL).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(graph.to_string(), ALL);
}

#[test]
fn random_graphs_read_back_and_are_valid() {
    for seed in 0..300 {
        let text = random_graph(seed, Options::default()).to_string();
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
        assert_eq!(graph.to_string(), text);
        assert_eq!(validate(&graph, None), Ok(()), "{text}");
    }
}

/// An inline leaf does not take the name of a line, wherever that stands.
#[test]
fn leaves_keep_off_the_names_of_lines() {
    let text = "graph g  stage=deploy\n%x: f32[1,2] = input\n\
        %y: f32[1,2] = mul(%x, weight\"w\":f32[2])\n\
        %w: f32[1,2] = add(%y, 1)\n%literal: f32[1,2] = neg(%w)\noutputs y=%literal\n";
    assert_eq!(parse(text).unwrap().to_string(), text);
}

/// However an expression is laid out, it is the same graph.
#[test]
fn operands_nest_and_lines_go_on_inside_brackets() {
    let flat = parse(
        "graph g  stage=deploy\n%x: f32[B,8] = input\n%s: f32[8] = sqrt(weight\"v\":f32[8])\n\
         %w: f32[8,1] = reshape(%s)\n%y.a: f32[B,8] = relu(%x)\n%y: f32[B,1] = matmul(%y.a, %w)\n\
         %h: f32[B,1] = mul(%y, literal[0.5]:f32[])\n%p, %p:1: f32[B,3], f32[B,5] = split(%x){axis=1, sizes=[3,5]}\n\
         outputs h=%h, p=%p:1\n",
    )
    .unwrap();
    let nested = parse(
        "graph g  stage=deploy\n%x: f32[B,8] = input\n%y: f32[B,1] = matmul(\n    relu(%x),  \n  # why\n\n\
         reshape(sqrt(weight\"v\":f32[8]):f32[8]):f32[8,1])\n%h: f32[B,1] = mul(%y, 0.5)\n\
         outputs h=%h, p=split(%x){axis=1, sizes=[3,5]}:1:f32[B,5]\n",
    )
    .unwrap();
    let below = parse(
        "graph g  stage=deploy\n%x: f32[B,8] = input\n@s: f32[8] = sqrt(weight\"v\":f32[8])\n%y: f32[B,1] = matmul(relu(%x), @b)\n\
         \x20 @b: f32[8,1] = reshape(@s)\n\n  # why\n%h: f32[B,1] = mul(%y, 0.5:f32[])\n\
         %p, %p:1: f32[B,3], f32[B,5] = split(%x){axis=1, sizes=[3,5]}\noutputs h=%h, p=%p:1\n",
    )
    .unwrap();
    let shape = |g: &Graph| g.nodes().map(|(_, n)| (n.op.clone(), n.inputs.to_vec())).collect::<Vec<_>>();
    let run_time = |g: &Graph| g.run_time_nodes().map(|(_, n)| (n.op.word(), n.path.clone())).collect::<Vec<_>>();
    assert_eq!(shape(&below).len(), shape(&flat).len());
    assert_eq!(shape(&nested).len(), shape(&flat).len());
    assert_eq!(run_time(&below), run_time(&flat));
    assert_eq!(run_time(&nested)[..3], run_time(&flat)[..3]);
    assert_eq!(run_time(&nested)[3], ("split", "p".to_string()));
}

/// Brackets are bounded, so that the stack is.
#[test]
fn expressions_have_a_depth() {
    let nested = |n: usize| {
        let line = format!("%y: f32[1] = {}%x{}", "relu(".repeat(n), ")".repeat(n));
        parse(&format!("graph g  stage=deploy\n%x: f32[1] = input\n{line}\noutputs y=%y"))
    };
    assert_eq!(nested(64).unwrap().len(), 65);
    let error = nested(65).unwrap_err().to_string();
    assert_eq!(error, "line 3: expected at most 64 brackets inside each other, found `%x))))))))))))))))))))))…`");
    assert!(nested(1_000_000).is_err());
}

/// An equal constant is one node, under whichever names.
#[test]
fn equal_constants_are_one() {
    let graph = parse(
        "graph g  stage=deploy\n%x: f32[2,2] = input\n%a: f32[2,2] = eye\n%b: f32[2,2] = eye\n\
         %y: f32[2,2] = add(%x, %a)\n%z: f32[2,2] = add(%y, %b)\n%w: f32[2,2] = add(%z, eye:f32[2,2])\noutputs w=%w",
    );
    assert_eq!(graph.unwrap().len(), 5);
}

#[test]
fn comments_and_blank_lines_are_skipped() {
    let graph = parse("\n# why\n  graph g  stage=paper\n\n  %x: f32[2B] = input # no\noutputs y=%x");
    assert_eq!(graph.unwrap_err().to_string(), "line 5: expected the end of the line, found `# no`");
    let graph = parse("\n# why\n  graph g  stage=paper\n\n  %x: f32[2B] = input\n  # so\n  outputs y=%x").unwrap();
    assert_eq!(graph.to_string(), "graph g  stage=paper\n%x: f32[2B] = input\noutputs y=%x\n");
}

#[test]
fn errors_name_the_line_and_what_was_expected() {
    let cases = [
        ("", "line 1: expected `graph NAME  stage=…`, found nothing"),
        ("grph g", "line 1: expected `graph`, found `grph g`"),
        ("graph g  stage=raw", "line 1: expected paper, deploy or target, found `raw`"),
        ("graph g  stage=paper", "line 1: expected `outputs NAME=%VALUE, …` at the end"),
        ("$outputs2 y=%x", "line 4: expected `%`, found `outputs2 y=%x`"),
        ("$outputs\n%z", "line 5: expected nothing after `outputs`"),
        ("$%x: f32[1] = input", "line 4: %x is defined twice"),
        ("$%y f32[1] = relu(%x)", "line 4: expected `:`, found `f32[1] = relu(%x)`"),
        ("$%y: f64[1] = relu(%x)", "line 4: expected a type like f32[1,3], found `f64[1] = relu(%x)`"),
        ("$%y: f32[0] = relu(%x)", "line 4: expected a dimension of at least 1, found `] = relu(%x)`"),
        ("$%y: f32[99999999999] = relu(%x)", "line 4: expected a number below 2^30, found `99999999999] = relu(%x)`"),
        ("$%y: f32[1,2,4,4] = relu(%z)\n", "line 4: %z is not defined above"),
        ("$%y: f32[1,2,4,4] = relu(%x:1)\n", "line 4: %x has no output 1"),
        ("$%y: f32[1,2,4,4] = rule(%x)\n", "line 4: expected an operator, found `rule`"),
        (
            "$%y: f32[1] = weight(%x)\n",
            "line 4: expected an operator, found `weight`: weights and literals are written `weight\"KEY\":TYPE` and `literal[…]:TYPE`",
        ),
        ("$%y: f32[1,2,4,4] = relu(%x){slope=1}\n", "line 4: relu has no attribute `slope`"),
        (
            "$%y: f32[1,2,4,4] = relu(x)\n",
            "line 4: expected `%NAME`, `@NAME`, a number, a weight, a literal or an operator, found `x)`",
        ),
        ("$%y: f32[1,2,4,4] = softmax(%x)\n", "line 4: softmax: expected the attribute `axis=NUMBER`"),
        ("$%y: f32[1,2,4,4] = rfft2(%x){norm=both}\n", "line 4: rfft2: expected the attribute `norm=ortho|backward`"),
        ("$%y: f32[1,2,4,4] = softmax(%x){axis=4}\n", "line 4: y: softmax: has that axis, found f32[1,2,4,4]"),
        ("$%y: f32[1,2,4] = relu(%x)\n", "line 4: %y is declared f32[1,2,4], but relu gives f32[1,2,4,4]"),
        ("$%y: f32[1,2,4,4], f32[1] = relu(%x)\n", "line 4: expected outputs %y, %y:1, … and a type for each"),
        ("$%y: f32[2,2] = eye(%x)\n", "line 4: eye takes no operands"),
        ("$%y: f32[2,2] = neg(eye)\n", "line 4: expected the type of `eye` behind it"),
        ("$%y: f32[2,2] = neg(reshape(%x))\n", "line 4: expected the type of `reshape` behind it"),
        ("$%y: f32[2,2] = neg(abs(%x):f32[2,2])\n", "line 4: abs is declared f32[2,2], but gives f32[1,2,4,4]"),
        ("$%y: f32[2,2] = neg(abs(%x):1)\n", "line 4: abs has no output 1"),
        ("$%y: f32[2,2] = neg(\n  abs(\n    abz(%x)))\n", "line 6: expected an operator, found `abz`"),
        ("$%y: f32[1,2,4,4] = neg(@w)\n", "line 4: @w is not defined"),
        ("$%y: f32[1,2,4,4] = neg(%x)\n@w: f32[] = abs(1)\n@w: f32[] = abs(2)\n", "line 6: @w is defined twice"),
        ("$%y: f32[1,2,4,4] = neg(%x)\n  @w: f32[] = abs(1)\n  @w: f32[] = abs(2)\n", "line 6: @w is defined twice"),
        ("$@y: f32[1,2,4,4] = neg(%x)\n", "line 4: @y depends on an input: write it as a line of its own, %y"),
        ("$%\"y: f32[1] = relu(%x)", "line 4: expected a closing quote, found `\"y: f32[1] = relu(%x)`"),
    ];
    for (text, expected) in cases {
        let start = "graph g  stage=paper\n# an image\n%x: f32[1,2,4,4] = input\n";
        let (text, end) = match text.strip_prefix('$') {
            Some(body) if body.starts_with("outputs") => (format!("{start}{body}"), ""),
            Some(body) => (format!("{start}{body}"), "\noutputs"),
            None => (text.to_string(), ""),
        };
        assert_eq!(parse(&format!("{text}{end}")).unwrap_err().to_string(), expected, "{text}");
    }
}

/// Texts with bytes, numbers and lines changed give an error or a graph, never a panic.
#[test]
fn hostile_text_never_panics() {
    let rng = &mut Rng::new(1);
    let pieces = [
        "0",
        "1",
        "B",
        "1073741823",
        "18446744073709551616",
        "[",
        "]",
        ",",
        "%",
        "\"",
        "\\u{",
        "=",
        ":",
        "é",
        "{",
        ")",
    ];
    let mut graphs = 0;
    for round in 0..6_000 {
        let mut text =
            if round % 4 == 0 { ALL.to_string() } else { random_graph(round % 64, Options::default()).to_string() };
        for _ in 0..rng.range(1, 3) {
            let digits: Vec<usize> =
                text.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()).map(|(i, _)| i).collect();
            let at = if rng.chance(60) && !digits.is_empty() { rng.pick(&digits) } else { rng.below(text.len()) };
            let mut end = at + rng.below(3);
            while !text.is_char_boundary(end.min(text.len())) {
                end += 1;
            }
            let at = (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            text.replace_range(at..end.min(text.len()).max(at), rng.pick(&pieces));
        }
        if let Ok(graph) = parse(&text) {
            graphs += 1;
            let again = parse(&graph.to_string()).unwrap_or_else(|e| panic!("{e} in\n{graph}"));
            assert_eq!(again.to_string(), graph.to_string());
            let _ = validate(&graph, None);
            let _ = crate::expand(&graph);
        }
    }
    assert!(graphs > 100, "{graphs} texts were graphs still");
}
