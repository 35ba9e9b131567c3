//! The table on the output; it is Markdown, too, so that it can be pasted into a document.

use comfy_table::{CellAlignment, Table, presets};

use crate::report::{Measure, Report, Side, Unit};
use crate::targets::Verdict;

/// The results as lines: the machine, the table, what failed, and the counts.
#[must_use]
pub(crate) fn text(report: &Report) -> String {
    let mut parts = vec![head(report)];
    // What is measured at L7 has other sides.
    for is_l7 in [false, true] {
        let measures = report.measures.iter().filter(|it| it.subject.is_l7() == is_l7);
        let measures: Vec<&Measure> = measures.collect();
        if !measures.is_empty() {
            parts.push(table(&measures));
        }
    }
    for failure in &report.failures {
        parts.push(format!("FAILED {}: {}", failure.scenario, failure.reason));
    }
    parts.push(counts(report));
    parts.join("\n\n")
}

fn head(report: &Report) -> String {
    let (machine, run) = (&report.machine, &report.settings);
    let mut head = format!(
        "Weft {}, {} × {}, {:.0} GB, Linux {} ({}); median of {} rounds of {} s",
        report.version,
        machine.cpus,
        machine.processor,
        machine.memory_bytes as f64 / 1e9,
        machine.kernel,
        machine.congestion_control,
        run.rounds,
        run.seconds
    );
    if run.quick {
        head.push_str(" (quick: shows that it runs, not how fast)");
    }
    if machine.is_busy() {
        head.push_str(&format!(" (busy before it began, load {:.1}: don't trust)", machine.load));
    }
    head
}

fn table(measures: &[&Measure]) -> String {
    let has = |side: &Side| measures.iter().any(|measure| measure.of(*side).is_some());
    let sides: Vec<Side> = Side::ALL.into_iter().filter(has).collect();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header(&sides));
    for measure in measures {
        table.add_row(row(measure, &sides));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn header(sides: &[Side]) -> Vec<String> {
    let mut cells = vec![String::new()];
    for side in sides {
        cells.push(side.to_string());
        if *side != Side::Plain {
            cells.push("× plain".to_owned());
        }
    }
    if sides.contains(&Side::Mesh) {
        cells.extend(["target", "mesh has"].map(str::to_owned));
    }
    if is_beside_pair(sides) {
        cells.extend(["mesh × pair", "target", "mesh has"].map(str::to_owned));
    }
    cells
}

fn is_beside_pair(sides: &[Side]) -> bool {
    [Side::Mesh, Side::Pair].iter().all(|side| sides.contains(side))
}

fn row(measure: &Measure, sides: &[Side]) -> Vec<String> {
    let unit = measure.subject.unit;
    let mut cells = vec![measure.subject.to_string()];
    for side in sides {
        let value = measure.of(*side);
        cells.push(value.map_or_else(String::new, |value| unit.show(value.value)));
        if *side != Side::Plain {
            let ratio = value.and_then(|value| value.ratio);
            cells.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
        }
    }
    if sides.contains(&Side::Mesh) {
        cells.extend(verdict(measure.target, unit));
    }
    if is_beside_pair(sides) {
        let ratio = measure.to_pair.map(|to_pair| format!("{:.2}", to_pair.ratio));
        cells.push(ratio.unwrap_or_default());
        cells.extend(verdict(measure.to_pair.and_then(|to_pair| to_pair.target), unit));
    }
    cells
}

fn verdict(target: Option<Verdict>, unit: Unit) -> [String; 2] {
    match target {
        Some(target) => [target.bound.show(unit), target.to_string()],
        None => Default::default(),
    }
}

fn counts(report: &Report) -> String {
    let of = |measure: &Measure| {
        let to_pair = measure.to_pair.and_then(|to_pair| to_pair.target);
        [measure.target, to_pair].into_iter().flatten()
    };
    let verdicts = || report.measures.iter().flat_map(of);
    let met = verdicts().filter(|verdict| verdict.met).count();
    let missed = verdicts().count() - met;
    let failed = report.failures.len();
    format!("{met} targets met, {missed} missed; {failed} scenarios failed to run")
}

#[cfg(test)]
mod tests {
    use crate::report::tests::{example, example_l7};

    #[test]
    fn the_table_is_as_it_was_approved() {
        assert_eq!(super::text(&example()), include_str!("../golden/table.txt").trim_end());
    }

    #[test]
    fn the_table_of_l7_is_as_it_was_approved() {
        let approved = include_str!("../golden/table-l7.txt");
        assert_eq!(super::text(&example_l7()), approved.trim_end());
    }
}
