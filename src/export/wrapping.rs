//! What is put around a model: how a picture becomes the input, and whether a label comes out.

use super::error::Error;
use super::labels;
use super::request::Request;
use crate::interface::InterfaceOptions;
use crate::message::Message;
use crate::model::Model;
use crate::signature::Likelihood;
use vitc_exporters::coreml::{InputForm, Interface};
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::DType;

/// What is put around a model.
pub(super) struct Wrapping<'a> {
    request: &'a Request,
    /// How a picture becomes the input, if the model takes one.
    pub(super) preprocessing: Option<Preprocessing>,
    /// Names of the classes.
    pub(super) labels: Option<Vec<String>>,
    /// The artifact answers with a label.
    classifier: bool,
    /// The artifact takes a picture of the system's own.
    picture: bool,
}

impl<'a> Wrapping<'a> {
    /// Around this model: what the user says before what the model says. Notices tell of labels that cannot be answered with.
    pub(super) fn of(request: &'a Request, model: &Model, notices: &mut Vec<Message>) -> Result<Wrapping<'a>, Error> {
        let (format, asked) = (request.target.format(), &request.interface);
        let preprocessing = model.signature.preprocessing().map(|own| Preprocessing {
            mean: asked.mean.unwrap_or(own.mean),
            std: asked.std.unwrap_or(own.std),
            normalised_inside: asked.input == InputForm::Image,
            ..own.clone()
        });
        let labels = labels::labels(request, model)?;
        let classifier = match (&labels, format.label_outputs) {
            (Some(labels), Some(outputs)) => labels::classifier(request, labels, outputs, notices)?,
            _ => false,
        };
        let picture = format.picture.is_some() && asked.input == InputForm::Image;
        Ok(Wrapping { request, preprocessing, labels, classifier, picture })
    }

    /// Which probabilities stand for scores.
    pub(super) fn probabilities(&self) -> Option<Likelihood> {
        self.request.interface.probabilities.or(self.classifier.then_some(Likelihood::OneOf))
    }

    /// What of it is part of the graph.
    pub(super) fn in_graph(&self) -> InterfaceOptions<'_> {
        InterfaceOptions {
            pixels: self.preprocessing.as_ref().filter(|p| p.normalised_inside),
            probabilities: self.probabilities(),
            input_name: self.request.interface.input_name.as_deref(),
            output_names: &self.request.interface.output_names,
        }
    }

    /// What of it the graph does not say.
    pub(super) fn interface(&self) -> Interface {
        Interface {
            input: if self.picture { InputForm::Image } else { InputForm::Tensor },
            input_description: self.preprocessing.as_ref().map(Preprocessing::describe).unwrap_or_default(),
            labels: self.labels.clone().filter(|_| self.classifier),
            ..Interface::default()
        }
    }

    /// Element types of input and output of a graph of this precision. Probabilities in front of labels are f32.
    pub(super) fn types(&self, precision: DType) -> [DType; 2] {
        let (format, asked) = (self.request.target.format(), self.request.port_type(precision));
        let input = if self.picture { (format.picture_type)(precision) } else { asked };
        [input, if self.classifier { DType::F32 } else { asked }]
    }
}
