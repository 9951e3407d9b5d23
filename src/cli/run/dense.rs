//! What a segmenter, a detector or a net that enlarges answers about a picture: drawn, and listed.

use super::{Exit, Failure, SHOWN, Seen};
use crate::arch::Results;
use crate::artifact::Artifact;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::PALETTE_KEY;
use crate::picture::Picture;
use crate::picture::draw::{self, Palette};
use crate::picture::returned::{ClassMap, Frame, classes_of_pixels, classes_of_scores, detections};
use crate::runner::Named;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Boxes below are listed in the JSON object, not drawn.
const DRAWN: f32 = 0.3;

/// A class and how much of the picture it covers.
#[derive(Debug, Serialize)]
pub(super) struct Share {
    class: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// Of 1.
    share: f32,
}

/// A box that was found.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    class: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    probability: f32,
    /// Left, top, right, bottom in pixels of the picture.
    corners: [f32; 4],
}

/// A picture, what it was shown to, and where drawings go.
pub(super) struct Drawing<'a> {
    pub(super) artifact: &'a Artifact,
    pub(super) picture: &'a Picture,
    pub(super) frame: Frame,
    pub(super) file: &'a Path,
    pub(super) folder: Option<&'a Path>,
}

impl Drawing<'_> {
    /// Draw what the artifact answered.
    pub(super) fn draw(&self, outputs: &[Named], results: Results) -> Result<Seen, Failure> {
        let task = self.said("vitc.task");
        match (task, results, outputs) {
            ("segmentation", Results::ClassMap, [map])
                if map.data.len() == self.frame.input.iter().product::<usize>() =>
            {
                self.segments(&classes_of_pixels(&map.data, self.frame))
            }
            ("segmentation", _, [scores]) if scores.shape.len() == 4 => {
                let [count, height, width] = [1, 2, 3].map(|axis| scores.shape[axis]);
                let corners = self.said("vitc.align_corners") == "true";
                self.segments(&classes_of_scores(&scores.data, [count, height, width], corners, self.frame))
            }
            ("detection", Results::Boxes, [boxes, scores]) => {
                self.boxes(&boxes.data, &scores.data, scores.shape.last().copied().unwrap_or(0))
            }
            ("super-resolution", _, [picture]) if picture.shape.len() == 4 && picture.shape[1] == 3 => {
                let enlarged = draw::of_values(&picture.data, [picture.shape[2], picture.shape[3]]);
                let written = self.write(&enlarged, &format!("x{}", self.said("vitc.scale")))?;
                Ok(self.seen(Vec::new(), Vec::new(), vec![written]))
            }
            ("detection", ..) => {
                let what = "returns offsets from anchors, which are not drawn\n  export it with ";
                Err(self.failed(message!(what, Setting::Decode.on())))
            }
            _ => {
                let what = "returns maps, not what its head predicts\n  export it without ";
                Err(self.failed(message!(what, Setting::Output)))
            }
        }
    }

    fn segments(&self, map: &ClassMap) -> Result<Seen, Failure> {
        let mut counts: Vec<(usize, usize)> = Vec::new();
        let mut sorted = map.classes.clone();
        sorted.sort_unstable();
        sorted.chunk_by(|a, b| a == b).for_each(|run| counts.push((run[0], run.len())));
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let all = map.classes.len().max(1) as f32;
        let share =
            |&(class, count): &(usize, usize)| Share { class, label: self.label(class), share: count as f32 / all };
        let coloured = draw::coloured(map, &self.palette());
        let written =
            vec![self.write(&coloured, "classes")?, self.write(&draw::overlaid(self.picture, &coloured), "overlay")?];
        Ok(self.seen(counts.iter().take(SHOWN).map(share).collect(), Vec::new(), written))
    }

    fn boxes(&self, boxes: &[f32], scores: &[f32], classes: usize) -> Result<Seen, Failure> {
        let found = detections(boxes, scores, classes, self.frame);
        let drawn: Vec<_> = found.iter().filter(|d| d.probability >= DRAWN).cloned().collect();
        let written = self.write(&draw::boxed(self.picture, &drawn, &self.palette()), "boxes")?;
        let list = |d: &crate::picture::returned::Detection| Found {
            class: d.class,
            label: self.label(d.class),
            probability: d.probability,
            corners: d.corners,
        };
        Ok(self.seen(Vec::new(), found.iter().map(list).collect(), vec![written]))
    }

    fn seen(&self, shares: Vec<Share>, boxes: Vec<Found>, written: Vec<PathBuf>) -> Seen {
        Seen { file: self.file.to_path_buf(), top: Vec::new(), shares, boxes, written }
    }

    fn write(&self, picture: &Picture, what: &str) -> Result<PathBuf, Failure> {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let path = self.folder.unwrap_or(Path::new("")).join(format!("{stem}-{what}.png"));
        draw::write(picture, &path)
            .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", path.display())))?;
        Ok(path)
    }

    fn palette(&self) -> Palette {
        Palette::read(self.said(PALETTE_KEY)).unwrap_or_default()
    }

    fn label(&self, class: usize) -> Option<String> {
        self.artifact.labels.as_ref().and_then(|labels| labels.get(class).cloned())
    }

    fn said(&self, key: &str) -> &str {
        self.artifact.metadata.get(key).map_or("", String::as_str)
    }

    fn failed(&self, what: Message) -> Failure {
        Failure::new(Exit::Failed, message!("the artifact ", what))
    }
}

/// The shares as a table.
pub(super) fn share_rows(shares: &[Share]) -> Vec<Vec<String>> {
    let mut rows = vec![["class", "share", "label"].map(String::from).to_vec()];
    let row = |s: &Share| vec![s.class.to_string(), format!("{:.4}", s.share), s.label.clone().unwrap_or_default()];
    rows.extend(shares.iter().map(row));
    rows
}

/// The boxes as a table, those that are drawn.
pub(super) fn box_rows(found: &[Found]) -> Vec<Vec<String>> {
    let mut rows = vec![["class", "probability", "left", "top", "right", "bottom", "label"].map(String::from).to_vec()];
    for f in found.iter().filter(|f| f.probability >= DRAWN) {
        let mut row = vec![f.class.to_string(), format!("{:.4}", f.probability)];
        row.extend(f.corners.iter().map(|x| format!("{x:.1}")));
        row.push(f.label.clone().unwrap_or_default());
        rows.push(row);
    }
    rows
}
