//! One node with its operands: what an operator's reading asks for.

use super::super::flat::FlatNode;
use super::super::proto::{Attribute, Body};
use super::super::tensor::Tensor;
use super::cx::Cx;
use super::refusal::{Done, Refusal};
use super::value::Val;
use std::cell::RefCell;
use std::sync::Arc;

/// How an operator is read.
pub(super) type Read = fn(&mut Cx, &Call<'_>) -> Done;

/// A node with its operands.
pub(super) struct Call<'a> {
    pub(super) node: &'a FlatNode,
    pub(super) inputs: Vec<Val>,
    /// Path of what it becomes.
    pub(super) path: String,
    /// Version of the standard operators, or of its own set.
    pub(super) version: i64,
    /// Which attributes were asked for.
    asked: RefCell<Vec<String>>,
}

const ABSENT: Val = Val::Absent;

impl<'a> Call<'a> {
    pub(super) fn new(node: &'a FlatNode, inputs: Vec<Val>, path: String) -> Call<'a> {
        Call { node, inputs, path, version: node.version(), asked: RefCell::default() }
    }

    /// The operator.
    pub(super) fn op(&self) -> &str {
        &self.node.op
    }

    /// An operand; absent beyond the last.
    pub(super) fn input(&self, i: usize) -> &Val {
        self.inputs.get(i).unwrap_or(&ABSENT)
    }

    /// An operand that has to be there.
    pub(super) fn needed(&self, i: usize) -> Done<&Val> {
        match self.input(i) {
            Val::Absent => Err(format!("operand {i} is missing").into()),
            value => Ok(value),
        }
    }

    /// Whether anybody may read this result.
    pub(super) fn wants(&self, result: usize) -> bool {
        self.node.outputs.get(result).is_some_and(|n| !n.is_empty())
    }

    /// A path below the node's.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn attribute(&self, name: &str) -> Option<&'a Attribute> {
        self.asked.borrow_mut().push(name.into());
        self.node.attributes.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }

    /// Attributes that nobody asked for.
    pub(super) fn unread(&self) -> Vec<&'a str> {
        let asked = self.asked.borrow();
        let names = self.node.attributes.iter().map(|(name, _)| name.as_str());
        names.filter(|name| asked.iter().all(|a| a != name)).collect()
    }

    fn wrong<T>(&self, name: &str, what: &str) -> Done<T> {
        Err(Refusal::new(format!("its attribute {name} is no {what}")))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Done<i64> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Int(i)) => Ok(*i),
            Some(_) => self.wrong(name, "whole number"),
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Done<f64> {
        match self.attribute(name) {
            None => Ok(f64::from(default)),
            Some(Attribute::Float(f)) => Ok(f64::from(*f)),
            Some(_) => self.wrong(name, "float"),
        }
    }

    pub(super) fn text(&self, name: &str, default: &'a str) -> Done<&'a str> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Text(t)) => Ok(t),
            Some(_) => self.wrong(name, "text"),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Done<Option<Vec<i64>>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(list)) => Ok(Some(list.clone())),
            Some(_) => self.wrong(name, "list of whole numbers"),
        }
    }

    pub(super) fn floats(&self, name: &str) -> Done<Option<Vec<f32>>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Floats(list)) => Ok(Some(list.clone())),
            Some(_) => self.wrong(name, "list of floats"),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Done<Option<Vec<&'a str>>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Texts(list)) => Ok(Some(list.iter().map(String::as_str).collect())),
            Some(_) => self.wrong(name, "list of texts"),
        }
    }

    pub(super) fn tensor(&self, name: &str) -> Done<Option<Arc<Tensor>>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Tensor(tensor)) => Ok(Some(tensor.clone())),
            Some(_) => self.wrong(name, "constant"),
        }
    }

    pub(super) fn body(&self, name: &str) -> Done<Arc<Body>> {
        match self.attribute(name) {
            Some(Attribute::Graph(body)) => Ok(body.clone()),
            _ => self.wrong(name, "graph"),
        }
    }
}

/// An axis that may count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Done<usize> {
    let signed = rank as i64;
    let from_start = if axis < 0 { axis.checked_add(signed) } else { Some(axis) };
    match from_start {
        Some(a) if (0..signed).contains(&a) => Ok(a as usize),
        _ => Err(format!("axis {axis} does not exist in rank {rank}").into()),
    }
}

/// Axes that may count from the end, ascending; one twice is an error.
pub(super) fn axes(list: &[i64], rank: usize) -> Done<Vec<usize>> {
    let mut all = list.iter().map(|&a| axis(a, rank)).collect::<Done<Vec<usize>>>()?;
    all.sort_unstable();
    match all.windows(2).any(|w| w[0] == w[1]) {
        true => Err(format!("an axis stands twice in {list:?}").into()),
        false => Ok(all),
    }
}
