//! Attention in one operator, by its definition: products, a softmax, a product. Which structure that is, passes find out.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use super::masks::{Mask, Scores, up_to};
use super::products;
use vitc_ir::{BinaryKind, Dim, Op, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Attention" => attention,
        "RotaryEmbedding" => rotary,
        _ => return None,
    })
}

/// The same of ONNX Runtime's own set.
pub(super) fn find_contrib(op: &str) -> Option<Read> {
    Some(match op {
        "Attention" => packed,
        "MultiHeadAttention" => multi_head,
        _ => return None,
    })
}

/// Queries, keys and values `[B,H,N,d]` to `[B,H,Nq,d]`.
fn attend(cx: &mut Cx, [q, k, v]: [Value; 3], scores: Scores, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let columns = cx.push(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[k], &at("keys"))?;
    let plain = Op::MatMul { transpose_a: false, transpose_b: false };
    let s = cx.push(plain.clone(), &[q, columns], &at("scores"))?;
    let mut s = cx.with(BinaryKind::Mul, s, scores.scale, &at("scaled"))?;
    if let Some(cap) = scores.cap {
        let part = cx.with(BinaryKind::Mul, s, 1.0 / cap, &at("part"))?;
        let soft = cx.unary(UnaryKind::Tanh, part, &at("soft"))?;
        s = cx.with(BinaryKind::Mul, soft, cap, &at("capped"))?;
    }
    let own = cx.shape(s);
    for (i, bias) in scores.biases.into_iter().enumerate() {
        s = cx.binary(BinaryKind::Add, s, bias, &at(&format!("biased{i}")))?;
        if cx.shape(s) != own {
            return Err(Refusal::new(cx.contradiction(&own, &cx.shape(bias))));
        }
    }
    let mut p = cx.push(Op::Softmax { axis: 3 }, &[s], &at("probabilities"))?;
    for (i, seen) in scores.seen.into_iter().enumerate() {
        p = cx.binary(BinaryKind::Mul, p, seen, &at(&format!("seen{i}")))?;
    }
    cx.push(plain, &[p, v], &at("context"))
}

/// `[B,N,H·d]` to `[B,H,N,d]`.
fn heads(cx: &mut Cx, x: Value, count: usize, path: &str) -> Done<Value> {
    let dims = cx.shape(x);
    let [batch, tokens, width] = dims[..] else { return Err("its operands are of other ranks than 3 and 4".into()) };
    let width = cx.size(width)?;
    if count == 0 || !width.is_multiple_of(count) {
        return Err(format!("cuts {width} channels into {count} heads").into());
    }
    let apart =
        cx.reshape(x, vec![batch, tokens, Dim::Fixed(count), Dim::Fixed(width / count)], &format!("{path}.apart"))?;
    cx.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[apart], path)
}

/// `[B,H,N,d]` to `[B,N,H·d]`.
fn merged(cx: &mut Cx, x: Value, path: &str) -> Done<Value> {
    let turned = cx.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[x], &format!("{path}.rows"))?;
    let dims = cx.shape(turned);
    let width = cx.size(dims[2])? * cx.size(dims[3])?;
    cx.reshape(turned, vec![dims[0], dims[1], Dim::Fixed(width)], path)
}

fn count(c: &Call<'_>, name: &str) -> Done<usize> {
    usize::try_from(c.int(name, 0)?).map_err(|_| Refusal::new(format!("its attribute {name} is negative")))
}

/// Keys or values of fewer heads, each read by so many heads of queries.
fn repeated(cx: &mut Cx, x: Value, heads: usize, path: &str) -> Done<Value> {
    let own = cx.size(cx.shape(x)[1])?;
    if own == heads {
        return Ok(x);
    }
    if own == 0 || !heads.is_multiple_of(own) {
        return Err(format!("has {heads} heads of queries for {own} of keys").into());
    }
    let index: Vec<usize> = (0..heads).map(|h| h / (heads / own)).collect();
    let all = cx.taken(&Val::Node(x, Elem::F32), 1, &index, &[heads], path)?;
    cx.value(&all, path)
}

