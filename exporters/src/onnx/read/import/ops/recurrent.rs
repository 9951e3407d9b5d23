//! LSTM, GRU and RNN, written out step by step: the length of the sequence is known, and every target has what one step is made of.

use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::moves::Cut;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::{BinaryKind, Class, Dim, Op, UnaryKind, Value};

/// Nodes of one step, at most.
const STEP: usize = 16;

pub(super) fn find(op: &str) -> Option<Read> {
    if matches!(op, "LSTM" | "GRU" | "RNN") { Some(read) } else { None }
}

/// What one step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// Gates i, o, f and the candidate c.
    Lstm,
    /// Gates z, r and the candidate h; whether r scales the candidate's product with the state instead of the state.
    Gru { reset_after: bool },
    /// The new state alone.
    Rnn,
}

impl Cell {
    /// Rows of the weights for each element of the state.
    fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// Functions of one direction, those of the gates first.
    fn functions(self) -> &'static [&'static str] {
        match self {
            Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Cell::Gru { .. } => &["Sigmoid", "Tanh"],
            Cell::Rnn => &["Tanh"],
        }
    }
}

/// What a node says of its layer.
pub(super) struct Layer {
    pub(super) cell: Cell,
    /// Size of the state.
    pub(super) hidden: usize,
    /// For each direction, whether it runs backwards.
    pub(super) backwards: Vec<bool>,
    /// The functions of each direction.
    pub(super) functions: Vec<Vec<UnaryKind>>,
    /// The batch comes first.
    pub(super) batch_first: bool,
}

impl Layer {
    /// The layer that a node's attributes say.
    pub(super) fn of(c: &Call<'_>, cell: Cell) -> Done<Layer> {
        if c.has("clip") {
            return Err("clips its gates".into());
        }
        if c.int("input_forget", 0)? != 0 {
            return Err("couples its input and forget gates".into());
        }
        let backwards = match c.text("direction", "forward")? {
            "forward" => vec![false],
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            other => return Err(format!("its attribute direction is {other:?}").into()),
        };
        let hidden = usize::try_from(c.int("hidden_size", 0)?).ok().filter(|&h| h > 0 && h < 1 << 24);
        let hidden = hidden.ok_or("has no hidden_size")?;
        let own = cell.functions();
        let named = c.texts("activations")?.unwrap_or_default();
        let named: Vec<&str> = match named.is_empty() {
            true => own.iter().copied().cycle().take(own.len() * backwards.len()).collect(),
            false => named,
        };
        if named.len() != own.len() * backwards.len() {
            return Err(format!("has {} activations for {} directions", named.len(), backwards.len()).into());
        }
        let kinds = named.iter().map(|name| function(name)).collect::<Done<Vec<_>>>()?;
        let functions = kinds.chunks(own.len()).map(<[_]>::to_vec).collect();
        let batch_first = c.int("layout", 0)? != 0;
        Ok(Layer { cell, hidden, backwards, functions, batch_first })
    }
}

/// Functions without parameters, however they are written.
fn function(name: &str) -> Done<UnaryKind> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "sigmoid" => UnaryKind::Sigmoid,
        "tanh" => UnaryKind::Tanh,
        "relu" => UnaryKind::Relu,
        "softplus" => UnaryKind::Softplus,
        _ => return Err(format!("has the activation {name:?}").into()),
    })
}

fn read(cx: &mut Cx, c: &Call<'_>) -> Done {
    let cell = match c.op() {
        "LSTM" => Cell::Lstm,
        "GRU" => Cell::Gru { reset_after: c.int("linear_before_reset", 0)? != 0 },
        _ => Cell::Rnn,
    };
    if !c.input(7).is_absent() {
        return Err("looks at its cells through peepholes".into());
    }
    let layer = Layer::of(c, cell)?;
    let weights = [c.needed(1)?.clone(), c.needed(2)?.clone(), c.input(3).clone()];
    run(cx, c, c.needed(0)?, &layer, &weights, &mut |cx, state, w, path| cx.push(Op::Linear, &[state, w], path))
}

