//! The road of every export: model → deploy passes → target lowering → exporter → staged file → check → place.
//!
//! There is one road. The command line and the tests walk it through [`export`]; [`lower`] is its first half, up to the target graph, and
//! [`finish`] its second. What comes out is a [`Report`]; whoever wants a page about the export writes one from it (`crate::report`).
//!
//! Invariants: nothing outside the staging folder changes before the check has passed. What the user should know goes into the
//! [`Report`] or to the [`Observer`], never to a stream. What a file format wants is asked of its description in `format`.

mod calibrated;
pub mod calibration;
mod concerned;
mod error;
mod expect;
mod finish;
mod format;
mod functions;
mod label_file;
mod labels;
mod lower;
mod lowered;
mod metadata;
mod observer;
mod options;
mod place;
mod ports;
mod ranges;
mod report;
mod request;
mod rounding;
mod single;
mod wrapping;

pub use calibrated::Calibration;
pub use error::Error;
pub use expect::Expectation;
pub use finish::Destination;
pub use format::TargetKind;
pub use functions::FunctionSize;
pub use lower::lower;
pub use lowered::Lowered;
pub use observer::{Event, Observer};
pub use options::{
    About, ArtifactOptions, Attention, CheckOptions, Cpu, Labels, Numbers, PortOptions, QuantizeOptions,
};
pub use place::named_place;
pub use report::{FunctionLine, PassLine, Precision, QuantisationLine, Report, WeightsLine, Written};
pub use request::{Request, RequestBuilder};
pub use rounding::{Moved, Rounded, Rounding};
pub use single::finish;

/// The whole road. The artifact is in its place when this returns `Ok`.
///
/// # Errors
/// See [`Error`]. What was in the artifact's place before is there still.
pub fn export(request: &Request, observer: &Observer<'_>) -> Result<Report, Error> {
    finish(request, lower(request, observer)?, Destination::Place, observer)
}
