//! The inputs of one operation, by name and checked.

use super::body::{Body, Bound};
use super::defaults::{Usual, default};
use super::values::{Constant, Elements};
use crate::coreml::messages::{self, binding};
use std::cell::RefCell;
use std::collections::HashSet;
use vitc_ir::{Op, Value};

/// An operator and its operands.
pub(super) type Decoded = Result<(Op, Vec<Value>), String>;

/// The inputs of one operation.
pub(super) struct Call<'b, 'a> {
    /// The body so far.
    pub(super) body: &'b mut Body<'a>,
    /// The operation.
    pub(super) operation: &'b messages::Operation,
    /// Inputs that were asked for.
    asked: RefCell<HashSet<String>>,
}

impl<'b, 'a> Call<'b, 'a> {
    /// An operation of which nothing is read yet.
    pub(super) fn new(body: &'b mut Body<'a>, operation: &'b messages::Operation) -> Self {
        Call { body, operation, asked: RefCell::default() }
    }

    fn ask(&self, input: &str) {
        self.asked.borrow_mut().insert(input.into());
    }

    /// Every input says something: one that nobody asked for would be ignored in silence.
    pub(super) fn all_asked(&self) -> Result<(), String> {
        let asked = self.asked.borrow();
        let mut left: Vec<&String> = self.operation.inputs.keys().filter(|name| !asked.contains(*name)).collect();
        left.sort_unstable();
        match left.first() {
            Some(name) => Err(format!("the input {name} is not read")),
            None => Ok(()),
        }
    }

    /// Names bound to an input.
    pub(super) fn names(&self, input: &str) -> Result<Vec<String>, String> {
        self.ask(input);
        let argument = self.operation.inputs.get(input).ok_or_else(|| format!("the input {input} is missing"))?;
        let name = |b: &messages::Binding| match &b.kind {
            Some(binding::Kind::Name(name)) => Ok(name.clone()),
            Some(binding::Kind::Value(_)) | None => Err(format!("the input {input} is not bound to a name")),
        };
        argument.arguments.iter().map(name).collect()
    }

    /// The one name bound to an input.
    pub(super) fn name(&self, input: &str) -> Result<String, String> {
        let names = self.names(input)?;
        <[String; 1]>::try_from(names).map(|[n]| n).map_err(|n| format!("the input {input} has {} values", n.len()))
    }

    /// Whether the operation has an input.
    pub(super) fn has(&self, input: &str) -> bool {
        self.ask(input);
        self.operation.inputs.contains_key(input)
    }

    /// Inputs that change no result, or only one that the program declares.
    pub(super) fn idle(&self, inputs: &[&str]) {
        inputs.iter().for_each(|input| self.ask(input));
    }

    /// The value of the graph that an input is bound to.
    pub(super) fn value(&mut self, input: &str) -> Result<Value, String> {
        let name = self.name(input)?;
        self.body.leaf(&name)
    }

    /// The value of the input `x`.
    pub(super) fn x(&mut self) -> Result<Value, String> {
        self.value("x")
    }

    /// The value of the input `x`, which is a map.
    pub(super) fn map(&mut self) -> Result<Value, String> {
        let x = self.x()?;
        match self.rank(x) {
            4 => Ok(x),
            _ => Err(format!("takes a map [B,C,H,W], found {}", self.body.graph.ty(x))),
        }
    }

