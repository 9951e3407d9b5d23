//! The one error of this module: what is wrong, where, why it is wrong, and what to do about it.

use crate::message;
use crate::message::{Explain, Message, Setting};
use std::path::Path;

/// Why a checkpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  where: {place}\n  why: {why}\n  to do: {todo}")]
pub struct CheckpointError {
    /// What is wrong, in a few words.
    pub what: Message,
    /// File, and where it helps the tensor or byte.
    pub place: String,
    /// What was found and what would have been right.
    pub why: Message,
    /// What the user can do.
    pub todo: Message,
}

impl Explain for CheckpointError {
    fn message(&self) -> Message {
        let CheckpointError { what, place, why, todo } = self;
        let place = format!("\n  where: {place}\n  why: ");
        message!(what.clone(), place, why.clone(), "\n  to do: ", todo.clone())
    }
}

impl CheckpointError {
    pub(super) fn new(
        what: impl Into<Message>,
        place: impl Into<String>,
        why: impl Into<Message>,
        todo: impl Into<Message>,
    ) -> Self {
        CheckpointError { what: what.into(), place: place.into(), why: why.into(), todo: todo.into() }
    }

    /// A file that breaks its own format at `place`.
    pub(super) fn damaged(place: impl Into<String>, why: impl Into<Message>) -> Self {
        let todo = "copy or download the file again and compare its size or checksum with the source's";
        CheckpointError::new("the checkpoint is damaged", place, why, todo)
    }

    /// The operating system refused.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        if let Some(repository) = hub_name(&path.to_string_lossy()) {
            return CheckpointError::new(
                "this names a repository of the Hugging Face hub, not a file",
                path.display().to_string(),
                "vitc reads files of this machine and downloads nothing",
                message!(
                    format!("download it with `hf download {repository}`, which prints a folder, then "),
                    Setting::Weights.to("that-folder")
                ),
            );
        }
        let todo = match error.kind() {
            std::io::ErrorKind::NotFound => message!("check the spelling of the path given to ", Setting::Weights),
            std::io::ErrorKind::PermissionDenied => "give yourself permission to read it".into(),
            _ => "check that the path names a readable file or folder".into(),
        };
        CheckpointError::new("the checkpoint cannot be opened", path.display().to_string(), error.to_string(), todo)
    }

    /// The same error, its place inside `outer`.
    pub(super) fn within(mut self, outer: &str) -> Self {
        self.place = if self.place.is_empty() { outer.to_string() } else { format!("{outer}, {}", self.place) };
        self
    }
}

/// The repository of a name such as `hf_hub:timm/efficientformerv2_s0.snap_dist_in1k`.
pub fn hub_name(name: &str) -> Option<String> {
    let repository =
        ["hf_hub:", "hf-hub:", "hf://", "https://huggingface.co/"].iter().find_map(|p| name.strip_prefix(p))?;
    Some(shortened(repository.split('@').next().unwrap_or(repository)))
}

/// `1 key`, `2 keys`.
pub(super) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// The first `cap` names, and how many more there are.
pub(super) fn some_of<'a>(names: impl ExactSizeIterator<Item = &'a str>, cap: usize) -> String {
    let more = names.len().saturating_sub(cap);
    let mut text = names.take(cap).map(shortened).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// A name from a file as it may be printed: at most 120 characters, none of them a control character.
pub(super) fn shortened(name: &str) -> String {
    let mut text: String = name.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if name.chars().nth(120).is_some() {
        text.push('…');
    }
    text
}
