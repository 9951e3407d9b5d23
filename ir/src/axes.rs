//! Where each axis of an operator's operands is found in its result.
//!
//! This is what a change of layout, a move of a bias, a merge of siblings, a scale per channel and a count of multiplications ask. Each entry says
//! which elements of the result can read an element of the operand, by its index on one axis; the tests change elements and look.

use crate::graph::Graph;
use crate::id::NodeId;
use crate::infer::broadcast;
use crate::op::{AttentionLayout, Op, PadMode};
use crate::real::Real;
use crate::ty::{Dim, Shape};

/// Where an axis of an operand is found in the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Axis {
    /// Index i is read at index i of this axis of the result and nowhere else.
    Kept(usize),
    /// The one index is read all along this axis of the result.
    Broadcast(usize),
    /// Read everywhere: summed over, or looked up in.
    Contracted,
    /// Read all along this axis of the result, where elements in another order give results in that order.
    Mixed(usize),
    /// Both axes are cut into so many equal parts: part i is read in part i of this axis of the result and nowhere else.
    Grouped {
        /// Axis of the result.
        axis: usize,
        /// Number of parts.
        groups: usize,
    },
    /// Index i is read at some neighbouring indices of this axis of the result: at later ones the larger i is.
    Windowed(usize),
    /// Index i is read at one index of this axis of the result or at none: at later ones the larger i is.
    Placed(usize),
    /// Split over or merged into these axes of the result, whose indices alone it decides.
    Spread(Vec<usize>),
}

/// Where the axes of all operands are found, by operand and axis. Results of a node with several are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AxisMap(pub Vec<Vec<Axis>>);

impl AxisMap {
    /// Axes of an operand that are kept, each with the axis of the result.
    pub fn kept(&self, slot: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.0.get(slot).into_iter().flatten().enumerate().filter_map(|(a, axis)| match axis {
            Axis::Kept(to) => Some((a, *to)),
            _ => None,
        })
    }

    /// Axes of an operand that are contracted.
    pub fn contracted(&self, slot: usize) -> impl Iterator<Item = usize> + '_ {
        let axes = self.0.get(slot).into_iter().flatten().enumerate();
        axes.filter(|(_, axis)| **axis == Axis::Contracted).map(|(a, _)| a)
    }

    /// Whether the operator acts position by position on operand 0: every axis but `channels` is kept in its place.
    pub fn by_position(&self, channels: usize) -> bool {
        let mut axes = self.0.first().into_iter().flatten().enumerate();
        axes.all(|(a, axis)| a == channels || *axis == Axis::Kept(a))
    }

    /// Axis of a weight along which each index may have a scale of its own, which can then be taken out of the sums: the last that is kept.
    pub fn scale_axis(&self, slot: usize) -> Option<usize> {
        self.kept(slot).max_by_key(|&(_, to)| to).map(|(axis, _)| axis)
    }
}

impl Graph {
    /// Where the axes of a node's operands are found in its results.
    pub fn axes(&self, id: NodeId) -> AxisMap {
        let node = self.node(id);
        let operands: Vec<&Shape> = node.inputs.iter().map(|&v| self.shape(v)).collect();
        node.op.axes(&operands)
    }
}

