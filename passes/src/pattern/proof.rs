//! The test that every rule has: its Given and its Result are one function.
//!
//! A Given is written out on random shapes with random attributes and both kinds of batch, as the rule has it and in random order. Where the rule
//! matches, the graph after it must be valid and compute the same. The proof also fails if a rule matches too seldom to say anything, if a Result does not
//! fit where the conditions hold (a condition is missing), if a condition never refuses (it says nothing), if the shuffled form is not
//! recognised, and if a rule fires although something else reads what it looks through.

use super::bindings::Bindings;
use super::build::Misfit;
use super::instance::{Form, Instance, instance};
use super::matcher::Matcher;
use super::rewrite::{holds, table};
use super::term::Rule;
use super::{Rules, Site};
use vitc_ir::testing::{compare, random_input, random_weights};
use vitc_ir::{Graph, Output, validate};

/// Matches that a rule must show for each kind of batch.
const WANTED: usize = 25;
/// Random shapes until then.
const ATTEMPTS: u64 = 40_000;
/// Rules are exact in real arithmetic; what is left is the rounding of f64.
const EXACT: f64 = 1e-9;

/// Prove every rule of a file.
///
/// # Panics
/// If one does not hold; the message says which and why, with the graphs.
pub(crate) fn prove(rules: &Rules) {
    for (r, rule) in rules.rules.iter().enumerate() {
        if let Err(what) = proven(rule) {
            panic!("rule {}: {what}", r + 1);
        }
    }
}

/// Whether one rule holds; why not.
pub(crate) fn proven(rule: &Rule) -> Result<(), String> {
    let mut refused = vec![false; rule.conditions.len()];
    for given in 0..rule.givens.len() {
        let mut matches = [0, 0];
        for seed in 0..ATTEMPTS {
            let kind = (seed % 2) as usize;
            if matches[kind] < WANTED {
                let fired = tried(rule, given, seed, &mut refused)
                    .map_err(|what| format!("Given {}, seed {seed}: {what}", given + 1))?;
                matches[kind] += usize::from(fired);
            }
            if matches.iter().all(|&n| n >= WANTED) {
                break;
            }
        }
        if matches.iter().any(|&n| n < WANTED) {
            return Err(format!("Given {} matches {matches:?} of {ATTEMPTS} random graphs", given + 1));
        }
    }
    match refused.iter().position(|refused| !refused) {
        Some(at) => Err(format!("the fact `{}` never refuses: it says nothing", rule.conditions[at].fact.name)),
        None => Ok(()),
    }
}

/// Whether the rule matches one random graph, and holds there.
fn tried(rule: &Rule, given: usize, seed: u64, refused: &mut [bool]) -> Result<bool, String> {
    let spelling = &rule.givens[given];
    let Some(plain) = instance(rule, spelling, seed, Form::Plain) else { return Ok(false) };
    if !fires(rule, given, &plain, refused)? || !finite(&plain.graph, seed) {
        return Ok(false);
    }
    let alone = Rule { givens: vec![spelling.clone()], ..rule.clone() };
    let alone = Rules { table: table(std::slice::from_ref(&alone)), rules: vec![alone] };
    holds_on(&alone, &plain.graph, seed)?;

    let shuffled = instance(rule, spelling, seed, Form::Shuffled).ok_or("its parts do not fit in another order")?;
    if !fires(rule, given, &shuffled, refused)? {
        return Err(format!("is not recognised in another order:\n{}", shuffled.graph));
    }
    holds_on(&alone, &shuffled.graph, seed)?;

    for (at, &(value, shared)) in plain.inner.iter().enumerate() {
        let mut read = plain.clone();
        read.graph.outputs.push(Output { name: format!("inner{at}"), value });
        if fires(rule, given, &read, refused)? != shared {
            let what = if shared { "does not match although" } else { "matches although" };
            return Err(format!("{what} something else reads %{}:\n{}", read.graph.value_name(value), read.graph));
        }
        holds_on(&alone, &read.graph, seed)?;
    }
    Ok(true)
}

/// Whether the Given is found, the conditions hold and the Result fits, at the root of an instance.
fn fires(rule: &Rule, given: usize, instance: &Instance, refused: &mut [bool]) -> Result<bool, String> {
    let Instance { graph, root, .. } = instance;
    let uses = graph.uses();
    Matcher::new(graph, &uses, &rule.givens[given]).run(rule, *root, &mut |bound: &Bindings| {
        for (refused, condition) in refused.iter_mut().zip(&rule.conditions) {
            *refused |= !holds(graph, bound, condition);
        }
        false
    });
    let mut misfit = None;
    let plan = rule.at(given, graph, &uses, root.node, &|_: &Site| true, &mut |what| {
        if let Misfit::Type(what) = what {
            misfit = Some(what);
        }
    });
    match misfit {
        Some(what) => Err(format!("{what}: a condition is missing, for\n{graph}")),
        None => Ok(plan.is_some()),
    }
}

/// Whether a graph's results are numbers for these weights: a root of something negative proves nothing.
fn finite(graph: &Graph, seed: u64) -> bool {
    let outputs = vitc_ir::eval::run(graph, &random_weights(seed, graph), &random_input(seed, graph, 2), 2);
    outputs.is_ok_and(|outputs| outputs.iter().all(|y| y.iter().all(|v| v.is_finite())))
}

/// Whether a graph that rules rewrite once stays valid and the function.
fn holds_on(rules: &Rules, graph: &Graph, seed: u64) -> Result<(), String> {
    let after = rules.round(graph, &|_| true).apply(graph).map_err(|e| e.to_string())?;
    let proof = validate(&after, None).map_err(|e| e.to_string());
    let proof = proof.and_then(|()| compare(graph, &after, seed, EXACT));
    proof.map_err(|what| format!("{what}\n--- before\n{graph}--- after\n{after}"))
}
