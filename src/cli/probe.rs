//! `tresorpayd probe`: asks a sandbox what nobody has documented, and prints what it saw and the settings that follow.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};

use crate::{
    cli::{
        Failure,
        output::{Output, Tone, printable},
        runtime,
    },
    lifecycle::shutdown_on_signals,
    probe::{self, AMOUNT, Advice, Findings, MAX_REQUESTS, Options, ProbeError, TAX_PAYER, USUAL_NOTICES},
    settings::{Settings, Sources},
};

/// Digits of a Malian number.
const PHONE_DIGITS: usize = 8;
/// Only who ran it reads what it wrote.
const FILE_MODE: u32 = 0o600;

/// Arguments of `probe`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It emits notices of a small amount in the sandbox, repeats, cancels and polls them, and cancels all that it emitted. \
It refuses the production platform, and needs no database.

Exit status: 0 it asked, and nothing is left live; 1 nothing could be asked, or a notice could not be canceled; \
78 the configuration is bad, or is production's.")]
pub(crate) struct ProbeArgs {
    /// Having read what it will emit: emit it
    #[arg(long)]
    yes: bool,
    /// Budget nomenclature code of the one item of each notice
    #[arg(long, value_name = "CODE", default_value = "71531")]
    nature: String,
    /// Taxpayer's number, 8 digits without +223; it may get a message from TresorPay
    #[arg(long, value_name = "DIGITS", default_value = "70000000", value_parser = phone)]
    phone: String,
    /// Write everything, each request and its answer too, as JSON into this new file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The same on stdout
    #[arg(long)]
    json: bool,
}

fn phone(text: &str) -> Result<String, String> {
    let right = text.len() == PHONE_DIGITS
        && text.bytes().all(|digit| digit.is_ascii_digit())
        && text.starts_with(|digit| matches!(digit, '6'..='9'));
    if right { Ok(text.to_owned()) } else { Err("8 digits, the first of them 6 to 9".to_owned()) }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        Self::Configuration(error.into())
    }
}

pub(super) fn run(sources: &Sources, args: &ProbeArgs) -> Result<ExitCode, Failure> {
    let settings = Settings::load(sources)?;
    probe::check(&settings)?;
    if !args.yes {
        return Err(announce(&settings, args)?);
    }
    // Before anything is emitted: what was learnt must have a place.
    let file = args.output.as_deref().map(create).transpose()?;
    let options = Options { nature: args.nature.clone(), phone: args.phone.clone() };
    let findings = runtime()?.block_on(async {
        let stop = shutdown_on_signals().context("signals")?;
        Ok::<_, Failure>(probe::run(&settings, options, stop).await?)
    })?;
    if let (Some(mut file), Some(path)) = (file, &args.output) {
        let json = serde_json::to_string_pretty(&findings).map_err(anyhow::Error::new)?;
        writeln!(file, "{json}").with_context(|| path.display().to_string())?;
    }
    let mut output = Output::stdout();
    if args.json {
        output.json(&findings)?;
    } else {
        print(&findings, &mut output)?;
    }
    output.finish()?;
    // An interrupted one has questions that were not asked, and what it emitted is canceled all the same.
    let emitted = findings.facts.iter().any(|fact| fact.question == "emit" && fact.found == Some("accepted"));
    Ok(if emitted && findings.left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What it would do, and that nothing was done.
fn announce(settings: &Settings, args: &ProbeArgs) -> Result<Failure, Failure> {
    let code = |code: &Option<String>| code.clone().unwrap_or_default();
    let rate = settings.api.requests_per_second.map_or(String::new(), |rate| format!(", {rate} a second"));
    let mut output = Output::stdout();
    for line in [
        format!("This would ask {} (environment {}):", settings.api.base_url, settings.environment),
        format!(
            "  emit about {USUAL_NOTICES} notices of {AMOUNT} XOF for the taxpayer \"{TAX_PAYER}\", codeClient {}, \
             codeStructure {}, codeNatureRecette {}",
            code(&settings.notice.code_client),
            code(&settings.notice.code_structure),
            args.nature
        ),
        format!("  with no phone number, {0}, +223{0} and a foreign one", args.phone),
        "  emit again with the same reference, poll, cancel, cancel twice, ask for receipts; then cancel everything".to_owned(),
        format!("  in at most {MAX_REQUESTS} requests{rate}"),
    ] {
        output.line(printable(&line))?;
    }
    output.finish()?;
    Ok(Failure::Other(anyhow!("nothing was emitted; to do it, add --yes")))
}

/// A new file: an older one is never written over.
fn create(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    Ok(file.with_context(|| path.display().to_string())?)
}

fn print(findings: &Findings, output: &mut Output) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = findings
        .facts
        .iter()
        .map(|fact| {
            let found = fact.found.unwrap_or("unknown");
            vec![fact.words.to_owned(), found.to_owned(), fact.seen.clone()]
        })
        .collect();
    output.table(&["Question", "Found", "Seen"], &[], &rows)?;
    output.line("")?;
    let title = output.paint("Settings that follow", Tone::Heading);
    output.line(title)?;
    output.line("")?;
    toml(&findings.settings, output)?;
    output.line("")?;
    if findings.left.is_empty() {
        let count = findings.exchanges.len();
        return output.line(format!(
            "Nothing is left live at TresorPay; {count} requests, references {}-…",
            findings.prefix
        ));
    }
    for left in &findings.left {
        let names = if left.tresorpay_references.is_empty() {
            "no reference of TresorPay's is known".to_owned()
        } else {
            left.tresorpay_references.join(", ")
        };
        let line = format!("{} ({names}) may be live: {}", left.client_reference, left.why);
        let line = output.paint(&printable(&line), Tone::Bad);
        output.line(line)?;
    }
    Ok(())
}

/// Ready to be pasted; what does not follow from anything is a comment.
fn toml(advice: &[Advice], output: &mut Output) -> Result<(), Failure> {
    let mut open = "";
    for one in advice {
        let (section, leaf) = one.key.split_once('.').unwrap_or(("", one.key));
        if section != open {
            output.line(format!("[{section}]"))?;
            open = section;
        }
        output.line(printable(&format!("# {}", one.why)))?;
        match &one.value {
            Some(value) => output.line(format!("{leaf} = {value}"))?,
            None => output.line(format!("# {leaf}: leave it as it is"))?,
        }
    }
    Ok(())
}
