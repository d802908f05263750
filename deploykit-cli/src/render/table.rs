//! Columns.

use unicode_width::UnicodeWidthStr as _;

use super::paint::Paint;

/// What a cell looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Name,
    Good,
    Bad,
    Warn,
    Dim,
}

/// A cell: its text, and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), look: Look::Plain }
    }

    pub(crate) fn look(mut self, look: Look) -> Self {
        self.look = look;
        self
    }

    pub(crate) fn paint(&self, paint: Paint) -> String {
        match self.look {
            Look::Plain => self.text.clone(),
            Look::Name => paint.name(&self.text),
            Look::Good => paint.good(&self.text),
            Look::Bad => paint.bad(&self.text),
            Look::Warn => paint.warn(&self.text),
            Look::Dim => paint.dim(&self.text),
        }
    }
}

/// A table under a heading, columns two spaces apart, as text that ends with a line end.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Cell>], paint: Paint) -> String {
    let heading: Vec<Cell> = heading.iter().map(|text| Cell::new(*text).look(Look::Dim)).collect();
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.text.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        // Nothing is padded behind the last cell that says something.
        let used = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
        for (index, (cell, width)) in row.iter().zip(&widths).take(used).enumerate() {
            text.push_str(&cell.paint(paint));
            if index + 1 < used {
                text.push_str(&" ".repeat(width - cell.text.width() + 2));
            }
        }
        text.push('\n');
    }
    text
}

/// Lines of a label and a text, the texts below one another. A text may have several lines.
pub(crate) fn labelled(rows: &[(&str, String)], paint: Paint) -> String {
    let width = rows.iter().map(|(label, _)| label.width()).max().unwrap_or_default();
    let mut text = String::new();
    for (label, value) in rows {
        for (number, line) in value.lines().enumerate() {
            let label = if number == 0 { *label } else { "" };
            let padding = " ".repeat(width - label.width() + 2);
            text.push_str(&format!("{}{padding}{line}\n", paint.dim(label)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another_and_no_line_ends_with_spaces() {
        let rows = [
            vec![Cell::new("1"), Cell::new("größer"), Cell::new("")],
            vec![Cell::new("22"), Cell::new("日本"), Cell::new("x")],
        ];
        let expected = "\
id  name    mark
1   größer
22  日本    x
";
        assert_eq!(table(&["id", "name", "mark"], &rows, Paint::new(false)), expected);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [vec![Cell::new("a").look(Look::Good), Cell::new("b")]];
        let coloured = table(&["one", "two"], &rows, Paint::new(true));
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain, table(&["one", "two"], &rows, Paint::new(false)));
    }

    #[test]
    fn labels_are_padded_and_further_lines_indented() {
        let rows = [("a", "1\n2".to_owned()), ("long", "3".to_owned())];
        assert_eq!(labelled(&rows, Paint::new(false)), "a     1\n      2\nlong  3\n");
    }
}
