//! What a run says at its end: the table for people, the JSON for programs.
//!
//! Owns the words and numbers on paper. It must never measure, and never turn a
//! missed target into a failure: targets are printed beside the figures, met or
//! not. Neighbours: `main` calls it with what `harness` measured.

use std::fmt::Write;

use crate::harness::{Better, Measured, Mode, Row, Target};

/// A row under its label, with its medians.
pub(crate) type Entry = (String, &'static Row, Measured);

pub(crate) fn print_table(mode: Mode, cpus: &[usize], entries: &[Entry]) {
    let place = match mode {
        Mode::Free => "free: on every CPU".to_string(),
        Mode::Pinned => format!("pinned: on CPU set {cpus:?}"),
    };
    println!("\n{place} (medians of rounds, interleaved)");
    println!(
        "{:<29} {:<5} {:>11} {:>11} {:>11} {:>10} {:>9}  target",
        "row", "unit", "ours", "python", "raw", "python/our", "our/raw"
    );
    for (label, row, measured) in entries {
        let judged = if row.judged.contains(&mode) { row.targets } else { &[] };
        let targets: Vec<_> = judged.iter().map(|target| verdict(*target, row, measured)).collect();
        println!(
            "{label:<29} {:<5} {:>11} {:>11} {:>11} {:>10} {:>9}  {}",
            row.unit.name(),
            figure(measured.ours),
            figure(measured.python),
            figure(measured.raw),
            ratio(beats(row.better, measured.ours, measured.python)),
            ratio(quotient(measured.ours, measured.raw)),
            targets.join("; "),
        );
    }
}

fn quotient(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    Some(left? / right?)
}

/// How many times better `left` is than `right`.
fn beats(better: Better, left: Option<f64>, right: Option<f64>) -> Option<f64> {
    match better {
        Better::Lower => quotient(right, left),
        Better::Higher => quotient(left, right),
    }
}

/// A target with its verdict; without one where a side is missing.
fn verdict(target: Target, row: &Row, measured: &Measured) -> String {
    let (text, met) = match target {
        Target::TimesRaw(limit) => (
            format!("<= {limit} x raw"),
            quotient(measured.ours, measured.raw).map(|ratio| ratio <= limit),
        ),
        Target::RateOfRaw(least) => (
            format!(">= {least} x raw"),
            quotient(measured.ours, measured.raw).map(|ratio| ratio >= least),
        ),
        Target::BeatsPython(least) => (
            format!(">= {least} x python"),
            beats(row.better, measured.ours, measured.python).map(|ratio| ratio >= least),
        ),
        Target::AtMost(limit) => {
            (format!("<= {limit} {}", row.unit.name()), measured.ours.map(|figure| figure <= limit))
        }
        Target::AtLeast(least) => {
            (format!(">= {least} {}", row.unit.name()), measured.ours.map(|figure| figure >= least))
        }
    };
    match met {
        Some(true) => text + ": met",
        Some(false) => text + ": MISSED",
        None => text,
    }
}

fn figure(figure: Option<f64>) -> String {
    match figure {
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) => format!("{figure:.2}"),
        None => "-".to_string(),
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_string(), |ratio| format!("{ratio:.2}"))
}

/// `[{"row", "unit", "better", "ours", "python", "raw"}]`, null where a side does
/// not exist. Row names and units are ours and need no escapes.
pub(crate) fn json(entries: &[Entry]) -> String {
    let number = |figure: Option<f64>| {
        figure.map_or_else(|| "null".to_string(), |figure| format!("{figure:.4}"))
    };
    let mut text = String::from("[");
    for (at, (label, row, measured)) in entries.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{comma}\n  {{\"row\": \"{label}\", \"unit\": \"{}\", \"better\": \"{}\", \"ours\": {}, \"python\": {}, \"raw\": {}}}",
            row.unit.name(),
            row.better.name(),
            number(measured.ours),
            number(measured.python),
            number(measured.raw),
        );
    }
    text.push_str("\n]\n");
    text
}
