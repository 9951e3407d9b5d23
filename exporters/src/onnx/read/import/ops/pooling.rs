//! Windows over maps: their geometry, and pools.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::{float, ordered};
use super::{gaps, reduce, volumes};
use vitc_ir::op::PadMode;
use vitc_ir::{BinaryKind, Dim, Op, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "MaxPool" => max_pool,
        "AveragePool" => average_pool,
        "GlobalAveragePool" | "GlobalMaxPool" => global,
        "LpPool" => power_pool,
        "GlobalLpPool" => global_power,
        _ => return None,
    })
}

/// Windows over a map, rows first; a map of rank 3 has one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Top, left, bottom, right, with what hangs over where the last window is a part of one.
    pub(super) pad: [usize; 4],
    pub(super) dilation: [usize; 2],
    /// What of the padding at bottom and right hangs over.
    pub(super) overhang: [usize; 2],
}

/// Number of spatial axes, which has to be 1 or 2.
pub(super) fn spatial(dims: &[Dim], what: &str) -> Done<usize> {
    match dims.len() {
        3 => Ok(1),
        4 => Ok(2),
        rank => Err(format!("is a {what} on rank {rank}, which vitc does not take").into()),
    }
}

/// A map of one row as the rank 3 that it came from.
pub(super) fn back(cx: &mut Cx, y: Value, spatial: usize, path: &str) -> Done<Value> {
    if spatial == 2 {
        return Ok(y);
    }
    let dims = cx.shape(y);
    cx.reshape(y, vec![dims[0], dims[1], dims[3]], &format!("{path}.row"))
}

/// Windows along one axis, with numbers where a node says `auto_pad` or `ceil_mode`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Positions before the map.
    pub(super) before: usize,
    /// Positions behind it, with what hangs over.
    pub(super) after: usize,
    /// What of these hangs over.
    pub(super) overhang: usize,
}

impl Axis {
    /// The windows that a node's attributes say, along each of its spatial axes.
    ///
    /// # Errors
    /// If they contradict each other.
    pub(super) fn all(c: &Call<'_>, sizes: &[usize], weights: Option<&[usize]>, ceil: bool) -> Done<Vec<Axis>> {
        let n = sizes.len();
        let list = |name: &str, count: usize, default: usize| -> Done<Vec<usize>> {
            let Some(list) = c.ints(name)? else { return Ok(vec![default; count]) };
            let fits = |&v: &i64| usize::try_from(v).ok().filter(|&v| v < 1 << 31);
            let all: Option<Vec<usize>> = list.iter().map(fits).collect();
            all.filter(|l| l.len() == count).ok_or_else(|| Refusal::new(format!("its attribute {name} is {list:?}")))
        };
        let kernel = match weights {
            Some(kernel) => kernel.to_vec(),
            None => list("kernel_shape", n, 0)?,
        };
        if c.has("kernel_shape") && list("kernel_shape", n, 0)? != kernel {
            return Err(format!("its attribute kernel_shape is not the kernel's {kernel:?}").into());
        }
        let (stride, dilation) = (list("strides", n, 1)?, list("dilations", n, 1)?);
        if [&kernel, &stride, &dilation].iter().any(|l| l.contains(&0)) {
            return Err("a kernel, stride or dilation is zero".into());
        }
        let pads = list("pads", 2 * n, 0)?;
        let auto = c.text("auto_pad", "NOTSET")?;
        let one = |i: usize| {
            let reach = (kernel[i] - 1).checked_mul(dilation[i]).map(|r| r + 1).ok_or("its kernel is too large")?;
            let along = Along { size: sizes[i], reach, stride: stride[i] };
            let (before, after) = match auto {
                "NOTSET" | "" => (pads[i], pads[n + i]),
                "VALID" => (0, 0),
                "SAME_UPPER" => along.same(false),
                "SAME_LOWER" => along.same(true),
                other => return Err(Refusal::new(format!("its attribute auto_pad is {other:?}"))),
            };
            let overhang = if ceil { along.overhang(before, after) } else { 0 };
            let (kernel, stride, dilation) = (kernel[i], stride[i], dilation[i]);
            Ok(Axis { kernel, stride, dilation, before, after: after + overhang, overhang })
        };
        (0..n).map(one).collect()
    }
}

