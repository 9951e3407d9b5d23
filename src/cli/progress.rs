//! What the program is doing, for a person who waits: a line on stderr, on a terminal only, and only once a second has passed.

use super::caller::Listener;
use super::{Caller, words};
use crate::export::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// A line that says what is being done; it goes away with this value. A program is told instead.
pub(super) struct Progress<'a> {
    observer: Option<&'a Listener<'a>>,
    bar: ProgressBar,
    quiet: bool,
    /// Closing this channel stops the timer.
    _running: Option<Sender<()>>,
}

impl<'a> Progress<'a> {
    /// Nothing is shown for the first second, and never with `quiet`, to a program or without a terminal.
    pub(super) fn new(caller: &Caller<'a>, quiet: bool) -> Progress<'a> {
        let observer = caller.observer;
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if quiet || observer.is_some() || !std::io::stderr().is_terminal() {
            return Progress { observer, bar, quiet, _running: None };
        }
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is valid"));
        let (running, stopped) = channel::<()>();
        let shown = bar.clone();
        std::thread::spawn(move || {
            if stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(Duration::from_millis(120));
            }
        });
        Progress { observer, bar, quiet, _running: Some(running) }
    }

    /// What happens on the road of an export.
    pub(super) fn watch(&self, event: Event<'_>) {
        match event {
            Event::Notice(_) if self.observer.is_some() => self.tell(event),
            Event::Staged(_) => self.tell(event),
            Event::Step(what) => self.step(what),
            Event::Notice(message) if !self.quiet => self.notice(&words(message)),
            Event::Notice(_) => {}
        }
    }

    fn tell(&self, event: Event<'_>) {
        if let Some(observer) = self.observer {
            observer(event);
        }
    }

    /// What is being done now.
    pub(super) fn step(&self, what: &str) {
        self.tell(Event::Step(what));
        self.bar.set_message(what.to_string());
    }

    /// Write a line to stderr without tearing the progress line.
    pub(super) fn notice(&self, text: &str) {
        if self.observer.is_some() {
            return self.tell(Event::Notice(&text.into()));
        }
        self.bar.suspend(|| {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "note: {text}");
        });
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
