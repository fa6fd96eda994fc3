//! `tresorpayd man`: the manual pages. What the command line says of itself comes from its definition, and the page of
//! the settings from the shipped file, so that no page can tell of something else.

mod command; // the page of a command
mod config; // tresorpayd.toml(5)
mod sections; // what no definition says: files, environment, exit status
mod text; // marked text -> roff

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, anyhow};
use clap::CommandFactory;

use crate::cli::{Cli, Failure, output::Output};

/// Pages of commands stand in this section of the manual: user commands.
const COMMANDS: &str = "1";
/// Pages of files stand in this one.
const FILES: &str = "5";
/// The page that is printed when none is named; a command's page is called by it and the command.
const PROGRAM: &str = "tresorpayd";
/// What every page calls the whole.
const MANUAL: &str = "Notices at TresorPay";

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "To read one: tresorpayd man check | man -l -")]
pub(crate) struct ManArgs {
    /// A command, or tresorpayd.toml for the settings [default: the page of the program]
    #[arg(value_name = "PAGE", conflicts_with = "dir")]
    page: Option<String>,
    /// Write every page into this folder, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// One page, in the language of `man`.
struct Page {
    /// `tresorpayd-check`
    name: String,
    section: &'static str,
    roff: String,
}

impl Page {
    /// The first line of a page. It has no date: the same source makes the same page on any day.
    fn title(name: &str, section: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!(".TH {name} {section} \"\" \"tresorpayd {version}\" \"{MANUAL}\"\n")
    }

    fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

pub(super) fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    let pages = pages()?;
    let mut output = Output::stdout();
    if let Some(folder) = &args.dir {
        let place = || folder.display().to_string();
        std::fs::create_dir_all(folder).with_context(place)?;
        for page in &pages {
            let path = folder.join(page.file_name());
            std::fs::write(&path, &page.roff).with_context(|| path.display().to_string())?;
            output.line(path.display().to_string())?;
        }
    } else {
        let page = find(&pages, args.page.as_deref())?;
        output.line(page.roff.trim_end())?;
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The program's page, those of its commands in the order of its help, that of the settings.
fn pages() -> Result<Vec<Page>, Failure> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = vec![command::page(&program)?];
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(command::page(command)?);
    }
    pages.push(config::page());
    Ok(pages)
}

fn find<'a>(pages: &'a [Page], name: Option<&str>) -> Result<&'a Page, Failure> {
    let name = name.unwrap_or(PROGRAM);
    let of_command = format!("{PROGRAM}-{name}");
    pages.iter().find(|page| page.name == name || page.name == of_command).ok_or_else(|| {
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        Failure::Other(anyhow!("no page is called {name:?}; the pages are {}", names.join(", ")))
    })
}
