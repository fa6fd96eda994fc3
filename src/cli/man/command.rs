//! The page of a command: what its definition says, and below it the sections that no definition has.

use clap::Command;
use clap_mangen::{Man, roff::Roff};

use super::{COMMANDS, Page, sections, text};
use crate::cli::Failure;

/// The page of the program itself, or of one of its commands. The command must have been built.
pub(super) fn page(command: &Command) -> Result<Page, Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let roff = render(command).map_err(anyhow::Error::new)?;
    Ok(Page { name, section: COMMANDS, roff })
}

fn render(command: &Command) -> std::io::Result<String> {
    let is_program = command.has_subcommands();
    let man = Man::new(command.clone()).section(COMMANDS);
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut page = Page::title(name, COMMANDS).into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    if is_program {
        sections::description().to_writer(&mut page)?;
    } else {
        man.render_description_section(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    if is_program {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(more) = command.get_after_long_help().or(command.get_after_help()) {
        let mut roff = Roff::new();
        roff.control("SH", ["NOTES"]);
        text::lines(&mut roff, &more.to_string());
        roff.to_writer(&mut page)?;
    }
    if is_program {
        sections::of_program().to_writer(&mut page)?;
    } else {
        sections::of_command(command.get_name()).to_writer(&mut page)?;
    }
    Ok(text::mark(&String::from_utf8_lossy(&page)))
}