impl Op {
    /// Where the axes of the operands are found in the result, for operands that the operator takes.
    pub fn axes(&self, operands: &[&Shape]) -> AxisMap {
        let rank = |slot: usize| operands[slot].rank();
        let alike = |slot: usize| (0..rank(slot)).map(Axis::Kept).collect::<Vec<_>>();
        AxisMap(match self {
            Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => vec![],

            Op::Unary(_) | Op::Clip { .. } | Op::Cast { .. } | Op::Keep => vec![alike(0)],
            Op::Quantize { .. } => vec![alike(0), vec![]],
            Op::Dequantize => vec![alike(0), in_blocks(operands[1], operands[0])],
            Op::Lookup { shape, .. } => {
                let parts = in_blocks(&Shape(operands[1].0[..1].to_vec()), &Shape(shape.0[..1].to_vec()));
                vec![vec![Axis::Spread((0..shape.rank()).collect())], [parts, vec![Axis::Contracted]].concat()]
            }
            Op::Binary(_) | Op::Sum | Op::Select => elementwise(operands),
            Op::Expand { shape } => vec![aligned(operands[0], shape)],
            Op::Prelu => vec![alike(0), vec![along(operands[1].0[0], operands[0], 1)]],

            Op::Conv { stride, pad, dilation, groups } => conv(operands, &Windows { stride, pad, dilation }, *groups),
            Op::ConvTranspose { stride, pad, output_pad, dilation, groups } => {
                conv_transpose(operands, &Windows { stride, pad, dilation }, output_pad, *groups)
            }
            Op::MatMul { transpose_a, transpose_b } => matmul(operands, *transpose_a, *transpose_b),
            Op::Linear => {
                let last = rank(0) - 1;
                let weight = vec![Axis::Kept(last), Axis::Contracted];
                let bias = operands[2..].iter().map(|_| vec![Axis::Kept(last)]);
                [contracted(alike(0), [last]), weight].into_iter().chain(bias).collect()
            }

            Op::BatchNorm { .. } => std::iter::once(alike(0)).chain((1..5).map(|_| vec![Axis::Kept(1)])).collect(),
            Op::LayerNorm { axes, .. } => {
                let affine = |s: &&Shape| axes.iter().zip(&s.0).map(|(&a, &d)| along(d, operands[0], a)).collect();
                std::iter::once(mixed(alike(0), axes)).chain(operands[1..].iter().map(affine)).collect()
            }
            Op::Softmax { axis } => vec![mixed(alike(0), &[*axis])],

            Op::Reduce { axes, keep, .. } => vec![reduced(rank(0), axes, *keep)],
            Op::ArgMax { axis, keep } => vec![reduced(rank(0), &[*axis], *keep)],
            Op::TopK { axis, .. } => vec![contracted(alike(0), [*axis])],
            Op::AvgPool { kernel, stride, pad } => {
                vec![Windows { stride, pad, dilation: &[1; 2] }.map(*kernel)]
            }
            Op::MaxPool { kernel, stride, pad, dilation } => {
                vec![Windows { stride, pad, dilation }.map(*kernel)]
            }

            Op::Reshape { shape } => vec![regrouped(operands[0], shape)],
            Op::Transpose { perm } => {
                let to = |a| perm.iter().position(|&p| p == a).map_or(Axis::Contracted, Axis::Kept);
                vec![(0..rank(0)).map(to).collect()]
            }
            Op::Concat { axis } => (0..operands.len()).map(|slot| placed(alike(slot), [*axis])).collect(),
            Op::Split { axis, .. } => vec![placed(alike(0), [*axis])],
            Op::Slice { cuts } => vec![placed(alike(0), cuts.iter().map(|c| c.axis))],
            Op::Pad { before, after, mode } => vec![padded(alike(0), before, after, *mode)],
            Op::DepthToSpace { .. } => vec![[vec![0], vec![1, 2, 3], vec![2], vec![3]].map(Axis::Spread).to_vec()],
            Op::SpaceToDepth { .. } => vec![[vec![0], vec![1], vec![1, 2], vec![1, 3]].map(Axis::Spread).to_vec()],
            Op::Gather { axis, .. } => gathered([rank(0), rank(1)], *axis),
            Op::GridSample { .. } => {
                let grid = [0, 2, 3].map(Axis::Kept).into_iter().chain([Axis::Contracted]).collect();
                vec![contracted(alike(0), [2, 3]), grid]
            }
            Op::Resize { size, scale, .. } => vec![resized(operands[0], size, scale.as_ref())],

            Op::Attention { heads, layout, bias, talking, .. } => {
                Heads { heads: *heads, layout: *layout, bias: *bias, talking: *talking }.axes(operands)
            }
            Op::Rfft2 { .. } | Op::Irfft2 { .. } | Op::Dct2 | Op::Idct2 => {
                (0..operands.len()).map(|slot| contracted(alike(slot), rank(slot) - 2..rank(slot))).collect()
            }
            Op::WindowPartition { .. } => {
                let [batch, side] = [vec![0], vec![0, 1]].map(Axis::Spread);
                vec![vec![batch, Axis::Kept(2), side.clone(), side]]
            }
            Op::WindowMerge { .. } => {
                let [sets, tokens] = [vec![0, 2, 3], vec![2, 3]].map(Axis::Spread);
                vec![vec![sets, tokens, Axis::Kept(1)]]
            }
        })
    }
}