impl Window {
    /// The windows that a node's attributes say over rows and columns, or over columns alone.
    ///
    /// # Errors
    /// If they contradict each other.
    pub(super) fn of(c: &Call<'_>, sizes: &[usize], weights: Option<&[usize]>, ceil: bool) -> Done<Window> {
        Ok(Window::over(&Axis::all(c, sizes, weights, ceil)?))
    }

    /// Windows over the last two axes, of which the second may be alone.
    pub(super) fn over(axes: &[Axis]) -> Window {
        let mut window = Window { kernel: [1; 2], stride: [1; 2], pad: [0; 4], dilation: [1; 2], overhang: [0; 2] };
        for (i, axis) in axes.iter().rev().take(2).enumerate().map(|(i, axis)| (1 - i, axis)) {
            window.kernel[i] = axis.kernel;
            window.stride[i] = axis.stride;
            window.dilation[i] = axis.dilation;
            window.pad[i] = axis.before;
            window.pad[i + 2] = axis.after;
            window.overhang[i] = axis.overhang;
        }
        window
    }

    /// Whether something of the map lies between the elements of a window.
    fn has_gaps(&self) -> bool {
        (0..2).any(|i| self.kernel[i] > 1 && self.dilation[i] > 1)
    }
}

/// Windows along one axis.
struct Along {
    size: usize,
    reach: usize,
    stride: usize,
}

impl Along {
    /// Padding with which there are ⌈size / stride⌉ windows; the odd one lies at the end, or in front.
    fn same(&self, lower: bool) -> (usize, usize) {
        let windows = self.size.div_ceil(self.stride);
        let total = ((windows.max(1) - 1) * self.stride + self.reach).saturating_sub(self.size);
        let half = total / 2;
        if lower { (total - half, half) } else { (half, total - half) }
    }

    /// Padding at the end that lets a last window hang over the border, unless it would start behind the map and its padding.
    fn overhang(&self, before: usize, after: usize) -> usize {
        let whole = self.size + before + after;
        let Some(free) = whole.checked_sub(self.reach) else {
            // A window that is larger than the map and its padding hangs over, if the next would start behind them.
            let lack = self.reach - whole;
            return if lack < self.stride { lack } else { 0 };
        };
        let mut steps = free.div_ceil(self.stride);
        if steps * self.stride >= self.size + before {
            steps = steps.saturating_sub(1);
        }
        (steps * self.stride + self.reach).saturating_sub(whole)
    }
}

/// The map that is pooled: rank 3 as a map of one row.
fn map(cx: &mut Cx, c: &Call<'_>, read: fn(&mut Cx, &Val, &str) -> Done<Value>) -> Done<(Value, usize, Vec<usize>)> {
    let x = read(cx, c.needed(0)?, &c.at("x"))?;
    let dims = cx.shape(x);
    let spatial = spatial(&dims, "pool")?;
    let sizes = dims[2..].iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
    let x = match spatial {
        1 => cx.reshape(x, vec![dims[0], dims[1], Dim::Fixed(1), dims[2]], &c.at("map"))?,
        _ => x,
    };
    Ok((x, spatial, sizes))
}

