//! `tresorpayd completions`: what a shell completes, made from the definition of the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Failure, output::Output};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where a shell looks for it:
  bash  /usr/share/bash-completion/completions/tresorpayd
  zsh   /usr/share/zsh/vendor-completions/_tresorpayd
  fish  /usr/share/fish/vendor_completions.d/tresorpayd.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tresorpayd", &mut script);
    let mut output = Output::stdout();
    output.line(String::from_utf8_lossy(&script).trim_end())?;
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}
