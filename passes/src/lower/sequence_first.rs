//! Keep the tokens of windows in sequence-first order, from the partition of a map to the merge.
//!
//! ```text
//! Given    tokens [k·B, n, C] between window_partition and window_merge: linear, norms, sums, attention, splits, joins
//! Result   the same operators on [n, k·B, C]; k sets and B images side by side behind each token
//! ```
//!
//! Rows that reshapes and transposes move between windows stay where they lie as well. What is joined to such tokens is brought into their order.
//!
//! Why: in this order (window, image, head) is one stride, so queries, keys, values and results of attention are plain
//! views for a fused kernel, joining and splitting tokens is on the outermost axis, and the partition of a map needs
//! rank 5 only: images and channels stay neighbours. Where the target's data asks for it, two moves do that: channels last, then rows of channels.
//!
//! Exact    Linear, norms and elementwise operators act per row. Attention acts per set and commutes with every
//!          permutation s of its tokens, if bias `B[s(i), s(j)]` and position `P[s(i)]` follow. So carriers that the
//!          paper moves to raster order and back to their windows stay where they lie and their constants are permuted.
//!          On a rectangular grid the moves there and back are not inverse: what remains is one gather of rows.

use crate::lower::attention::{Call, sequence_first};
use crate::lower::row_moves::{RowMove, row_moves};
use crate::lower::row_order::Order;
use crate::lower::windows::moved;
use crate::pass::{Context, Pass, Result, Rewritten};
use crate::view::count::Count;
use std::collections::{HashMap, HashSet};
use vitc_ir::op::{AttentionLayout, ReduceKind, Sampling};
use vitc_ir::{Builder, Built, Copier, DType, Dim, Generator, Graph, NodeId, Op, Shape, Target, Type, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("sequence_first", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let (moves, inside) = row_moves(graph);
    let (copy, held) = (Copier::new(graph, graph.stage), HashMap::new());
    let mut region = Region { copy, target, moves, held, made: HashSet::new(), count: 0 };
    // What is inside of a chain is made when the chain is.
    for (id, node) in graph.nodes().filter(|(id, _)| !inside.contains(id)) {
        if let Some(rows) = region.moves.remove(&id) {
            region.row_move(id, rows)?;
            continue;
        }
        let entered = !graph.is_constant(id.into()) && region.visit(id)?;
        region.count += usize::from(entered);
        if !entered {
            for &x in node.inputs.iter() {
                region.plain(x)?;
            }
            region.copy.node(id)?;
        }
    }
    for output in &graph.outputs {
        region.plain(output.value)?;
    }
    let count = region.count;
    Ok(Rewritten::new(region.copy.finish()?, count))
}

/// Tokens in the new graph: `value` is `[a, b·batch, C]`, its a·b rows per image in the given order.
#[derive(Debug, Clone)]
struct Rows {
    value: Value,
    order: Order,
    /// Images, as a dimension.
    batch: Dim,
}

/// What stands for an old value while it is not needed as the architecture has it.
#[derive(Debug, Clone)]
enum Held {
    /// Tokens `[k·batch, n, C]`.
    Tokens(Rows),
    /// The map that these tokens would be merged to.
    Map { tokens: Rows, window: [usize; 2], map: [usize; 2] },
    /// Tokens in the architecture's order whose rows are moved, should anything need that.
    Moved(RowMove),
}

struct Region<'a> {
    copy: Copier<'a>,
    target: &'a Target,
    moves: HashMap<NodeId, RowMove>,
    held: HashMap<Value, Held>,
    made: HashSet<Value>,
    count: usize,
}