/// The product of a state `[b,h]` with rows of weights `[n,h]`: `(graph, state, weights, path)`.
pub(super) type Product<'a> = dyn FnMut(&mut Cx, Value, Value, &str) -> Done<Value> + 'a;

/// Part `from..from + count` of an axis.
fn part(cx: &mut Cx, value: &Val, axis: usize, from: usize, count: usize, path: &str) -> Done<Val> {
    cx.cut(value, &[Cut { axis, start: from, step: 1, count }], path)
}

/// Slice `at` of the first axis, without that axis.
fn slice(cx: &mut Cx, value: &Val, at: usize, path: &str) -> Done<Val> {
    let one = part(cx, value, 0, at, 1, path)?;
    let rest = cx.dims(&one)?[1..].to_vec();
    cx.reshaped(&one, &rest, &format!("{path}.rows"))
}

/// A layer over its sequence. `weights` are W `[directions,gates·h,in]`, R `[directions,gates·h,h]` and, or absent, B `[directions,2·gates·h]`.
pub(super) fn run(
    cx: &mut Cx,
    c: &Call<'_>,
    x: &Val,
    layer: &Layer,
    weights: &[Val; 3],
    product: &mut Product<'_>,
) -> Done {
    let mut x = x.clone();
    let elem = cx.elem(&x)?;
    if layer.batch_first {
        x = cx.transposed(&x, &[1, 0, 2], &c.at("steps"))?;
    }
    let x = float(cx, &x, &c.at("x"))?;
    let dims = cx.shape(x);
    let [length, batch, _] = dims[..] else { return Err(format!("takes a sequence of rank {}", dims.len()).into()) };
    let length = cx.size(length)?;
    cx.unroll(length.saturating_mul(layer.backwards.len() * STEP))?;
    whole(cx, c, length)?;
    let initial = |cx: &mut Cx, slot: usize, name: &str| -> Done<Option<Val>> {
        match c.input(slot) {
            Val::Absent => Ok(None),
            // Where nothing is given a layer starts from zeros too.
            given if is_zero(cx, given) => Ok(None),
            given if layer.batch_first => cx.transposed(given, &[1, 0, 2], &c.at(name)).map(Some),
            given => Ok(Some(given.clone())),
        }
    };
    let states = initial(cx, 5, "initial_h")?;
    let cells = if layer.cell == Cell::Lstm { initial(cx, 6, "initial_c")? } else { None };
    let (mut rows, mut last, mut last_cells) = (Vec::new(), Vec::new(), Vec::new());
    for (d, &backwards) in layer.backwards.iter().enumerate() {
        let path = c.at(if backwards { "back" } else { "forth" });
        let own = [batch, Dim::Fixed(layer.hidden)];
        let state = start(cx, states.as_ref(), d, own, &format!("{path}.h"))?;
        let cell = start(cx, cells.as_ref(), d, own, &format!("{path}.c"))?;
        let mut direction = Direction::of(cx, layer, d, weights, &path)?;
        let inputs = direction.inputs(cx, x, [length, layer.hidden], batch, &path)?;
        let order: Vec<usize> = if backwards { (0..length).rev().collect() } else { (0..length).collect() };
        let mut results = vec![None; length];
        (direction.state, direction.memory) = (state, cell);
        for t in order {
            let state = direction.step(cx, inputs[t], product, &format!("{path}.{t}"))?;
            results[t] = Some(state);
        }
        rows.push(results.into_iter().flatten().collect::<Vec<Value>>());
        last.push(direction.state.ok_or("takes no step")?);
        last_cells.push(direction.memory);
    }
    results(cx, c, layer, elem, batch, rows, [last, last_cells.into_iter().flatten().collect()])
}

/// Whether a state is zeros alone, however many there are.
fn is_zero(cx: &Cx, value: &Val) -> bool {
    let mut value = value.clone();
    // Parts of zeros are zeros, and a batch of them may be of any size.
    while let Val::Node(v, elem) = value
        && let ([of], Class::Movement) = (&cx.graph.producer(v).inputs[..], cx.graph.op(v).facts().class)
    {
        value = Val::Node(*of, elem);
    }
    cx.constant(&value).and_then(|k| k.reals()).is_some_and(|all| all.iter().all(|&x| x == 0.0))
}

