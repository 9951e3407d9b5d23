//! Transposed convolutions.
//!
//! What adds to its result beyond a stride, or has a kernel that is computed, is a convolution: zeros are put between the elements of the map and the flipped kernel runs over it, for
//! `y[o, i·s − p + u·d] += w[c,o,u]·x[c,i]` is the convolution of what has a zero before it for each missing position.

use super::super::super::tensor::Elem;
use super::super::call::Call;
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use super::pooling;
use vitc_ir::op::{PadMode, SliceAxis};
use vitc_ir::{BinaryKind, Dim, Op, Value};

/// One axis: elements in and out, and how the kernel lies.
#[derive(Debug, Clone, Copy)]
struct Along {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Positions of the full map in front of the result.
    begin: usize,
    out: usize,
}

impl Along {
    /// Positions that the kernel reaches from a first to a last element.
    fn reach(self) -> usize {
        (self.kernel - 1) * self.dilation
    }

    /// How much of the whole result is left out behind, and how much is added there; `None` if that is more than the operator adds.
    fn ends(self) -> Option<(usize, usize)> {
        let whole = self.stride * (self.size - 1) + self.reach() + 1;
        let (left_out, added) =
            (whole.saturating_sub(self.begin + self.out), (self.begin + self.out).saturating_sub(whole));
        let some = self.begin < whole && left_out < whole;
        (some && added < self.stride.max(self.dilation)).then_some((left_out, added))
    }
}

pub(super) fn conv_transpose(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let (mut x, mut w) = (float(cx, c.needed(0)?, &c.at("x"))?, float(cx, c.needed(1)?, &c.at("weight"))?);
    let dims = cx.shape(x);
    let spatial = pooling::spatial(&dims, "convolution")?;
    if cx.sizes(w)?.len() != dims.len() {
        return Err("has kernels of another rank than its map".into());
    }
    let mut along = axes(cx, c, &dims, &cx.sizes(w)?)?;
    if spatial == 1 {
        let one = Dim::Fixed(1);
        x = cx.reshape(x, vec![dims[0], dims[1], one, dims[2]], &c.at("map"))?;
        let own = cx.shape(w);
        w = cx.reshape(w, vec![own[0], own[1], one, own[2]], &c.at("weight.row"))?;
        along.insert(0, Along { size: 1, kernel: 1, stride: 1, dilation: 1, begin: 0, out: 1 });
    }
    let groups = usize::try_from(c.int("group", 1)?).ok().filter(|&g| g > 0).ok_or("has no group")?;
    let channels = cx.sizes(w)?;
    if channels[0] % groups != 0 || cx.shape(x)[1] != Dim::Fixed(channels[0]) {
        return Err(format!("kernels {channels:?} in {groups} groups do not fit the map").into());
    }
    let pair = [along[0], along[1]];
    let bias = match c.input(2) {
        Val::Absent => None,
        bias => Some(float(cx, bias, &c.at("bias"))?),
    };
    let fixed = cx.graph.is_constant(w);
    let y = if let (true, Some(first), Some(second)) = (fixed, pair[0].ends(), pair[1].ends()) {
        let op = Op::ConvTranspose {
            stride: pair.map(|a| a.stride),
            pad: [pair[0].begin, pair[1].begin, first.0, second.0],
            output_pad: [first.1, second.1],
            dilation: pair.map(|a| a.dilation),
            groups,
        };
        let operands: Vec<Value> = [x, w].into_iter().chain(bias).collect();
        cx.push(op, &operands, &c.path)?
    } else {
        let y = spread(cx, x, w, pair, groups, &c.path)?;
        match bias {
            Some(bias) => {
                let count = cx.sizes(bias)?.iter().product();
                let dims = [1, count, 1, 1].map(Dim::Fixed).to_vec();
                let bias = cx.reshape(bias, dims, &c.at("bias.channels"))?;
                cx.binary(BinaryKind::Add, y, bias, &c.at("biased"))?
            }
            None => y,
        }
    };
    Ok(vec![Val::Node(pooling::back(cx, y, spatial, &c.path)?, elem)])
}