impl Region<'_> {
    fn tokens(&self, old: Value) -> Option<Rows> {
        match self.held.get(&old) {
            Some(Held::Tokens(rows)) => Some(rows.clone()),
            _ => None,
        }
    }

    /// Sets per image and tokens per set of an old token value.
    fn extent(&self, old: Value, batch: Dim) -> (usize, usize) {
        let shape = self.copy.old.shape(old);
        let sets = shape.0[0].at(1) / batch.at(1);
        (sets, shape.dim(1))
    }

    fn net(&mut self, path: &str) -> Builder<'_> {
        Builder::within(&mut self.copy.new, path)
    }

    fn path(&self, id: NodeId) -> String {
        self.copy.old.node(id).path.clone()
    }

    fn hold(&mut self, id: NodeId, index: u32, held: Held) {
        self.held.insert(Value { node: id, index }, held);
    }

    /// Spell one node in the new order; `false` if it has to be copied as it is.
    fn visit(&mut self, id: NodeId) -> Built<bool> {
        let node = self.copy.old.node(id);
        Ok(match &node.op {
            Op::WindowPartition { window } => self.partition(id, *window)?,
            Op::WindowMerge { window, map } => self.merge(id, *window, *map),
            Op::Resize { sampling, size, scale: None } if *sampling == Sampling::NEAREST => self.upsample(id, *size)?,
            Op::Reduce { kind: ReduceKind::Mean, axes, keep: false } if axes[..] == [2, 3] => self.mean(id)?,
            Op::LayerNorm { axes, .. } if axes[..] == [1] => self.map_norm(id)?,
            Op::Reshape { shape } => self.reshape(id, shape),
            Op::Linear | Op::Unary(_) | Op::Clip { .. } | Op::Cast { .. } => self.per_row(id)?,
            Op::LayerNorm { axes, .. } if axes[..] == [2] => self.per_row(id)?,
            Op::Binary(_) => self.binary(id)?,
            Op::Split { axis, sizes } => self.split(id, *axis, sizes)?,
            Op::Concat { axis } => self.concat(id, *axis)?,
            Op::Attention { layout: AttentionLayout::Tokens, talking: false, .. } => self.attention(id)?,
            _ => false,
        })
    }

    /// An old value as the architecture has it.
    fn plain(&mut self, old: Value) -> Built<()> {
        let Some(held) = self.held.get(&old).cloned() else { return Ok(()) };
        if !self.made.insert(old) {
            return Ok(());
        }
        let y = match held {
            Held::Tokens(rows) => {
                let (sets, tokens) = self.extent(old, rows.batch);
                let path = self.copy.old.value_name(old);
                self.leave(&path, &rows, sets, tokens)?
            }
            Held::Map { tokens, window, map } => self.leave_map(old, &tokens, window, map)?,
            Held::Moved(rows) => {
                rows.nodes.iter().try_for_each(|&id| self.copy.node(id).map(drop))?;
                return Ok(());
            }
        };
        self.copy.set(old, y);
        Ok(())
    }

    /// `[n, k·B, C]` to `[k·B, n, C]`.
    fn leave(&mut self, path: &str, rows: &Rows, sets: usize, tokens: usize) -> Built {
        let rows = self.in_order(path, rows, Order::sequence_first(sets, tokens))?;
        let (batch, c) = (rows.batch, self.copy.new.shape(rows.value).0[2]);
        let shape = Shape(vec![batch.times(sets), tokens.into(), c]);
        let mut net = self.net(path);
        if sets == 1 {
            let view = Shape(vec![tokens.into(), batch, c]);
            return moved(&mut net, rows.value, &view, &[1, 0, 2], shape);
        }
        let view = Shape(vec![tokens.into(), sets.into(), batch, c]);
        moved(&mut net, rows.value, &view, &[2, 1, 0, 3], shape)
    }

    /// `[hw, R·S·B, C]` to `[B, C, H, W]`.
    fn leave_map(&mut self, old: Value, tokens: &Rows, [h, w]: [usize; 2], map: [usize; 2]) -> Built {
        let path = self.copy.old.value_name(old);
        let shape = self.copy.old.shape(old).clone();
        if shape.0[0] != tokens.batch {
            // Several maps per image.
            let x = self.leave(&format!("{path}.tokens"), tokens, tokens.order.len() / (h * w), h * w)?;
            return self.net(&path).push("", Op::WindowMerge { window: [h, w], map }, &[x]);
        }
        let [rows, columns] = [map[0] / h, map[1] / w];
        let x = self.in_order(&path, tokens, Order::sequence_first(rows * columns, h * w))?.value;
        let (batch, c, target) = (tokens.batch, shape.dim(1), self.target);
        let mut net = self.net(&path);
        if rows * columns == 1 {
            let view = Shape(vec![(h * w).into(), batch, c.into()]);
            return moved(&mut net, x, &view, &[1, 2, 0], shape);
        }
        if target.row_moves {
            let view = Shape(vec![h.into(), w.into(), rows.into(), columns.into(), batch, c.into()]);
            let image = Shape(vec![batch, shape.0[2], shape.0[3], c.into()]);
            let x = moved(&mut net, x, &view, &[4, 2, 0, 3, 1, 5], image)?;
            return net.transpose("channels", x, &[0, 3, 1, 2]);
        }
        let view = Shape(vec![h.into(), w.into(), rows.into(), columns.into(), batch.times(c)]);
        moved(&mut net, x, &view, &[4, 2, 0, 3, 1], shape)
    }

    /// The same rows in another order: one gather, or nothing.
    fn in_order(&mut self, path: &str, rows: &Rows, order: Order) -> Built<Rows> {
        let mut value = rows.value;
        if rows.order != order {
            let n = order.len();
            let channels = self.copy.new.shape(value).0[2];
            let mut net = Builder::within(&mut self.copy.new, path);
            let line = Shape(vec![n.into(), rows.batch, channels]);
            if net.ty(value).shape != line {
                value = net.reshape("rows", value, line)?;
            }
            let index = rows.order.positions(&mut net.at("order"), &order)?;
            value = net.push("reordered", Op::Gather { axis: 0 }, &[value, index])?;
        }
        Ok(Rows { value, order, batch: rows.batch })
    }

    /// The rows of an old token value as `[n, k·B, C]` with whole tokens on the first axis: in another order of tokens
    /// only if there is one set.
    fn settled(&mut self, path: &str, old: Value) -> Built<Option<Rows>> {
        let Some(rows) = self.tokens(old) else { return Ok(None) };
        let (sets, tokens) = self.extent(old, rows.batch);
        let settled = sets == 1 || rows.order.keeps_tokens(sets, tokens);
        let rows = if settled { rows } else { self.in_order(path, &rows, Order::sequence_first(sets, tokens))? };
        let rows = self.shaped(path, rows, sets, tokens)?;
        self.held.insert(old, Held::Tokens(rows.clone()));
        Ok(Some(rows))
    }

    /// The same rows in the same order as `[tokens, sets·B, C]`.
    fn shaped(&mut self, path: &str, rows: Rows, sets: usize, tokens: usize) -> Built<Rows> {
        let channels = self.copy.new.shape(rows.value).0[2];
        let shape = Shape(vec![tokens.into(), rows.batch.times(sets), channels]);
        if *self.copy.new.shape(rows.value) == shape {
            return Ok(rows);
        }
        let value = self.net(path).reshape("tokens", rows.value, shape)?;
        Ok(Rows { value, ..rows })
    }

    /// Which token each position of a settled value holds, as a constant; `None` if they are in order.
    fn token_index(&mut self, path: &str, old: Value, rows: &Rows) -> Built<Option<Value>> {
        let (sets, _) = self.extent(old, rows.batch);
        if sets > 1 {
            return Ok(None);
        }
        rows.order.index(&mut self.net(path).at("order"))
    }

    fn partition(&mut self, id: NodeId, [h, w]: [usize; 2]) -> Built<bool> {
        let (old, path) = (self.copy.old, self.path(id));
        let x = old.node(id).inputs[0];
        let side = |axis: usize| old.shape(x).dim(axis);
        let size = [side(2), side(3)];
        if let Some(Held::Map { tokens, window, map }) = self.held.get(&x).cloned() {
            let maps = old.shape(x).0[0].at(1) / tokens.batch.at(1);
            let order = tokens.order.merged(maps, window, map).partitioned(maps, [h, w], size);
            self.hold(id, 0, Held::Tokens(Rows { order, ..tokens }));
            return Ok(true);
        }
        self.plain(x)?;
        let x = self.copy.get(x)?;
        let (batch, c) = (old.shape(old.node(id).inputs[0]).0[0], side(1));
        let [rows, columns] = [size[0] / h, size[1] / w];
        let (sets, target) = (rows * columns, self.target);
        let result = Shape(vec![(h * w).into(), batch.times(sets), c.into()]);
        let mut net = self.net(&path);
        let value = if sets == 1 {
            let view = Shape(vec![batch, c.into(), (h * w).into()]);
            moved(&mut net, x, &view, &[2, 0, 1], result)?
        } else if target.row_moves {
            let x = net.transpose("rows", x, &[0, 2, 3, 1])?;
            let view = Shape(vec![batch, rows.into(), h.into(), columns.into(), w.into(), c.into()]);
            moved(&mut net, x, &view, &[2, 4, 1, 3, 0, 5], result)?
        } else {
            let view = Shape(vec![batch.times(c), rows.into(), h.into(), columns.into(), w.into()]);
            moved(&mut net, x, &view, &[2, 4, 1, 3, 0], result)?
        };
        let order = Order::sequence_first(sets, h * w);
        self.hold(id, 0, Held::Tokens(Rows { value, order, batch }));
        Ok(true)
    }

    fn merge(&mut self, id: NodeId, window: [usize; 2], map: [usize; 2]) -> bool {
        let Some(tokens) = self.tokens(self.copy.old.node(id).inputs[0]) else { return false };
        // A map of which an image has a fraction is none.
        let whole = self.copy.old.shape(id.into()).0[0].at(1).is_multiple_of(tokens.batch.at(1));
        if whole {
            self.hold(id, 0, Held::Map { tokens, window, map });
        }
        whole
    }

    /// Nearest neighbours of a map of one window: rows repeated.
    fn upsample(&mut self, id: NodeId, size: [usize; 2]) -> Built<bool> {
        let (old, path) = (self.copy.old, self.path(id));
        let x = old.node(id).inputs[0];
        let Some(Held::Map { tokens, window, map }) = self.held.get(&x).cloned() else { return Ok(false) };
        let n = map[0] * map[1];
        let sets = tokens.order.len() / n;
        if window != map || tokens.order != Order::sequence_first(sets, n) {
            return Ok(false);
        }
        let tokens = self.shaped(&path, tokens, sets, n)?;
        let mut net = self.net(&path);
        // The index of each source pixel, enlarged as the map is.
        let ty = Type::new(DType::F32, Shape::fixed(&[n]));
        let pixels = net.generate("pixels", Generator::Iota { axis: 0 }, ty)?;
        let pixels = net.reshape("pixels", pixels, Shape::fixed(&[1, 1, map[0], map[1]]))?;
        let large = net.push("enlarged", Op::Resize { sampling: Sampling::NEAREST, size, scale: None }, &[pixels])?;
        let large = net.reshape("enlarged", large, Shape::fixed(&[size[0] * size[1]]))?;
        let index = net.push("index", Op::Cast { to: DType::I32 }, &[large])?;
        let value = net.push("", Op::Gather { axis: 0 }, &[tokens.value, index])?;
        let order = Order::sequence_first(sets, size[0] * size[1]);
        let tokens = Rows { value, order, batch: tokens.batch };
        self.hold(id, 0, Held::Map { tokens, window: size, map: size });
        Ok(true)
    }

    /// Mean over a map: over its tokens.
    fn mean(&mut self, id: NodeId) -> Built<bool> {
        let (old, path) = (self.copy.old, self.path(id));
        let x = old.node(id).inputs[0];
        let Some(Held::Map { tokens, .. }) = self.held.get(&x).cloned() else { return Ok(false) };
        if old.shape(x).0[0] != tokens.batch {
            return Ok(false);
        }
        let all = tokens.order.len();
        let tokens = self.shaped(&path, tokens, 1, all)?;
        let op = Op::Reduce { kind: ReduceKind::Mean, axes: vec![0], keep: false };
        let y = self.net(&path).push("", op, &[tokens.value])?;
        self.copy.set(id.into(), y);
        Ok(true)
    }

    /// A norm over the channels of a map, where the target would have to turn the map for it.
    fn map_norm(&mut self, id: NodeId) -> Built<bool> {
        if !self.target.map_norm_on_tokens {
            return Ok(false);
        }
        let node = self.copy.old.node(id);
        let Some(Held::Map { tokens, window, map }) = self.held.get(&node.inputs[0]).cloned() else { return Ok(false) };
        let Op::LayerNorm { eps, .. } = node.op else { return Ok(false) };
        let affine: Vec<Value> = node.inputs[1..].iter().map(|&v| self.copy.constant(v)).collect::<Built<_>>()?;
        let inputs: Vec<Value> = [tokens.value].into_iter().chain(affine).collect();
        let value = self.net(&node.path).push("", Op::LayerNorm { axes: vec![2], eps }, &inputs)?;
        // The map's tokens, should anything read the map as it is, are those of this norm.
        self.hold(id, 0, Held::Map { tokens: Rows { value, ..tokens }, window, map });
        Ok(true)
    }

    /// The same rows counted as other sets.
    fn reshape(&mut self, id: NodeId, shape: &Shape) -> bool {
        let x = self.copy.old.node(id).inputs[0];
        let Some(rows) = self.tokens(x) else { return false };
        let fits = shape.rank() == 3
            && shape.0[2] == self.copy.old.shape(x).0[2]
            && shape.0[1].fixed().is_some()
            && std::mem::discriminant(&shape.0[0]) == std::mem::discriminant(&rows.batch)
            && shape.0[0].at(1).is_multiple_of(rows.batch.at(1));
        if fits {
            self.hold(id, 0, Held::Tokens(rows));
        }
        fits
    }

    /// Rows that change places: in name only, if they are tokens here. Else they are moved when anything needs them.
    fn row_move(&mut self, id: NodeId, rows: RowMove) -> Built<()> {
        if let Some(tokens) = self.tokens(rows.source)
            && let Some(step) = rows.within(tokens.batch)
        {
            let order = tokens.order.then(step);
            self.hold(id, 0, Held::Tokens(Rows { order, ..tokens }));
            self.count += 1;
        } else if self.held.contains_key(&rows.source) {
            self.plain(rows.source)?;
            rows.nodes.iter().try_for_each(|&id| self.copy.node(id).map(drop))?;
        } else {
            self.hold(id, 0, Held::Moved(rows));
        }
        Ok(())
    }

    /// Tokens that lie as the architecture has them, brought into this order for others that do.
    fn enter(&mut self, path: &str, old: Value, batch: Dim) -> Built<Option<Rows>> {
        let moved_first = match self.held.get(&old) {
            Some(Held::Tokens(rows)) => return Ok(Some(rows.clone())),
            Some(Held::Map { .. }) => return Ok(None),
            Some(Held::Moved(rows)) => Some(rows.clone()),
            None => None,
        };
        let base = moved_first.as_ref().map_or(old, |rows| rows.source);
        let step = moved_first.map(|rows| rows.within(batch));
        let &[first, Dim::Fixed(tokens), c] = &self.copy.old.shape(base).0[..] else { return Ok(None) };
        let sets = Count::from(first).over(batch.into()).and_then(Count::plain);
        let (Some(sets), false) = (sets, step == Some(None) || self.copy.old.is_constant(base)) else {
            return Ok(None);
        };
        let x = self.copy.get(base)?;
        let view = Shape(vec![batch, sets.into(), tokens.into(), c]);
        let result = Shape(vec![tokens.into(), first, c]);
        let value = moved(&mut self.net(&format!("{path}.entered")), x, &view, &[2, 1, 0, 3], result)?;
        let order = Order::sequence_first(sets, tokens);
        let order = match step.flatten() {
            Some(step) => order.then(step),
            None => order,
        };
        Ok(Some(Rows { value, order, batch }))
    }

    /// An operator that maps each row by itself.
    fn per_row(&mut self, id: NodeId) -> Built<bool> {
        let node = self.copy.old.node(id);
        let Some(rows) = self.tokens(node.inputs[0]) else { return Ok(false) };
        let constants = node.inputs[1..].iter().all(|&v| self.copy.old.is_constant(v));
        if !constants {
            return Ok(false);
        }
        let rest: Vec<Value> = node.inputs[1..].iter().map(|&v| self.copy.constant(v)).collect::<Built<_>>()?;
        let inputs: Vec<Value> = [rows.value].into_iter().chain(rest).collect();
        let value = self.net(&node.path).push("", node.op.clone(), &inputs)?;
        self.hold(id, 0, Held::Tokens(Rows { value, ..rows }));
        Ok(true)
    }

    fn binary(&mut self, id: NodeId) -> Built<bool> {
        let (old, node) = (self.copy.old, self.copy.old.node(id));
        let [a, b] = [node.inputs[0], node.inputs[1]];
        let values = match (self.tokens(a), self.tokens(b)) {
            (Some(x), Some(y)) if old.shape(a) == old.shape(b) && x.batch == y.batch => {
                let mut y = self.in_order(&node.path, &y, x.order.clone())?;
                let shape = self.copy.new.shape(x.value).clone();
                if *self.copy.new.shape(y.value) != shape {
                    y.value = self.net(&node.path).reshape("rows", y.value, shape)?;
                }
                Some((x.value, y.value, x))
            }
            (Some(_), None) => self.with_constant(&node.path, a, b)?.map(|(x, c)| (x.value, c, x)),
            (None, Some(_)) => self.with_constant(&node.path, b, a)?.map(|(x, c)| (c, x.value, x)),
            _ => None,
        };
        let Some((x, y, rows)) = values else { return Ok(false) };
        let value = self.net(&node.path).push("", node.op.clone(), &[x, y])?;
        self.hold(id, 0, Held::Tokens(Rows { value, ..rows }));
        Ok(true)
    }

    /// Tokens, and a constant that broadcasts to them in the architecture's order brought to theirs.
    fn with_constant(&mut self, path: &str, x: Value, c: Value) -> Built<Option<(Rows, Value)>> {
        let old = self.copy.old;
        let dims = if old.is_constant(c) { old.shape(c).as_fixed() } else { None };
        let Some(dims) = dims else { return Ok(None) };
        let (set_dims, row_dims) = dims.split_at(dims.len().saturating_sub(2));
        // What enlarges the tokens has more rows than their order knows.
        let enlarges = |(have, &d): (&Dim, &usize)| d != 1 && *have != Dim::Fixed(d);
        let enlarged = old.shape(x).0.iter().rev().zip(dims.iter().rev()).any(enlarges);
        if dims.len() > 3 || set_dims.iter().any(|&d| d != 1) || enlarged {
            return Ok(None);
        }
        if row_dims.len() < 2 || row_dims[0] == 1 {
            let c = self.copy.constant(c)?;
            return Ok(self.tokens(x).map(|rows| (rows, c)));
        }
        let Some(rows) = self.settled(path, x)? else { return Ok(None) };
        let index = self.token_index(path, x, &rows)?;
        let mut c = self.copy.constant(c)?;
        let mut net = self.net(path);
        let [n, channels] = [row_dims[0], row_dims[1]];
        c = net.reshaped("by_token", c, &[n, channels])?;
        if let Some(index) = index {
            c = net.push("by_token", Op::Gather { axis: 0 }, &[c, index])?;
        }
        Ok(Some((rows, net.reshape("by_token", c, Shape::fixed(&[n, 1, channels]))?)))
    }

    fn split(&mut self, id: NodeId, axis: usize, sizes: &[usize]) -> Built<bool> {
        let node = self.copy.old.node(id);
        let x = node.inputs[0];
        let Some(mut rows) = self.tokens(x) else { return Ok(false) };
        let (sets, tokens) = self.extent(x, rows.batch);
        let new_axis = match axis {
            1 => {
                rows = self.in_order(&node.path, &rows, Order::sequence_first(sets, tokens))?;
                rows = self.shaped(&node.path, rows, sets, tokens)?;
                0
            }
            2 => 2,
            _ => return Ok(false),
        };
        let parts = self.net(&node.path).split("", rows.value, new_axis, sizes)?;
        for (index, (value, &size)) in parts.into_iter().zip(sizes).enumerate() {
            let order = if axis == 1 { Order::sequence_first(sets, size) } else { rows.order.clone() };
            self.hold(id, index as u32, Held::Tokens(Rows { value, order, batch: rows.batch }));
        }
        Ok(true)
    }

    fn concat(&mut self, id: NodeId, axis: usize) -> Built<bool> {
        let (old, node) = (self.copy.old, self.copy.old.node(id));
        let Some(batch) = node.inputs.iter().find_map(|&v| self.tokens(v)).map(|rows| rows.batch) else {
            return Ok(false);
        };
        if axis == 0 || node.inputs.iter().any(|&v| self.tokens(v).is_some_and(|rows| rows.batch != batch)) {
            return Ok(false);
        }
        let mut all = Vec::new();
        for &v in node.inputs.iter() {
            match self.enter(&node.path, v, batch)? {
                Some(rows) => all.push(rows),
                None => return Ok(false),
            }
        }
        let mut values = Vec::new();
        for (&v, rows) in node.inputs.iter().zip(&all) {
            let (sets, tokens) = self.extent(v, batch);
            let rows = self.in_order(&node.path, rows, Order::sequence_first(sets, tokens))?;
            values.push(self.shaped(&node.path, rows, sets, tokens)?.value);
        }
        let new_axis = if axis == 1 { 0 } else { 2 };
        let value = self.net(&node.path).concat("", &values, new_axis)?;
        let result = old.shape(id.into());
        let order = Order::sequence_first(result.0[0].at(1) / batch.at(1), result.dim(1));
        self.hold(id, 0, Held::Tokens(Rows { value, order, batch }));
        Ok(true)
    }

    fn attention(&mut self, id: NodeId) -> Built<bool> {
        let (old, node) = (self.copy.old, self.copy.old.node(id));
        let Op::Attention { heads, scale, bias, .. } = node.op else { return Ok(false) };
        let [q, k, v] = [node.inputs[0], node.inputs[1], node.inputs[2]];
        let bias = bias.then(|| node.inputs[3]);
        // Which set reads which rows of a bias is not kept track of.
        let moves = |b: Value| old.is_constant(b) && old.shape(b).rank() == 3;
        if [q, k, v].iter().any(|&x| self.tokens(x).is_none()) || !bias.is_none_or(moves) {
            return Ok(false);
        }
        // One product made all three: they can be cut behind one view instead of before three.
        let packed = match old.op(q) {
            Op::Split { axis: 2, sizes } if sizes[..] == [sizes[0]; 3] => {
                let whole = (0..3).all(|i| [q, k, v][i] == Value { node: q.node, index: i as u32 });
                whole.then(|| old.node(q.node).inputs[0])
            }
            _ => None,
        };
        let path = node.path.clone();
        let read = packed.map_or(vec![q, k, v], |x| vec![x]);
        let operands: Option<Vec<Rows>> = read.iter().map(|&x| self.settled(&path, x)).collect::<Built<_>>()?;
        let Some(operands) = operands else { return Ok(false) };
        let (first, last) = (operands[0].clone(), operands[operands.len() - 1].clone());
        let of = |this: &Self, x: Value, rows: &Rows| {
            let (sets, tokens) = this.extent(x, rows.batch);
            rows.order.sets(sets, tokens)
        };
        let same_sets = operands.len() == 1 || {
            let sets: Vec<_> = [q, k, v].iter().zip(&operands).map(|(&x, rows)| of(self, x, rows)).collect();
            sets.iter().all(|s| *s == sets[0]) && operands[1].order == last.order
        };
        if !same_sets {
            return Ok(false);
        }
        let indices = [self.token_index(&path, q, &first)?, self.token_index(&path, k, &last)?];
        let mut bias = bias.map(|b| self.copy.constant(b)).transpose()?;
        let mut net = Builder::within(&mut self.copy.new, &path);
        for (axis, index) in [1, 2].into_iter().zip(indices) {
            if let (Some(b), Some(index)) = (bias, index) {
                bias = Some(net.push("bias.by_token", Op::Gather { axis }, &[b, index])?);
            }
        }
        let call = Call { heads, scale, bias, talking: None };
        let values: Vec<Value> = operands.iter().map(|r| r.value).collect();
        let value = sequence_first(&call, &mut net, &values, self.target)?;
        self.hold(id, 0, Held::Tokens(Rows { value, ..first }));
        Ok(true)
    }
}
