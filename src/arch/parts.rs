//! The architectures that make up a model, and the paper graph of all of them.
//!
//! Each part names its keys under a scope of its own in the graph: a backbone at the root, a classifier where its layers stand, a neck and a head
//! that reads maps under their own names. Any neck and any such head joins any backbone: what they ask of each other are maps and their strides.

use super::choice::FamilyScores;
use super::family::{ArchError, Backbone, BuildOptions, MapHead, Neck, StageMap};
use super::finish::{Named, finish};
use super::heads::{self, Classifier, OwnHead, Reads};
use super::layers::output_norm;
use super::results::{Results, StageSet};
use crate::message;
use crate::message::Setting;
use crate::signature::{OutputRole, Over};
use vitc_ir::net::paper;
use vitc_ir::{Graph, Net, Output, Value};

/// What a model is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// From the image to stage maps.
    pub backbone: Backbone,
    /// From stage maps to others, if the model has it and it is used.
    pub neck: Option<&'static Neck>,
    /// From maps to predictions, if the model has it and it is used.
    pub map_head: Option<&'static MapHead>,
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
    /// What whoever uses the outputs must know of them: keys and values of the metadata.
    pub facts: Vec<(String, String)>,
    /// Number of classes that a head over maps tells apart.
    pub classes: Option<usize>,
}

impl BuildOptions<'_> {
    /// The paper graph: backbone, and what is behind it in what is asked for.
    ///
    /// # Errors
    /// If the input size or a choice does not suit the architecture, a part's tensors do not say how it is made, or the model lacks what is asked for.
    pub fn build(&self) -> Result<Built, ArchError> {
        let variant = self.backbone.variant;
        let mut graph = paper(variant.name);
        let mut net = Net::new(&mut graph);
        let maps = (variant.build)(&mut net, self)?;
        let parts = Parts { backbone: self.backbone, neck: None, map_head: None, head: None, own: Vec::new() };
        let mut assembly = Assembly { options: self, maps, parts, facts: Vec::new(), classes: None };
        let outputs = assembly.outputs(&mut net)?;
        let Assembly { parts, facts, classes, .. } = assembly;
        let roles = outputs.iter().map(|(_, _, role)| *role).collect();
        graph.outputs = outputs.into_iter().map(|(name, value, _)| Output { name, value }).collect();
        Ok(Built { parts, graph, roles, facts, classes })
    }
}

/// A model that grows behind the stage maps.
struct Assembly<'a> {
    options: &'a BuildOptions<'a>,
    /// The stage maps as the backbone makes them.
    maps: Vec<StageMap>,
    /// What was used so far.
    parts: Parts,
    facts: Vec<(String, String)>,
    classes: Option<usize>,
}

