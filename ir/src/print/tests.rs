//! Where constants stand and what they are called.

use crate::testing::{Options, random_graph};
use crate::{Graph, Op, Stage, Type, parse};

/// The text of the graph that `text` is, which it reads back as.
fn printed(text: &str) -> String {
    let graph = parse(text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
    let printed = graph.to_string();
    assert_eq!(parse(&printed).unwrap_or_else(|e| panic!("{e} in\n{printed}")).to_string(), printed);
    printed
}

/// A BatchNorm folded into the convolution before it, by elementary operators with any names.
#[test]
fn constants_read_once_are_nested_and_batch_norms_named() {
    let text = printed(
        r#"graph g  stage=deploy
%x: f32[B,3,8,8] = input
%v: f32[4] = add(weight"c.bn.running_var":f32[4], 1e-5)
%std: f32[4] = sqrt(%v)
%s: f32[4] = div(weight"c.bn.weight":f32[4], %std)
%m: f32[4] = mul(weight"c.bn.running_mean":f32[4], %s)
%t: f32[4] = sub(weight"c.bn.bias":f32[4], %m)
%rows: f32[4,1,1,1] = reshape(%s)
%w_2: f32[4,3,1,1] = mul(weight"c.weight":f32[4,3,1,1], %rows)
%w_3: f32[4,3,1,1] = add(%w_2, fill{value=1}:f32[4,3,1,1])
%w_4: f32[4,3,1,1] = add(%w_3, weight"another.convolution.of.the.same.shape.weight":f32[4,3,1,1])
%c: f32[B,4,8,8] = conv(%x, %w_4, %t){stride=1, pad=0}
outputs c=%c
"#,
    );
    let expected = r#"graph g  stage=deploy
%x: f32[B,3,8,8] = input
%c: f32[B,4,8,8] = conv(%x, @w, @bias){stride=1, pad=0}
  @w: f32[4,3,1,1] = add(
    mul(weight"c.weight":f32[4,3,1,1], reshape(bn_scale(bn"c.bn":f32[4]){eps=1e-5}):f32[4,1,1,1]),
    fill{value=1}:f32[4,3,1,1],
    weight"another.convolution.of.the.same.shape.weight":f32[4,3,1,1])
  @bias: f32[4] = bn_shift(bn"c.bn":f32[4]){eps=1e-5}
outputs c=%c
"#;
    assert_eq!(text, expected);
}

#[test]
fn constants_read_several_times_are_named_after_their_first_reader() {
    let text = printed(
        r#"graph g  stage=deploy
%x: f32[B,4] = input
%s: f32[4] = sqrt(abs(weight"s":f32[4]))
%n: f32[4] = neg(weight"n":f32[4])
%two: f32[4] = mul(%s, %s)
%y: f32[B,4] = mul(%x, %two)
%z: f32[B,4] = add(%y, %n)
%u: f32[4] = sqrt(add(%s, %n))
%a: f32[4] = mul(%u, add(%u, 1))
%v: f32[B,4] = add(%z, %a)
outputs v=%v, n=%n, u=abs(sqrt(abs(neg(weight"n":f32[4]))))
"#,
    );
    let expected = r#"graph g  stage=deploy
%x: f32[B,4] = input
@y.b.a: f32[4] = sqrt(abs(weight"s":f32[4]))
%y: f32[B,4] = mul(%x, @b)
  @b: f32[4] = mul(@y.b.a, @y.b.a)
%z: f32[B,4] = add(%y, @b)
  @b: f32[4] = neg(weight"n":f32[4])
%v: f32[B,4] = add(%z, @b)
  @b.a: f32[4] = sqrt(add(@y.b.a, neg(weight"n":f32[4])))
  @b: f32[4] = mul(@b.a, add(@b.a, 1))
outputs v=%v, n=neg(weight"n":f32[4]), u=abs(sqrt(abs(neg(weight"n":f32[4]))))
"#;
    assert_eq!(text, expected);
}

/// A chain of constants that nobody could nest, and one that nobody reads.
#[test]
fn deep_constants_go_on_in_lines_of_their_own() {
    let mut g = Graph::new("g", Stage::Deploy);
    let x = g.push_leaf(Op::Input, Type::f32(&[2]), "x").unwrap();
    let mut c = g.push_leaf(Op::Weight { key: "w".into() }, Type::f32(&[2]), "w").unwrap();
    for i in 0..20_000 {
        c = g.push(Op::Unary(crate::UnaryKind::Tanh), &[c], &format!("t{i}")).unwrap().into();
        if i == 100 {
            g.push(Op::Unary(crate::UnaryKind::Exp), &[c], "unread").unwrap();
        }
    }
    let y = g.push(Op::Binary(crate::BinaryKind::Add), &[x, c], "y").unwrap();
    g.outputs = vec![crate::Output { name: "y".into(), value: y.into() }];
    let text = printed(&g.to_string());
    assert!(text.lines().count() > 1000 && text.len() < 3_000_000, "{} lines, {}", text.lines().count(), text.len());
    assert!(text.contains("@unread"), "{text}");
    assert_eq!(parse(&text).unwrap().len(), g.len());
}

/// Lines that run are the same with and without those of constants, and a change in a node changes its own lines only.
#[test]
fn an_edit_changes_the_lines_of_its_node() {
    for seed in 0..200 {
        let text = random_graph(seed, Options::default()).to_string();
        let graph = parse(&text).unwrap();
        let runs = |text: &str| {
            let indented = |l: &&str| l.starts_with([' ', '@']);
            text.lines().filter(|l| !indented(l)).map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(runs(&graph.to_string()), runs(&graph.listing().to_string()), "{text}");
        assert_eq!(graph.listing().to_string().lines().count(), runs(&text).len());

        let Some(at) = text.lines().position(|l| l.contains(" = relu(")) else { continue };
        let edited: Vec<String> =
            text.lines().enumerate().map(|(i, l)| if i == at { l.replace("relu", "tanh") } else { l.into() }).collect();
        let edited = parse(&(edited.join("\n") + "\n")).unwrap().to_string();
        let changed = text.lines().zip(edited.lines()).filter(|(a, b)| a != b).count();
        assert_eq!((changed, edited.lines().count()), (1, text.lines().count()), "{edited}");
    }
}