fn attention(cx: &mut Cx, c: &Call<'_>) -> Done {
    if !c.input(4).is_absent() || !c.input(5).is_absent() || !c.input(6).is_absent() {
        return Err("keeps keys and values of earlier calls".into());
    }
    if c.wants(3) {
        return Err("returns its scores".into());
    }
    for window in ["left_window_size", "right_window_size"] {
        if c.int(window, -1)? >= 0 {
            return Err("looks through a window".into());
        }
    }
    let elem = cx.elem(c.needed(0)?)?;
    let names = [("q", "q_num_heads"), ("k", "kv_num_heads"), ("v", "kv_num_heads")];
    let (mut qkv, mut flat) = (Vec::new(), false);
    for (slot, (name, key)) in names.into_iter().enumerate() {
        let x = float(cx, c.needed(slot)?, &c.at(name))?;
        qkv.push(match cx.shape(x).len() {
            4 => x,
            _ => {
                flat |= slot == 0;
                heads(cx, x, count(c, key)?, &c.at(&format!("{name}.heads")))?
            }
        });
    }
    let (q, own) = (qkv[0], [qkv[1], qkv[2]]);
    let dims = cx.shape(q);
    let (number, width) = (cx.size(dims[1])?, cx.size(dims[3])?);
    let k = repeated(cx, own[0], number, &c.at("k.all"))?;
    let v = repeated(cx, own[1], number, &c.at("v.all"))?;
    let mut scores = Scores {
        scale: if c.has("scale") { c.float("scale", 0.0)? } else { (width as f64).powf(-0.5) },
        cap: Some(c.float("softcap", 0.0)?).filter(|&cap| cap > 0.0),
        ..Scores::default()
    };
    let keys = cx.size(cx.shape(k)[2])?;
    let mut mask = match c.input(3) {
        Val::Absent => Mask::default(),
        given => Mask::of(cx, given, keys, &c.at("mask"))?,
    };
    if c.int("is_causal", 0)? != 0 {
        mask = mask.and(cx, &up_to(cx.size(dims[2])?, keys)?, &c.at("visible"))?;
    }
    mask.apply(cx, &mut scores, &c.at("mask"))?;
    let context = attend(cx, [q, k, v], scores, &c.path)?;
    let y = if flat { merged(cx, context, &c.path)? } else { context };
    Ok([y, own[0], own[1]].map(|v| Val::Node(v, elem)).to_vec())
}

/// What ONNX Runtime's operators add to their scores, operand 5, and their causal mask.
fn contrib_mask(cx: &mut Cx, c: &Call<'_>, [queries, keys]: [usize; 2], scores: &mut Scores) -> Done<()> {
    let mut mask = match c.input(5) {
        Val::Absent => Mask::default(),
        given if cx.constant(given).is_some() => Mask::of(cx, given, keys, &c.at("mask"))?,
        // The runtime gives no numbers for a row that this hides; all others are as they should be.
        given => Mask { seen: None, added: Some(given.clone()) },
    };
    if c.int("unidirectional", 0)? != 0 {
        // The last query sees all keys there, whatever its place.
        if queries != keys {
            return Err(format!("hides later keys of {queries} queries and {keys} keys").into());
        }
        mask = mask.and(cx, &up_to(queries, keys)?, &c.at("visible"))?;
    }
    let rows = scores.seen.len();
    mask.apply(cx, scores, &c.at("mask"))?;
    if scores.seen.len() > rows { Err("has a query that sees no key".into()) } else { Ok(()) }
}

/// `x·W + b` with queries, keys and values side by side in W's columns.
fn packed(cx: &mut Cx, c: &Call<'_>) -> Done {
    if c.wants(1) || !c.input(4).is_absent() || !c.input(6).is_absent() {
        return Err("keeps keys and values of earlier calls".into());
    }
    if !c.input(3).is_absent() {
        return Err("has a mask of indices".into());
    }
    if c.int("do_rotary", 0)? != 0 {
        return Err("rotates its operands".into());
    }
    let elem = cx.elem(c.needed(0)?)?;
    let (x, w) = (float(cx, c.needed(0)?, &c.at("x"))?, float(cx, c.needed(1)?, &c.at("w"))?);
    let mut all = products::product(cx, x, w, &c.at("qkv"))?;
    if !c.input(2).is_absent() {
        all = products::add(cx, all, c.input(2), &c.at("biased"))?;
    }
    let dims = cx.shape(all);
    let [_, tokens, width] = dims[..] else { return Err(format!("takes tokens of rank {}", dims.len()).into()) };
    let width = cx.size(width)?;
    let sizes = match c.ints("qkv_hidden_sizes")? {
        Some(list) if !list.is_empty() => list.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect(),
        _ => vec![width / 3; 3],
    };
    if sizes.len() != 3 || sizes.contains(&0) || sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s)) != Some(width)
    {
        return Err(format!("cuts {width} channels into {sizes:?}").into());
    }
    let parts = cx.split(all, 2, sizes.clone(), &c.at("parts"))?;
    let number = count(c, "num_heads")?;
    let mut qkv = Vec::new();
    for (part, name) in parts.into_iter().zip(["q", "k", "v"]) {
        qkv.push(heads(cx, part, number, &c.at(name))?);
    }
    let own = (sizes[0] as f64 / number as f64).powf(-0.5);
    let mut scores =
        Scores { scale: Some(c.float("scale", 0.0)?).filter(|&s| s != 0.0).unwrap_or(own), ..Scores::default() };
    let tokens = cx.size(tokens)?;
    contrib_mask(cx, c, [tokens, tokens], &mut scores)?;
    let context = attend(cx, [qkv[0], qkv[1], qkv[2]], scores, &c.path)?;
    Ok(vec![Val::Node(merged(cx, context, &c.path)?, elem)])
}

