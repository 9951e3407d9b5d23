//! The facts that rules may ask for, and the functions that compute an attribute from others.

use super::bindings::list;
use super::found::{Fact, Found, Function};
use vitc_ir::{Dim, Graph, Value};

/// Every fact.
pub(crate) const FACTS: &[Fact] = &[
    Fact { name: "same_type", holds: same_type },
    Fact { name: "same_size", holds: same_size },
    Fact { name: "matrix", holds: matrix },
    Fact { name: "identity", holds: |_, a| permutation(a).is_some_and(|p| p.iter().enumerate().all(|(i, &p)| i == p)) },
    Fact { name: "some", holds: |_, a| text(a, 0).and_then(list).is_some_and(|list| !list.is_empty()) },
    Fact { name: "inner", holds: |g, a| axes(g, a).is_some_and(|(axes, rank)| !axes.contains(&(rank - 1))) },
    Fact { name: "trailing", holds: trailing },
    Fact { name: "fills", holds: fills },
    Fact { name: "keeps", holds: keeps },
    Fact { name: "row", holds: row },
    Fact { name: "averages", holds: averages },
    Fact { name: "counts", holds: counts },
];

/// Every function.
pub(crate) const FUNCTIONS: &[Function] = &[
    Function { name: "compose", compute: compose },
    Function { name: "last", compute: |g, a| Some(format!("[{}]", g.shape(value(a, 0)?).rank().checked_sub(1)?)) },
    Function { name: "to_last", compute: to_last },
    Function { name: "from_last", compute: from_last },
    Function { name: "sizes", compute: sizes },
    Function { name: "along", compute: along },
];

fn value(arguments: &[Found], at: usize) -> Option<Value> {
    match arguments.get(at)? {
        Found::Value(value) => Some(*value),
        Found::Text(_) => None,
    }
}

fn text(arguments: &[Found], at: usize) -> Option<&str> {
    match arguments.get(at)? {
        Found::Text(text) => Some(text),
        Found::Value(_) => None,
    }
}

/// One number, or a list of them.
fn numbers(text: &str) -> Option<Vec<usize>> {
    list(text).unwrap_or_else(|| vec![text]).into_iter().map(|n| n.parse().ok()).collect()
}

