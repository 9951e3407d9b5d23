//! The command line.
//!
//! Invariants: the result of a command goes to stdout and nothing else does, so it can be piped; notices, progress and errors go to
//! stderr. With `--json` stdout holds exactly one object, however the command ends. Exit codes: 0 done, 1 failed, 2 wrong use, 3 the check
//! failed. Every command only translates: arguments into a request to the library, the library's report into text or JSON. A program that links
//! the library runs the same commands through [`call()`].

mod artifact_args;
mod call;
mod caller;
mod check;
mod check_args;
#[cfg(feature = "run")]
mod evaluate;
mod export;
mod file_args;
mod importable;
mod inspect;
mod ir;
mod list;
mod misuse;
mod model_args;
mod next;
mod page;
mod progress;
mod publish;
mod report;
#[cfg(feature = "run")]
mod run;
mod shell;
mod summary;
mod text;
mod values;
mod words;

pub use call::{Answered, CommandOption, call, options};
pub use caller::{Caller, Listener};
pub use words::{explained, words};

use crate::export::Report;
use crate::message::{Explain, Message};
use crate::nearest::edit_distance;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Turn a trained efficient vision transformer into the file that a phone or an NVIDIA GPU runs fast.
///
/// A PyTorch checkpoint goes in; an ONNX file or a CoreML package comes out, in one step and without Python. Before the file takes its
/// place it is run and compared with the model as its paper describes it.
#[derive(Debug, Parser)]
#[command(name = "vitc", version, max_term_width = 110, after_help = AFTER_HELP)]
#[command(arg_required_else_help = true, subcommand_required = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  vitc export --weights eformer_s0_450.pth --target coreml
  vitc export efficientformerv2-l --target tensorrt-onnx --fp16 --batch dynamic
  vitc inspect eformer_s0_450.pth

Exit codes: 0 done, 1 failed, 2 wrong use, 3 the artifact failed its check.";

#[derive(Debug, Subcommand)]
enum Command {
    Export(Box<export::Args>),
    Check(Box<check::Args>),
    #[cfg(feature = "run")]
    Run(run::Args),
    #[cfg(feature = "run")]
    Evaluate(Box<evaluate::Args>),
    Inspect(inspect::Args),
    Ir(ir::Args),
    List(list::Args),
    Report(Box<report::Args>),
    Publish(Box<publish::Args>),
    Completions(shell::CompletionArgs),
    Man(shell::ManArgs),
}

/// What a command has to say when it is done.
#[derive(Debug)]
struct Answer {
    /// The result for a person, on stdout.
    text: String,
    /// The same for a program.
    json: serde_json::Value,
    /// Said last, on stderr.
    warning: Option<String>,
    /// The export, if one was made.
    report: Option<Box<Report>>,
}

impl Answer {
    /// An answer in words and data.
    fn new(text: String, json: serde_json::Value) -> Answer {
        Answer { text, json, warning: None, report: None }
    }
}

/// A command that did not do what was asked.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    /// What, where, why, what to do.
    message: Message,
    /// What is known all the same, for a program.
    json: Option<serde_json::Value>,
    /// The export that failed its check.
    report: Option<Box<Report>>,
}

/// Why a command fails, as an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Failed = 1,
    Usage = 2,
    Check = 3,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<Message>) -> Failure {
        Failure { exit, message: message.into(), json: None, report: None }
    }

    fn usage(message: impl Into<Message>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// What names no setting.
    fn failed(message: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Failed, message.to_string())
    }
}

impl From<crate::model::ModelError> for Failure {
    fn from(error: crate::model::ModelError) -> Failure {
        Failure::new(if error.is_usage() { Exit::Usage } else { Exit::Failed }, error.message())
    }
}

type Outcome = Result<Answer, Failure>;

/// Run the program on the process's arguments.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(program(&args))
}

/// Run the program on these arguments, the first of which is its name, and return its exit code.
pub fn program(args: &[OsString]) -> u8 {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr());
    run(args, &mut out, &mut err)
}

/// Run one command line and return its exit code. A stream that nobody reads any more (`vitc list | head -1`) is not an error.
fn run(args: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let json = args.iter().any(|a| a == "--json");
    let (name, outcome) = match Cli::try_parse_from(args) {
        Err(e) if !e.use_stderr() => {
            let _ = write!(out, "{}", e.render());
            return 0;
        }
        Err(e) => {
            let message = without_far_tip(e).render().to_string();
            let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end().to_string();
            let asked = args.iter().skip(1).find_map(|a| a.to_str().filter(|a| !a.starts_with('-')));
            let known = asked.filter(|a| Cli::command().find_subcommand(a).is_some());
            (known.unwrap_or("vitc").to_string(), Err(Failure::usage(message)))
        }
        Ok(cli) => {
            let (name, outcome) = dispatch(cli.command, &Caller::TERMINAL);
            (name.to_string(), outcome)
        }
    };
    finish(&name, outcome, json, out, err)
}

