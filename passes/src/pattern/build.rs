//! What a match makes: every operator with its operands, checked before anything is built.
//!
//! A plan is complete: attributes are read, types inferred, names composed. So a rule whose Result cannot be made at some place does not match there,
//! and building cannot fail half-way.

use super::attributes::operator;
use super::bindings::Bindings;
use super::term::{Rule, Source, Step};
use vitc_ir::infer::infer;
use vitc_ir::{Copier, DType, Graph, Op, Real, Shape, ShapeError, Type, Value};

/// One node to be made.
#[derive(Debug, Clone)]
struct Make {
    op: Op,
    ty: Type,
    operands: Vec<Operand>,
    path: String,
}

/// An operand of a node to be made.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Old(Value),
    New(usize),
}

/// What takes the place of one node.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    makes: Vec<Make>,
    result: Operand,
}

/// Why a Result cannot take the root's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// A function has no answer.
    Undefined,
    /// An operator does not take the operands, or the Result has another type than the root: a condition is missing.
    Type(String),
}

impl Plan {
    /// The Result of a rule for what its names stand for.
    pub(crate) fn new(graph: &Graph, rule: &Rule, bound: &Bindings) -> Result<Plan, Misfit> {
        let root = bound.value(rule.root).ok_or(Misfit::Undefined)?;
        let mut planner = Planner { graph, bound, root, makes: Vec::new(), steps: Vec::new() };
        for step in &rule.result.steps {
            planner.step(step)?;
        }
        let result = rule.result.result.as_ref().ok_or(Misfit::Undefined)?;
        let result = planner.operand(result)?;
        let (ty, wanted) = (planner.ty(result), graph.ty(root));
        if ty != wanted {
            return Err(Misfit::Type(format!("the Result is {ty} where the Given is {wanted}")));
        }
        Ok(Plan { makes: planner.makes, result })
    }

    /// Values of the old graph that stay in use.
    pub(crate) fn reads(&self) -> impl Iterator<Item = Value> + '_ {
        let operands = self.makes.iter().flat_map(|m| &m.operands).chain([&self.result]);
        operands.filter_map(|operand| match operand {
            Operand::Old(value) => Some(*value),
            Operand::New(_) => None,
        })
    }

    /// Whether the result is computed from an input, as every result of a model is.
    pub(crate) fn computes(&self, graph: &Graph) -> bool {
        match self.result {
            Operand::Old(value) => !graph.is_constant(value) && *graph.op(value) != Op::Input,
            Operand::New(_) => true,
        }
    }

    /// Append the nodes to the copy of the graph that was planned on.
    ///
    /// # Errors
    /// If a value that the plan reads is not there yet; types it has inferred.
    pub(crate) fn build(&self, copy: &mut Copier) -> Result<Value, ShapeError> {
        let mut made: Vec<Value> = Vec::with_capacity(self.makes.len());
        let now = |copy: &Copier, made: &[Value], operand: Operand| match operand {
            Operand::Old(value) => copy.get(value),
            Operand::New(make) => Ok(made[make]),
        };
        for Make { op, ty, operands, path } in &self.makes {
            let operands: Vec<Value> = operands.iter().map(|&o| now(copy, &made, o)).collect::<Result<_, _>>()?;
            let value = match operands.is_empty() {
                true => copy.new.push_leaf(op.clone(), ty.clone(), path)?,
                false => copy.new.push(op.clone(), &operands, path)?.into(),
            };
            made.push(value);
        }
        now(copy, &made, self.result)
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    bound: &'a Bindings,
    root: Value,
    makes: Vec<Make>,
    /// What each step makes.
    steps: Vec<Operand>,
}

impl Planner<'_> {
    fn ty(&self, operand: Operand) -> &Type {
        match operand {
            Operand::Old(value) => self.graph.ty(value),
            Operand::New(make) => &self.makes[make].ty,
        }
    }

    fn operand(&mut self, source: &Source) -> Result<Operand, Misfit> {
        match source {
            Source::Given(var) => self.bound.value(*var).map(Operand::Old).ok_or(Misfit::Undefined),
            Source::Step(step) => Ok(self.steps[*step]),
            Source::Number(number) => {
                let value = Real(self.bound.real(number).ok_or(Misfit::Undefined)?);
                let path = format!("{}.const_{value}", self.graph.producer(self.root).path);
                let op = Op::Literal { values: vec![value] };
                let ty = Type::new(self.dtype(), Shape::default());
                self.makes.push(Make { op, ty, operands: Vec::new(), path });
                Ok(Operand::New(self.makes.len() - 1))
            }
        }
    }

    /// Element type of the numbers that a Result writes: the root's.
    fn dtype(&self) -> DType {
        self.graph.ty(self.root).dtype
    }

    fn step(&mut self, step: &Step) -> Result<(), Misfit> {
        let operands: Vec<Operand> = step.operands.iter().map(|s| self.operand(s)).collect::<Result<_, _>>()?;
        let mut attributes = Vec::with_capacity(step.attributes.len());
        for (key, item) in &step.attributes {
            attributes.push((key.as_str(), self.bound.text(self.graph, item).ok_or(Misfit::Undefined)?));
        }
        let op = operator(&step.word, &attributes).map_err(Misfit::Type)?;
        let types: Vec<&Type> = operands.iter().map(|&o| self.ty(o)).collect();
        let types = infer(&op, &types).map_err(|e| Misfit::Type(format!("{}: {}", e.op, e.what)))?;
        let [ty] = <[Type; 1]>::try_from(types)
            .map_err(|types| Misfit::Type(format!("{} makes {} values", step.word, types.len())))?;
        if let (Op::Reshape { .. }, &[x]) = (&op, &operands[..])
            && *self.ty(x) == ty
        {
            // The shape that it has already.
            self.steps.push(x);
            return Ok(());
        }
        let (base, suffix) = &step.path;
        let base = self.bound.value(*base).ok_or(Misfit::Undefined)?;
        let path = format!("{}{suffix}", self.graph.producer(base).path);
        self.makes.push(Make { op, ty, operands, path });
        self.steps.push(Operand::New(self.makes.len() - 1));
        Ok(())
    }
}
