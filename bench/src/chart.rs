//! The results as a picture: SVG by hand, for it is some rectangles and words.

use std::fmt::Write as _;

use crate::report::{Measure, Report, Side, SideValue, Unit};
use crate::targets::Bound;

const WIDTH: f64 = 900.0;
/// Where bars begin: names of the longest measures fit before it.
const LEFT: f64 = 300.0;
/// Space after the longest bar for its figures.
const RIGHT: f64 = 170.0;
const BAR: f64 = 15.0;
const GAP: f64 = 9.0;
const TITLE: f64 = 44.0;
const TOP: f64 = 64.0;

/// What a panel shows.
struct Panel<'a> {
    title: &'static str,
    scale: Scale,
    measures: Vec<&'a Measure>,
}

/// What the length of a bar is.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// Multiples of plain, whose line is at 1.
    Ratio,
    /// The value itself.
    Value,
}

impl Scale {
    fn length(self, value: &SideValue) -> Option<f64> {
        match self {
            Self::Ratio => value.ratio,
            Self::Value => Some(value.value),
        }
    }

    fn target(self, bound: Bound) -> Option<f64> {
        match (self, bound) {
            (Self::Ratio, Bound::RatioAtMost(at) | Bound::RatioAtLeast(at))
            | (Self::Value, Bound::AtMost(at)) => Some(at),
            _ => None,
        }
    }
}

/// The chart, a whole SVG document.
#[must_use]
pub(crate) fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for panel in panels(report) {
        y = draw_panel(&mut body, &panel, y);
    }
    let height = y + 12.0;
    let machine = format!("{} × {}", report.machine.cpus, report.machine.processor);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#1b1f24\">\n\
         <title>Weft {} beside plain TCP</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"17\" font-weight=\"600\">Weft {} beside plain TCP, {}\
         </text>\n{}{body}</svg>\n",
        escaped(&report.version),
        escaped(&report.version),
        escaped(&machine),
        legend(report),
    )
}

fn panels(report: &Report) -> Vec<Panel<'_>> {
    let of = |title, scale, fits: &dyn Fn(&Measure) -> bool| {
        let shown = |measure: &&Measure| {
            fits(measure) && measure.sides.iter().any(|value| bar(value, scale).is_some())
        };
        Panel { title, scale, measures: report.measures.iter().filter(shown).collect() }
    };
    let is = |measure: &Measure, scenario| measure.subject.scenario == scenario;
    let grows = |measure: &Measure| is(measure, "growth");
    let is_l7 = |measure: &Measure| measure.subject.is_l7();
    // Bytes a connection are thousands of times smaller than the rest.
    let is_small = |measure: &Measure| measure.subject.figure == "per connection";
    let all = [
        of("Time, multiples of plain (less is better)", Scale::Ratio, &|measure| {
            !measure.subject.unit.more_is_better() && !grows(measure) && !is_l7(measure)
        }),
        of("Throughput, multiples of plain (more is better)", Scale::Ratio, &|measure| {
            measure.subject.unit.more_is_better() && !grows(measure) && !is_l7(measure)
        }),
        of("Throughput by worker threads, multiples of plain", Scale::Ratio, &grows),
        of("Memory of a ztunnel (less is better)", Scale::Value, &|measure| {
            is(measure, "memory") && !is_small(measure)
        }),
        of("Memory of a ztunnel for a connection", Scale::Value, &|measure| {
            (is(measure, "memory") || grows(measure)) && is_small(measure)
        }),
        of("Control plane, time (less is better)", Scale::Value, &|measure| {
            is(measure, "control") && measure.subject.unit == Unit::Milliseconds
        }),
        of("Control plane, memory (less is better)", Scale::Value, &|measure| {
            is(measure, "control") && measure.subject.unit == Unit::Bytes
        }),
        of("HTTP, time, multiples of plain (less is better)", Scale::Ratio, &|measure| {
            is_l7(measure) && !measure.subject.unit.more_is_better()
        }),
        of("HTTP, throughput, multiples of plain (more is better)", Scale::Ratio, &|measure| {
            is_l7(measure) && measure.subject.unit.more_is_better()
        }),
        of("A changed route acts (less is better)", Scale::Value, &|measure| {
            is(measure, "l7-change")
        }),
        of("Memory of a waypoint (less is better)", Scale::Value, &|measure| {
            is(measure, "l7-memory")
        }),
    ];
    all.into_iter().filter(|panel| !panel.measures.is_empty()).collect()
}

