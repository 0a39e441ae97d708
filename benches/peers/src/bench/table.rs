//! Results in words: for the terminal, workload by workload, and in Markdown, as one table.

use std::fmt::{self, Write as _};

use wireline_peers::{Kind, Sample, Workload};

use crate::{
    results::{Results, Summary, value},
    servers::{Rank, Server},
};

pub(crate) fn terminal(results: &Results) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for workload in results.workloads() {
        let per = unit(workload);
        writeln!(text, "\n{}: {} ({per})", workload.name, workload.about)?;
        writeln!(
            text,
            "{:24}{:>12}{:>9}{:>9}{:>12}{:>10}{:>10}{:>9}{:>9}  ",
            "", "", "to floor", "to peer", "per second", "p50 us", "p99 us", "RSS MiB", "load us"
        )?;
        for server in results.servers() {
            match results.summary(workload, server) {
                Some(Summary::Medians(sample)) => line(&mut text, results, workload, server, &sample)?,
                Some(Summary::Fails(reason)) => writeln!(text, "{:24}fails: {reason}", server.title)?,
                Some(Summary::Lacks(reason)) => writeln!(text, "{:24}{reason}", server.title)?,
                None => {}
            }
        }
        if let Some(spread) = results.spread(workload) {
            writeln!(text, "A/A spread {:.1} %", spread * 100.0)?;
        }
    }
    Ok(text)
}

fn line(
    text: &mut String,
    results: &Results,
    workload: &Workload,
    server: &Server,
    sample: &Sample,
) -> Result<(), fmt::Error> {
    let own = value(workload, sample);
    let ratio = |rank| results.best(workload, rank).map_or(String::new(), |best| format!("{:.2}", own / best));
    let optional = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
    let is_idle = workload.kind == Kind::Idle;
    let work = |value: f64, digits: usize| if is_idle { String::new() } else { format!("{value:.digits$}") };
    write!(
        text,
        "{:24}{:>12}{:>9}{:>9}{:>12}{:>10}{:>10}{:>9.1}{:>9}  ",
        server.title,
        number(own),
        ratio(Rank::Floor),
        ratio(Rank::Peer),
        work(sample.rate, 0),
        optional(sample.p50),
        optional(sample.p99),
        sample.resident as f64 / MIB,
        work(sample.load_cpu, 2),
    )?;
    writeln!(text, "{}", remark(workload, sample))
}

const MIB: f64 = 1024.0 * 1024.0;

/// What the workload has to say beside the value.
fn remark(workload: &Workload, sample: &Sample) -> String {
    match workload.kind {
        Kind::Deflate => sample.reply.map_or(String::new(), |bytes| format!("{bytes} B")),
        Kind::Slow => {
            let grown = sample.growth.unwrap_or_default() / MIB;
            format!("+{grown:.1} MiB, {}", sample.note.as_deref().unwrap_or_default())
        }
        _ => String::new(),
    }
}

pub(crate) fn markdown(results: &Results) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let columns: Vec<&Server> = results.servers().into_iter().filter(|server| server.rank != Rank::Again).collect();
    let heads: Vec<&str> = columns.iter().map(|server| server.title).collect();
    writeln!(text, "| workload | {} | A/A |", heads.join(" | "))?;
    writeln!(text, "|---|{}---:|", "---:|".repeat(columns.len()))?;
    let mut failures = Vec::new();
    for workload in results.workloads() {
        let unit = if workload.kind == Kind::Idle { ", bytes each" } else { "" };
        write!(text, "| **{}**: {}{unit} |", workload.name, workload.about)?;
        for server in &columns {
            let cell = match results.summary(workload, server) {
                Some(Summary::Medians(sample)) => cell(results, workload, server, &sample),
                Some(Summary::Fails(reason)) => {
                    failures.push(format!("{} in {}: {reason}", server.title, workload.name));
                    "fails".to_owned()
                }
                Some(Summary::Lacks(_)) | None => "–".to_owned(),
            };
            write!(text, " {cell} |")?;
        }
        let spread = results.spread(workload).map_or("–".to_owned(), |spread| format!("{:.1} %", spread * 100.0));
        writeln!(text, " {spread} |")?;
    }
    let (rounds, seconds) = (results.rounds, results.seconds);
    writeln!(
        text,
        "\nCPU time of the measured program per message, user and system, in microseconds: medians of {rounds} rounds of \
         {seconds} s each. Less is better; the least of each row is bold, the floor aside. {}.",
        results.machine
    )?;
    for failure in failures {
        writeln!(text, "\n{}.", failure.trim_end_matches('.'))?;
    }
    Ok(text)
}

fn cell(results: &Results, workload: &Workload, server: &Server, sample: &Sample) -> String {
    let own = value(workload, sample);
    let best =
        [Rank::Ours, Rank::Peer].into_iter().filter_map(|rank| results.best(workload, rank)).min_by(f64::total_cmp);
    let bold = if server.rank != Rank::Floor && best == Some(own) { "**" } else { "" };
    let remark = match (workload.kind, sample.growth) {
        (Kind::Slow, Some(grown)) => format!(" (+{:.1} MiB)", grown / MIB),
        (Kind::Deflate, _) => format!(" ({})", remark(workload, sample)),
        _ => String::new(),
    };
    format!("{bold}{}{bold}{remark}", number(own))
}

/// Three digits, or all before the point.
pub(crate) fn number(value: f64) -> String {
    let digits = match value {
        1000.0.. => {
            let whole = format!("{value:.0}");
            let (thousands, rest) = whole.split_at(whole.len() - 3);
            return format!("{thousands},{rest}");
        }
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

pub(crate) fn unit(workload: &Workload) -> &'static str {
    match workload.kind {
        Kind::Idle => "bytes per connection",
        Kind::Fan | Kind::Slow => "CPU us per delivery",
        Kind::Storm => "CPU us per connection",
        _ => "CPU us per message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, expected) in [
            (0.0801, "0.080"),
            (5.094, "5.09"),
            (17.29, "17.3"),
            (236.4, "236"),
            (1184.0, "1,184"),
            (134_553.6, "134,554"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