/// Queries, keys and values as three operands, or packed in the first or the second.
fn multi_head(cx: &mut Cx, c: &Call<'_>) -> Done {
    if (6..c.inputs.len()).any(|slot| !c.input(slot).is_absent()) || c.wants(1) || c.wants(2) {
        return Err("keeps keys and values of earlier calls".into());
    }
    if c.wants(3) {
        return Err("returns its scores".into());
    }
    if !c.input(4).is_absent() {
        return Err("has a mask of keys".into());
    }
    let elem = cx.elem(c.needed(0)?)?;
    let number = count(c, "num_heads")?;
    let mut tokens = unpacked(cx, c)?;
    if !c.input(3).is_absent() {
        let row = float(cx, c.input(3), &c.at("bias"))?;
        let mut sizes = Vec::new();
        for &x in &tokens {
            sizes.push(cx.size(*cx.shape(x).last().ok_or("takes a scalar")?)?);
        }
        let parts = cx.split(row, 0, sizes, &c.at("biases"))?;
        for (i, part) in parts.into_iter().enumerate() {
            tokens[i] = cx.binary(BinaryKind::Add, tokens[i], part, &c.at(&format!("biased{i}")))?;
        }
    }
    let mut qkv = Vec::new();
    for (x, name) in tokens.into_iter().zip(["q.heads", "k.heads", "v.heads"]) {
        qkv.push(if cx.shape(x).len() == 4 { x } else { heads(cx, x, number, &c.at(name))? });
    }
    let width = cx.size(cx.shape(qkv[0])[3])?;
    let own = (width as f64).powf(-0.5);
    let mut scores =
        Scores { scale: Some(c.float("scale", 0.0)?).filter(|&s| s != 0.0).unwrap_or(own), ..Scores::default() };
    let sizes = [cx.size(cx.shape(qkv[0])[2])?, cx.size(cx.shape(qkv[1])[2])?];
    contrib_mask(cx, c, sizes, &mut scores)?;
    let context = attend(cx, [qkv[0], qkv[1], qkv[2]], scores, &c.path)?;
    Ok(vec![Val::Node(merged(cx, context, &c.path)?, elem)])
}

/// Queries, keys and values `[B,N,H·d]` (keys and values may be `[B,H,N,d]`), out of `[B,N,H,3,d]`, `[B,N,H,d]` and `[B,N,H,2,d]`, or as they are.
fn unpacked(cx: &mut Cx, c: &Call<'_>) -> Done<Vec<Value>> {
    let q = float(cx, c.needed(0)?, &c.at("q"))?;
    let cut = |cx: &mut Cx, x: Value, count: usize, name: &str| -> Done<Vec<Value>> {
        let dims = cx.shape(x);
        let [batch, tokens, heads, packed, width] = dims[..] else {
            return Err(format!("has packed operands of rank {}", dims.len()).into());
        };
        if packed != Dim::Fixed(count) {
            return Err(format!("has {packed} operands packed where {count} are due").into());
        }
        let width = Dim::Fixed(cx.size(heads)? * cx.size(width)?);
        let parts = cx.split(x, 3, vec![1; count], &c.at(name))?;
        let one = |(i, part)| cx.reshape(part, vec![batch, tokens, width], &c.at(&format!("{name}{i}")));
        parts.into_iter().enumerate().map(one).collect()
    };
    if c.input(1).is_absent() {
        return cut(cx, q, 3, "qkv");
    }
    let k = float(cx, c.needed(1)?, &c.at("k"))?;
    if c.input(2).is_absent() {
        let mut all = vec![q];
        all.extend(cut(cx, k, 2, "kv")?);
        return Ok(all);
    }
    Ok(vec![q, k, float(cx, c.needed(2)?, &c.at("v"))?])
}