fn written(numbers: &[usize]) -> String {
    let parts: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// `same_type(%x, %y, …)`: all of one element type and shape.
fn same_type(graph: &Graph, arguments: &[Found]) -> bool {
    let types: Option<Vec<_>> = (0..arguments.len()).map(|i| Some(graph.ty(value(arguments, i)?))).collect();
    types.is_some_and(|types| types.windows(2).all(|w| w[0] == w[1]))
}

/// `same_size(%c, 1)`: so many elements.
fn same_size(graph: &Graph, arguments: &[Found]) -> bool {
    let count = || Some((value(arguments, 0)?, text(arguments, 1)?.parse::<usize>().ok()?));
    count().is_some_and(|(v, n)| graph.shape(v).elements() == n && !graph.shape(v).has_batch())
}

/// `matrix(%x, n)`: x has two axes, and n columns.
fn matrix(graph: &Graph, arguments: &[Found]) -> bool {
    let sizes = || Some((&graph.shape(value(arguments, 0)?).0, text(arguments, 1)?.parse::<usize>().ok()?));
    sizes().is_some_and(|(dims, n)| dims.len() == 2 && dims[1] == Dim::Fixed(n))
}

fn permutation(arguments: &[Found]) -> Option<Vec<usize>> {
    numbers(text(arguments, 0)?)
}

/// `axes, %x`: the axes (or axis), which are x's, and its rank.
fn axes(graph: &Graph, arguments: &[Found]) -> Option<(Vec<usize>, usize)> {
    let rank = graph.shape(value(arguments, 1)?).rank();
    let axes = numbers(text(arguments, 0)?)?;
    (axes.iter().all(|&a| a < rank) && rank > 0).then_some((axes, rank))
}

/// `trailing(axes, %x)`: the axes, one at least, are x's last ones.
fn trailing(graph: &Graph, arguments: &[Found]) -> bool {
    axes(graph, arguments)
        .is_some_and(|(axes, rank)| !axes.is_empty() && axes.iter().copied().eq(rank - axes.len()..rank))
}

/// `fills(%c, axes, %x)`: the constant c has x's sizes on these axes, 1 on any other, and broadcasts to x.
fn fills(graph: &Graph, arguments: &[Found]) -> bool {
    let fills = || {
        let (c, (axes, rank)) = (value(arguments, 0)?, axes(graph, &arguments[1..])?);
        let (dims, x) = (&graph.shape(c).0, &graph.shape(value(arguments, 2)?).0);
        let front = rank.checked_sub(dims.len())?;
        let one = Dim::Fixed(1);
        let fits = |axis: usize| {
            let d = axis.checked_sub(front).map_or(one, |at| dims[at]);
            d.fixed().is_some() && d == if axes.contains(&axis) { x[axis] } else { one }
        };
        Some((0..rank).all(fits))
    };
    fills().unwrap_or(false)
}

/// `row(%c, n, %x)`: the constant c has n elements, and they stand for those of x's last axes, one by one.
fn row(graph: &Graph, arguments: &[Found]) -> bool {
    let fits = || {
        let (c, n) = (&graph.shape(value(arguments, 0)?).0, text(arguments, 1)?.parse::<usize>().ok()?);
        let ones = c.iter().take_while(|d| **d == Dim::Fixed(1)).count();
        let elements: Option<Vec<usize>> = c.iter().map(|d| d.fixed()).collect();
        let x = &graph.shape(value(arguments, 2)?).0;
        Some(c.len() <= x.len() && x.ends_with(&c[ones..]) && elements?.iter().product::<usize>() == n)
    };
    fits().unwrap_or(false)
}

/// `keeps(shape, axes, %x)`: the shape is x's, with 1 on these axes.
fn keeps(graph: &Graph, arguments: &[Found]) -> bool {
    let kept = || {
        let (axes, _) = axes(graph, &arguments[1..])?;
        let mut shape = graph.shape(value(arguments, 2)?).clone();
        axes.iter().for_each(|&a| shape.0[a] = Dim::Fixed(1));
        Some(text(arguments, 0)? == shape.to_string())
    };
    kept().unwrap_or(false)
}

/// `averages(c, axes, %x)`: c times a sum of x over these axes, one at least, is their mean, up to a relative 10⁻⁶.
fn averages(graph: &Graph, arguments: &[Found]) -> bool {
    counted(graph, arguments).is_some_and(|[c, count]| (c * count - 1.0).abs() < 1e-6)
}

/// `counts(c, axes, %x)`: so many elements of x stand on these axes, one at least.
fn counts(graph: &Graph, arguments: &[Found]) -> bool {
    counted(graph, arguments).is_some_and(|[c, count]| c == count)
}

/// A number, and how many elements of x stand on some axes.
fn counted(graph: &Graph, arguments: &[Found]) -> Option<[f64; 2]> {
    let (axes, _) = axes(graph, &arguments[1..])?;
    let x = graph.shape(value(arguments, 2)?);
    let sizes: Option<Vec<usize>> = axes.iter().map(|&a| x.0[a].fixed()).collect();
    let count = sizes.filter(|sizes| !sizes.is_empty())?.iter().product::<usize>();
    Some([text(arguments, 0)?.parse().ok()?, count as f64])
}

/// `compose(p, q)`: the permutation q after p.
fn compose(_: &Graph, arguments: &[Found]) -> Option<String> {
    let [first, second] = [numbers(text(arguments, 0)?)?, numbers(text(arguments, 1)?)?];
    let both: Option<Vec<usize>> = second.iter().map(|&i| first.get(i).copied()).collect();
    Some(written(&both?))
}

/// `to_last(axis, %x)`: the permutation that moves an axis behind the others.
fn to_last(graph: &Graph, arguments: &[Found]) -> Option<String> {
    Some(written(&moved_last(graph, arguments)?))
}

/// `from_last(axis, %x)`: its inverse.
fn from_last(graph: &Graph, arguments: &[Found]) -> Option<String> {
    let there = moved_last(graph, arguments)?;
    let back: Option<Vec<usize>> = (0..there.len()).map(|a| there.iter().position(|&t| t == a)).collect();
    Some(written(&back?))
}

fn moved_last(graph: &Graph, arguments: &[Found]) -> Option<Vec<usize>> {
    let (axes, rank) = axes(graph, arguments)?;
    let mut order: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
    order.extend(axes);
    Some(order)
}

/// `sizes(axes, %x)`: x's sizes on these axes, as a shape.
fn sizes(graph: &Graph, arguments: &[Found]) -> Option<String> {
    let (axes, _) = axes(graph, arguments)?;
    let x = graph.shape(value(arguments, 1)?);
    let sizes: Vec<String> = axes.iter().map(|&a| x.0[a].to_string()).collect();
    Some(format!("[{}]", sizes.join(",")))
}

/// `along(axis, %x)`: a shape of x's rank with x's size on this axis and 1 on the others.
fn along(graph: &Graph, arguments: &[Found]) -> Option<String> {
    let (axes, rank) = axes(graph, arguments)?;
    let x = graph.shape(value(arguments, 1)?);
    let size = |a: usize| if axes.contains(&a) { x.0[a].to_string() } else { "1".into() };
    Some(format!("[{}]", (0..rank).map(size).collect::<Vec<_>>().join(",")))
}
