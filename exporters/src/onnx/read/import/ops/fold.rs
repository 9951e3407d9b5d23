//! Patches put back into a map, where they overlap added: PyTorch's fold.
//!
//! Each element of a patch goes to one place: a transposed convolution of each channel whose kernels hold a single one. Patches that lie beside each other without
//! gaps are only moved.

use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::op::DepthOrder;
use vitc_ir::{Dim, Op};

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "Col2Im" { Some(fold) } else { None }
}

/// Largest side of a map or a patch.
const SIDE: usize = 1 << 20;

/// The patches along one axis.
#[derive(Debug, Clone, Copy)]
struct Along {
    size: usize,
    block: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 2],
}

impl Along {
    /// Elements from a first to a last patch, and patches.
    fn patches(self) -> Done<usize> {
        let reach = (self.block - 1) * self.dilation + 1;
        let whole = self.size + self.pads[0] + self.pads[1];
        let free = whole.checked_sub(reach).ok_or("has patches larger than its map")?;
        Ok(free / self.stride + 1)
    }

    /// Elements of the map and its border that no patch reaches, at the end.
    fn rest(self, patches: usize) -> usize {
        let reached = (patches - 1) * self.stride + (self.block - 1) * self.dilation + 1;
        self.size + self.pads[0] + self.pads[1] - reached
    }
}

fn fold(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (elem, x) = (cx.elem(c.needed(0)?)?, float(cx, c.needed(0)?, &c.at("x"))?);
    let [rows, columns] = axes(cx, c)?;
    let [items, channels, count] = cx.shape(x)[..] else { return Err("takes patches of rank 3".into()) };
    let (channels, count) = (cx.size(channels)?, cx.size(count)?);
    let area = rows.block * columns.block;
    let (high, wide) = (rows.patches()?, columns.patches()?);
    if channels % area != 0 || high.checked_mul(wide) != Some(count) {
        return Err(format!("{count} patches of {channels} do not fit {}x{}", rows.size, columns.size).into());
    }
    let map = cx.reshape(x, vec![items, Dim::Fixed(channels), Dim::Fixed(high), Dim::Fixed(wide)], &c.at("patches"))?;
    let both = [rows, columns];
    let beside = both.iter().all(|a| a.stride == a.block && a.dilation == 1 && a.pads == [0, 0]);
    if beside && rows.block == columns.block && rows.rest(high) == 0 && columns.rest(wide) == 0 {
        let y = match rows.block {
            1 => map,
            block => cx.push(Op::DepthToSpace { block, order: DepthOrder::Crd }, &[map], &c.path)?,
        };
        return Ok(vec![Val::Node(y, elem)]);
    }
    places::count(&[channels, area]).ok_or("is too large")?;
    let ones = (0..channels * area).map(|i| f32::from(u8::from(i / area % area == i % area))).collect();
    let ones = cx.made(ones, &[channels, 1, rows.block, columns.block], &c.at("places"))?;
    let op = Op::ConvTranspose {
        stride: both.map(|a| a.stride),
        pad: [rows.pads[0], columns.pads[0], rows.pads[1], columns.pads[1]],
        output_pad: [rows.rest(high), columns.rest(wide)],
        dilation: both.map(|a| a.dilation),
        groups: channels / area,
    };
    Ok(vec![Val::Node(cx.push(op, &[map, ones], &c.path)?, elem)])
}

/// What the operands and attributes say of rows and columns.
fn axes(cx: &Cx, c: &Call<'_>) -> Done<[Along; 2]> {
    let pair = |list: Vec<i64>, what: &str, least: usize| -> Done<Vec<usize>> {
        let all: Option<Vec<usize>> =
            list.iter().map(|&v| usize::try_from(v).ok().filter(|v| (least..=SIDE).contains(v))).collect();
        all.ok_or_else(|| Refusal::new(format!("its {what} is {list:?}")))
    };
    let (sizes, blocks) = (cx.ints(c.needed(1)?, "map's size")?, cx.ints(c.needed(2)?, "patches' size")?);
    let (sizes, blocks) = (pair(sizes, "map's size", 1)?, pair(blocks, "patches' size", 1)?);
    let listed = |name: &str, default: Vec<i64>| c.ints(name).map(|list| list.unwrap_or(default));
    let strides = pair(listed("strides", vec![1; 2])?, "attribute strides", 1)?;
    let dilations = pair(listed("dilations", vec![1; 2])?, "attribute dilations", 1)?;
    let pads = pair(listed("pads", vec![0; 4])?, "attribute pads", 0)?;
    let two = [&sizes, &blocks, &strides, &dilations].iter().all(|l| l.len() == 2) && pads.len() == 4;
    if !two {
        return Err("folds into a map of other than two axes".into());
    }
    Ok([0, 1].map(|i| Along {
        size: sizes[i],
        block: blocks[i],
        stride: strides[i],
        dilation: dilations[i],
        pads: [pads[i], pads[i + 2]],
    }))
}
