//! Fused elementwise expressions, evaluated block by block.
//!
//! A block is a box of the iteration space that is contiguous in row-major order and small enough for the cache, so a
//! chain of any length over a constant of any size needs a few blocks of memory. An element's value does not depend
//! on the blocks.

use super::affine::Affine;
use super::scalar::{self, Map};
use super::tensor::{Elements, Reader, Source};
use crate::op::BinaryKind;
use std::iter::repeat;
use std::ops::Range;

/// Elements of one block where all reads are contiguous.
const BLOCK: usize = 4096;
/// Elements of one block with transposed reads. Each row of such a block is a column of the source, so that a block of few rows fetches a cache line, and
/// often a page, for a few elements.
const WIDE: usize = 1 << 18;
/// Rows of such a block: four cache lines of f32 at most, and whole ones.
const ROWS: usize = 64;
const LINE: usize = 16;
/// Edge of the tile in which a plane is transposed: a cache line of f64.
const TILE: usize = 8;

/// A value per iteration index.
#[derive(Debug)]
pub(super) enum Expr {
    /// The same number everywhere.
    Fill(f64),
    /// An element of a source of the program.
    Load {
        /// Which source.
        source: usize,
        /// Where in the source.
        at: Affine,
    },
    /// A function of one argument.
    Map(Map, Box<Expr>),
    /// A function of two arguments.
    Binary(BinaryKind, Box<Expr>, Box<Expr>),
    /// Pieces that follow each other along an axis of the space and cover it; each counts from its own start.
    Select {
        /// The axis.
        axis: usize,
        /// Where each piece lies, and the piece.
        parts: Vec<(Range<usize>, Expr)>,
    },
}

impl Expr {
    /// `f(x)`.
    pub(super) fn map(f: Map, x: Expr) -> Self {
        Expr::Map(f, Box::new(x))
    }

    /// True if some load runs across the memory order in the innermost axis.
    fn strided(&self) -> bool {
        match self {
            Expr::Fill(_) => false,
            Expr::Load { at, .. } => at.coefs.last().is_some_and(|&c| c > 1),
            Expr::Map(_, x) => x.strided(),
            Expr::Binary(_, a, b) => a.strided() || b.strided(),
            Expr::Select { parts, .. } => parts.iter().any(|(_, x)| x.strided()),
        }
    }
}

/// An expression with the space it is evaluated over.
#[derive(Debug)]
pub(super) struct Program {
    /// Sizes of the iteration space; row-major order is the order of the result.
    pub(super) space: Vec<usize>,
    /// The value at each index.
    pub(super) expr: Expr,
}

/// How a program's space is cut into blocks: `step` rows of axis `axis` at a time.
struct Grid<'p> {
    space: &'p [usize],
    axis: usize,
    step: usize,
    /// Blocks along the axis.
    per_row: usize,
    /// Elements of one row.
    inner: usize,
    /// Number of blocks.
    count: usize,
}

/// A run of blocks.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    blocks: Range<usize>,
    /// Elements before it.
    pub(super) start: usize,
    /// Number of elements.
    pub(super) elements: usize,
}

impl Program {
    /// Number of elements.
    pub(super) fn elements(&self) -> usize {
        self.space.iter().product()
    }

