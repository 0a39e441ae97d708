//! The chart: one panel for each of a few workloads, one bar for each server, readable on light and on dark.

use std::fmt::{self, Write as _};

use wireline_peers::{Workload, workload};

use crate::{
    results::Results,
    servers::{Rank, Server},
    table::{number, unit},
};

/// What is shown, as far as it was run.
const SHOWN: [&str; 6] = ["small", "pipe", "pipe1k", "big1m", "fan16", "idle"];

const PANEL: usize = 400;
const MARGIN: usize = 16;
const LABEL: usize = 150;
const BAR: usize = 14;
const STEP: usize = 20;
const HEAD: usize = 44;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px }
.unit { fill: #57606a }
.back { fill: #ffffff }
.ours { fill: #1f6feb }
.floor { fill: #afb8c1 }
.peer { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .unit { fill: #9198a1 }
  .back { fill: #0d1117 }
  .ours { fill: #58a6ff }
  .floor { fill: #484f58 }
  .peer { fill: #8b949e }
}
";

pub(crate) fn svg(results: &Results) -> Result<String, fmt::Error> {
    let has_run = |name: &str| results.runs.iter().any(|run| run.workload == name);
    let shown: Vec<&Workload> = SHOWN.iter().filter(|name| has_run(name)).filter_map(|name| workload(name)).collect();
    let shown = if shown.is_empty() { results.workloads() } else { shown };
    let panels: Vec<(&Workload, Vec<(&Server, f64)>)> =
        shown.into_iter().map(|workload| (workload, bars(results, workload))).collect();
    let rows = panels.iter().map(|(_, bars)| bars.len()).max().unwrap_or_default();
    let height = HEAD + rows * STEP + MARGIN;
    let (width, total) = (2 * PANEL + MARGIN, panels.len().div_ceil(2) * height + MARGIN);

    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {total}\" width=\"{width}\" height=\"{total}\" \
         role=\"img\" aria-label=\"What each server costs in each workload; less is better\">"
    )?;
    writeln!(svg, "<style>\n{STYLE}</style>")?;
    writeln!(svg, "<rect class=\"back\" width=\"{width}\" height=\"{total}\" rx=\"8\"/>")?;
    for (at, (workload, bars)) in panels.iter().enumerate() {
        panel(&mut svg, workload, bars, (MARGIN + at % 2 * PANEL, MARGIN + at / 2 * height))?;
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

/// The cheapest first, below the floor.
fn bars(results: &Results, workload: &Workload) -> Vec<(&'static Server, f64)> {
    let servers = results.servers().into_iter().filter(|server| server.rank != Rank::Again);
    let measured = servers.filter_map(|server| Some((server, results.value(workload, server)?)));
    let mut bars: Vec<(&Server, f64)> = measured.collect();
    bars.sort_by(|(one, cost), (other, more)| {
        (one.rank != Rank::Floor).cmp(&(other.rank != Rank::Floor)).then(cost.total_cmp(more))
    });
    bars
}

fn panel(svg: &mut String, workload: &Workload, bars: &[(&Server, f64)], at: (usize, usize)) -> fmt::Result {
    let (left, top) = at;
    let largest = bars.iter().map(|(_, cost)| *cost).fold(f64::MIN_POSITIVE, f64::max);
    let longest = (PANEL - LABEL - 4 * MARGIN) as f64;
    writeln!(
        svg,
        "<text class=\"title\" x=\"{left}\" y=\"{}\">{}: {}</text>",
        top + 14,
        workload.name,
        workload.about
    )?;
    let unit = unit(workload).replace("us", "µs");
    writeln!(svg, "<text class=\"unit\" x=\"{left}\" y=\"{}\">{unit}, less is better</text>", top + 30)?;
    for (row, (server, cost)) in bars.iter().enumerate() {
        let class = match server.rank {
            Rank::Floor => "floor",
            Rank::Ours | Rank::Again => "ours",
            Rank::Peer => "peer",
        };
        let (y, length) = (top + HEAD + row * STEP, (cost / largest * longest).max(1.0));
        let (x, base) = (left + LABEL, y + BAR - 3);
        writeln!(svg, "<text x=\"{left}\" y=\"{base}\">{}</text>", server.title)?;
        writeln!(svg, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>")?;
        writeln!(svg, "<text x=\"{:.1}\" y=\"{base}\">{}</text>", x as f64 + length + 6.0, number(*cost))?;
    }
    Ok(())
}
