//! What the language matches, what it does not, and that wrong rules are found out.

use super::Rules;
use super::proof::{prove, proven};
use vitc_ir::{Graph, parse};

const GELU: &str = "Given   %y = mul(mul(%x, add(erf(div(%x, sqrt(2))), 1)), 0.5)\nResult  %y = gelu(%x)";

fn rules(text: &str) -> Rules {
    Rules::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn graph(body: &str, outputs: &str) -> Graph {
    let lines: String = body.lines().map(|l| format!("{}\n", l.trim())).collect();
    parse(&format!("graph g  stage=paper\n%x: f32[B,4] = input\n%z: f32[B,4] = input\n{lines}outputs {outputs}"))
        .unwrap_or_else(|e| panic!("{e}\n{body}"))
}

/// The operators that run after the rules.
fn operators(rules: &Rules, graph: &Graph) -> Vec<&'static str> {
    let after = rules.run(graph).unwrap_or_else(|e| panic!("{e}")).graph.pruned();
    after.run_time_nodes().map(|(_, n)| n.op.word()).collect()
}

/// Why a rule does not hold.
fn refuted(text: &str) -> String {
    match proven(&rules(text).rules[0]) {
        Ok(()) => panic!("nothing is wrong with\n{text}"),
        Err(what) => what,
    }
}

#[test]
fn a_rule_holds_and_finds_its_spellings() {
    let gelu = rules(GELU);
    prove(&gelu);
    let t = "f32[B,4]";
    let spellings = [
        // As PyTorch's exporters write it, old and new, with rounded numbers; and a sum of its own with the factor inside.
        [
            "mul(%x, literal[0.70710678]:f32[])",
            "add(%e, literal[1]:f32[])",
            "mul(%x, %a)",
            "mul(%p, literal[0.5]:f32[])",
        ],
        ["div(%x, literal[1.41421]:f32[])", "add(literal[1]:f32[1], %e)", "mul(%a, literal[0.5]:f32[])", "mul(%x, %p)"],
        ["div(%x, literal[1.4142135]:f32[])", "sub(%e, literal[-1]:f32[])", "div(%x, literal[2]:f32[])", "mul(%p, %a)"],
    ];
    for [z, a, p, y] in spellings {
        let body = format!("%d: {t} = {z}\n%e: {t} = erf(%d)\n%a: {t} = {a}\n%p: {t} = {p}\n%y: {t} = {y}");
        assert_eq!(operators(&gelu, &graph(&body, "y=%y")), ["gelu"], "{body}");
        // Something else reads the inner sum.
        assert!(!operators(&gelu, &graph(&body, "y=%y, a=%a")).contains(&"gelu"), "{body}");
    }
}

#[test]
fn false_friends_do_not_match() {
    let t = "f32[B,4]";
    for (root, one, half, last) in [
        ("1.5", "1", "0.5", "%x"),
        ("1.41421356", "1.01", "0.5", "%x"),
        ("1.41421356", "1", "0.51", "%x"),
        ("1.41421356", "1", "0.5", "%z"),
    ] {
        let body = format!(
            "%d: {t} = div(%x, literal[{root}]:f32[])\n%e: {t} = erf(%d)\n%a: {t} = add(%e, literal[{one}]:f32[])\n\
            %p: {t} = mul({last}, %a)\n%y: {t} = mul(%p, literal[{half}]:f32[])"
        );
        assert_eq!(operators(&rules(GELU), &graph(&body, "y=%y")), ["div", "erf", "add", "mul", "mul"], "{body}");
    }
}

#[test]
fn wrong_rules_are_refuted() {
    let wrong = [
        // A wrong constant.
        ("Given %y = mul(mul(%x, add(erf(div(%x, 1.5)), 1)), 0.5)\nResult %y = gelu(%x)", "differs by"),
        // A wrong order of operands, of a division and of permutations.
        ("Given %y = div(%x, exp(%z))\nResult %y = div(exp(%z), %x)", "differs by"),
        (
            "Given %y = transpose(transpose(%x){perm=p}){perm=q}\nResult %y = transpose(%x){perm=compose(q, p)}",
            "a condition is missing",
        ),
        // No condition that a factor is one number.
        ("Given %y = reshape(%x){shape=s}\nResult %y = %x", "a condition is missing"),
        (
            "Given %y = softmax(add(%x, const %c)){axis=a}\nWhere same_type(%x, %y)\nResult %y = softmax(%x){axis=a}",
            "differs by",
        ),
        // A sum for a mean.
        ("Given %y = reduce_mean(%x){axes=a, keep}\nResult %y = reduce_sum(%x){axes=a, keep}", "differs by"),
        // It never matches: no softmax has two axes.
        ("Given %y = softmax(%x){axis=a, axes=p}\nResult %y = %x", "matches [0, 0]"),
        // A fact that always holds.
        ("Given %y = relu(relu(%x))\nWhere same_type(%x, %y)\nResult %y = relu(%x)", "never refuses"),
    ];
    for (text, why) in wrong {
        let what = refuted(text);
        assert!(what.contains(why), "{text}\n{what}");
    }
}

