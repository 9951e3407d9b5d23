//! Finds a Given at one node of a graph.
//!
//! What has to hold is a stack of goals. A goal either holds, fails, adds goals, or has alternatives (who of a sum is who), which are tried one
//! after the other, each with bindings of its own. Every goal uses a unit of fuel, so a node costs at most [`FUEL`] of them, whatever the graph.
//!
//! Sums and products match in any order and any brackets: the operands of the rule are dealt out to the two operands of the graph's operator in every
//! way, and each hand is then matched with its operand: one alone is that operand, several are a chain again. Subtraction and division deal
//! inverted hands on the right. A hand may be empty on the left of an inversion: `1/s` is the product of `s` inverted.

use super::attributes::attributes;
use super::bindings::Bindings;
use super::number::number;
use super::term::{Apply, Chain, Element, Given, Group, Inner, Item, Number, Rule, Term, TermId};
use vitc_ir::{Graph, Op, Uses, Value};

/// Goals that may be looked at for one node and one Given.
pub(crate) const FUEL: usize = 4096;

/// What a match must still pass, with the bindings complete.
pub(crate) type Accept<'a> = dyn FnMut(&Bindings) -> bool + 'a;

/// What has to hold.
#[derive(Clone)]
enum Goal {
    /// The value is the term.
    Is(TermId, Value),
    /// The value combines the elements; `free` if somebody else may read it.
    Combines { group: Group, elements: Vec<Element>, value: Value, free: bool },
    /// The operands, some inverted, combine the elements.
    Deal { group: Group, elements: Vec<Element>, operands: Vec<(Value, bool)> },
}

/// The search at one node.
pub(crate) struct Matcher<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) uses: &'a Uses,
    pub(crate) given: &'a Given,
    fuel: usize,
}

impl<'a> Matcher<'a> {
    pub(crate) fn new(graph: &'a Graph, uses: &'a Uses, given: &'a Given) -> Self {
        Matcher { graph, uses, given, fuel: FUEL }
    }

    /// The first way in which `value` is the Given and `accept` agrees.
    pub(crate) fn run(mut self, rule: &Rule, value: Value, accept: &mut Accept) -> Option<Bindings> {
        self.solve(vec![Goal::Is(self.given.root, value)], Bindings::new(rule), accept)
    }

    fn solve(&mut self, mut goals: Vec<Goal>, mut bound: Bindings, accept: &mut Accept) -> Option<Bindings> {
        while let Some(goal) = goals.pop() {
            self.fuel = self.fuel.checked_sub(1)?;
            let alternatives = match goal {
                Goal::Is(term, value) => {
                    self.is(term, value, &mut goals, &mut bound)?;
                    continue;
                }
                Goal::Combines { group, elements, value, free } => self.combines(group, elements, value, free),
                Goal::Deal { group, elements, operands } => self.deal(group, &elements, &operands, &bound),
            };
            // The last alternative needs no copy of what is left to do.
            let (last, others) = alternatives.split_last()?;
            for other in others {
                let goals = goals.iter().chain(other).cloned().collect();
                if let Some(found) = self.solve(goals, bound.clone(), accept) {
                    return Some(found);
                }
            }
            goals.extend_from_slice(last);
        }
        accept(&bound).then_some(bound)
    }

    /// Whether `value` is the term, as far as this node tells; the rest becomes goals.
    fn is(&self, term: TermId, value: Value, goals: &mut Vec<Goal>, bound: &mut Bindings) -> Option<()> {
        match &self.given.terms[term] {
            Term::Free(free) => {
                let fits = !free.constant || self.graph.is_constant(value);
                let fits = fits && bound.bind(free.var, value);
                let shape = free.shape.as_ref().is_none_or(|s| bound.shape(s, self.graph.shape(value)));
                (fits && shape).then_some(())
            }
            Term::Number(wanted) => bound.number(wanted, number(self.graph, value)?).then_some(()),
            Term::Apply(apply) => match self.enter(&apply.inner, term, value, bound)? {
                Known::Already => Some(()),
                Known::New => self.apply(apply, value, goals, bound),
            },
            Term::Chain(Chain { inner, group, elements }) => match self.enter(inner, term, value, bound)? {
                Known::Already => Some(()),
                Known::New => {
                    goals.push(Goal::Combines { group: *group, elements: elements.clone(), value, free: true });
                    Some(())
                }
            },
        }
    }

    /// Bind the name of an inner value and count its readers.
    fn enter(&self, inner: &Inner, term: TermId, value: Value, bound: &mut Bindings) -> Option<Known> {
        if let Some(var) = inner.var {
            let known = bound.value(var).is_some();
            if !bound.bind(var, value) {
                return None;
            }
            if known {
                return Some(Known::Already);
            }
        }
        let alone = inner.shared
            || term == self.given.root
            || self.graph.is_constant(value)
            || self.uses.count(value) == inner.reads;
        alone.then_some(Known::New)
    }

