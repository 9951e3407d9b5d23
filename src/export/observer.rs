//! Who is told what happens on the road.

use crate::message::Message;

/// Something that happens on the road.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// What is being done now, for a progress line.
    Step(&'a str),
    /// Something the user should know.
    Notice(&'a Message),
}

/// Who is told about [`Event`]s.
pub type Observer<'a> = dyn Fn(Event<'_>) + 'a;