    /// Append the whole result.
    pub(super) fn evaluate(&self, sources: &[&Source<'_>], result: &mut Vec<f64>) {
        let start = result.len();
        result.resize(start + self.elements(), 0.0);
        let mut rest = &mut result[start..];
        let mut scratch = Vec::new();
        let grid = self.grid();
        for n in 0..grid.count {
            let (lo, hi) = grid.block(n);
            let (out, later) = std::mem::take(&mut rest).split_at_mut(grid.elements(n));
            eval(&self.expr, &lo, &hi, sources, out, &mut scratch);
            rest = later;
        }
    }

    /// Pass the elements of a piece to `sink`, block by block.
    pub(super) fn each(&self, sources: &[&Source<'_>], piece: &Piece, mut sink: impl FnMut(&[f64])) {
        let (mut buffer, mut scratch) = (Vec::new(), Vec::new());
        let grid = self.grid();
        for n in piece.blocks.clone() {
            let (lo, hi) = grid.block(n);
            buffer.resize(grid.elements(n), 0.0);
            eval(&self.expr, &lo, &hi, sources, &mut buffer, &mut scratch);
            sink(&buffer);
        }
    }

    /// The result cut into pieces of at least `least` elements, but for the last; an empty result is one piece.
    pub(super) fn pieces(&self, least: usize) -> Vec<Piece> {
        let grid = self.grid();
        let mut pieces = Vec::new();
        let mut piece = Piece { blocks: 0..0, start: 0, elements: 0 };
        for n in 0..grid.count {
            piece.blocks.end = n + 1;
            piece.elements += grid.elements(n);
            if piece.elements >= least || n + 1 == grid.count {
                let next = Piece { blocks: n + 1..n + 1, start: piece.start + piece.elements, elements: 0 };
                pieces.push(std::mem::replace(&mut piece, next));
            }
        }
        if pieces.is_empty() {
            pieces.push(piece);
        }
        pieces
    }

    /// The source and the position in it, if the result is a run of one source's elements.
    pub(super) fn as_run(&self) -> Option<(usize, usize)> {
        let Expr::Load { source, at } = &self.expr else { return None };
        match walk(at, &vec![0; self.space.len()], &self.space) {
            (base, loops) if loops.iter().all(|l| l.step == 1) && loops.len() <= 1 => Some((*source, base)),
            _ => None,
        }
    }

    fn grid(&self) -> Grid<'_> {
        let space = self.space.as_slice();
        let Some(last) = space.len().checked_sub(1) else {
            return Grid { space, axis: 0, step: 1, per_row: 1, inner: 1, count: 1 };
        };
        let inner = |axis: usize| space[axis + 1..].iter().product::<usize>().max(1);
        let (target, least, most) = if self.expr.strided() { (WIDE, LINE, ROWS) } else { (BLOCK, 1, BLOCK) };
        // The outermost axis along which `least` steps, or all of them, fit a block.
        let fits = |axis: &usize| inner(*axis).saturating_mul(least.min(space[*axis])) <= target;
        let axis = (0..last).find(fits).unwrap_or(last);
        let (size, inner) = (space[axis], inner(axis));
        let step = (target / inner).clamp(1, most);
        let step = (step / least * least).max(1).min(size.max(1));
        let per_row = size.div_ceil(step);
        let count = if self.elements() == 0 { 0 } else { space[..axis].iter().product::<usize>() * per_row };
        Grid { space, axis, step, per_row, inner, count }
    }
}

impl Grid<'_> {
    /// Rows of block `n` along the axis.
    fn rows(&self, n: usize) -> Range<usize> {
        let start = n % self.per_row * self.step;
        start..(start + self.step).min(self.space.get(self.axis).copied().unwrap_or(1))
    }

    fn elements(&self, n: usize) -> usize {
        self.rows(n).len() * self.inner
    }

    /// Lower and upper bounds of block `n` in the space.
    fn block(&self, n: usize) -> (Vec<usize>, Vec<usize>) {
        let (mut lo, mut hi) = (vec![0; self.space.len()], self.space.to_vec());
        if self.space.is_empty() {
            return (lo, hi);
        }
        let rows = self.rows(n);
        (lo[self.axis], hi[self.axis]) = (rows.start, rows.end);
        let mut outer = n / self.per_row;
        for a in (0..self.axis).rev() {
            lo[a] = outer % self.space[a];
            hi[a] = lo[a] + 1;
            outer /= self.space[a];
        }
        (lo, hi)
    }
}

/// Write the values of the box `lo..hi` to `out`. `scratch` keeps buffers for reuse.
fn eval(
    expr: &Expr,
    lo: &[usize],
    hi: &[usize],
    sources: &[&Source<'_>],
    out: &mut [f64],
    scratch: &mut Vec<Vec<f64>>,
) {
    match expr {
        Expr::Fill(x) => out.fill(*x),
        Expr::Load { source, at } => {
            let (base, loops) = walk(at, lo, hi);
            sources[*source].read(Load { base, loops: &loops, out });
        }
        Expr::Map(f, x) => {
            eval(x, lo, hi, sources, out, scratch);
            scalar::map(*f, out);
        }
        Expr::Binary(kind, a, b) => {
            eval(a, lo, hi, sources, out, scratch);
            match &**b {
                Expr::Fill(x) => scalar::zip(*kind, out, repeat(*x)),
                Expr::Load { source, at } if !b.strided() => {
                    let (base, loops) = walk(at, lo, hi);
                    sources[*source].read(Combine { kind: *kind, base, loops: &loops, out });
                }
                b => {
                    let mut right = scratch.pop().unwrap_or_default();
                    right.resize(out.len(), 0.0);
                    eval(b, lo, hi, sources, &mut right, scratch);
                    scalar::zip(*kind, out, right.iter().copied());
                    scratch.push(right);
                }
            }
        }
        Expr::Select { axis, parts } => {
            let sizes = lo.iter().zip(hi).map(|(lo, hi)| hi - lo);
            let outer: usize = sizes.clone().take(*axis).product();
            let inner: usize = sizes.clone().skip(axis + 1).product();
            let row = (hi[*axis] - lo[*axis]) * inner;
            for (range, part) in parts {
                let (from, to) = (range.start.max(lo[*axis]), range.end.min(hi[*axis]));
                if from >= to {
                    continue;
                }
                let (mut part_lo, mut part_hi) = (lo.to_vec(), hi.to_vec());
                (part_lo[*axis], part_hi[*axis]) = (from - range.start, to - range.start);
                let width = (to - from) * inner;
                if width == row {
                    eval(part, &part_lo, &part_hi, sources, out, scratch);
                    continue;
                }
                let mut values = scratch.pop().unwrap_or_default();
                values.resize(outer * width, 0.0);
                eval(part, &part_lo, &part_hi, sources, &mut values, scratch);
                let start = (from - lo[*axis]) * inner;
                for (to, from) in out.chunks_exact_mut(row).zip(values.chunks_exact(width)) {
                    to[start..start + width].copy_from_slice(from);
                }
                scratch.push(values);
            }
        }
    }
}

/// One axis of a walk through a source.
#[derive(Clone, Copy)]
struct Loop {
    count: usize,
    step: usize,
}

/// Where a box starts in a source, and the loops that visit it in row-major order, joined where they continue each
/// other.
fn walk(at: &Affine, lo: &[usize], hi: &[usize]) -> (usize, Vec<Loop>) {
    let base = at.offset + at.coefs.iter().zip(lo).map(|(c, lo)| c * lo).sum::<usize>();
    let mut loops: Vec<Loop> = Vec::with_capacity(lo.len());
    for ((&step, &lo), &hi) in at.coefs.iter().zip(lo).zip(hi) {
        let count = hi - lo;
        match loops.last_mut() {
            _ if count == 1 => {}
            Some(last) if last.step == step * count => *last = Loop { count: last.count * count, step },
            _ => loops.push(Loop { count, step }),
        }
    }
    (base, loops)
}

/// Reads a walk's elements to `out`.
struct Load<'a> {
    base: usize,
    loops: &'a [Loop],
    out: &'a mut [f64],
}

