//! Which form each layer gets, so that the whole reaches a goal.
//!
//! Losses of layers by themselves add up to nearly that of the whole, which is some dB worse. So layers are chosen by their sum, the whole is walked, and what
//! it lacks, or has too much, moves the sum that is aimed at.

use super::ask::{Ask, Forms, Goal};
use super::form::Form;
use super::layers::Layer;
use super::record::{Point, Quantised};
use super::sensitivity::losses;
use super::streams::peak;
use super::walk::{Effect, Job, Outcome, walk};
use crate::decide::step::Units;
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::NodeId;
use vitc_ir::eval::EvalError;

/// Bytes of values that a walk holds at once: where the pictures need more, it looks at fewer, evenly spread. The same on every machine.
const MEMORY: usize = 4 << 30;

/// Walks that look for the goal.
const ROUNDS: usize = 5;

/// What a result may have more than was asked for, in dB, before fewer bits are tried.
const ENOUGH: f64 = 0.7;

/// How much more than the goal is aimed at, in dB: what half precision takes.
const SPARE: f64 = 0.1;

/// Fit the layers that are wanted to the pictures, with as many bits as the goal asks for.
///
/// # Errors
/// If a weight is missing or a value cannot be computed.
pub(super) fn search(job: &Job<'_>, pictures: Vec<Vec<f32>>) -> Result<Quantised, EvalError> {
    let most = (MEMORY / peak(job.graph).max(1)).clamp(1, pictures.len().max(1));
    let all: Vec<Arc<Vec<f32>>> = pictures.into_iter().map(Arc::new).collect();
    let few = (0..most.min(all.len())).map(|i| Arc::clone(&all[i * all.len() / most])).collect();
    let (given, pictures): (usize, Units) = (all.len(), Arc::new(few));
    let mut quantised = searched(job, pictures)?;
    quantised.fitted_to = (most < given).then_some(most);
    Ok(quantised)
}

fn searched(job: &Job<'_>, pictures: Units) -> Result<Quantised, EvalError> {
    let (goal, mut search) = (job.ask.goal, Search { job, pictures: &pictures, curve: Vec::new() });
    let mut ladder: Vec<(Form, Outcome)> = Vec::new();
    for &form in &job.ask.forms {
        let outcome = search.walk(&job.wanted.iter().map(|l| (l.id, form)).collect())?;
        let done = !goal.is_set() || reached(&outcome, goal);
        if done && ladder.is_empty() {
            return Ok(outcome.quantised);
        }
        ladder.push((form, outcome));
        if done {
            break;
        }
    }
    search.mix(ladder)
}

fn reached(outcome: &Outcome, goal: Goal) -> bool {
    lacks(outcome, goal) <= 0.0
}

/// How many dB are missing; below 0, how many there are too many. A class that is lost counts as one and a half.
fn lacks(outcome: &Outcome, goal: Goal) -> f64 {
    let noise = goal.snr.map_or(f64::NEG_INFINITY, |least| least + SPARE - outcome.snr);
    let classes = match (goal.agreement, outcome.agreement) {
        (Some(least), Some(share)) if share < least => 1.5,
        (Some(_), Some(_)) => 0.0,
        _ => f64::NEG_INFINITY,
    };
    noise.max(classes)
}

struct Search<'a> {
    job: &'a Job<'a>,
    pictures: &'a Units,
    curve: Vec<Point>,
}