/// Pairs of channels turned by an angle for each position.
fn rotary(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let flat = cx.shape(x).len() == 3;
    let x = if flat { heads(cx, x, count(c, "num_heads")?, &c.at("heads"))? } else { x };
    let dims = cx.shape(x);
    let [batch, _, tokens, width] = dims[..] else {
        return Err(format!("turns a value of rank {}", dims.len()).into());
    };
    let width = cx.size(width)?;
    let turned = match count(c, "rotary_embedding_dim")? {
        0 => width,
        n if n <= width => n,
        n => return Err(format!("turns {n} channels of {width}").into()),
    };
    if turned % 2 != 0 || turned == 0 {
        return Err(format!("turns {turned} channels in pairs").into());
    }
    let half = turned / 2;
    // Tables of all positions, or of the tokens' own.
    let mut tables = Vec::new();
    for (slot, name) in [(1, "cos"), (2, "sin")] {
        let mut table = c.needed(slot)?.clone();
        if !c.input(3).is_absent() {
            let ids = cx.ints(c.input(3), "positions")?;
            let shape = cx.fixed(c.input(3))?;
            let index = ids.iter().map(|&i| usize::try_from(i).map_err(|_| Refusal::new("has a negative position")));
            table = cx.taken(&table, 0, &index.collect::<Done<Vec<_>>>()?, &shape, &c.at(&format!("{name}.rows")))?;
        }
        let own = cx.dims(&table)?;
        let [b, n, d] = own[..] else { return Err(format!("has tables of rank {}", own.len()).into()) };
        if n != tokens || d != Dim::Fixed(half) || b != batch && b != Dim::Fixed(1) {
            return Err("has tables of another size".into());
        }
        let wide = cx.reshaped(&table, &[b, Dim::Fixed(1), n, d], &c.at(name))?;
        tables.push(float(cx, &wide, &c.at(name))?);
    }
    let parts = match width - turned {
        0 => vec![x],
        rest => cx.split(x, 3, vec![turned, rest], &c.at("parts"))?,
    };
    let interleaved = c.int("interleaved", 0)? != 0;
    let (apart, axis) = match interleaved {
        true => (vec![dims[0], dims[1], dims[2], Dim::Fixed(half), Dim::Fixed(2)], 4),
        false => (vec![dims[0], dims[1], dims[2], Dim::Fixed(2), Dim::Fixed(half)], 3),
    };
    let pairs = cx.reshape(parts[0], apart, &c.at("pairs"))?;
    let pairs = cx.split(pairs, axis, vec![1, 1], &c.at("sides"))?;
    let plane = [&dims[..3], &[Dim::Fixed(half)]].concat();
    let a = cx.reshape(pairs[0], plane.clone(), &c.at("a"))?;
    let b = cx.reshape(pairs[1], plane.clone(), &c.at("b"))?;
    let times = |cx: &mut Cx, x, t: usize, name: &str| cx.binary(BinaryKind::Mul, x, tables[t], &c.at(name));
    let (ac, bs) = (times(cx, a, 0, "a.cos")?, times(cx, b, 1, "b.sin")?);
    let (as_, bc) = (times(cx, a, 1, "a.sin")?, times(cx, b, 0, "b.cos")?);
    let real = cx.binary(BinaryKind::Sub, ac, bs, &c.at("real"))?;
    let imaginary = cx.binary(BinaryKind::Add, as_, bc, &c.at("imaginary"))?;
    let mut sides = vec![real, imaginary];
    if interleaved {
        for side in &mut sides {
            *side = cx.reshape(*side, [&plane[..], &[Dim::Fixed(1)]].concat(), &c.at("side"))?;
        }
    }
    let both = cx.push(Op::Concat { axis: if interleaved { 4 } else { 3 } }, &sides, &c.at("both"))?;
    let mut y = cx.reshape(both, [&dims[..3], &[Dim::Fixed(turned)]].concat(), &c.at("turned"))?;
    if let Some(&rest) = parts.get(1) {
        y = cx.push(Op::Concat { axis: 3 }, &[y, rest], &c.at("all"))?;
    }
    let y = if flat { merged(cx, y, &c.path)? } else { y };
    Ok(vec![Val::Node(y, elem)])
}