impl Assembly<'_> {
    /// What is asked for.
    fn outputs(&mut self, net: &mut Net) -> Result<Vec<Named>, ArchError> {
        let options = self.options;
        match (options.results, options.map_head) {
            (Results::Pyramid, _) => Ok(named("stage", self.stages(net, self.leaving()))),
            (Results::Stages(stages), _) => {
                if let Some(absent) = stages.indices().find(|&i| i >= self.maps.len()) {
                    return Err(self.lacks(format!("has no stage {}", absent + 1)));
                }
                Ok(named("stage", self.stages(net, stages)))
            }
            (Results::Neck, _) => {
                let Some(neck) = options.neck else { return Err(self.lacks("has no neck")) };
                let levels = self.neck(net, neck)?;
                Ok(named("neck", levels.into_iter().enumerate().collect()))
            }
            (Results::Features, _) | (Results::Logits, None) => {
                let last = self.maps[self.maps.len() - 1].value; // a backbone has stages
                let pooled = (options.backbone.family.pool)(net, options, last);
                if options.results == Results::Logits {
                    (self.parts.head, self.parts.own) = (options.classifier(), options.own.clone());
                }
                Ok(self.answers(net, pooled))
            }
            (Results::Enlarged | Results::ClassMap | Results::Boxes, None) => {
                Err(self.lacks("has no head that predicts over a map"))
            }
            (Results::Logits | Results::Enlarged | Results::ClassMap | Results::Boxes, Some(head)) => {
                self.predictions(net, head)
            }
        }
    }

    /// What a head makes of the maps of the neck, else of the backbone.
    fn predictions(&mut self, net: &mut Net, head: &'static MapHead) -> Result<Vec<Named>, ArchError> {
        let maps = match self.options.neck {
            Some(neck) => self.neck(net, neck)?,
            None => plain(self.stages(net, self.leaving())),
        };
        self.parts.map_head = Some(head);
        let found = match head.scope {
            "" => (head.build)(net, self.options, &maps)?,
            scope => (head.build)(&mut net.at(scope), self.options, &maps)?,
        };
        (self.facts, self.classes) = (found.facts(), found.classes());
        finish(net, self.options, found)
    }

    fn neck(&mut self, net: &mut Net, neck: &'static Neck) -> Result<Vec<StageMap>, ArchError> {
        self.parts.neck = Some(neck);
        let maps = plain(self.stages(net, self.leaving()));
        (neck.build)(&mut net.at(neck.scope), self.options, &maps)
    }

    /// The stages whose maps leave the backbone.
    fn leaving(&self) -> StageSet {
        (self.options.backbone.family.outputs.stages)(self.options)
    }

    /// The maps of these stages with their indices, behind the norms that the checkpoint has for them.
    fn stages(&self, net: &mut Net, stages: StageSet) -> Vec<(usize, StageMap)> {
        let norms = &self.options.backbone.family.outputs.norms;
        let stage = |i: usize| {
            let map = self.maps.get(i)?;
            Some((i, StageMap { value: output_norm(&mut net.at(norms[i]), self.options, map.value), ..*map }))
        };
        stages.indices().filter_map(stage).collect()
    }

    /// What the heads make of the pooled vector; the vector itself without any.
    fn answers(&self, net: &mut Net, pooled: Value) -> Vec<Named> {
        let classifier = self.parts.head.as_ref();
        let scores = classifier.map(|head| head.build(net, pooled));
        let role = |classes: usize| OutputRole::Scores { classes, over: Over::Rows };
        let own = &self.parts.own;
        let mut outputs = Vec::new();
        if let (Some(scores), Some(head)) = (scores, classifier)
            && (own.is_empty() || self.options.scores == FamilyScores::Returned)
        {
            outputs.push(("logits".to_string(), scores, role(head.classes)));
        }
        let activation = self.options.choice(&heads::ACTIVATION);
        for head in own {
            let read = match head.reads {
                Reads::Features => pooled,
                Reads::Scores => scores.unwrap_or(pooled), // whoever asks for it knows that there are scores
                Reads::Map | Reads::MaxMean | Reads::MeanMax => {
                    let map = net.graph().producer(pooled).inputs[0];
                    match head.reads {
                        Reads::Map => heads::flattened(net, map),
                        reads => heads::max_and_mean(&mut net.at("both"), map, reads == Reads::MaxMean),
                    }
                }
            };
            let name = if own.len() == 1 && outputs.is_empty() { "logits".to_string() } else { head.name() };
            let mut answer = heads::answer(head, net, read, activation);
            if let (FamilyScores::Averaged, Some(scores)) = (self.options.scores, scores) {
                let mut net = net.at("logits");
                let sum = net.add(answer, scores);
                let two = net.scalar(2.0);
                answer = net.div(sum, two);
            }
            let role = if head.scores() { role(head.width()) } else { OutputRole::Features };
            let name = if head.scores() || own.len() > 1 { name } else { "features".into() };
            outputs.push((name, answer, role));
        }
        if outputs.is_empty() {
            outputs.push(("features".into(), pooled, OutputRole::Features));
        }
        outputs
    }

    fn lacks(&self, what: impl Into<String>) -> ArchError {
        let model = self.options.backbone.variant.name;
        let what = format!("the checkpoint {}\n  ", what.into());
        ArchError::Results { model, what: message!(what, Setting::Output.to("pyramid"), " exports the stage maps") }
    }
}

impl BuildOptions<'_> {
    /// The family's classifiers, if they are an output or a head reads their scores.
    fn classifier(&self) -> Option<Classifier> {
        let read = self.own.iter().any(|head| head.reads == Reads::Scores);
        Classifier::chosen(self).filter(|_| self.own.is_empty() || self.scores != FamilyScores::Dropped || read)
    }
}

/// Maps as outputs, numbered from 1 on.
fn named(name: &str, maps: Vec<(usize, StageMap)>) -> Vec<Named> {
    let output =
        |(i, map): (usize, StageMap)| (format!("{name}{}", i + 1), map.value, OutputRole::Map { stride: map.stride });
    maps.into_iter().map(output).collect()
}

fn plain(maps: Vec<(usize, StageMap)>) -> Vec<StageMap> {
    maps.into_iter().map(|(_, map)| map).collect()
}