/// A pool, where `one` pools maps.
fn pooled(
    cx: &mut Cx,
    c: &Call<'_>,
    read: fn(&mut Cx, &Val, &str) -> Done<Value>,
    one: fn(&mut Cx, Value, &Window, bool, &str) -> Done<Value>,
) -> Done {
    let (ceil, padded) = (c.int("ceil_mode", 0)? != 0, c.int("count_include_pad", 0)? != 0);
    let elem = cx.elem(c.needed(0)?)?;
    if cx.dims(c.needed(0)?)?.len() == 5 {
        let x = read(cx, c.needed(0)?, &c.at("x"))?;
        let y = volumes::pool(cx, c, x, ceil, &mut |cx, x, window, path| one(cx, x, window, padded, path))?;
        return Ok(vec![Val::Node(y, elem)]);
    }
    let (x, spatial, sizes) = map(cx, c, read)?;
    let y = one(cx, x, &Window::of(c, &sizes, None, ceil)?, padded, &c.path)?;
    Ok(vec![Val::Node(back(cx, y, spatial, &c.path)?, elem)])
}

fn max_pool(cx: &mut Cx, c: &Call<'_>) -> Done {
    if c.wants(1) {
        return Err("returns the places of its maxima".into());
    }
    pooled(cx, c, ordered, |cx, x, window, _, path| {
        let Window { kernel, stride, pad, dilation, .. } = *window;
        cx.push(Op::MaxPool { kernel, stride, pad, dilation }, &[x], path)
    })
}

fn average_pool(cx: &mut Cx, c: &Call<'_>) -> Done {
    pooled(cx, c, float, averaged)
}

/// Means over windows of a map; with `padded` the padding counts, but not what hangs over.
fn averaged(cx: &mut Cx, mut x: Value, window: &Window, padded: bool, path: &str) -> Done<Value> {
    if window.has_gaps() {
        return gaps::mean(cx, x, window, padded, path);
    }
    let mut window = *window;
    // Padding that counts is zeros of the map.
    if padded {
        let [top, left, bottom, right] = window.pad;
        let [over, beyond] = window.overhang;
        if window.pad != [0, 0, over, beyond] {
            let (before, after) = (vec![0, 0, top, left], vec![0, 0, bottom - over, right - beyond]);
            x = cx.push(Op::Pad { before, after, mode: PadMode::ZERO }, &[x], &format!("{path}.border"))?;
            window.pad = [0, 0, over, beyond];
        }
    }
    let Window { kernel, stride, pad, .. } = window;
    let shape = cx.shape(x);
    // One window that is larger than the map and holds all of it.
    let all = |i: usize| {
        let (before, after) = (pad[i], pad[i + 2]);
        let next = |d: usize| (d + before + after).checked_sub(kernel[i]).is_some_and(|free| free < stride[i]);
        shape[2 + i].fixed().is_some_and(|d| d + before < kernel[i] && next(d))
    };
    match all(0) && all(1) {
        true => reduce::spell(cx, "ReduceMean", x, vec![2, 3], true, path),
        false => cx.push(Op::AvgPool { kernel, stride, pad }, &[x], path),
    }
}

fn global(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let rank = cx.shape(x).len();
    if rank < 3 {
        return Err(format!("pools a value of rank {rank}").into());
    }
    let op = if c.op() == "GlobalMaxPool" { "ReduceMax" } else { "ReduceMean" };
    Ok(vec![Val::Node(reduce::spell(cx, op, x, (2..rank).collect(), true, &c.path)?, elem)])
}

/// The exponent of a pool of powers.
fn exponent(c: &Call<'_>) -> Done<f64> {
    let p = if c.version < 2 { c.float("p", 2.0)? } else { c.int("p", 2)? as f64 };
    if p > 0.0 && p < 64.0 { Ok(p) } else { Err(format!("takes powers of {p}").into()) }
}

/// |x|^p.
fn powers(cx: &mut Cx, x: Value, p: f64, path: &str) -> Done<Value> {
    if p == 2.0 {
        return cx.binary(BinaryKind::Mul, x, x, path);
    }
    let size = cx.unary(UnaryKind::Abs, x, &format!("{path}.size"))?;
    if p == 1.0 { Ok(size) } else { cx.with(BinaryKind::Pow, size, p, path) }
}

/// x^(1/p).
fn root(cx: &mut Cx, x: Value, p: f64, path: &str) -> Done<Value> {
    match p {
        1.0 => Ok(x),
        2.0 => cx.unary(UnaryKind::Sqrt, x, path),
        p => cx.with(BinaryKind::Pow, x, 1.0 / p, path),
    }
}

