//! The native half of the Python package `vitc`: the program, and its commands for programs.
//!
//! It is small on purpose. What a keyword argument means, what a model is and what a report shows is Python, in `python/vitc`; here Python's tensors
//! become a checkpoint ([`tensor`]), a command runs without the interpreter's lock ([`command`]), and settings get their Python names ([`words`]).
//!
//! The module is made by hand, without PyO3's macros.

mod command;
mod module;
mod tensor;
mod words;
