//! Arguments that cannot be understood, said to a program: by the names of its options.

use super::Cli;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, Error};

/// What is wrong with the arguments of `command`.
pub(super) fn explained(error: &Error, command: &str) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let options = |kind| text(kind).iter().map(|flag| option(command, flag)).collect::<Vec<_>>().join(", ");
    let asked = options(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue).concat();
    let own = std::error::Error::source(error).map(ToString::to_string);
    match error.kind() {
        ErrorKind::ArgumentConflict => match options(ContextKind::PriorArg) {
            others if others.is_empty() => format!("{asked} cannot be given with the other options"),
            others => format!("{asked} cannot be given with {others}"),
        },
        ErrorKind::MissingRequiredArgument => format!("missing: {asked}"),
        ErrorKind::InvalidValue => match text(ContextKind::ValidValue).join(", ") {
            known if known.is_empty() => format!("{asked}: a value is missing"),
            known => format!("{asked}: `{value}` is none of {known}"),
        },
        _ => format!("{asked}: `{value}`: {}", own.unwrap_or_else(|| error.kind().to_string())),
    }
}

/// The option's name for what clap calls `--resolution <N|HxW>` or `<ARTIFACT>`.
fn option(command: &str, shown: &str) -> String {
    let cli = Cli::command();
    let own = cli.find_subcommand(command);
    let found = own.and_then(|c: &Command| c.get_arguments().find(|a: &&Arg| is(a, shown)));
    found.map_or_else(|| shown.to_string(), |argument| argument.get_id().to_string())
}

fn is(argument: &Arg, shown: &str) -> bool {
    let word = shown.split([' ', '=']).next().unwrap_or(shown);
    match word.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => {
            let named = |name: &str| word.trim_matches(['<', '>', '[', ']', '.']) == name;
            argument.is_positional() && argument.get_value_names().is_some_and(|names| names.iter().any(|n| named(n)))
        }
    }
}
