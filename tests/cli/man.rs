//! `man` and `completions`: every command and setting has its place, and the programs that read them take them.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Without a configuration, a database or a platform.
fn tresorpayd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tresorpayd"))
        .env_clear()
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn printed(args: &[&str]) -> String {
    let output = tresorpayd(args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that the program's help lists.
fn commands() -> BTreeSet<String> {
    let help = printed(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

/// Whether this machine has the program.
fn has(program: &str) -> bool {
    Command::new(program).arg("-h").stdin(Stdio::null()).output().is_ok()
}

/// A page as a reader sees it.
fn shown(page: &Path) -> Option<String> {
    let tool = ["mandoc", "groff"].into_iter().find(|tool| has(tool))?;
    let mut command = Command::new(tool);
    if tool == "groff" {
        command.args(["-man", "-ww"]);
    }
    let output = command.args(["-T", "ascii"]).arg(page).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}: {output:?}", page.display());
    let text = String::from_utf8(output.stdout).unwrap();
    // Bold is a letter, a backspace and the letter again.
    let mut plain = String::new();
    for c in text.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    Some(plain.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn every_command_has_a_page_that_tells_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made/for/it");
    let told = printed(&["man", "--dir", folder.to_str().unwrap()]);
    let names =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let written: BTreeSet<String> = names.collect();
    let mut wanted: BTreeSet<String> = commands().iter().map(|name| format!("tresorpayd-{name}.1")).collect();
    wanted.extend(["tresorpayd.1", "tresorpayd.toml.5"].map(str::to_owned));
    assert_eq!(written, wanted);
    assert_eq!(told.lines().count(), wanted.len(), "{told}");
    for command in commands() {
        let page = std::fs::read_to_string(folder.join(format!("tresorpayd-{command}.1"))).unwrap();
        let page = page.replace("\\-", "-");
        assert_eq!(printed(&["man", &command]).replace("\\-", "-"), page, "{command}");
        let help = printed(&[&command, "--help"]);
        let options = help
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.len() > 2 && word.starts_with("--"));
        for option in options {
            assert!(page.contains(option), "the page of {command} has no {option}");
        }
        for section in [
            ".SH NAME",
            ".SH SYNOPSIS",
            ".SH DESCRIPTION",
            ".SH OPTIONS",
            ".SH \"EXIT STATUS\"",
            ".SH \"SEE ALSO\"",
        ] {
            assert_eq!(page.matches(section).count(), 1, "{command}: {section}");
        }
    }
}

#[test]
fn readers_of_pages_take_them_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    printed(&["man", "--dir", folder.path().to_str().unwrap()]);
    for page in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        let Some(text) = shown(&page) else { return };
        assert!(text.contains("SEE ALSO") && !text.contains('`'), "{text}");
    }
    let program = shown(&folder.path().join("tresorpayd.1")).unwrap();
    for words in [
        "tresorpayd-check(1) Configuration,",
        "FILES /etc/tresorpayd/config.toml",
        "TRESORPAYD__SECTION__KEY",
        "78 the configuration is bad",
    ] {
        assert!(program.contains(words), "{words}: {program}");
    }
    let settings = shown(&folder.path().join("tresorpayd.toml.5")).unwrap();
    assert!(settings.contains("emit.max_attempts After so many emissions that left and count, a row is REJECTED. Outages do not count. Default: 20"), "{settings}");
    assert!(settings.contains("[RECEIPTS]") || settings.contains("[receipts]"), "{settings}");
}

#[test]
fn the_page_of_the_settings_has_every_key() {
    let page = printed(&["man", "tresorpayd.toml"]);
    let file = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tresorpayd.toml"))
        .unwrap();
    let keys = file.lines().filter_map(|line| {
        let key = line
            .strip_prefix("# Example: ")
            .or(line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))?;
        key.split_once(" = ").map(|(key, _)| key)
    });
    let mut count = 0;
    for key in keys {
        let found = page
            .lines()
            .any(|line| line == format!("\\fB{key}\\fR") || line.ends_with(&format!(".{key}\\fR")));
        assert!(found, "{key}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn an_unknown_page_is_told_with_those_there_are() {
    let output = tresorpayd(&["man", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("\"nothing\"") && words.contains("tresorpayd-check"), "{words}");
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
    assert_eq!(tresorpayd(&["completions", "cmd.com"]).status.code(), Some(2));
}

#[test]
fn bash_completes() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("tresorpayd");
    std::fs::write(&script, printed(&["completions", "bash"])).unwrap();
    let completed = |words: &str, word: usize| {
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={word}; COMP_LINE='{words}'; \
             _tresorpayd tresorpayd \"${{COMP_WORDS[{word}]}}\" tresorpayd; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("tresorpayd chec", 1), "check");
    assert_eq!(completed("tresorpayd check --js", 2), "--json");
    assert_eq!(completed("tresorpayd completions zs", 2), "zsh");
}
