//! Einsum as transpositions, sums and one matrix product for each further operand.

use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use super::reduce;
use vitc_ir::{Dim, Op, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "Einsum" { Some(einsum) } else { None }
}

/// A value whose axes have letters.
#[derive(Clone)]
struct Lettered {
    value: Value,
    letters: Vec<char>,
}

/// The letters of an equation: one list per operand, and the result's. What stands for an ellipsis counts from the end.
fn letters(equation: &str, ranks: &[usize]) -> Done<(Vec<Vec<char>>, Vec<char>)> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = text.split_once("->").map_or((text.as_str(), None), |(l, r)| (l, Some(r)));
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return Err(format!("{equation:?} does not fit {} operands", ranks.len()).into());
    }
    let unnamed = |i: usize| char::from_u32(0xE000 + i as u32).unwrap_or('?');
    let mut widest = 0;
    let mut expand = |term: &str, rank: Option<usize>| -> Done<Vec<char>> {
        let named = term.replace("...", "");
        if !named.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(Refusal::new(format!("{equation:?} is no equation")));
        }
        let Some((before, after)) = term.split_once("...") else { return Ok(named.chars().collect()) };
        let width = match rank {
            Some(rank) => rank
                .checked_sub(named.len())
                .ok_or_else(|| Refusal::new(format!("{term:?} does not fit rank {rank}")))?,
            None => widest,
        };
        widest = widest.max(width);
        let middle = (0..width).rev().map(unnamed);
        Ok(before.chars().chain(middle).chain(after.chars()).collect())
    };
    let mut operands = Vec::new();
    for (term, &rank) in terms.iter().zip(ranks) {
        let letters = expand(term, Some(rank))?;
        if letters.len() != rank {
            return Err(format!("{term:?} does not fit rank {rank}").into());
        }
        operands.push(letters);
    }
    let result = match right {
        Some(right) => expand(right, None)?,
        None => {
            let all: Vec<char> = operands.iter().flatten().copied().collect();
            let mut once: Vec<char> = all
                .iter()
                .copied()
                .filter(|l| all.iter().filter(|m| *m == l).count() == 1 && l.is_ascii_alphabetic())
                .collect();
            once.sort_unstable();
            (0..widest).rev().map(unnamed).chain(once).collect()
        }
    };
    Ok((operands, result))
}

fn einsum(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let mut values = Vec::new();
    for i in 0..c.inputs.len() {
        values.push(float(cx, c.needed(i)?, &c.at(&format!("x{i}")))?);
    }
    let ranks: Vec<usize> = values.iter().map(|&v| cx.shape(v).len()).collect();
    let (terms, result) = letters(c.text("equation", "")?, &ranks)?;
    if let Some(l) = result.iter().find(|l| !terms.iter().any(|t| t.contains(l))) {
        return Err(format!("its result has {l:?}, which no operand has").into());
    }
    let mut lettered = Vec::new();
    for (i, (value, letters)) in values.into_iter().zip(terms).enumerate() {
        lettered.push(diagonal(cx, Lettered { value, letters }, &c.at(&format!("diagonal{i}")))?);
    }
    let mut operands = lettered.into_iter();
    let mut left = operands.next().ok_or("has no operand")?;
    let mut step = 0;
    while let Some(right) = operands.next() {
        let later = |l: &char| result.contains(l) || operands.as_slice().iter().any(|o| o.letters.contains(l));
        left = summed(cx, left, |l| right.letters.contains(l) || later(l), &c.at(&format!("left{step}")))?;
        let right = summed(cx, right, |l| left.letters.contains(l) || later(l), &c.at(&format!("right{step}")))?;
        let (rows, columns) = if turned(&left, &right, &result) { (right, left) } else { (left, right) };
        left = contracted(cx, rows, columns, later, &c.at(&format!("product{step}")))?;
        step += 1;
    }
    left = summed(cx, left, |l| result.contains(l), &c.at("sum"))?;
    let y = ordered(cx, &left, &result, &c.path)?;
    Ok(vec![Val::Node(y, elem)])
}