impl Search<'_> {
    fn walk(&mut self, forms: &Forms) -> Result<Outcome, EvalError> {
        let outcome = walk(self.job, self.pictures, forms)?;
        let bytes = self.job.wanted.iter().map(|l| bytes(l, forms.get(&l.id).copied(), self.job.ask)).sum();
        let (snr, agreement) = (outcome.snr, outcome.agreement);
        self.curve.push(Point { layers: counted(self.job, forms), bytes, snr, agreement });
        Ok(outcome)
    }

    /// The forms between which layers choose were walked, and the goal is not reached by the first.
    fn mix(mut self, ladder: Vec<(Form, Outcome)>) -> Result<Quantised, EvalError> {
        let (job, goal) = (self.job, self.job.ask.goal);
        let forms: Vec<Form> = ladder.iter().map(|(form, _)| *form).collect();
        let all: Vec<(NodeId, &Effect)> = ladder
            .iter()
            .flat_map(|(_, outcome)| job.wanted.iter().filter_map(|l| Some((l.id, outcome.effects.get(&l.id)?))))
            .collect();
        let found = losses(job, self.pictures, &all)?;
        let mut choices: HashMap<NodeId, Vec<f64>> = HashMap::new();
        all.iter().zip(found).for_each(|((id, _), loss)| choices.entry(*id).or_default().push(loss));
        let first = ladder.first().map_or(0.0, |(_, o)| lacks(o, goal));
        let mut aim = decibels(choices.values().filter_map(|c| c.first()).sum()) + first;
        let mut best = ladder.into_iter().last().map(|(_, outcome)| outcome);
        let mut least = u64::MAX;
        for round in 0..ROUNDS {
            let chosen = chosen(job, &forms, &choices, aim);
            let outcome = self.walk(&chosen)?;
            let (missing, size) = (lacks(&outcome, goal), self.curve.last().map_or(0, |p| p.bytes));
            if missing <= 0.0 && size < least {
                (best, least) = (Some(outcome), size);
            } else if least == u64::MAX {
                best = Some(outcome);
            }
            if chosen.is_empty() || (missing <= 0.0 && (missing > -ENOUGH || round + 2 >= ROUNDS)) {
                break;
            }
            aim += if missing > 0.0 { missing + 0.2 } else { missing + 0.3 };
        }
        let mut quantised = best.map(|outcome| outcome.quantised).unwrap_or_default();
        quantised.curve = self.curve;
        Ok(quantised)
    }
}

fn decibels(loss: f64) -> f64 {
    -10.0 * loss.max(1e-300).log10()
}

/// Forms with which the sum of all losses is at least so many dB below the signal: what brings most for a byte, or, where there is one form only, what loses
/// most.
fn chosen(job: &Job<'_>, forms: &[Form], choices: &HashMap<NodeId, Vec<f64>>, aim: f64) -> Forms {
    let size = |l: &Layer, level: usize| bytes(l, forms.get(level).copied(), job.ask) as f64;
    let loss = |l: &Layer, level: usize| choices.get(&l.id).and_then(|c| c.get(level)).copied().unwrap_or(0.0);
    let mut levels: HashMap<NodeId, usize> = job.wanted.iter().map(|l| (l.id, 0)).collect();
    loop {
        let sum: f64 = job.wanted.iter().map(|l| loss(l, levels[&l.id])).sum();
        if decibels(sum) >= aim {
            break;
        }
        let worth = |l: &Layer, level: usize| {
            let gain = loss(l, levels[&l.id]) - loss(l, level);
            if forms.len() == 1 { gain } else { gain / (size(l, level) - size(l, levels[&l.id])).max(1.0) }
        };
        let ups = job.wanted.iter().flat_map(|l| (levels[&l.id] + 1..=forms.len()).map(move |level| (l, level)));
        let best = ups.map(|(l, level)| (worth(l, level), l.id, level)).max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((worth, id, level)) if worth > 0.0 => levels.insert(id, level),
            _ => break,
        };
    }
    levels.into_iter().filter_map(|(id, level)| Some((id, *forms.get(level)?))).collect()
}

/// Bytes of a layer's weights with their scales or tables.
fn bytes(layer: &Layer, form: Option<Form>, ask: &Ask) -> u64 {
    let (outputs, float) = ((layer.groups * layer.outputs) as u64, if ask.half { 2 } else { 4 });
    let weights = outputs * layer.terms as u64;
    let Some(form) = form else { return weights * float };
    let beside = match form {
        Form::W8A8 | Form::W8 => outputs,
        Form::W6 | Form::W4 => ask.palette_group.map_or(1, |n| outputs.div_ceil(n as u64)) << form.bits(),
        Form::W4Block32 => weights.div_ceil(32),
    };
    (weights * form.bits()).div_ceil(8) + beside * float
}

/// How many layers have which form.
fn counted(job: &Job<'_>, forms: &Forms) -> String {
    let of = |form: Form| forms.values().filter(|&&f| f == form).count();
    let float = job.wanted.len() - forms.len();
    let parts = job.ask.forms.iter().map(|&form| (form.name(), of(form))).chain([("float", float)]);
    let parts: Vec<String> = parts.filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    parts.join(", ")
}
