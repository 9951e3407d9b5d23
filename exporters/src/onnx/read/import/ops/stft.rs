//! The short-time Fourier transform: every frame times a constant basis, which is a convolution along the signal.

use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::{Dim, Op};

/// Most numbers of a basis.
const BASIS: usize = 1 << 24;

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "STFT" { Some(read) } else { None }
}

/// A known whole number from 1 on.
fn positive(cx: &Cx, value: &Val, what: &str) -> Done<usize> {
    let n = cx.ints(value, what)?.first().copied().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    n.ok_or_else(|| Refusal::new(format!("its {what} is not positive")))
}

/// `[B,L]`, `[B,L,1]` or, complex, `[B,L,2]` to `[B,frames,bins,2]`.
fn read(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let dims = cx.shape(x);
    let (batch, length, parts) = match dims[..] {
        [batch, length] => (batch, cx.size(length)?, 1),
        [batch, length, Dim::Fixed(parts @ (1 | 2))] => (batch, cx.size(length)?, parts),
        _ => return Err(format!("transforms a signal {}", cx.graph.shape(x)).into()),
    };
    let step = positive(cx, c.needed(1)?, "step between frames")?;
    let window = match c.input(2) {
        Val::Absent => None,
        window => Some(cx.reals(window, "window")?),
    };
    let frame = match (c.input(3), &window) {
        (Val::Absent, Some(window)) => window.len(),
        (Val::Absent, None) => return Err("says neither a window nor the length of its frames".into()),
        (frame, _) => positive(cx, frame, "length of frames")?,
    };
    if frame > length || window.as_ref().is_some_and(|w| w.len() != frame) {
        return Err(format!("cuts frames of {frame} out of {length}, or has a window of another length").into());
    }
    let window = window.unwrap_or_else(|| vec![1.0; frame]);
    let half = c.int("onesided", 1)? != 0;
    if half && parts == 2 {
        return Err("makes half a spectrum of complex numbers".into());
    }
    let bins = if half { frame / 2 + 1 } else { frame };
    let basis = Basis { parts, bins, window };
    let weights = cx.made(basis.numbers()?, &[2 * bins, parts, 1, frame], &c.at("basis"))?;
    let rows = match parts {
        2 => cx.push(Op::Transpose { perm: vec![0, 2, 1] }, &[x], &c.at("parts"))?,
        _ => x,
    };
    let map = cx.reshape(rows, vec![batch, Dim::Fixed(parts), Dim::Fixed(1), Dim::Fixed(length)], &c.at("map"))?;
    let op = Op::Conv { stride: [1, step], pad: [0; 4], dilation: [1; 2], groups: 1 };
    let y = cx.push(op, &[map, weights], &c.at("frames"))?;
    let frames = cx.shape(y)[3];
    let apart = cx.reshape(y, vec![batch, Dim::Fixed(2), Dim::Fixed(bins), frames], &c.at("apart"))?;
    Ok(vec![Val::Node(cx.push(Op::Transpose { perm: vec![0, 3, 2, 1] }, &[apart], &c.path)?, elem)])
}

/// e^(−2πi·kt/n) under a window, as kernels `[2·bins,parts,1,frame]`: first those of the real parts.
struct Basis {
    parts: usize,
    bins: usize,
    window: Vec<f64>,
}

impl Basis {
    fn numbers(&self) -> Done<Vec<f32>> {
        let frame = self.window.len();
        let total = (2 * self.bins * self.parts).checked_mul(frame).filter(|&n| n <= BASIS);
        let total = total.ok_or("has too large a basis")?;
        let one = |i: usize| {
            let (t, part, row) = (i % frame, i / frame % self.parts, i / (frame * self.parts));
            let angle = std::f64::consts::TAU * ((row % self.bins * t) % frame) as f64 / frame as f64;
            // (a + bi)·(cos − i·sin) = (a·cos + b·sin) + (b·cos − a·sin)·i.
            let factor = match (row < self.bins, part) {
                (true, 0) | (false, 1) => angle.cos(),
                (true, _) => angle.sin(),
                (false, _) => -angle.sin(),
            };
            (factor * self.window[t]) as f32
        };
        Ok((0..total).map(one).collect())
    }
}