fn padded(axes: Vec<Axis>, before: &[usize], after: &[usize], mode: PadMode) -> Vec<Axis> {
    let longer: Vec<usize> = (0..axes.len()).filter(|&a| before[a] + after[a] > 0).collect();
    match mode {
        PadMode::Constant(_) => placed(axes, longer),
        PadMode::Reflect | PadMode::Edge => contracted(axes, longer),
    }
}

/// A dimension of a smaller operand along an axis of `result`.
fn along(size: Dim, result: &Shape, axis: usize) -> Axis {
    if size == result.0[axis] { Axis::Kept(axis) } else { Axis::Broadcast(axis) }
}

/// Each axis of a smaller operand, of which every index stands for a block of the result's.
fn in_blocks(shape: &Shape, result: &Shape) -> Vec<Axis> {
    let axis = |(a, (&size, &whole)): (usize, (&Dim, &Dim))| match size {
        Dim::Fixed(groups) if size != whole && groups != 1 => Axis::Grouped { axis: a, groups },
        _ => along(size, result, a),
    };
    shape.0.iter().zip(&result.0).enumerate().map(axis).collect()
}

/// As numpy broadcasts: last axes over last axes.
fn aligned(shape: &Shape, result: &Shape) -> Vec<Axis> {
    let missing = result.rank() - shape.rank();
    shape.0.iter().enumerate().map(|(a, &size)| along(size, result, a + missing)).collect()
}

/// Operands that broadcast to one result.
fn elementwise(operands: &[&Shape]) -> Vec<Vec<Axis>> {
    let result = operands.iter().skip(1).fold(operands[0].clone(), |all, s| broadcast(&all, s).unwrap_or(all));
    operands.iter().map(|s| aligned(s, &result)).collect()
}

fn mixed(mut map: Vec<Axis>, axes: &[usize]) -> Vec<Axis> {
    axes.iter().for_each(|&a| map[a] = Axis::Mixed(a));
    map
}

fn placed(mut map: Vec<Axis>, axes: impl IntoIterator<Item = usize>) -> Vec<Axis> {
    axes.into_iter().for_each(|a| map[a] = Axis::Placed(a));
    map
}

fn contracted(mut map: Vec<Axis>, axes: impl IntoIterator<Item = usize>) -> Vec<Axis> {
    axes.into_iter().for_each(|a| map[a] = Axis::Contracted);
    map
}

/// Axes of which some are reduced, and stay with size 1 if they are kept.
fn reduced(rank: usize, axes: &[usize], keep: bool) -> Vec<Axis> {
    let gone = |a: usize| if keep { 0 } else { axes.iter().filter(|&&r| r < a).count() };
    (0..rank).map(|a| if axes.contains(&a) { Axis::Contracted } else { Axis::Kept(a - gone(a)) }).collect()
}

/// An axis gives way to those of the indices.
fn gathered([rank, indices]: [usize; 2], axis: usize) -> Vec<Vec<Axis>> {
    let x = |a: usize| match a.cmp(&axis) {
        std::cmp::Ordering::Less => Axis::Kept(a),
        std::cmp::Ordering::Equal => Axis::Contracted,
        std::cmp::Ordering::Greater => Axis::Kept(a - 1 + indices),
    };
    vec![(0..rank).map(x).collect(), (0..indices).map(|a| Axis::Kept(axis + a)).collect()]
}

/// Rows and columns that are sampled anew, unless their number and scale stay.
fn resized(x: &Shape, size: &[usize; 2], scale: Option<&[Real; 2]>) -> Vec<Axis> {
    let side = |i: usize| {
        let same = scale.is_none_or(|s| s[i].0 == 1.0) && x.0[2 + i] == Dim::Fixed(size[i]);
        if same { Axis::Kept(2 + i) } else { Axis::Windowed(2 + i) }
    };
    vec![Axis::Kept(0), Axis::Kept(1), side(0), side(1)]
}

