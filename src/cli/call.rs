//! The commands for programs: the same arguments, answered as data.

use super::caller::Caller;
use super::{Answer, Cli, Failure, dispatch, misuse};
use crate::export::Report;
use clap::{Arg, ArgAction, CommandFactory, Parser};
use serde::Serialize;
use std::ffi::OsString;

/// What a command answered.
#[derive(Debug)]
pub struct Answered {
    /// The exit code that the program would end with.
    pub exit: u8,
    /// What `--json` prints.
    pub json: serde_json::Value,
    /// The result for a person.
    pub text: String,
    /// Said last: a warning, or what went wrong and what to do.
    pub message: Option<String>,
    /// The export, if one was made or failed its check.
    pub report: Option<Box<Report>>,
}

/// An option of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandOption {
    /// Its name, as a keyword argument.
    pub name: String,
    /// How the command line writes it (`--fp16`, `-o`); empty for what has its place.
    pub flag: String,
    /// It is on or off.
    pub switch: bool,
    /// It may be given several times.
    pub repeatable: bool,
    /// What stands between several values that it takes at once.
    pub delimiter: Option<char>,
    /// What its value is: `N|HxW`, `OLD=NEW`.
    pub value: String,
    /// The values that it knows, if only these.
    pub values: Vec<String>,
    /// What it does.
    pub help: String,
}

/// Run a command with these arguments, its name first.
pub fn call(args: &[OsString], caller: &Caller<'_>) -> Answered {
    let program = std::iter::once(OsString::from("vitc"));
    let name = args.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
    let outcome = match Cli::try_parse_from(program.chain(args.iter().cloned())) {
        Ok(cli) => dispatch(cli.command, caller).1,
        Err(error) => Err(Failure::usage(misuse::explained(&error, &name))),
    };
    match outcome {
        Ok(Answer { text, json, warning, report }) => {
            Answered { exit: 0, json: super::object(&name, json, None), text, message: warning, report }
        }
        Err(Failure { exit, message, json, report }) => {
            let message = (caller.words)(&message);
            let json = super::object(&name, json.unwrap_or_default(), Some((exit, &message)));
            Answered { exit: exit as u8, json, text: String::new(), message: Some(message), report }
        }
    }
}

/// The options of a command, in the order of its help; `None` if there is no such command.
pub fn options(command: &str) -> Option<Vec<CommandOption>> {
    let cli = Cli::command();
    let command = cli.find_subcommand(command)?;
    let listed = |a: &&Arg| !matches!(a.get_action(), ArgAction::Help | ArgAction::Version);
    Some(command.get_arguments().filter(listed).map(option).collect())
}

fn option(argument: &Arg) -> CommandOption {
    let switch = matches!(argument.get_action(), ArgAction::SetTrue);
    let flag = match (argument.get_long(), argument.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => String::new(),
    };
    let names = argument.get_value_names().unwrap_or_default();
    let known = argument.get_possible_values();
    CommandOption {
        name: argument.get_id().to_string(),
        flag,
        switch,
        repeatable: matches!(argument.get_action(), ArgAction::Append),
        delimiter: argument.get_value_delimiter(),
        value: if switch { String::new() } else { names.first().map(ToString::to_string).unwrap_or_default() },
        values: if switch { Vec::new() } else { known.iter().map(|v| v.get_name().to_string()).collect() },
        help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
    }
}
