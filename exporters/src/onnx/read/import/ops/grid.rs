//! GridSample: a map at the places that a grid names.

use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::Op;
use vitc_ir::op::{GridKernel, Outside};

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "GridSample" { Some(sample) } else { None }
}

fn sample(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let (x, grid) = (float(cx, c.needed(0)?, &c.at("x"))?, float(cx, c.needed(1)?, &c.at("grid"))?);
    let kernel = match c.text("mode", "linear")? {
        "bilinear" | "linear" => GridKernel::Linear,
        "nearest" => GridKernel::Nearest,
        "bicubic" | "cubic" => GridKernel::Cubic,
        other => return Err(format!("samples in mode {other:?}").into()),
    };
    let outside = match c.text("padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Mirror,
        other => return Err(format!("pads by {other:?}").into()),
    };
    let corners = c.int("align_corners", 0)? != 0;
    let op = Op::GridSample { kernel, outside, corners };
    Ok(vec![Val::Node(cx.push(op, &[x, grid], &c.path)?, elem)])
}
