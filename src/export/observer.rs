//! Who is told what happens on the road.

use crate::message::Message;
use std::path::Path;

/// Something that happens on the road.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// What is being done now, for a progress line.
    Step(&'a str),
    /// Something the user should know.
    Notice(&'a Message),
    /// The folder that holds what is not finished: whoever gives the road up before it ends removes it. `None` once its content moves.
    Staged(Option<&'a Path>),
}

/// Who is told about [`Event`]s.
pub type Observer<'a> = dyn Fn(Event<'_>) + 'a;
