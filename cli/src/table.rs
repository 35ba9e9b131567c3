//! Columns with spaces between them, as kubectl and istioctl print them, so that the same scripts cut them.

/// A cell and how it is shown on a terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

/// What a cell means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Something is under way.
    Pending,
    /// Something needs a look.
    Bad,
}

impl Cell {
    /// A cell that means something.
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        // A terminal obeys control characters, and a reason may come from anywhere.
        let text: String = text.into();
        let text = text.replace(char::is_control, " ");
        Self { text, tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under `header`; columns are `gap` apart. The last column isn't padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<Cell>], gap: usize, use_color: bool) -> String {
    let header: Vec<Cell> = header.iter().map(|text| Cell::from(*text)).collect();
    let lines: Vec<&[Cell]> =
        std::iter::once(header.as_slice()).chain(rows.iter().map(Vec::as_slice)).collect();
    let width_of = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.text.chars().count()).max()
    };
    let widths: Vec<usize> =
        (0..header.len()).map(|column| width_of(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let is_last = column + 1 == line.len();
            let width = widths.get(column).copied().unwrap_or(0) + gap;
            let padding = if is_last { 0 } else { width.saturating_sub(cell.text.chars().count()) };
            push(&mut out, cell, use_color);
            out.extend(std::iter::repeat_n(' ', padding));
        }
        out.push('\n');
    }
    out
}

fn push(out: &mut String, cell: &Cell, use_color: bool) {
    let code = match cell.tone {
        _ if !use_color => None,
        Tone::Plain => None,
        Tone::Good => Some("32"),
        Tone::Pending => Some("33"),
        Tone::Bad => Some("31"),
    };
    match code {
        Some(code) => out.push_str(&format!("\u{1b}[{code}m{}\u{1b}[0m", cell.text)),
        None => out.push_str(&cell.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_with_or_without_colour() {
        let rows = [
            vec![Cell::from("a"), Cell::new("ok", Tone::Good), Cell::from("x y")],
            vec![Cell::from("longer"), Cell::from(""), Cell::from("z")],
        ];
        let plain = table(&["NAME", "STATE", "END"], &rows, 2, false);
        assert_eq!(plain, "NAME    STATE  END\na       ok     x y\nlonger         z\n");
        let colored = table(&["NAME", "STATE", "END"], &rows, 2, true);
        assert_eq!(colored.replace("\u{1b}[32m", "").replace("\u{1b}[0m", ""), plain);
        assert_ne!(colored, plain);
    }

    #[test]
    fn cell_cant_break_out_of_its_line() {
        let rows = [vec![Cell::from("a\n\u{1b}[31mb")]];
        assert_eq!(table(&["X"], &rows, 1, false), "X\na  [31mb\n");
    }
}
