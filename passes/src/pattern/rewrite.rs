//! Runs rules over a graph.
//!
//! A round looks at every node that is still needed, from the results back: where a rule matches, its Result's operands are needed and what the
//! rule looked through is not, unless something else needs it. Then the graph is copied once with every Result in its place. All matches of a
//! round are matches of one graph, and each puts an equal value in the place of a value, so they may overlap. Rounds follow until nothing matches.
//!
//! A table by operator says which rules begin at a node, so many rules cost little more than one, and [`FUEL`](super::matcher::FUEL) bounds
//! what one node costs: a round is linear in the graph.

use super::bindings::Bindings;
use super::build::{Misfit, Plan};
use super::matcher::Matcher;
use super::term::{Condition, Group, Rule, Term};
use super::{Rules, Site};
use crate::pass::{PassError, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::{Copier, Graph, NodeId, Op, Uses};

/// Rounds after which rules count as undoing each other. A chain of 2ⁿ nodes that rules join in pairs takes n.
const ROUNDS: usize = 64;

/// Which Givens may begin at an operator: rule and spelling, in the order of the rules.
pub(crate) type Table = HashMap<String, Vec<(usize, usize)>>;

/// The table of a list of rules.
pub(crate) fn table(rules: &[Rule]) -> Table {
    let mut table = Table::new();
    for (r, rule) in rules.iter().enumerate() {
        for (g, given) in rule.givens.iter().enumerate() {
            let words: Vec<&str> = match &given.terms[given.root] {
                Term::Apply(apply) => vec![&apply.word],
                Term::Chain(chain) => Group::words(chain.group).to_vec(),
                Term::Free(_) | Term::Number(_) => vec![],
            };
            words.into_iter().for_each(|w| table.entry(w.to_string()).or_default().push((r, g)));
        }
    }
    table
}

/// A question to ask before a rule may fire.
pub(crate) type Permit<'a> = dyn Fn(&Site<'_>) -> bool + 'a;

impl Rules {
    /// Rewrite until nothing matches.
    ///
    /// # Errors
    /// If the rules undo each other.
    pub(crate) fn run(&self, graph: &Graph) -> Result {
        self.run_where(graph, &|_| true)
    }

    /// Rewrite where `permit` agrees, until nothing matches.
    ///
    /// # Errors
    /// As [`Rules::run`].
    pub(crate) fn run_where(&self, graph: &Graph, permit: &Permit) -> Result {
        let mut result = Rewritten::unchanged(graph);
        for _ in 0..ROUNDS {
            let round = self.round(&result.graph, permit);
            if round.plans.is_empty() {
                return Ok(result);
            }
            result.count += round.plans.len();
            result.graph = round.apply(&result.graph)?;
        }
        let what = format!("its rules still match after {ROUNDS} rounds, so one undoes what another does");
        Err(PassError { pass: String::new(), node: String::new(), what })
    }

    /// What matches, from the results back.
    pub(crate) fn round(&self, graph: &Graph, permit: &Permit) -> Round {
        let uses = graph.uses();
        let mut needed = vec![false; graph.len()];
        let mut need = |node: NodeId| needed[node.0 as usize] = true;
        graph.inputs().for_each(|(id, _)| need(id));
        graph.outputs.iter().for_each(|o| need(o.value.node));
        let mut plans = HashMap::new();
        for (id, node) in graph.nodes().rev() {
            if !needed[id.0 as usize] {
                continue;
            }
            let mut need = |node: NodeId| needed[node.0 as usize] = true;
            match self.at(graph, &uses, id, permit) {
                Some(plan) => {
                    plan.reads().for_each(|v| need(v.node));
                    plans.insert(id, plan);
                }
                None => node.inputs.iter().for_each(|v| need(v.node)),
            }
        }
        Round { needed, plans }
    }

    /// What the first rule that matches at a node makes of it.
    fn at(&self, graph: &Graph, uses: &Uses, id: NodeId, permit: &Permit) -> Option<Plan> {
        let node = graph.node(id);
        if graph.is_constant(id.into()) || node.op == Op::Input {
            return None;
        }
        let candidates = self.table.get(node.op.word())?;
        candidates.iter().find_map(|&(rule, given)| self.rules[rule].at(given, graph, uses, id, permit, &mut |_| ()))
    }
}

impl Rule {
    /// What this rule makes of a node, if the spelling matches there. `misfit` hears of matches whose Result does not fit.
    pub(crate) fn at(
        &self,
        given: usize,
        graph: &Graph,
        uses: &Uses,
        id: NodeId,
        permit: &Permit,
        misfit: &mut dyn FnMut(Misfit),
    ) -> Option<Plan> {
        let mut plan = None;
        Matcher::new(graph, uses, &self.givens[given]).run(self, id.into(), &mut |bound| {
            let conditions = self.conditions.iter().all(|c| holds(graph, bound, c));
            if conditions && permit(&Site { graph, rule: self, bound, root: id }) {
                plan = Plan::new(graph, self, bound).map_err(&mut *misfit).ok();
                plan = plan.take().filter(|plan| !uses.is_result(id.into()) || plan.computes(graph));
            }
            plan.is_some()
        });
        plan
    }
}

/// Whether a condition holds. A name that stands for nothing in this spelling makes it false.
pub(crate) fn holds(graph: &Graph, bound: &Bindings, condition: &Condition) -> bool {
    bound.arguments(graph, &condition.arguments).is_some_and(|found| (condition.fact.holds)(graph, &found))
}

/// What one round does.
pub(crate) struct Round {
    /// By node: whether it is needed afterwards, copied or replaced.
    needed: Vec<bool>,
    plans: HashMap<NodeId, Plan>,
}

impl Round {
    pub(crate) fn apply(&self, graph: &Graph) -> Result<Graph> {
        let mut copy = Copier::new(graph, graph.stage);
        for (id, _) in graph.nodes().filter(|(id, _)| self.needed[id.0 as usize]) {
            let Some(plan) = self.plans.get(&id) else {
                copy.node(id)?;
                continue;
            };
            let value = plan.build(&mut copy)?;
            copy.set(id.into(), value);
        }
        Ok(copy.finish()?)
    }
}
