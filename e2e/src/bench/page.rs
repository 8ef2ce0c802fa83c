//! The table, for people, and the page of the documentation around it.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::Floor;
use super::histogram::Histogram;
use super::rounds::Outcome;
use super::sample::{Sample, median};

fn figure(outcome: &Outcome, value: impl Fn(&Sample) -> f64) -> f64 {
    median(outcome.samples.iter().map(value))
}

fn milliseconds(outcome: &Outcome, share: f64) -> f64 {
    figure(outcome, |sample| sample.latency.quantile(share).as_secs_f64() * 1e3)
}

/// The figure that a plan is about, bigger is better: MB/s, 1/latency or op/s.
fn merit(sample: &Sample, outcome: &Outcome) -> f64 {
    match outcome.plan {
        plan if plan.is_bulk() => sample.megabytes_per_second(),
        plan if plan.is_paced() => {
            1.0 / sample.latency.quantile(0.5).max(Duration::from_nanos(1)).as_secs_f64()
        }
        _ => sample.rate(),
    }
}

/// How many times better `ours` is: the median over rounds that ran next to each other.
fn ratio(ours: &Outcome, other: &Outcome) -> f64 {
    let pairs = ours.samples.iter().zip(&other.samples);
    median(pairs.map(|(mine, theirs)| merit(mine, ours) / merit(theirs, other)))
}

fn rate(outcome: &Outcome) -> String {
    if outcome.plan.is_bulk() {
        return format!("{:.0} MB/s", figure(outcome, Sample::megabytes_per_second));
    }
    format!("{:.0}/s", figure(outcome, Sample::rate))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// One row per plan and server; the first server of a plan is the one that the ratios are about.
#[must_use]
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| work | server | rate | ours ÷ this | p50 ms | p99 ms | p99.9 ms | server µs/op | RSS now / peak MiB | client cores |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut first: Option<&Outcome> = None;
    for outcome in outcomes {
        if first.is_none_or(|ours| ours.plan != outcome.plan) {
            first = Some(outcome);
        }
        let ours = first.unwrap_or(outcome);
        let same = std::ptr::eq(ours, outcome);
        let work = if same { outcome.plan.to_string() } else { String::new() };
        let ratio = if same { String::new() } else { format!("{:.2} ×", ratio(ours, outcome)) };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {work} | {} | {} | {ratio} | {:.3} | {:.3} | {:.3} | {:.1} | {:.0} / {:.0} | {:.2} |",
            outcome.server,
            rate(outcome),
            milliseconds(outcome, 0.5),
            milliseconds(outcome, 0.99),
            milliseconds(outcome, 0.999),
            figure(outcome, Sample::server_micros),
            figure(outcome, |sample| mebibytes(sample.resident_bytes)),
            figure(outcome, |sample| mebibytes(sample.resident_bytes_peak)),
            figure(outcome, Sample::client_cores),
        );
    }
    text
}

/// One line about the disk.
#[must_use]
fn floor_line(floor: &Floor) -> String {
    let micros = |share| floor.latency.quantile(share).as_secs_f64() * 1e6;
    format!(
        "Floor of the disk, one thread, write 256 B + fdatasync: {:.0}/s, p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs.",
        floor.rate,
        micros(0.5),
        micros(0.99),
        micros(0.999)
    )
}

/// The whole page.
#[must_use]
pub fn page(command: &str, machine: &str, floors: &[Floor], outcomes: &[Outcome], rounds: usize) -> String {
    let mut text = String::from("# Benchmarks\n\n");
    let floors: Vec<String> = floors.iter().map(floor_line).collect();
    let _ = write!(
        text,
        "Made by `{command}`. The table is written by that command; what follows it stands in `e2e/src/bench/notes.md` and `e2e/src/bench/many/notes.md`, and is written by hand.\n\n\
         Machine: {machine}. Client and servers share it; compare ratios, not figures of different runs.\n\
         {}\n\n\
         Each server starts on a fresh directory per row. Rounds are interleaved (ours, theirs, ours, …); figures are\n\
         medians over {rounds} rounds, ratios are medians of the ratios of neighbouring rounds (bigger is better for us;\n\
         for tails it is the ratio of the median latencies, theirs ÷ ours). *server µs/op* is user and system time of the\n\
         server process; *client cores* is how busy the load generator was: when it nears its number of threads, the\n\
         client is the bottleneck and the figure is a lower bound.\n\n",
        floors.join("\n")
    );
    text.push_str(&markdown(outcomes));
    text.push_str(include_str!("notes.md"));
    text.push_str(include_str!("many/notes.md"));
    text
}

/// Every round's figures, for machines.
#[must_use]
pub fn json(machine: &str, floors: &[Floor], outcomes: &[Outcome]) -> Value {
    let micros = |latency: &Histogram, share| latency.quantile(share).as_secs_f64() * 1e6;
    let sample = |sample: &Sample| {
        json!({
            "operations": sample.operations,
            "bytes": sample.bytes,
            "seconds": sample.elapsed.as_secs_f64(),
            "p50_us": micros(&sample.latency, 0.5),
            "p99_us": micros(&sample.latency, 0.99),
            "p999_us": micros(&sample.latency, 0.999),
            "server_us_per_operation": sample.server_micros(),
            "client_cores": sample.client_cores(),
            "resident_bytes": sample.resident_bytes,
            "resident_bytes_peak": sample.resident_bytes_peak,
        })
    };
    let rows = outcomes.iter().map(|outcome| {
        let rounds: Vec<Value> = outcome.samples.iter().map(sample).collect();
        json!({ "plan": outcome.plan, "title": outcome.plan.to_string(), "server": outcome.server, "rounds": rounds })
    });
    let floors = floors.iter().map(|floor| {
        json!({ "rate": floor.rate, "p50_us": micros(&floor.latency, 0.5), "p99_us": micros(&floor.latency, 0.99) })
    });
    json!({ "machine": machine, "floors": floors.collect::<Vec<_>>(), "rows": rows.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_notes_on_the_page_are_those_that_the_next_page_gets() {
        let notes = concat!(include_str!("notes.md"), include_str!("many/notes.md"));
        let page = include_str!("../../../docs/benchmarks.md");
        assert!(page.ends_with(notes), "the page was changed by hand: change its notes");
    }
}
