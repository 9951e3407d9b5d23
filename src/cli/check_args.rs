//! The options about values from outside: the same for every command that compares.

use super::Failure;
use crate::export::Expectation;
use crate::message;
use crate::message::Setting;
use std::path::PathBuf;

/// Values from outside.
#[derive(Debug, clap::Args)]
pub(super) struct ExpectArgs {
    /// What PyTorch answered to the --input: a .npy file of floats for each output, in their order or as NAME=FILE.npy (repeat the flag), or one
    /// .npz file of arrays with the outputs' names.
    #[arg(long, value_name = "[NAME=]FILE", requires = "input", help_heading = "Check")]
    expect: Vec<String>,

    /// Largest absolute difference from --expect [default: the check's own bound].
    #[arg(long, value_name = "X", requires = "expect", help_heading = "Check")]
    atol: Option<f64>,

    /// Allowed difference from --expect in proportion to each value [default: 0].
    #[arg(long, value_name = "X", requires = "expect", help_heading = "Check")]
    rtol: Option<f64>,
}

impl ExpectArgs {
    /// The library's request, if there is one.
    pub(super) fn request(&self, input: Option<&PathBuf>) -> Result<Option<Expectation>, Failure> {
        let input = match (input, self.expect.is_empty()) {
            (Some(input), false) => input.clone(),
            (None, true) => return Ok(None),
            (Some(_), true) => {
                let (names, missing) = (" names values, and ", " is missing: what should it answer?");
                return Err(Failure::usage(message!(Setting::Input, names, Setting::Expect, missing)));
            }
            (None, false) => {
                return Err(Failure::usage(message!(
                    Setting::Expect,
                    " is missing its ",
                    Setting::Input.to("FILE.npy")
                )));
            }
        };
        let expected = self.expect.iter().map(|text| text.as_str().into()).collect();
        Ok(Some(Expectation { input, expected, atol: self.atol, rtol: self.rtol.unwrap_or(0.0) }))
    }
}