/// The geometry that the attributes say.
fn axes(cx: &Cx, c: &Call<'_>, dims: &[Dim], kernels: &[usize]) -> Done<Vec<Along>> {
    let n = dims.len() - 2;
    let list = |name: &str, count: usize, default: usize| -> Done<Vec<usize>> {
        let Some(list) = c.ints(name)? else { return Ok(vec![default; count]) };
        let all: Option<Vec<usize>> = list.iter().map(|&v| usize::try_from(v).ok().filter(|&v| v < 1 << 31)).collect();
        all.filter(|l| l.len() == count).ok_or_else(|| Refusal::new(format!("its attribute {name} is {list:?}")))
    };
    let (strides, dilations) = (list("strides", n, 1)?, list("dilations", n, 1)?);
    let (pads, extra) = (list("pads", 2 * n, 0)?, list("output_padding", n, 0)?);
    let shape = c.ints("output_shape")?.unwrap_or_default();
    let auto = c.text("auto_pad", "NOTSET")?;
    let mut all = Vec::new();
    for i in 0..n {
        let (size, kernel, stride, dilation) = (cx.size(dims[2 + i])?, kernels[2 + i], strides[i], dilations[i]);
        if [kernel, stride, dilation].contains(&0) || [kernel, stride, dilation].iter().any(|&v| v > 1 << 12) {
            return Err("a kernel, stride or dilation is zero or too large".into());
        }
        let full = stride * (size - 1) + extra[i] + (kernel - 1) * dilation + 1;
        let wanted = match (auto, shape.get(shape.len().wrapping_sub(n).wrapping_add(i)).or(shape.get(i))) {
            (_, Some(&out)) => Some(usize::try_from(out).map_err(|_| Refusal::new("makes a negative size"))?),
            ("SAME_UPPER" | "SAME_LOWER", None) => Some(size * stride),
            (_, None) => None,
        };
        let (begin, out) = match wanted {
            Some(out) => {
                let total = full.saturating_sub(out);
                let half = total / 2;
                (if auto == "SAME_UPPER" { half } else { total - half }, out)
            }
            None => {
                let (first, last) = if auto == "VALID" { (0, 0) } else { (pads[i], pads[n + i]) };
                (first, full.checked_sub(first + last).filter(|&o| o > 0).ok_or("crops all of its result")?)
            }
        };
        if out == 0 || out > 1 << 20 {
            return Err(format!("makes {out} of {size} elements").into());
        }
        all.push(Along { size, kernel, stride, dilation, begin, out });
    }
    Ok(all)
}

/// A convolution over the map with zeros between its elements.
fn spread(cx: &mut Cx, x: Value, w: Value, along: [Along; 2], groups: usize, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let mut map = x;
    for (i, a) in along.iter().enumerate().filter(|(_, a)| a.stride > 1) {
        let mut dims = cx.shape(map);
        dims.insert(3 + i, Dim::Fixed(1));
        let apart = cx.reshape(map, dims.clone(), &at(&format!("apart{i}")))?;
        let (before, mut after) = (vec![0; 5], vec![0; 5]);
        after[3 + i] = a.stride - 1;
        let wide = cx.push(Op::Pad { before, after, mode: PadMode::ZERO }, &[apart], &at(&format!("zeros{i}")))?;
        dims.remove(3 + i);
        dims[2 + i] = Dim::Fixed(a.size * a.stride);
        map = cx.reshape(wide, dims, &at(&format!("spread{i}")))?;
    }
    // In front lie as many zeros as the flipped kernel reaches, less what the result leaves out; behind, as many as the result needs.
    let (mut cut, mut before, mut after) = (Vec::new(), vec![0; 4], vec![0; 4]);
    for (i, a) in along.iter().enumerate() {
        let have = a.size * a.stride;
        let start = a.begin.saturating_sub(a.reach());
        before[2 + i] = a.reach().saturating_sub(a.begin);
        let need = (a.out + a.reach()).checked_sub(before[2 + i]).ok_or("crops all of its result")? + start;
        if start >= have {
            return Err("crops all of its map".into());
        }
        after[2 + i] = need.saturating_sub(have);
        let stop = need.min(have);
        if start > 0 || stop < have {
            cut.push(SliceAxis { axis: 2 + i, start, stop, step: 1 });
        }
    }
    if !cut.is_empty() {
        map = cx.push(Op::Slice { cuts: cut }, &[map], &at("part"))?;
    }
    if before.iter().chain(&after).any(|&n| n > 0) {
        map = cx.push(Op::Pad { before, after, mode: PadMode::ZERO }, &[map], &at("border"))?;
    }
    let w = flipped(cx, w, groups, path)?;
    let dilation = along.map(|a| a.dilation);
    cx.push(Op::Conv { stride: [1; 2], pad: [0; 4], dilation, groups }, &[map, w], path)
}

/// `[Cin, Cout/g, kh, kw]` as `[Cout, Cin/g, kh, kw]`, rows and columns backwards.
fn flipped(cx: &mut Cx, w: Value, groups: usize, path: &str) -> Done<Value> {
    let [inner, outer, kh, kw] = cx.sizes(w)?[..] else { return Err("has kernels of another rank".into()) };
    let mut kernel = cx.reshape(
        w,
        [groups, inner / groups, outer, kh * kw].map(Dim::Fixed).to_vec(),
        &format!("{path}.weight.groups"),
    )?;
    if kh * kw > 1 {
        let data = (0..kh * kw).rev().map(|i| Num::int(i as i64)).collect();
        let order = cx.spell(&Known::new(Elem::Int(32), vec![kh * kw], data), &format!("{path}.weight.order"))?;
        kernel = cx.push(Op::Gather { axis: 3 }, &[kernel, order], &format!("{path}.weight.flipped"))?;
    }
    let turned = cx.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[kernel], &format!("{path}.weight.turned"))?;
    cx.reshape(
        turned,
        [groups * outer, inner / groups, kh, kw].map(Dim::Fixed).to_vec(),
        &format!("{path}.weight.kernel"),
    )
}