    /// The default of an input that the program leaves out, if it may.
    fn usual(&self, input: &str) -> Option<Usual> {
        if self.body.strict || self.has(input) { None } else { default(&self.operation.r#type, input) }
    }

    fn parameter(&self, input: &str) -> Result<&Constant, String> {
        match self.body.bound.get(&self.name(input)?) {
            Some(Bound::Constant(constant, _)) => Ok(constant),
            _ => Err(format!("the input {input} is not a constant")),
        }
    }

    /// One truth value.
    pub(super) fn flag(&self, input: &str) -> Result<bool, String> {
        if let Some(Usual::Flag(flag)) = self.usual(input) {
            return Ok(flag);
        }
        match (&self.parameter(input)?.elements, self.parameter(input)?.dims.is_empty()) {
            (Elements::Bools(b), true) => Ok(b[0]),
            _ => Err(format!("the input {input} is not one truth value")),
        }
    }

    /// A truth value that must be `wanted`.
    pub(super) fn must(&self, input: &str, wanted: bool) -> Result<(), String> {
        match self.flag(input)? == wanted {
            true => Ok(()),
            false => Err(format!("{input} = {} is not read", !wanted)),
        }
    }

    /// A truth value per axis; all false if there is none.
    pub(super) fn mask(&self, input: &str, rank: usize) -> Result<Vec<bool>, String> {
        if !self.has(input) {
            return Ok(vec![false; rank]);
        }
        match &self.parameter(input)?.elements {
            Elements::Bools(b) if b.len() == rank => Ok(b.clone()),
            _ => Err(format!("the input {input} has not one truth value per axis")),
        }
    }

    /// One number.
    pub(super) fn number(&self, input: &str) -> Result<f64, String> {
        if let Some(Usual::Number(number)) = self.usual(input) {
            return Ok(number);
        }
        match (&self.parameter(input)?.elements, self.parameter(input)?.dims.is_empty()) {
            (Elements::Floats(f), true) => Ok(f[0]),
            (Elements::Ints(i), true) => Ok(f64::from(i[0])),
            _ => Err(format!("the input {input} is not one number")),
        }
    }

    /// Whether the numbers of an input are all 0.
    pub(super) fn zeros(&self, input: &str) -> Result<bool, String> {
        match &self.parameter(input)?.elements {
            Elements::Ints(i) => Ok(i.iter().all(|&i| i == 0)),
            Elements::Floats(f) => Ok(f.iter().all(|&f| f == 0.0)),
            _ => Err(format!("the input {input} is not numbers in place")),
        }
    }

    /// One integer.
    pub(super) fn integer(&self, input: &str) -> Result<i32, String> {
        if let Some(Usual::Integer(integer)) = self.usual(input) {
            return Ok(integer);
        }
        match (&self.parameter(input)?.elements, self.parameter(input)?.dims.is_empty()) {
            (Elements::Ints(i), true) => Ok(i[0]),
            _ => Err(format!("the input {input} is not one integer")),
        }
    }

    /// A vector of integers.
    pub(super) fn whole(&self, input: &str) -> Result<Vec<i32>, String> {
        match (&self.parameter(input)?.elements, self.parameter(input)?.dims.len()) {
            (Elements::Ints(ints), 1) => Ok(ints.clone()),
            _ => Err(format!("the input {input} is not a vector of integers")),
        }
    }

    /// A vector of integers that are not negative.
    pub(super) fn sizes(&self, input: &str) -> Result<Vec<usize>, String> {
        if let Some(Usual::Sizes(sizes)) = self.usual(input) {
            return Ok(sizes.to_vec());
        }
        let constant = self.parameter(input)?;
        let (Elements::Ints(ints), 1) = (&constant.elements, constant.dims.len()) else {
            return Err(format!("the input {input} is not a vector of integers"));
        };
        let size = |&i: &i32| usize::try_from(i).map_err(|_| format!("{input} holds {i}"));
        ints.iter().map(size).collect()
    }

    /// A vector of exactly `N` of them.
    pub(super) fn sizes_of<const N: usize>(&self, input: &str) -> Result<[usize; N], String> {
        let sizes = self.sizes(input)?;
        sizes.try_into().map_err(|s: Vec<usize>| format!("{input} has {} elements instead of {N}", s.len()))
    }

    /// A string.
    pub(super) fn word(&self, input: &str) -> Result<&str, String> {
        if let Some(Usual::Word(word)) = self.usual(input) {
            return Ok(word);
        }
        match &self.parameter(input)?.elements {
            Elements::Text(text) => Ok(text),
            _ => Err(format!("the input {input} is not a string")),
        }
    }

    /// Number of dimensions of a value.
    pub(super) fn rank(&self, x: Value) -> usize {
        self.body.graph.shape(x).rank()
    }

    /// An axis of a value of this rank; negative ones count from the end.
    fn resolve(&self, axis: i64, rank: usize) -> Result<usize, String> {
        let from_start = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_start).ok().filter(|&a| a < rank).ok_or_else(|| format!("axis {axis} of {rank}"))
    }

    /// The axis that the input `axis` names, of a value of this rank.
    pub(super) fn axis(&self, rank: usize) -> Result<usize, String> {
        self.resolve(i64::from(self.integer("axis")?), rank)
    }

    /// The same for `axes`.
    pub(super) fn axes(&self, rank: usize) -> Result<Vec<usize>, String> {
        if !self.body.strict && !self.has("axes") {
            return Ok((0..rank).collect());
        }
        let constant = self.parameter("axes")?;
        let Elements::Ints(ints) = &constant.elements else { return Err("axes are not integers".into()) };
        let mut axes = ints.iter().map(|&a| self.resolve(i64::from(a), rank)).collect::<Result<Vec<_>, _>>()?;
        if !self.body.strict {
            axes.sort_unstable();
        }
        Ok(axes)
    }

    /// Padding of a window operation on a map, as top, left, bottom, right.
    pub(super) fn window_pad(&self) -> Result<[usize; 4], String> {
        let same = self.word("pad_type")?;
        if !self.body.strict && same.starts_with("same") {
            // A pad beside it counts for nothing.
            self.ask("pad");
            return self.same_pad(same == "same_lower");
        }
        let given: [usize; 4] = self.sizes_of("pad")?;
        match same {
            "custom" => Ok([given[0], given[2], given[1], given[3]]),
            "valid" => Ok([0; 4]),
            other => Err(format!("pad_type {other} is not read")),
        }
    }

    /// Padding with which there are ⌈size / stride⌉ windows; the odd one lies at the end, or in front.
    fn same_pad(&self, lower: bool) -> Result<[usize; 4], String> {
        let stride: [usize; 2] = self.sizes_of("strides")?;
        let dilation: [usize; 2] =
            if self.operation.r#type.ends_with("pool") { [1; 2] } else { self.sizes_of("dilations")? };
        let shape = |input: &str| match self.body.bound.get(&self.name(input)?) {
            Some(Bound::Value(v) | Bound::Constant(_, Some(v))) => Ok(self.body.graph.shape(*v).at(1)),
            Some(Bound::Constant(constant, None)) => Ok(constant.dims.clone()),
            _ => Err(format!("the input {input} is no array")),
        };
        let kernel: [usize; 2] = match self.operation.r#type.as_str() {
            "avg_pool" | "max_pool" => self.sizes_of("kernel_sizes")?,
            "conv" => shape("weight")?.get(2..4).and_then(|k| k.try_into().ok()).ok_or("has no kernel of two sides")?,
            _ => return Err("has a padding that depends on its result".into()),
        };
        let map = shape("x")?;
        let mut pad = [0; 4];
        for i in 0..2 {
            let size = *map.get(2 + i).ok_or("takes a map")?;
            let (stride, dilation) = (stride[i].max(1), dilation[i].max(1));
            let reach = kernel[i]
                .saturating_sub(1)
                .checked_mul(dilation)
                .and_then(|r| r.checked_add(1))
                .ok_or("is too large")?;
            let windows = size.div_ceil(stride).max(1);
            let total = (windows - 1).saturating_mul(stride).saturating_add(reach).saturating_sub(size);
            let half = total / 2;
            (pad[i], pad[2 + i]) = if lower { (total - half, half) } else { (half, total - half) };
        }
        Ok(pad)
    }
}