#[test]
fn right_rules_are_proven() {
    for text in [
        "Given %y = softmax(add(%x, const %c)){axis=a}\nWhere same_size(%c, 1), same_type(%x, %y)\nResult %y = softmax(%x){axis=a}",
        "Given %y = transpose(shared transpose(%x){perm=p}){perm=q}\nResult %y = transpose(%x){perm=compose(p, q)}",
        "Given %y = add(add(%x, const %a), const %b)\nResult %y = add(%x, add(%a, %b))",
        "Given %y = min(max(%x, a), b)\nResult %y = clip(%x){lo=a, hi=b}",
        "Given %d = sub(%x, %z)\n      %y = mul(%d, %d)\nResult %d = sub(%z, %x)\n       %y = mul(%d, %d)",
        "Given %y = matmul(%x[B,N,C], const %w[C,O])\nResult %y = linear(%x, transpose(%w){perm=[1,0]})",
    ] {
        prove(&rules(text));
    }
}

/// Deep chains, wide shared sums and constants that double: the search ends, in time that grows with the graph and not faster.
#[test]
fn hostile_graphs_cost_no_more_than_their_size() {
    let six = rules(
        "Given %y = add(add(add(exp(%a), exp(%b)), add(exp(%c), exp(%d))), add(exp(%e), tanh(%f)))\nResult %y = %a",
    );
    let pairs = rules("Given %y = neg(shared neg(%x))\nResult %y = %x");
    let t = "f32[B,4]";
    let deep = |word: &str, n: usize| {
        let line = |i: usize| format!("%{}: {t} = {word}\n", i + 1).replace("PREV", &format!("%{i}"));
        let first = format!("%0: {t} = exp(%x)\n");
        graph(&(first + &(0..n).map(line).collect::<String>()), &format!("y=%{n}"))
    };
    // A balanced tree of sums of exponentials has many ways to be six of them, and none with a tanh.
    let mut tree: String = (0..64).map(|i| format!("%a{i}: {t} = exp(%x)\n")).collect();
    let mut row: Vec<String> = (0..64).map(|i| format!("a{i}")).collect();
    while row.len() > 1 {
        let next: Vec<String> = (0..row.len() / 2).map(|i| format!("{}.{}", row[2 * i], row[2 * i + 1])).collect();
        for (i, name) in next.iter().enumerate() {
            tree += &format!("%{name}: {t} = add(%{}, %{})\n", row[2 * i], row[2 * i + 1]);
        }
        row = next;
    }
    let start = std::time::Instant::now();
    assert!(!operators(&six, &graph(&tree, &format!("y=%{}", row[0]))).is_empty());
    assert_eq!(operators(&six, &deep("add(PREV, PREV)", 500)).len(), 501);
    assert_eq!(operators(&pairs, &deep("neg(PREV)", 3000)), ["exp"]);
    assert_eq!(operators(&rules(GELU), &deep("mul(PREV, PREV)", 500)).len(), 501);
    let mut doubled = "@c0: f32[] = add(literal[1]:f32[], literal[2]:f32[])\n".to_string();
    (0..200).for_each(|i| doubled += &format!("@c{}: f32[] = add(@c{i}, @c{i})\n", i + 1));
    let doubled = graph(&(doubled + &format!("%y: {t} = mul(%x, @c200)\n")), "y=%y");
    assert_eq!(operators(&rules(GELU), &doubled), ["mul"]);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// Texts that are not rules are refused with their line.
#[test]
fn malformed_rules_say_where() {
    for (text, what) in [
        ("Given %y = relu(%x)", "rule 1 has no Result"),
        ("Given %y = relu(%x)\nResult %y = %z", "line 2: expected a name of a Given; none is called `%z`"),
        ("Given %y = relu(%x)\nWhere odd(%x)\nResult %y = %x", "line 2: expected a fact; none is called `odd`"),
        ("Given %y = %x\nResult %y = %x", "line 1: expected an operator behind `=`"),
        ("Given %y = relu(%x)\nand more\nResult %y = %x", "line 2: expected Given, Where or Result, found `and more`"),
        ("Given %y = relu(%x)\nGiven %z = exp(%x)\nResult %y = %x", "every Given of a rule ends with the same name"),
        ("Given %y = transpose(%x){perm=p}\nResult %y = transpose(%x){perm=turn(p)}", "none is called `turn`"),
    ] {
        match Rules::parse(text) {
            Ok(_) => panic!("{text}"),
            Err(found) => assert!(found.contains(what), "{text}\n{found}"),
        }
    }
}
