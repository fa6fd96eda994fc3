//! The output that the README shows is what the demo prints: every line, save the times and TresorPay's numbers.

use crate::{
    pages::Page,
    world::{run, texts, tresorpayd},
};

/// Stands for what the README leaves out.
const LEFT_OUT: &str = "…";
/// The column of times: `   0.0 s  `.
const TIME_WIDTH: usize = 10;

/// A line without what differs from run to run.
fn lasting(line: &str) -> String {
    let time: String = line.chars().take(TIME_WIDTH).collect();
    let is_time = time.trim().strip_suffix(" s").is_some_and(|seconds| seconds.parse::<f64>().is_ok());
    let rest: String = if is_time { line.chars().skip(TIME_WIDTH).collect() } else { line.to_owned() };
    let words = rest.split_whitespace().map(|word| {
        // `TP20261124.1301.AR1`
        if word.starts_with("TP2") { "TP" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// One line, or two where a slow machine sees a notice between its two moves.
fn is_told(printed: &[String], line: &str) -> bool {
    let told = |line: &str| printed.iter().any(|one| one == line);
    told(line) || line.split_once("EMITTING → ").is_some_and(|(lead, end)| told(&format!("{lead}{end}")))
}

#[test]
fn the_output_in_the_readme_is_the_demos() {
    let fences = Page::read("README.md").fences();
    let shown = fences.iter().find(|fence| fence.note.as_deref() == Some("output of: tresorpayd demo"));
    let shown = &shown.unwrap_or_else(|| panic!("the README shows no output of the demo")).text;
    let mut demo = tresorpayd();
    demo.arg("demo");
    let output = run(demo);
    let (stdout, both) = texts(&output);
    assert!(output.status.success(), "{both}");
    let printed: Vec<String> = stdout.lines().map(lasting).collect();
    for line in shown.lines().filter(|line| *line != LEFT_OUT) {
        assert!(is_told(&printed, &lasting(line)), "the demo does not print {line:?}:\n{stdout}");
    }
}

#[test]
fn lines_are_compared_without_what_differs() {
    let line = "   0.3 s  PATENTE-0101   EMITTING → EMITTED    TP20261124.1301.AR1";
    assert_eq!(lasting(line), "PATENTE-0101 EMITTING → EMITTED TP");
    assert_eq!(lasting("            0 rows"), "0 rows");
    let printed = vec!["PATENTE-0101 EMITTED TP".to_owned()];
    assert!(is_told(&printed, &lasting(line)));
    assert!(!is_told(&printed, "PATENTE-0102 EMITTING → EMITTED TP"));
}