/// Run one command, which has this name.
fn dispatch(command: Command, caller: &Caller<'_>) -> (&'static str, Outcome) {
    match command {
        Command::Export(args) => ("export", export::run(*args, caller)),
        Command::Check(args) => ("check", check::run(*args, caller)),
        #[cfg(feature = "run")]
        Command::Run(args) => ("run", run::run(args, caller)),
        #[cfg(feature = "run")]
        Command::Evaluate(args) => ("evaluate", evaluate::run(*args, caller)),
        Command::Inspect(args) => ("inspect", inspect::run(args, caller)),
        Command::Ir(args) => ("ir", ir::run(args)),
        Command::List(args) => ("list", list::run(args)),
        Command::Report(args) => ("report", report::run(*args, caller)),
        Command::Publish(args) => ("publish", publish::run(*args, caller)),
        Command::Completions(args) => ("completions", shell::completions(args)),
        Command::Man(args) => ("man", shell::man(args)),
    }
}

/// An error about an unknown flag, without a tip that is another flag altogether.
fn without_far_tip(error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};
    let (Some(ContextValue::String(found)), Some(ContextValue::String(tip))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::SuggestedArg))
    else {
        return error;
    };
    if edit_distance(found, tip) <= 1 + found.len().min(tip.len()) / 4 {
        return error;
    }
    let mut plain = clap::Error::new(error.kind()).with_cmd(&Cli::command());
    // The usage names the flag of the tip.
    for (kind, value) in
        error.context().filter(|(kind, _)| !matches!(kind, ContextKind::SuggestedArg | ContextKind::Usage))
    {
        plain.insert(kind, value.clone());
    }
    plain
}

/// What `--json` prints: how the command ended, and what it has to say.
fn object(command: &str, more: serde_json::Value, failed: Option<(Exit, &str)>) -> serde_json::Value {
    let mut object = serde_json::json!({ "vitc": env!("CARGO_PKG_VERSION"), "command": command });
    let end = match failed {
        None => serde_json::json!({ "ok": true, "exit": 0 }),
        Some((exit, message)) => serde_json::json!({ "ok": false, "exit": exit as u8, "error": message }),
    };
    for part in [end, more] {
        if let (Some(object), serde_json::Value::Object(part)) = (object.as_object_mut(), part) {
            object.extend(part);
        }
    }
    object
}

/// Write what a command has to say.
fn finish(command: &str, outcome: Outcome, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (object, exit) = match outcome {
        Ok(answer) => {
            if !json {
                let _ = write!(out, "{}", answer.text);
            }
            let _ = out.flush();
            if let Some(warning) = answer.warning {
                let _ = writeln!(err, "warning: {warning}");
            }
            (object(command, answer.json, None), 0)
        }
        Err(failure) => {
            let message = words(&failure.message);
            let _ = writeln!(err, "error: {message}");
            let json = failure.json.unwrap_or_default();
            (object(command, json, Some((failure.exit, &message))), failure.exit as u8)
        }
    };
    if json {
        let _ = writeln!(out, "{object:#}");
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_a_near_flag_is_proposed() {
        let said = |flag: &str| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let line = ["vitc", "export", "efficientformerv2-s0", flag].map(OsString::from);
            assert_eq!(run(&line, &mut out, &mut err), 2);
            String::from_utf8_lossy(&err).into_owned()
        };
        assert!(said("--softmaks").contains("'--softmax'") && said("--resolutions").contains("'--resolution'"));
        let far = said("--format");
        assert!(far.contains("'--format'") && !far.contains("--softmax"), "{far}");
    }

    #[test]
    fn json_is_one_object_however_the_command_ends() {
        let lines: [&[&str]; 5] = [
            &["vitc", "list", "--json"],
            &["vitc", "export", "--json"],
            &["vitc", "export", "--json", "--no-such-flag"],
            &["vitc", "--json"],
            &["vitc", "inspect", "no/such/file.pth", "--json"],
        ];
        for (line, exit) in lines.into_iter().zip([0, 2, 2, 2, 1]) {
            let args: Vec<OsString> = line.iter().map(OsString::from).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(run(&args, &mut out, &mut err), exit, "{line:?}: {}", String::from_utf8_lossy(&err));
            let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(object["exit"], exit, "{line:?}");
            assert_eq!(object["ok"], exit == 0, "{line:?}");
            assert_eq!(object["error"].is_string(), exit != 0, "{line:?}");
        }
    }
}
