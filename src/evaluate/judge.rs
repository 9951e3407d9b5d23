//! One or two artifacts look at all pictures, on every processor.

use super::answer::Answer;
use super::error::EvaluateError;
use super::tally::{Marks, Tally};
use super::truth::{Case, Shown, Source, Truth};
use super::viewer::{Sight, Viewer};
use crate::picture::returned::Frame;
use crate::picture::{self, Picture, Preparation};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use vitc_exporters::metadata::Fit;

/// Value of a mask's pixel that belongs to no class.
const NO_CLASS: u16 = 255;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The artifact.
    pub artifact: PathBuf,
    /// One to compare with.
    pub against: Option<PathBuf>,
    /// Pictures and what they show.
    pub source: Source,
    /// Which output is judged, if several could be.
    pub output: Option<String>,
    /// How pictures are shown.
    pub sight: Sight,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Pictures looked at.
    pub pictures: usize,
    /// Classes of the artifact, where it says.
    pub classes: usize,
    /// What was assumed.
    pub notices: Vec<String>,
    /// The artifact.
    #[serde(flatten)]
    pub judged: Judged,
    /// The other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The artifact.
    pub artifact: PathBuf,
    /// How often it is right; `None` if nobody says what the pictures show.
    #[serde(flatten)]
    pub marks: Option<Marks>,
}

/// The artifact that was compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    /// How it does itself.
    #[serde(flatten)]
    pub judged: Judged,
    /// Pictures, or pixels of masks, of which both say the same.
    pub same: u64,
    /// All of them.
    pub of: u64,
    /// The share.
    pub agreement: f64,
}

/// What was counted so far.
#[derive(Default)]
struct Counts {
    tallies: [Tally; 2],
    same: u64,
    of: u64,
}

/// Let the artifacts look at all pictures. `progress` is told how many are done, and of how many.
///
/// # Errors
/// See [`EvaluateError`]: the first that comes up.
pub fn evaluate(request: &Request, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Evaluation, EvaluateError> {
    let maps = matches!(request.source, Source::Masks { .. });
    let open = |path: &Path| Viewer::open(path, &request.sight, maps, request.output.as_deref());
    let mut viewers = vec![open(&request.artifact)?];
    if let Some(other) = &request.against {
        viewers.push(open(other)?);
    }
    let classes = viewers[0].classes();
    if let Some(other) = viewers.get(1).filter(|v| v.classes() != classes) {
        let what = format!("has {} classes, and {} has {classes}", other.classes(), viewers[0].path.display());
        return Err(EvaluateError::Unsuited { path: other.path.clone(), what });
    }
    if let Some(cropping) = viewers.iter().find(|v| maps && v.preparation.preprocessing.fit == Fit::Crop) {
        return Err(EvaluateError::Cropped(cropping.path.clone()));
    }
    let truth = Truth::read(&request.source, classes, viewers[0].labels.as_deref())?;
    let zero_ignored = matches!(request.source, Source::Masks { zero_ignored: true, .. });
    let judge = Judge { viewers: &viewers, classes, zero_ignored };
    let counts = judge.all(&truth.cases, progress)?;

    let judged = |i: usize| Judged {
        artifact: viewers[i].path.clone(),
        marks: counts.tallies[i].marks(viewers[0].labels.as_deref()),
    };
    let agreement = counts.same as f64 / counts.of.max(1) as f64;
    let against =
        (viewers.len() > 1).then(|| Against { judged: judged(1), same: counts.same, of: counts.of, agreement });
    Ok(Evaluation { pictures: truth.cases.len(), classes, notices: truth.notices, judged: judged(0), against })
}

/// What looks at the pictures.
struct Judge<'a> {
    viewers: &'a [Viewer],
    classes: usize,
    zero_ignored: bool,
}