impl Reader for Load<'_> {
    fn read(self, elements: impl Elements) {
        load(&elements, self.base, self.loops, self.out);
    }
}

fn load(elements: &impl Elements, base: usize, loops: &[Loop], out: &mut [f64]) {
    match loops {
        [] => out.fill(elements.at(base)),
        [Loop { step: 0, .. }] => out.fill(elements.at(base)),
        [Loop { step: 1, .. }] => elements.run(base, out),
        [Loop { step, .. }] => {
            for (i, out) in out.iter_mut().enumerate() {
                *out = elements.at(base + i * step);
            }
        }
        // A transposed plane.
        [Loop { count: rows, step: 1 }, Loop { count: columns, step }] if *step > 1 => {
            transpose(elements, base, *step, *rows, *columns, out);
        }
        [Loop { count, step }, inner @ ..] => {
            let row = out.len() / count;
            for (i, out) in out.chunks_exact_mut(row).enumerate() {
                load(elements, base + i * step, inner, out);
            }
        }
    }
}

/// Combines what `out` holds with a walk's elements, none of which lie across the memory order in the innermost axis.
struct Combine<'a> {
    kind: BinaryKind,
    base: usize,
    loops: &'a [Loop],
    out: &'a mut [f64],
}

impl Reader for Combine<'_> {
    fn read(self, elements: impl Elements) {
        combine(self.kind, &elements, self.base, self.loops, self.out);
    }
}

fn combine(kind: BinaryKind, elements: &impl Elements, base: usize, loops: &[Loop], out: &mut [f64]) {
    match loops {
        [] | [Loop { step: 0, .. }] => scalar::zip(kind, out, repeat(elements.at(base))),
        [Loop { step, .. }] => {
            let mut right = [0.0; 256];
            for (i, out) in out.chunks_mut(right.len()).enumerate() {
                let run = &mut right[..out.len()];
                load(elements, base + i * 256 * step, &[Loop { count: run.len(), step: *step }], run);
                scalar::zip(kind, out, run.iter().copied());
            }
        }
        [Loop { count, step }, inner @ ..] => {
            let row = out.len() / count;
            for (i, out) in out.chunks_exact_mut(row).enumerate() {
                combine(kind, elements, base + i * step, inner, out);
            }
        }
    }
}

/// `out[row·columns + column] = elements[base + column·step + row]`, tile by tile: each cache line is fetched once, and written whole.
fn transpose(elements: &impl Elements, base: usize, step: usize, rows: usize, columns: usize, out: &mut [f64]) {
    let mut tile = [[0.0; TILE]; TILE];
    for column in (0..columns).step_by(TILE) {
        let width = TILE.min(columns - column);
        for row in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - row);
            for (c, line) in tile[..width].iter_mut().enumerate() {
                elements.run(base + (column + c) * step + row, &mut line[..height]);
            }
            for r in 0..height {
                for (out, line) in out[(row + r) * columns + column..][..width].iter_mut().zip(&tile) {
                    *out = line[r];
                }
            }
        }
    }
}