/// Axes of one letter as one axis, on which all of them stand at the same place.
fn diagonal(cx: &mut Cx, mut x: Lettered, path: &str) -> Done<Lettered> {
    while let Some(second) = (0..x.letters.len()).find(|&i| x.letters[..i].contains(&x.letters[i])) {
        let letter = x.letters[second];
        let first = x.letters.iter().position(|&l| l == letter).unwrap_or(0);
        let dims = cx.shape(x.value);
        let size = cx.size(dims[first])?;
        if dims[first] != dims[second] {
            return Err(format!("takes a diagonal of {} by {}", dims[first], dims[second]).into());
        }
        places::count(&[size]).ok_or("takes a diagonal that is too large")?;
        let square = size.checked_mul(size).ok_or("takes a diagonal that is too large")?;
        let rest: Vec<usize> = (0..dims.len()).filter(|&a| a != first && a != second).collect();
        let perm = [&[first, second][..], &rest].concat();
        let turned = if perm.is_sorted() {
            x.value
        } else {
            cx.push(Op::Transpose { perm }, &[x.value], &format!("{path}.turned"))?
        };
        let others: Vec<Dim> = rest.iter().map(|&a| dims[a]).collect();
        let square = cx.reshape(turned, [&[Dim::Fixed(square)], &others[..]].concat(), &format!("{path}.square"))?;
        let index: Vec<usize> = (0..size).map(|i| i * (size + 1)).collect();
        let line = cx.taken(&Val::Node(square, super::super::super::tensor::Elem::F32), 0, &index, &[size], path)?;
        let letters = [letter].into_iter().chain(rest.iter().map(|&a| x.letters[a])).collect();
        x = Lettered { value: cx.value(&line, path)?, letters };
    }
    Ok(x)
}

/// Without the letters that nobody needs.
fn summed(cx: &mut Cx, x: Lettered, needed: impl Fn(&char) -> bool, path: &str) -> Done<Lettered> {
    let gone: Vec<usize> = (0..x.letters.len()).filter(|&i| !needed(&x.letters[i])).collect();
    if gone.is_empty() {
        return Ok(x);
    }
    let letters = x.letters.iter().copied().filter(|l| needed(l)).collect();
    Ok(Lettered { value: reduce::spell(cx, "ReduceSum", x.value, gone, false, path)?, letters })
}

/// Axes in this order.
fn ordered(cx: &mut Cx, x: &Lettered, order: &[char], path: &str) -> Done<Value> {
    let place =
        |l: &char| x.letters.iter().position(|m| m == l).ok_or_else(|| Refusal::new(format!("{l:?} is missing")));
    let perm = order.iter().map(place).collect::<Done<Vec<usize>>>()?;
    if perm.len() != x.letters.len() {
        return Err("its letters do not fit".into());
    }
    if perm.iter().copied().eq(0..perm.len()) {
        return Ok(x.value);
    }
    cx.push(Op::Transpose { perm }, &[x.value], path)
}

/// Whether the result's last letter of one operand alone is the left one's: a product has its right operand's letters last.
fn turned(left: &Lettered, right: &Lettered, result: &[char]) -> bool {
    let owner = result.iter().rev().find(|l| left.letters.contains(l) != right.letters.contains(l));
    owner.is_some_and(|l| left.letters.contains(l))
}

/// The product of two operands over the letters that both have and nobody needs later.
fn contracted(cx: &mut Cx, a: Lettered, b: Lettered, later: impl Fn(&char) -> bool, path: &str) -> Done<Lettered> {
    let at = |name: &str| format!("{path}.{name}");
    let shared: Vec<char> = a.letters.iter().copied().filter(|l| b.letters.contains(l)).collect();
    let (batch, inner): (Vec<char>, Vec<char>) = shared.into_iter().partition(|l| later(l));
    let own = |x: &Lettered, y: &Lettered| {
        x.letters.iter().copied().filter(|l| !y.letters.contains(l)).collect::<Vec<char>>()
    };
    let (rows, columns) = (own(&a, &b), own(&b, &a));
    let left = ordered(cx, &a, &[&batch[..], &rows, &inner].concat(), &at("rows"))?;
    let right = ordered(cx, &b, &[&batch[..], &inner, &columns].concat(), &at("columns"))?;
    let (left_dims, right_dims) = (cx.shape(left), cx.shape(right));
    let merged = |dims: &[Dim]| -> Done<Dim> {
        dims.iter()
            .try_fold(Dim::Fixed(1), |n, &d| match (n, d) {
                (n, Dim::Fixed(d)) => Some(n.times(d)),
                (Dim::Fixed(n), d) => Some(d.times(n)),
                _ => None,
            })
            .ok_or_else(|| Refusal::new("multiplies the batch with itself: give the batch a number"))
    };
    let (n, r, k) = (batch.len(), rows.len(), inner.len());
    let (rows_size, inner_size, columns_size) =
        (merged(&left_dims[n..n + r])?, merged(&left_dims[n + r..])?, merged(&right_dims[n + k..])?);
    let lead = |dims: &[Dim]| dims[..n].to_vec();
    let left = cx.reshape(left, [lead(&left_dims), vec![rows_size, inner_size]].concat(), &at("left"))?;
    let right = cx.reshape(
        right,
        [lead(&right_dims), vec![merged(&right_dims[n..n + k])?, columns_size]].concat(),
        &at("right"),
    )?;
    let y = cx.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[left, right], path)?;
    let lead = cx.shape(y)[..n].to_vec();
    let dims = [lead, left_dims[n..n + r].to_vec(), right_dims[n + k..].to_vec()].concat();
    let value = cx.reshape(y, dims, &at("apart"))?;
    Ok(Lettered { value, letters: [batch, rows, columns].concat() })
}