/// (Σ|x|^p)^(1/p) over windows: their mean by their size, with zeros around the map.
fn power_pool(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (elem, p) = (cx.elem(c.needed(0)?)?, exponent(c)?);
    let (x, spatial, sizes) = map(cx, c, float)?;
    let window = Window::of(c, &sizes, None, c.int("ceil_mode", 0)? != 0)?;
    let Window { kernel, stride, pad, .. } = window;
    let mut x = powers(cx, x, p, &c.at("powers"))?;
    let mean = if window.has_gaps() {
        gaps::with_zeros(cx, x, &window, &c.at("mean"))?
    } else {
        if pad != [0; 4] {
            let [top, left, bottom, right] = pad;
            let (before, after) = (vec![0, 0, top, left], vec![0, 0, bottom, right]);
            x = cx.push(Op::Pad { before, after, mode: PadMode::ZERO }, &[x], &c.at("border"))?;
        }
        cx.push(Op::AvgPool { kernel, stride, pad: [0; 4] }, &[x], &c.at("mean"))?
    };
    let sum = cx.with(BinaryKind::Mul, mean, (kernel[0] * kernel[1]) as f64, &c.at("sum"))?;
    let y = root(cx, sum, p, &c.path)?;
    Ok(vec![Val::Node(back(cx, y, spatial, &c.path)?, elem)])
}

/// (Σ|x|^p)^(1/p) over the whole map.
fn global_power(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (elem, p) = (cx.elem(c.needed(0)?)?, exponent(c)?);
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let rank = cx.shape(x).len();
    if rank < 3 {
        return Err(format!("pools a value of rank {rank}").into());
    }
    let powers = powers(cx, x, p, &c.at("powers"))?;
    let sum = reduce::spell(cx, "ReduceSum", powers, (2..rank).collect(), true, &c.at("sum"))?;
    Ok(vec![Val::Node(root(cx, sum, p, &c.path)?, elem)])
}

/// x / (bias + α/size·Σ x²)^β over neighbouring channels.
pub(super) fn lrn(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let dims = cx.shape(x);
    let size = usize::try_from(c.int("size", 0)?).ok().filter(|&n| (1..1 << 16).contains(&n)).ok_or("has no size")?;
    let [batch, channels, ..] = dims[..] else { return Err("normalises a value without channels".into()) };
    let (channels, rest) = (cx.size(channels)?, dims[2..].iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?);
    let square = cx.binary(BinaryKind::Mul, x, x, &c.at("square"))?;
    // The sum over a band of channels is a product with a matrix of ones.
    let (below, above) = ((size - 1) / 2, size - 1 - (size - 1) / 2);
    let near = |i: usize| {
        if (i % channels) + below >= i / channels && i % channels <= i / channels + above { 1.0 } else { 0.0 }
    };
    if channels > 1 << 11 {
        return Err("normalises over more than 2048 channels".into());
    }
    let data = (0..channels * channels).map(|i| Num::float(near(i))).collect();
    let band = Known::new(Elem::F32, vec![channels, channels], data);
    let band = cx.spell(&band, &c.at("band"))?;
    let flat =
        cx.reshape(square, vec![batch, Dim::Fixed(channels), Dim::Fixed(rest.iter().product())], &c.at("flat"))?;
    let sum = cx.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[band, flat], &c.at("sum"))?;
    let sum = cx.reshape(sum, dims, &c.at("map"))?;
    let scaled = cx.with(BinaryKind::Mul, sum, c.float("alpha", 1e-4)? / size as f64, &c.at("scaled"))?;
    let base = cx.with(BinaryKind::Add, scaled, c.float("bias", 1.0)?, &c.at("base"))?;
    let divisor = cx.with(BinaryKind::Pow, base, c.float("beta", 0.75)?, &c.at("divisor"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Div, x, divisor, &c.path)?, elem)])
}