    fn apply(&self, apply: &Apply, value: Value, goals: &mut Vec<Goal>, bound: &mut Bindings) -> Option<()> {
        let node = self.graph.producer(value);
        if node.op.word() != apply.word || node.inputs.len() != apply.operands.len() || node.types.len() != 1 {
            return None;
        }
        let found = attributes(&node.op);
        let attribute = |(key, item): &(String, Item)| {
            found.iter().find(|(k, _)| k == key).is_some_and(|(_, text)| bound.item(item, text))
        };
        if found.len() != apply.attributes.len() || !apply.attributes.iter().all(attribute) {
            return None;
        }
        // The last goal is looked at first: operands without alternatives.
        let operands = apply.operands.iter().zip(&node.inputs[..]);
        let (chains, others): (Vec<_>, Vec<_>) =
            operands.map(|(&t, &v)| Goal::Is(t, v)).partition(|g| self.has_alternatives(g));
        goals.extend(chains.into_iter().chain(others));
        Some(())
    }

    fn has_alternatives(&self, goal: &Goal) -> bool {
        matches!(goal, Goal::Is(term, _) if matches!(self.given.terms[*term], Term::Chain(_)))
    }

    /// The ways in which one value combines the elements: it is the only one, or its operator's operands do.
    fn combines(&self, group: Group, elements: Vec<Element>, value: Value, free: bool) -> Vec<Vec<Goal>> {
        let mut ways = Vec::new();
        match elements[..] {
            [] => {
                if group.identity().is_some_and(|one| number(self.graph, value) == Some(one)) {
                    ways.push(Vec::new());
                }
                return ways;
            }
            [Element { term, inverse: false }] => ways.push(vec![Goal::Is(term, value)]),
            [Element { term, inverse: true }] => ways.extend(self.inverse_number(group, term, value)),
            _ => {}
        }
        if free || self.graph.is_constant(value) || self.uses.once(value) {
            ways.extend(self.operands(group, value).map(|operands| vec![Goal::Deal { group, elements, operands }]));
        }
        ways
    }

    /// The goal that a constant is the inverse of a number of the rule.
    fn inverse_number(&self, group: Group, term: TermId, value: Value) -> Option<Vec<Goal>> {
        let Term::Number(Number::Fixed(wanted)) = self.given.terms[term] else { return None };
        let found = number(self.graph, value)?;
        super::number::same(group.inverse(wanted), found).then(Vec::new)
    }

    /// The operands of a value's operator, if it is of the group, and which are inverted.
    fn operands(&self, group: Group, value: Value) -> Option<Vec<(Value, bool)>> {
        let node = self.graph.producer(value);
        let (found, inverted) = Group::of(node.op.word())?;
        let inverse = |i: usize| inverted.get(i).copied().unwrap_or(false);
        (found == group).then(|| node.inputs.iter().enumerate().map(|(i, &v)| (v, inverse(i))).collect())
    }

    /// The ways to deal the elements to the operands.
    fn deal(&self, group: Group, elements: &[Element], operands: &[(Value, bool)], bound: &Bindings) -> Vec<Vec<Goal>> {
        let Some((&(first, inverted), rest)) = operands.split_first() else { return Vec::new() };
        let hand = |chosen: usize, inverted: bool| -> Vec<Element> {
            let taken = elements.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1);
            taken.map(|(_, e)| Element { inverse: e.inverse != inverted, ..*e }).collect()
        };
        let all = (1usize << elements.len()) - 1;
        let combines = |elements, value| Goal::Combines { group, elements, value, free: false };
        if rest.is_empty() {
            let hand = hand(all, inverted);
            return if self.fits(group, &hand, first, bound) { vec![vec![combines(hand, first)]] } else { Vec::new() };
        }
        let mut ways = Vec::new();
        for chosen in 0..=all {
            let (mine, others) = (hand(chosen, inverted), hand(all & !chosen, false));
            // Nobody goes empty, except what is inverted from the identity.
            let empty = others.is_empty() || mine.is_empty() && !rest[0].1;
            if empty || !self.fits(group, &mine, first, bound) {
                continue;
            }
            let others = match rest {
                [(last, inverted)] => {
                    let hand = hand(all & !chosen, *inverted);
                    if !self.fits(group, &hand, *last, bound) {
                        continue;
                    }
                    combines(hand, *last)
                }
                _ => Goal::Deal { group, elements: others, operands: rest.to_vec() },
            };
            ways.push(vec![others, combines(mine, first)]);
        }
        ways
    }

    /// Whether a value may combine these elements, at a glance.
    fn fits(&self, group: Group, hand: &[Element], value: Value, bound: &Bindings) -> bool {
        let splits = || self.operands(group, value).is_some();
        let [Element { term, inverse }] = hand else {
            return if hand.is_empty() { self.graph.is_constant(value) } else { splits() };
        };
        let number = || number(self.graph, value).is_some();
        match &self.given.terms[*term] {
            Term::Number(_) => number(),
            _ if *inverse => splits(),
            Term::Free(free) => match bound.value(free.var) {
                Some(known) => known == value || splits(),
                None => !free.constant || self.graph.is_constant(value),
            },
            Term::Apply(apply) => self.word(value) == apply.word || splits(),
            Term::Chain(chain) => chain.group.words().contains(&self.word(value)) || splits(),
        }
    }

    fn word(&self, value: Value) -> &'static str {
        Op::word(self.graph.op(value))
    }
}

/// Whether a named value was met before.
enum Known {
    Already,
    New,
}