/// The length of a side's bar, if it has one: plain is the line that others are compared with.
fn bar(value: &SideValue, scale: Scale) -> Option<f64> {
    if value.side == Side::Plain { None } else { scale.length(value) }
}

fn legend(report: &Report) -> String {
    let mut text = String::new();
    let mut x = 16.0;
    for side in Side::ALL.into_iter().filter(|side| *side != Side::Plain) {
        if report.measures.iter().any(|measure| measure.of(side).is_some()) {
            rectangle(&mut text, (x, 38.0), (12.0, 12.0), colour(side));
            words(&mut text, (x + 18.0, 49.0), "", &side.to_string());
            x += if side == Side::Pair { 104.0 } else { 72.0 };
        }
    }
    line(&mut text, (x + 6.0, 36.0), 52.0, "stroke=\"#c2410c\" stroke-width=\"2.5\"");
    words(&mut text, (x + 16.0, 49.0), "", "target of the mesh");
    text
}

/// Draws a panel below `top`; where it ends.
fn draw_panel(svg: &mut String, panel: &Panel<'_>, top: f64) -> f64 {
    let longest = panel.measures.iter().flat_map(|measure| lengths(measure, panel.scale));
    let least = if panel.scale == Scale::Ratio { 1.0 } else { 0.0 };
    let longest = longest.fold(least, f64::max).max(f64::MIN_POSITIVE);
    let place = |length: f64| LEFT + length.max(0.0) / longest * (WIDTH - LEFT - RIGHT);
    words(svg, (16.0, top + 26.0), "font-weight=\"600\" font-size=\"14\"", panel.title);
    let mut y = top + TITLE;
    for measure in &panel.measures {
        let begin = y;
        for value in &measure.sides {
            if let Some(length) = bar(value, panel.scale) {
                rectangle(svg, (LEFT, y), (place(length) - LEFT, BAR), colour(value.side));
                let figures = figures(value, measure.subject.unit);
                words(svg, (place(length) + 6.0, y + 12.0), "font-size=\"12\"", &figures);
                y += BAR + 2.0;
            }
        }
        let middle = f64::midpoint(begin, y) + 3.5;
        words(svg, (LEFT - 8.0, middle), "text-anchor=\"end\"", &measure.subject.to_string());
        let target = measure.target.and_then(|target| panel.scale.target(target.bound));
        if let Some(target) = target {
            let style = "stroke=\"#c2410c\" stroke-width=\"2.5\"";
            line(svg, (place(target), begin - 3.0), y + 1.0, style);
        }
        y += GAP;
    }
    if panel.scale == Scale::Ratio {
        let style = "stroke=\"#57606a\" stroke-dasharray=\"3 3\"";
        line(svg, (place(1.0), top + TITLE - 6.0), y - GAP + 4.0, style);
        words(svg, (place(1.0) + 4.0, top + TITLE - 6.0), "font-size=\"11\"", "plain");
    }
    y
}

fn lengths(measure: &Measure, scale: Scale) -> Vec<f64> {
    let bars = measure.sides.iter().filter_map(|value| bar(value, scale));
    let target = measure.target.and_then(|target| scale.target(target.bound));
    bars.chain(target).collect()
}

fn figures(value: &SideValue, unit: Unit) -> String {
    match value.ratio {
        Some(ratio) => format!("{ratio:.2} × ({})", unit.show(value.value)),
        None => unit.show(value.value),
    }
}

/// Dark and light, so that they differ in print and to every eye.
fn colour(side: Side) -> &'static str {
    match side {
        Side::Plain => "#57606a",
        Side::Mesh => "#0b5c8a",
        Side::Peer => "#a8b3bd",
        Side::Hop => "#d9a441",
        Side::Pair => "#8a5a9e",
    }
}

// Writing to a string can't fail: the results below are of no interest.

fn rectangle(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
    let _written = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         fill=\"{fill}\"/>"
    );
}

fn line(svg: &mut String, (x, y): (f64, f64), to_y: f64, style: &str) {
    let _written =
        writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{to_y:.1}\" {style}/>");
}

fn words(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    let space = if style.is_empty() { "" } else { " " };
    let text = escaped(text);
    let _written = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{space}{style}>{text}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn the_chart_is_as_it_was_approved() {
        assert_eq!(svg(&example()), include_str!("../golden/chart.svg"));
    }

    #[test]
    fn a_report_without_measures_is_still_a_document() {
        let mut report = example();
        report.measures.clear();
        report.machine.processor = "<A & B>".to_owned();
        let text = svg(&report);
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
        assert!(text.contains("&lt;A &amp; B&gt;"));
    }
}