/// The state `[b,h]` that a direction starts from, if it is given.
fn start(cx: &mut Cx, all: Option<&Val>, direction: usize, own: [Dim; 2], path: &str) -> Done<Option<Value>> {
    let Some(all) = all else { return Ok(None) };
    let state = slice(cx, all, direction, path)?;
    let state = float(cx, &state, path)?;
    match cx.shape(state)[..] == own {
        true => Ok(Some(state)),
        false => Err(format!("starts from a state {}", cx.graph.shape(state)).into()),
    }
}

/// Every sequence is as long as the array.
fn whole(cx: &Cx, c: &Call<'_>, length: usize) -> Done<()> {
    if c.input(4).is_absent() {
        return Ok(());
    }
    match cx.ints(c.input(4), "lengths of sequences")? {
        all if all.iter().all(|&l| l == length as i64) => Ok(()),
        _ => Err("has sequences of several lengths".into()),
    }
}

/// Y, Y_h and, of an LSTM, Y_c, as far as somebody reads them.
fn results(
    cx: &mut Cx,
    c: &Call<'_>,
    layer: &Layer,
    elem: super::super::super::tensor::Elem,
    batch: Dim,
    rows: Vec<Vec<Value>>,
    last: [Vec<Value>; 2],
) -> Done {
    let hidden = Dim::Fixed(layer.hidden);
    let one = Dim::Fixed(1);
    let nothing = || Val::Missing("nobody reads it".into());
    let mut all = nothing();
    if c.wants(0) {
        let mut directions = Vec::new();
        for (d, rows) in rows.into_iter().enumerate() {
            let mut steps = Vec::new();
            for (t, state) in rows.into_iter().enumerate() {
                let path = c.at(&format!("y{d}.{t}"));
                steps.push(Val::Node(cx.reshape(state, vec![one, one, batch, hidden], &path)?, elem));
            }
            directions.push(cx.joined(&steps, 0, &c.at(&format!("y{d}")))?);
        }
        all = cx.joined(&directions, 1, &c.path)?;
        if layer.batch_first {
            all = cx.transposed(&all, &[2, 0, 1, 3], &c.at("y"))?;
        }
    }
    let mut found = vec![all];
    for (slot, (states, name)) in last.into_iter().zip(["last", "cell"]).enumerate() {
        if !c.wants(slot + 1) || states.is_empty() {
            found.push(nothing());
            continue;
        }
        let mut parts = Vec::new();
        for (d, state) in states.into_iter().enumerate() {
            let path = c.at(&format!("{name}{d}"));
            parts.push(Val::Node(cx.reshape(state, vec![one, batch, hidden], &path)?, elem));
        }
        let joined = cx.joined(&parts, 0, &c.at(name))?;
        found.push(match layer.batch_first {
            true => cx.transposed(&joined, &[1, 0, 2], &c.at(&format!("{name}.batch")))?,
            false => joined,
        });
    }
    Ok(found)
}

/// One direction: its weights, and where it stands.
struct Direction<'a> {
    cell: Cell,
    hidden: usize,
    functions: &'a [UnaryKind],
    w: Value,
    r: Value,
    /// What is added to all steps' inputs at once.
    bias: Option<Value>,
    /// What a GRU adds to its candidate's product with the state before the reset gate.
    inner: Option<Value>,
    state: Option<Value>,
    memory: Option<Value>,
}