/// Windows that slide along a map.
struct Windows<'a> {
    stride: &'a [usize; 2],
    pad: &'a [usize; 4],
    dilation: &'a [usize; 2],
}

impl Windows<'_> {
    /// Rows or columns; a window that is one element wide and skips none leaves them as they are. One with holes reads no neighbours.
    fn axis(&self, i: usize, kernel: usize) -> Axis {
        match (kernel, self.stride[i], [self.pad[i], self.pad[2 + i]]) {
            (1, 1, [0, 0]) => Axis::Kept(2 + i),
            _ if self.dilation[i] > 1 && kernel > 1 => Axis::Contracted,
            _ => Axis::Windowed(2 + i),
        }
    }

    /// A map under windows of this size, channel by channel.
    fn map(&self, kernel: [usize; 2]) -> Vec<Axis> {
        vec![Axis::Kept(0), Axis::Kept(1), self.axis(0, kernel[0]), self.axis(1, kernel[1])]
    }
}

fn conv_transpose(
    operands: &[&Shape],
    windows: &Windows<'_>,
    output_pad: &[usize; 2],
    groups: usize,
) -> Vec<Vec<Axis>> {
    let side = |i: usize| match windows.axis(i, operands[1].0[2 + i].at(1)) {
        Axis::Kept(to) if output_pad[i] > 0 => Axis::Windowed(to),
        axis => axis,
    };
    let (channels, outputs) = match groups {
        1 => (Axis::Contracted, Axis::Kept(1)),
        groups => (Axis::Grouped { axis: 1, groups }, Axis::Contracted),
    };
    let x = vec![Axis::Kept(0), channels.clone(), side(0), side(1)];
    let w = vec![channels, outputs, Axis::Contracted, Axis::Contracted];
    [x, w].into_iter().chain(operands[2..].iter().map(|_| vec![Axis::Kept(1)])).collect()
}

fn conv(operands: &[&Shape], windows: &Windows<'_>, groups: usize) -> Vec<Vec<Axis>> {
    let (x, w) = (operands[0], operands[1]);
    let channels = match groups {
        1 => Axis::Contracted,
        _ if x.0[1] == Dim::Fixed(groups) && w.0[0] == x.0[1] => Axis::Kept(1),
        _ => Axis::Grouped { axis: 1, groups },
    };
    let side = |i: usize| windows.axis(i, w.0[2 + i].at(1));
    let x = vec![Axis::Kept(0), channels, side(0), side(1)];
    let w = vec![Axis::Kept(1), Axis::Contracted, Axis::Contracted, Axis::Contracted];
    [x, w].into_iter().chain(operands[2..].iter().map(|_| vec![Axis::Kept(1)])).collect()
}

fn matmul(operands: &[&Shape], transpose_a: bool, transpose_b: bool) -> Vec<Vec<Axis>> {
    let lead = |s: &Shape| Shape(s.0[..s.rank() - 2].to_vec());
    let (a, b) = (lead(operands[0]), lead(operands[1]));
    let all = broadcast(&a, &b).unwrap_or_default();
    let (rows, columns) = (Axis::Kept(all.rank()), Axis::Kept(all.rank() + 1));
    let map = |own: &Shape, matrix: [Axis; 2], transposed: bool| {
        let [first, second] = matrix;
        let matrix = if transposed { [second, first] } else { [first, second] };
        aligned(own, &all).into_iter().chain(matrix).collect()
    };
    vec![map(&a, [rows, Axis::Contracted], transpose_a), map(&b, [Axis::Contracted, columns], transpose_b)]
}

