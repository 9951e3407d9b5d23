//! `vitc completions` and `vitc man`: what a shell and `man` want to know, from the definition of the command line itself.

use super::{Answer, Cli, Failure, Outcome};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use clap_mangen::Man;

/// Print a script that completes vitc's commands and options in a shell.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc completions bash > ~/.local/share/bash-completion/completions/vitc
  vitc completions zsh > ~/.zfunc/_vitc
  vitc completions fish > ~/.config/fish/completions/vitc.fish")]
pub(super) struct CompletionArgs {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page of vitc or of one of its commands.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc man > ~/.local/share/man/man1/vitc.1
  vitc man export > ~/.local/share/man/man1/vitc-export.1")]
pub(super) struct ManArgs {
    /// A command; vitc itself if left out.
    command: Option<String>,
}

/// Print a completion script.
pub(super) fn completions(args: CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vitc", &mut script);
    answer(script, "completions")
}

/// Print a manual page.
pub(super) fn man(args: ManArgs) -> Outcome {
    let mut cli = Cli::command();
    cli.build();
    let command = match &args.command {
        None => cli,
        Some(name) => {
            let names: Vec<&str> = cli.get_subcommands().map(|c| c.get_name()).collect();
            let unknown = || Failure::usage(format!("there is no command `{name}`\n  commands: {}", names.join(", ")));
            cli.find_subcommand(name).ok_or_else(unknown)?.clone()
        }
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Failure::failed)?;
    answer(page, "man")
}

fn answer(text: Vec<u8>, what: &str) -> Outcome {
    let text = String::from_utf8(text).map_err(Failure::failed)?;
    let json = serde_json::json!({ what: text });
    Ok(Answer::new(text, json))
}
