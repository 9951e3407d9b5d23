//! The architectures that make up a model, and the paper graph of all of them.
//!
//! Each part names its keys under a scope of its own in the graph: a backbone at the root, a classifier where its layers stand.

use super::choice::FamilyScores;
use super::family::{ArchError, Backbone, BuildOptions, Results, StageMap};
use super::heads::{self, Classifier, OwnHead, Reads};
use crate::signature::{OutputRole, Over};
use vitc_ir::net::paper;
use vitc_ir::{Graph, Net, Output, Value};

/// What a model is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// From the image to stage maps.
    pub backbone: Backbone,
    /// From pooled features to scores, if the model ends in it.
    pub head: Option<Classifier>,
    /// Heads that somebody wrote.
    pub own: Vec<OwnHead>,
}

/// A paper graph.
#[derive(Debug)]
pub struct Built {
    /// What it is made of.
    pub parts: Parts,
    /// The graph.
    pub graph: Graph,
    /// What its outputs hold, in their order.
    pub roles: Vec<OutputRole>,
}

impl BuildOptions<'_> {
    /// The paper graph: backbone, and what is behind it in what is asked for.
    ///
    /// # Errors
    /// If the input size or a choice does not suit the architecture.
    pub fn build(&self) -> Result<Built, ArchError> {
        let Backbone { family, variant } = self.backbone;
        let mut graph = paper(variant.name);
        let mut net = Net::new(&mut graph);
        let maps = (variant.build)(&mut net, self)?;
        let last = maps[maps.len() - 1].value; // a backbone has stages
        let (head, own) = match self.results {
            Results::Logits => (self.classifier(), self.own.clone()),
            Results::Features | Results::Pyramid => (None, Vec::new()),
        };
        let outputs: Vec<(String, Value, OutputRole)> = match self.results {
            Results::Pyramid => {
                let stage = |(i, map): (usize, &StageMap)| {
                    (format!("stage{}", i + 1), map.value, OutputRole::Map { stride: map.stride })
                };
                maps.iter().enumerate().map(stage).collect()
            }
            Results::Features | Results::Logits => {
                let pooled = (family.pool)(&mut net, self, last);
                self.answers(&mut net, pooled, head.as_ref())
            }
        };
        let roles = outputs.iter().map(|(_, _, role)| *role).collect();
        graph.outputs = outputs.into_iter().map(|(name, value, _)| Output { name, value }).collect();
        Ok(Built { parts: Parts { backbone: self.backbone, head, own }, graph, roles })
    }

    /// The family's classifiers, if they are an output or a head reads their scores.
    fn classifier(&self) -> Option<Classifier> {
        let read = self.own.iter().any(|head| head.reads == Reads::Scores);
        Classifier::chosen(self).filter(|_| self.own.is_empty() || self.scores != FamilyScores::Dropped || read)
    }

    /// What the heads make of the pooled vector; the vector itself without any.
    fn answers(
        &self,
        net: &mut Net,
        pooled: Value,
        classifier: Option<&Classifier>,
    ) -> Vec<(String, Value, OutputRole)> {
        let scores = classifier.map(|head| head.build(net, pooled));
        let role = |classes: usize| OutputRole::Scores { classes, over: Over::Rows };
        let mut outputs = Vec::new();
        if let (Some(scores), Some(head)) = (scores, classifier)
            && (self.own.is_empty() || self.scores == FamilyScores::Returned)
        {
            outputs.push(("logits".to_string(), scores, role(head.classes)));
        }
        let activation = self.choice(&heads::ACTIVATION);
        for head in &self.own {
            let read = match head.reads {
                Reads::Features => pooled,
                Reads::Scores => scores.unwrap_or(pooled), // whoever asks for it knows that there are scores
                Reads::Map => {
                    let map = net.graph().producer(pooled).inputs[0];
                    heads::flattened(net, map)
                }
            };
            let name = if self.own.len() == 1 && outputs.is_empty() { "logits".to_string() } else { head.name() };
            let mut answer = heads::answer(head, net, read, activation);
            if let (FamilyScores::Averaged, Some(scores)) = (self.scores, scores) {
                let mut net = net.at("logits");
                let sum = net.add(answer, scores);
                let two = net.scalar(2.0);
                answer = net.div(sum, two);
            }
            let role = if head.scores() { role(head.width()) } else { OutputRole::Features };
            let name = if head.scores() || self.own.len() > 1 { name } else { "features".into() };
            outputs.push((name, answer, role));
        }
        if outputs.is_empty() {
            outputs.push(("features".into(), pooled, OutputRole::Features));
        }
        outputs
    }
}
