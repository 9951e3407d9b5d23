//! What is put around a model: how a picture becomes the input, and whether a label comes out.

use super::error::Error;
use super::labels;
use super::ports;
use super::request::Request;
use crate::interface::InterfaceOptions;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::Model;
use crate::signature::InputRole;
use crate::signature::Likelihood;
use vitc_exporters::coreml::{InputForm, Interface};
use vitc_exporters::metadata::{Fit, Layout, Preprocessing};
use vitc_ir::{DType, Dim};

/// A model out of a file does not say how a picture becomes its input: whoever exports it does.
///
/// # Errors
/// If its input cannot be a picture, or the mean is not said.
pub(super) fn say_picture(request: &Request, model: &mut Model) -> Result<(), Error> {
    let asked = &request.interface;
    let inside = asked.input == InputForm::Image;
    if model.file().is_none() || !inside && asked.mean.is_none() && asked.std.is_none() {
        return Ok(());
    }
    let mut inputs = model.graph.inputs();
    let channels = match (inputs.next(), inputs.next()) {
        (Some((_, node)), None) => match node.types[0].shape.0[..] {
            [_, Dim::Fixed(channels @ (1 | 3)), _, _] => Some(channels),
            _ => None,
        },
        _ => None,
    };
    let Some(channels) = channels else {
        let setting: Message = if inside { Setting::Input.to("image").into() } else { Setting::Mean.into() };
        let what = format!(": {} does not take one picture [B,1 or 3,H,W]\n  leave it out", model.name);
        return Err(Error::Usage(message!(setting, what)));
    };
    let (Some(mean), Some(std)) = (asked.mean.clone(), asked.std.clone()) else {
        let todo = message!(
            "give both ",
            Setting::Mean,
            " and ",
            Setting::Std,
            ", as the model was trained: nothing is guessed"
        );
        return Err(Error::Usage(message!(
            format!("how does a picture become the input of {}?\n  ", model.name),
            todo
        )));
    };
    if mean.len() != channels || std.len() != channels {
        let what =
            format!(" have {} and {} numbers, and {} takes {channels} channels", mean.len(), std.len(), model.name);
        return Err(Error::Usage(message!(Setting::Mean, " and ", Setting::Std, what)));
    }
    let preprocessing = Preprocessing {
        mean,
        std,
        layout: Layout::default(),
        fit: Fit::Crop,
        crop: 1.0,
        interpolation: "bilinear".into(),
        normalised_inside: false,
    };
    for port in &mut model.signature.inputs {
        port.role = InputRole::Image(Box::new(preprocessing.clone()));
    }
    Ok(())
}

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
            mean: asked.mean.clone().unwrap_or_else(|| own.mean.clone()),
            std: asked.std.clone().unwrap_or_else(|| own.std.clone()),
            fit: asked.fit.unwrap_or(own.fit),
            crop: asked.crop.unwrap_or(own.crop),
            interpolation: asked.interpolation.clone().unwrap_or_else(|| own.interpolation.clone()),
            layout: Layout { bgr: asked.layout.bgr || own.layout.bgr, ..asked.layout },
            normalised_inside: asked.input == InputForm::Image,
        });
        let mut preprocessing = preprocessing;
        if preprocessing.is_none() {
            of_pictures_only(asked.layout)?;
        }
        if let Some(preprocessing) = &mut preprocessing {
            suits(request, preprocessing, model.channels())?;
            // What is said of red, green and blue, in the order of the channels.
            if preprocessing.layout.bgr {
                preprocessing.mean.reverse();
                preprocessing.std.reverse();
            }
        }
        let labels = labels::labels(request, model, notices)?;
        let classifier = match (&labels, format.label_outputs) {
            (Some(labels), Some(outputs)) if model.signature.classes().is_some() => {
                labels::classifier(request, labels, outputs, notices)?
            }
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
            bgr: self.preprocessing.as_ref().is_some_and(|p| p.layout.bgr),
            input_description: self.preprocessing.as_ref().map(Preprocessing::describe).unwrap_or_default(),
            labels: self.labels.clone().filter(|_| self.classifier),
            ..Interface::default()
        }
    }

    /// Element types of input and output of a graph of this precision. Probabilities in front of labels are f32.
    pub(super) fn types(&self, precision: DType, model: &Model) -> [DType; 2] {
        let (format, asked) = (self.request.target.format(), self.request.port_type(precision));
        let input = match ports::all_bytes(self.request, model) {
            // Every byte is a number of the computation's type.
            true => precision,
            false if self.picture => (format.picture_type)(precision),
            false => asked,
        };
        [input, if self.classifier { DType::F32 } else { asked }]
    }
}

/// How a picture lies in the input is nothing to say of an input that is not known to be one.
fn of_pictures_only(layout: Layout) -> Result<(), Error> {
    let given = match layout {
        Layout { channels_last: true, .. } => Setting::InputLayout.to("nhwc"),
        Layout { bgr: true, .. } => Setting::Bgr.on(),
        Layout { channels_last: false, bgr: false } => return Ok(()),
    };
    let why = ": nothing says that the model takes pictures\n  say how they are prepared, with ";
    Err(Error::Usage(message!(given, why, Setting::Mean, " and ", Setting::Std)))
}

/// Whether what is said of the input's channels fits as many as the model has.
fn suits(request: &Request, preprocessing: &Preprocessing, channels: usize) -> Result<(), Error> {
    for (setting, given) in [(Setting::Mean, &preprocessing.mean), (Setting::Std, &preprocessing.std)] {
        if given.len() != channels {
            let what = format!(": {} numbers are given for the {channels} channels of the input", given.len());
            return Err(Error::Usage(message!(setting, what)));
        }
    }
    let format = request.target.format();
    if request.interface.input == InputForm::Image && ![1, 3].contains(&channels) {
        let what = format!(": a picture has 1 or 3 channels, and the model takes {channels}\n  use ");
        return Err(Error::Usage(message!(Setting::Input.to("image"), what, Setting::Input.to("tensor"))));
    }
    if preprocessing.layout.bgr && channels != 3 {
        let what = format!(": the model takes {channels} channels, which are not blue, green and red\n  leave it out");
        return Err(Error::Usage(message!(Setting::Bgr.on(), what)));
    }
    let other = channels == 1 || preprocessing.layout.bgr;
    if let (InputForm::Image, true, Some(why)) = (request.interface.input, other, format.plain_picture) {
        let what = format!(": {why}, and this model takes others\n  use ");
        return Err(Error::Usage(message!(Setting::Input.to("image"), what, Setting::Input.to("tensor"))));
    }
    Ok(())
}
