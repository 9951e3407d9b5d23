//! An artifact that is ready to look at pictures.

use super::answer::{Answer, Form};
use super::error::EvaluateError;
use crate::arch::Results;
use crate::artifact::Artifact;
use crate::picture::{Picture, PictureError, Preparation};
use crate::provenance::Provenance;
use crate::runner::{Named, Program, Request, RunError, Session};
use std::path::{Path, PathBuf};
use vitc_exporters::metadata::Fit;

/// How pictures are shown, where it shall differ from what the artifact says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    /// Fraction of the resized picture's side that the centre crop keeps.
    pub crop: Option<f64>,
    /// Interpolation of the resize.
    pub interpolation: Option<String>,
    /// What happens to a picture's shape.
    pub fit: Option<Fit>,
}

/// An artifact, loaded.
pub struct Viewer {
    pub(super) path: PathBuf,
    session: Session,
    pub(super) preparation: Preparation,
    /// Pictures that it takes at once.
    batch: usize,
    /// Which output is judged.
    output: usize,
    form: Form,
    /// It answers with probabilities.
    pub(super) probabilities: bool,
    /// Names of the classes.
    pub labels: Option<Vec<String>>,
}

impl Viewer {
    /// Load an artifact. With `maps` an output that holds a class for each pixel is judged, else one that holds scores of the whole picture.
    ///
    /// # Errors
    /// If it cannot be run, does not say how a picture becomes its input, or has no such output, or several and none is named.
    pub fn open(path: &Path, sight: &Sight, maps: bool, output: Option<&str>) -> Result<Viewer, EvaluateError> {
        let artifact = Artifact::open_to_run(path)?;
        let unsuited = |what: &str| EvaluateError::Unsuited { path: path.into(), what: what.into() };
        let failed = |e: RunError| EvaluateError::Run { path: path.into(), what: e.what };
        let (provenance, mut preprocessing) = Provenance::of_pictures(&artifact.metadata)
            .map_err(|why| EvaluateError::Unprepared { path: path.into(), why })?;
        let said = |key: &str| artifact.metadata.get(key).map_or("", String::as_str);
        if !provenance.classifies() || provenance.results == Results::Boxes {
            return Err(unsuited(
                "returns features, maps or boxes, not class scores, so there are no classes to judge",
            ));
        }
        if maps && said("vitc.task") != "segmentation" {
            return Err(unsuited("is no segmentation, so masks do not judge it"));
        }
        preprocessing.crop = sight.crop.unwrap_or(preprocessing.crop);
        preprocessing.fit = sight.fit.unwrap_or(preprocessing.fit);
        if let Some(interpolation) = &sight.interpolation {
            preprocessing.interpolation.clone_from(interpolation);
        }
        let session = Program::open(path).and_then(|program| program.load(Request::outputs(1))).map_err(failed)?;
        let preparation = match session.inputs() {
            [input] => Preparation::new(&input.shape, preprocessing).zip(input.shape.first().copied()),
            _ => None,
        };
        let (preparation, batch) = preparation.ok_or_else(|| unsuited("its input is no picture"))?;
        // Shapes of the outputs are known when it has run.
        let zeros = vec![0.0; session.inputs()[0].shape.iter().product()];
        let outputs = session.run_in_order(&[&zeros]).map_err(failed)?;
        let manner = [provenance.results == Results::ClassMap, said("vitc.align_corners") == "true"];
        let forms = outputs.iter().map(|o| Form::of(&o.shape, batch, preparation.size, manner)).collect::<Vec<_>>();
        let (output, form) = judged(path, &outputs, &forms, maps, output)?;
        let (path, labels) = (path.to_path_buf(), artifact.labels);
        let probabilities = provenance.probabilities.is_some();
        Ok(Viewer { path, session, preparation, batch, output, form, probabilities, labels })
    }

    /// Number of classes, or a larger one than any mask holds if the artifact answers with classes and does not say how many it has.
    pub fn classes(&self) -> usize {
        self.form.classes().or(self.labels.as_ref().map(Vec::len)).unwrap_or(255)
    }

    /// Pictures that are best shown at once.
    pub(super) fn batch(&self) -> usize {
        self.batch.max(1)
    }

    /// What the artifact answers to each picture; `names` are for errors.
    pub(super) fn look(&self, pictures: &[Picture], names: &[&Path]) -> Result<Vec<Answer>, EvaluateError> {
        let mut answers = Vec::with_capacity(pictures.len());
        for (pictures, names) in pictures.chunks(self.batch()).zip(names.chunks(self.batch())) {
            let inputs =
                pictures.iter().map(|p| self.preparation.input(p)).collect::<Result<Vec<_>, PictureError>>()?;
            let mut input = inputs.concat();
            input.resize(self.session.inputs()[0].shape.iter().product(), 0.0);
            let failed = |e: RunError| EvaluateError::Run { path: self.path.clone(), what: e.what };
            let outputs = self.session.run_in_order(&[&input]).map_err(failed)?;
            let Some(output) = outputs.into_iter().nth(self.output) else { continue };
            let each = output.data.len() / self.batch();
            for (values, name) in output.data.chunks(each.max(1)).zip(names) {
                if values.iter().any(|v| !v.is_finite()) {
                    return Err(EvaluateError::NotFinite { artifact: self.path.clone(), picture: name.to_path_buf() });
                }
                answers.push(Answer { form: self.form, values: values.to_vec() });
            }
        }
        Ok(answers)
    }
}

/// The output that is judged.
fn judged(
    path: &Path,
    outputs: &[Named],
    forms: &[Option<Form>],
    maps: bool,
    wanted: Option<&str>,
) -> Result<(usize, Form), EvaluateError> {
    let forms = forms.iter().enumerate().filter_map(|(i, form)| Some((i, (*form)?)));
    let (suiting, others): (Vec<_>, Vec<_>) = forms.partition(|(_, form)| form.is_map() == maps);
    let named = |wanted: &str| suiting.iter().find(|(i, _)| outputs[*i].name == wanted).copied();
    let names = || suiting.iter().map(|(i, _)| outputs[*i].name.clone()).collect::<Vec<_>>();
    let unsuited = |what: String| Err(EvaluateError::Unsuited { path: path.into(), what });
    let what = if maps { "a class for each pixel" } else { "scores of the whole picture" };
    match (wanted, &suiting[..]) {
        (Some(wanted), _) => match named(wanted) {
            Some(found) => Ok(found),
            None => unsuited(format!("has no output {wanted} that holds {what}; such are: {}", names().join(", "))),
        },
        (None, [one]) => Ok(*one),
        (None, []) if !maps && !others.is_empty() => {
            unsuited("answers with a class for each pixel: pictures with masks judge it".into())
        }
        (None, []) => unsuited(format!("has no output that holds {what}")),
        (None, _) => Err(EvaluateError::Outputs { path: path.into(), outputs: names() }),
    }
}
