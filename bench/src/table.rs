//! The table on the output; it is Markdown, too, so that it can be pasted into a document.

use comfy_table::{CellAlignment, Table, presets};

use crate::report::{Measure, Report, Side};

/// The results as lines: the machine, the table, what failed, and the counts.
#[must_use]
pub(crate) fn text(report: &Report) -> String {
    let mut parts = vec![head(report)];
    if !report.measures.is_empty() {
        parts.push(table(report));
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

fn table(report: &Report) -> String {
    let has = |side| report.measures.iter().any(|measure| measure.of(side).is_some());
    let sides: Vec<Side> =
        [Side::Plain, Side::Mesh, Side::Peer].into_iter().filter(|side| has(*side)).collect();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header(&sides));
    for measure in &report.measures {
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
    cells
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
        let target = measure.target;
        cells.push(target.map_or_else(String::new, |target| target.bound.show(unit)));
        cells.push(target.map_or_else(String::new, |target| target.to_string()));
    }
    cells
}

fn counts(report: &Report) -> String {
    let verdicts = || report.measures.iter().filter_map(|measure| measure.target);
    let met = verdicts().filter(|verdict| verdict.met).count();
    let missed = verdicts().count() - met;
    let failed = report.failures.len();
    format!("{met} targets met, {missed} missed; {failed} scenarios failed to run")
}

#[cfg(test)]
mod tests {
    use crate::report::tests::example;

    #[test]
    fn the_table_is_as_it_was_approved() {
        assert_eq!(super::text(&example()), include_str!("../golden/table.txt").trim_end());
    }
}