/// The same elements in row-major order: axes that begin and end together on both sides belong together.
fn regrouped(from: &Shape, to: &Shape) -> Vec<Axis> {
    // A size as its number and its power of the batch.
    let size = |d: Dim| match d {
        Dim::Fixed(n) => (0, n),
        Dim::Batch(k) => (1, k),
    };
    let times = |a: (usize, usize), d: Dim| (a.0 + size(d).0, a.1 * size(d).1);
    let mut map = Vec::with_capacity(from.rank());
    let mut start = 0;
    while map.len() < from.rank() {
        let first = map.len();
        let own = from.0[first];
        let Some(&other) = to.0.get(start) else {
            map.push(Axis::Spread(vec![])); // one element, left out at the end
            continue;
        };
        if own == other {
            map.push(Axis::Kept(start));
            start += 1;
        } else if own == Dim::Fixed(1) {
            map.push(Axis::Spread(vec![]));
        } else if other == Dim::Fixed(1) {
            start += 1;
        } else {
            let (mut here, mut there) = (size(own), size(other));
            let (mut last, mut end) = (first + 1, start + 1);
            while here != there {
                let next = if here < there { from.0.get(last) } else { to.0.get(end) };
                let Some(&next) = next else { break };
                if here < there {
                    (here, last) = (times(here, next), last + 1);
                } else {
                    (there, end) = (times(there, next), end + 1);
                }
            }
            map.resize(last, Axis::Spread((start..end).collect()));
            start = end;
        }
    }
    map
}

/// What of an attention decides where its operands' axes are found.
struct Heads {
    heads: usize,
    layout: AttentionLayout,
    bias: bool,
    talking: bool,
}

impl Heads {
    fn axes(&self, operands: &[&Shape]) -> Vec<Vec<Axis>> {
        // Where the result has heads or the channels that they are parts of, and where it has tokens.
        let (at, tokens): (usize, Vec<usize>) = match self.layout {
            AttentionLayout::Channels => (1, (2..operands[0].rank()).collect()),
            AttentionLayout::Tokens => (2, vec![1]),
            AttentionLayout::Heads => (1, vec![2]),
        };
        let head = match self.layout {
            AttentionLayout::Heads => Axis::Kept(at),
            AttentionLayout::Channels | AttentionLayout::Tokens => Axis::Grouped { axis: at, groups: self.heads },
        };
        // Heads that talk read each other's scores.
        let scores = if self.talking { Axis::Contracted } else { head.clone() };
        let queries = tokens.iter().map(|&t| Axis::Kept(t)).collect();
        let mut map = vec![
            self.laid_out(operands[0], &scores, Some(queries), Axis::Contracted),
            self.laid_out(operands[1], &scores, None, Axis::Contracted),
            self.laid_out(operands[2], &Axis::Kept(at), None, Axis::Kept(3)),
        ];
        if self.bias {
            let (sets, own) = operands[3].0.split_at(operands[3].rank() - 3);
            let shared = own[0] == Dim::Fixed(1) && self.heads > 1;
            let queries = if let [t] = tokens[..] { Axis::Kept(t) } else { Axis::Spread(tokens) };
            let per_head = [if shared { Axis::Broadcast(at) } else { scores }, queries, Axis::Contracted];
            // Rows that several sets read in turn are read all over.
            let set = |&s: &Dim| match along(s, operands[0], 0) {
                Axis::Broadcast(_) if s != Dim::Fixed(1) => Axis::Contracted,
                axis => axis,
            };
            map.push(sets.iter().map(set).chain(per_head).collect());
        }
        if self.talking {
            map.extend([vec![Axis::Contracted, Axis::Contracted], vec![Axis::Contracted]]);
            map.extend([vec![head.clone(), Axis::Contracted], vec![head]]);
        }
        map
    }

    /// The axes of an operand in its layout, its tokens contracted if nothing else is said. `head` stands for the channels too, where heads have
    /// no axis of their own.
    fn laid_out(&self, shape: &Shape, head: &Axis, tokens: Option<Vec<Axis>>, width: Axis) -> Vec<Axis> {
        let tokens = |count| tokens.unwrap_or(vec![Axis::Contracted; count]);
        let (batch, head) = (vec![Axis::Kept(0)], vec![head.clone()]);
        match self.layout {
            AttentionLayout::Channels => [batch, head, tokens(shape.rank() - 2)].concat(),
            AttentionLayout::Tokens => [batch, tokens(1), head].concat(),
            AttentionLayout::Heads => [batch, head, tokens(1), vec![width]].concat(),
        }
    }
}

#[cfg(test)]
mod tests;