impl Judge<'_> {
    /// Every picture, a few at a time, by as many threads as there are processors.
    fn all(&self, cases: &[Case], progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Counts, EvaluateError> {
        let few = self.viewers.iter().map(Viewer::batch).max().unwrap_or(1);
        let groups: Vec<&[Case]> = cases.chunks(few).collect();
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let counts: Mutex<Result<Counts, EvaluateError>> = Mutex::new(Ok(Counts::default()));
        let work = || {
            let mut mine = Counts::default();
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.group(group, &mut mine) {
                    next.store(groups.len(), Ordering::Relaxed);
                    // A thread that ended in a panic leaves what it counted.
                    let mut all = counts.lock().unwrap_or_else(|e| e.into_inner());
                    if all.is_ok() {
                        *all = Err(error);
                    }
                    return;
                }
                progress(done.fetch_add(group.len(), Ordering::Relaxed) + group.len(), cases.len());
            }
            if let Ok(all) = counts.lock().unwrap_or_else(|e| e.into_inner()).as_mut() {
                all.tallies.iter_mut().zip(&mine.tallies).for_each(|(all, mine)| all.add(mine));
                all.same += mine.same;
                all.of += mine.of;
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(groups.len()).max(1);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        counts.into_inner().unwrap_or_else(|e| e.into_inner())
    }

    /// A few pictures.
    fn group(&self, cases: &[Case], counts: &mut Counts) -> Result<(), EvaluateError> {
        let pictures = cases.iter().map(|c| picture::read(&c.picture)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&Path> = cases.iter().map(|c| c.picture.as_path()).collect();
        let answers: Vec<Vec<Answer>> =
            self.viewers.iter().map(|v| v.look(&pictures, &names)).collect::<Result<_, _>>()?;
        for (i, (case, picture)) in cases.iter().zip(&pictures).enumerate() {
            let each: Vec<&Answer> = answers.iter().filter_map(|a| a.get(i)).collect();
            match &case.shown {
                Shown::Class(class) => self.picture(Some(*class), &each, counts),
                Shown::Unknown => self.picture(None, &each, counts),
                Shown::Mask(mask) => self.mask(picture, mask, &each, counts)?,
            }
        }
        Ok(())
    }

    fn picture(&self, shown: Option<usize>, answers: &[&Answer], counts: &mut Counts) {
        let rankings = self.viewers.iter().zip(answers).map(|(viewer, answer)| answer.ranking(viewer.probabilities));
        let rankings: Vec<Vec<usize>> = rankings.collect();
        if let Some(shown) = shown {
            counts.tallies.iter_mut().zip(&rankings).for_each(|(tally, ranking)| tally.picture(shown, ranking));
        }
        if let [first, other] = &rankings[..] {
            counts.of += 1;
            counts.same += u64::from(first.first() == other.first());
        }
    }

    fn mask(
        &self,
        picture: &Picture,
        mask: &Path,
        answers: &[&Answer],
        counts: &mut Counts,
    ) -> Result<(), EvaluateError> {
        let shown = picture::indices(mask)?;
        let size = [picture.height, picture.width];
        if [shown.height, shown.width] != size {
            let found = [shown.height, shown.width];
            return Err(EvaluateError::MaskSize { mask: mask.into(), found, wanted: size });
        }
        let said = self.viewers.iter().zip(answers).map(|(viewer, answer)| {
            let Preparation { size, preprocessing } = &viewer.preparation;
            let frame = Frame::of(picture, *size, preprocessing.fit);
            frame.map(|frame| answer.pixels(frame)).ok_or_else(|| EvaluateError::Cropped(viewer.path.clone()))
        });
        let said: Vec<Vec<usize>> = said.collect::<Result<_, _>>()?;
        for (at, &value) in shown.values.iter().enumerate() {
            if value == NO_CLASS || self.zero_ignored && value == 0 {
                continue;
            }
            let class = usize::from(value) - usize::from(self.zero_ignored);
            if class >= self.classes {
                let (last, zero_ignored) = (self.classes - 1, self.zero_ignored);
                return Err(EvaluateError::BeyondClasses { mask: mask.into(), class, last, zero_ignored });
            }
            for (tally, said) in counts.tallies.iter_mut().zip(&said) {
                tally.pixel(class, said[at]);
            }
            if let [first, other] = &said[..] {
                counts.of += 1;
                counts.same += u64::from(first[at] == other[at]);
            }
        }
        Ok(())
    }
}