impl<'a> Direction<'a> {
    fn of(cx: &mut Cx, layer: &'a Layer, d: usize, weights: &[Val; 3], path: &str) -> Done<Direction<'a>> {
        let (gates, hidden) = (layer.cell.gates(), layer.hidden);
        let rows = gates * hidden;
        let matrix = |cx: &mut Cx, value: &Val, name: &str| -> Done<Value> {
            let one = slice(cx, value, d, &format!("{path}.{name}"))?;
            let matrix = float(cx, &one, &format!("{path}.{name}"))?;
            match cx.shape(matrix)[..] {
                [found, _] if found == Dim::Fixed(rows) => Ok(matrix),
                _ => Err(format!("its weights do not have {rows} rows").into()),
            }
        };
        let (w, r) = (matrix(cx, &weights[0], "w")?, matrix(cx, &weights[1], "r")?);
        let (mut bias, mut inner) = (None, None);
        if !weights[2].is_absent() {
            let row = slice(cx, &weights[2], d, &format!("{path}.b"))?;
            if cx.dims(&row)? != [Dim::Fixed(2 * rows)] {
                return Err(format!("its bias does not have {} numbers", 2 * rows).into());
            }
            let half = |cx: &mut Cx, from: usize, count: usize, name: &str| -> Done<Value> {
                let part = part(cx, &row, 0, from, count, &format!("{path}.{name}"))?;
                float(cx, &part, &format!("{path}.{name}"))
            };
            let (own, recurrent) = (half(cx, 0, rows, "wb")?, half(cx, rows, rows, "rb")?);
            bias = Some(match layer.cell {
                Cell::Gru { reset_after: true } => {
                    inner = Some(half(cx, rows + 2 * hidden, hidden, "rb.inner")?);
                    let gates = half(cx, rows, 2 * hidden, "rb.gates")?;
                    let (before, after) = (vec![0], vec![hidden]);
                    let mode = vitc_ir::op::PadMode::ZERO;
                    let gates = cx.push(Op::Pad { before, after, mode }, &[gates], &format!("{path}.rb.padded"))?;
                    cx.binary(BinaryKind::Add, own, gates, &format!("{path}.bias"))?
                }
                _ => cx.binary(BinaryKind::Add, own, recurrent, &format!("{path}.bias"))?,
            });
        }
        let functions = &layer.functions[d];
        Ok(Direction { cell: layer.cell, hidden, functions, w, r, bias, inner, state: None, memory: None })
    }

    /// The products of all steps' inputs, one value `[b,gates·h]` a step.
    fn inputs(&self, cx: &mut Cx, x: Value, [length, hidden]: [usize; 2], batch: Dim, path: &str) -> Done<Vec<Value>> {
        let operands: Vec<Value> = [x, self.w].into_iter().chain(self.bias).collect();
        let all = cx.push(Op::Linear, &operands, &format!("{path}.inputs"))?;
        let width = Dim::Fixed(hidden * self.cell.gates());
        let steps: Vec<Value> = match length {
            1 => vec![all],
            _ => cx.split(all, 0, vec![1; length], &format!("{path}.steps"))?,
        };
        let rows = |(t, step)| cx.reshape(step, vec![batch, width], &format!("{path}.{t}.input"));
        steps.into_iter().enumerate().map(rows).collect()
    }

    /// The next state.
    fn step(&mut self, cx: &mut Cx, input: Value, product: &mut Product<'_>, path: &str) -> Done<Value> {
        let next = match self.cell {
            Cell::Lstm => self.lstm(cx, input, product, path)?,
            Cell::Gru { reset_after } => self.gru(cx, input, reset_after, product, path)?,
            Cell::Rnn => {
                let sum = match self.state {
                    Some(state) => {
                        let own = product(cx, state, self.r, &format!("{path}.own"))?;
                        cx.binary(BinaryKind::Add, input, own, &format!("{path}.sum"))?
                    }
                    None => input,
                };
                cx.unary(self.functions[0], sum, path)?
            }
        };
        self.state = Some(next);
        Ok(next)
    }

    fn lstm(&mut self, cx: &mut Cx, input: Value, product: &mut Product<'_>, path: &str) -> Done<Value> {
        let at = |name: &str| format!("{path}.{name}");
        let n = self.hidden;
        let sum = match self.state {
            Some(state) => {
                let own = product(cx, state, self.r, &at("own"))?;
                cx.binary(BinaryKind::Add, input, own, &at("sum"))?
            }
            None => input,
        };
        let parts = cx.split(sum, 1, vec![3 * n, n], &at("parts"))?;
        let gates = cx.unary(self.functions[0], parts[0], &at("gates"))?;
        let gates = cx.split(gates, 1, vec![n; 3], &at("iof"))?;
        let candidate = cx.unary(self.functions[1], parts[1], &at("candidate"))?;
        let mut memory = cx.binary(BinaryKind::Mul, gates[0], candidate, &at("new"))?;
        if let Some(old) = self.memory {
            let kept = cx.binary(BinaryKind::Mul, gates[2], old, &at("kept"))?;
            memory = cx.binary(BinaryKind::Add, kept, memory, &at("cell"))?;
        }
        self.memory = Some(memory);
        let shown = cx.unary(self.functions[2], memory, &at("shown"))?;
        cx.binary(BinaryKind::Mul, gates[1], shown, path)
    }

    fn gru(
        &mut self,
        cx: &mut Cx,
        input: Value,
        reset_after: bool,
        product: &mut Product<'_>,
        path: &str,
    ) -> Done<Value> {
        let at = |name: &str| format!("{path}.{name}");
        let n = self.hidden;
        let inputs = cx.split(input, 1, vec![2 * n, n], &at("parts"))?;
        let rows = |cx: &mut Cx, from: usize, count: usize, name: &str| {
            let cuts = vec![vitc_ir::op::SliceAxis { axis: 0, start: from, stop: from + count, step: 1 }];
            cx.push(Op::Slice { cuts }, &[self.r], &at(name))
        };
        let Some(state) = self.state else {
            let gates = cx.unary(self.functions[0], inputs[0], &at("gates"))?;
            let gates = cx.split(gates, 1, vec![n; 2], &at("zr"))?;
            let sum = match self.inner {
                Some(inner) => {
                    let reset = cx.binary(BinaryKind::Mul, gates[1], inner, &at("reset"))?;
                    cx.binary(BinaryKind::Add, inputs[1], reset, &at("sum"))?
                }
                None => inputs[1],
            };
            let candidate = cx.unary(self.functions[1], sum, &at("candidate"))?;
            let kept = cx.binary(BinaryKind::Mul, gates[0], candidate, &at("less"))?;
            return cx.binary(BinaryKind::Sub, candidate, kept, path);
        };
        let gate_rows = rows(cx, 0, 2 * n, "r.gates")?;
        let own = product(cx, state, gate_rows, &at("own"))?;
        let sum = cx.binary(BinaryKind::Add, inputs[0], own, &at("gates.sum"))?;
        let gates = cx.unary(self.functions[0], sum, &at("gates"))?;
        let gates = cx.split(gates, 1, vec![n; 2], &at("zr"))?;
        let inner_rows = rows(cx, 2 * n, n, "r.inner")?;
        let inner = if reset_after {
            let mut inner = product(cx, state, inner_rows, &at("inner"))?;
            if let Some(bias) = self.inner {
                inner = cx.binary(BinaryKind::Add, inner, bias, &at("inner.bias"))?;
            }
            cx.binary(BinaryKind::Mul, gates[1], inner, &at("reset"))?
        } else {
            let reset = cx.binary(BinaryKind::Mul, gates[1], state, &at("reset"))?;
            product(cx, reset, inner_rows, &at("inner"))?
        };
        let sum = cx.binary(BinaryKind::Add, inputs[1], inner, &at("sum"))?;
        let candidate = cx.unary(self.functions[1], sum, &at("candidate"))?;
        // (1 − z)·candidate + z·state.
        let difference = cx.binary(BinaryKind::Sub, state, candidate, &at("difference"))?;
        let kept = cx.binary(BinaryKind::Mul, gates[0], difference, &at("kept"))?;
        cx.binary(BinaryKind::Add, candidate, kept, path)
    }
}

/// A layer whose weights are codes: `[directions,rows,gates·h]`, turned.
pub(super) fn upright(cx: &mut Cx, weights: &Val, path: &str) -> Done<Val> {
    if cx.dims(weights)?.len() != 3 {
        return Err(Refusal::new("has weights of another rank than 3"));
    }
    cx.transposed(weights, &[0, 2, 1], path)
}
