//! Columns.

use unicode_width::UnicodeWidthStr as _;

use super::paint::Paint;
use super::text::cut;

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

/// A cell: its text, what stands for it in a narrow column, and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    short: Option<String>,
    look: Look,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), short: None, look: Look::Plain }
    }

    /// What stands for it where there is no room for the whole.
    pub(crate) fn or_short(mut self, short: impl Into<String>) -> Self {
        self.short = Some(short.into());
        self
    }

    fn within(&self, width: usize) -> Self {
        let whole = self.text.width() <= width;
        let text = self.short.as_ref().filter(|_| !whole).unwrap_or(&self.text);
        Self { text: cut(text, width), short: None, look: self.look }
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

/// A column that may become narrower, and how narrow. Those that are named first do so first.
pub(crate) type Narrower = (usize, usize);

/// A table under a heading, columns two spaces apart, as text that ends with a line end. Where it is
/// wider than `limit`, cells are cut.
pub(crate) fn table(
    heading: &[&str],
    rows: &[Vec<Cell>],
    paint: Paint,
    limit: Option<usize>,
    narrower: &[Narrower],
) -> String {
    let heading: Vec<Cell> = heading.iter().map(|text| Cell::new(*text).look(Look::Dim)).collect();
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.text.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    if let Some(limit) = limit {
        fit(&mut widths, limit, narrower);
    }
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        // Nothing is padded behind the last cell that says something.
        let used = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
        for (index, (cell, width)) in row.iter().zip(&widths).take(used).enumerate() {
            let cell = cell.within(*width);
            text.push_str(&cell.paint(paint));
            if index + 1 < used {
                text.push_str(&" ".repeat(width - cell.text.width() + 2));
            }
        }
        text.push('\n');
    }
    text
}

/// Makes columns narrower until all of them fit into `limit`, or cannot become narrower.
fn fit(widths: &mut [usize], limit: usize, narrower: &[Narrower]) {
    for (column, least) in narrower {
        let all = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let Some(width) = widths.get_mut(*column) else { continue };
        *width -= all.saturating_sub(limit).min(width.saturating_sub(*least));
    }
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
        let plain = Paint::new(false);
        assert_eq!(table(&["id", "name", "mark"], &rows, plain, None, &[]), expected);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [vec![Cell::new("a").look(Look::Good), Cell::new("b")]];
        let coloured = table(&["one", "two"], &rows, Paint::new(true), None, &[]);
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain, table(&["one", "two"], &rows, Paint::new(false), None, &[]));
    }

    #[test]
    fn a_short_form_stands_where_the_whole_has_no_room() {
        let rows = [vec![Cell::new("abcdefgh").or_short("…gh"), Cell::new("x")]];
        let shown = |least| table(&["", ""], &rows, Paint::new(false), Some(1), &[(0, least)]);
        assert_eq!(shown(8), "\nabcdefgh  x\n");
        assert_eq!(shown(5), "\n…gh    x\n");
        assert_eq!(shown(2), "\n……  x\n");
    }

    #[test]
    fn columns_are_cut_in_their_order_until_the_table_fits() {
        let rows = [vec![Cell::new("1"), Cell::new("a long name"), Cell::new("a long text")]];
        let shown = |limit| {
            table(&["id", "name", "text"], &rows, Paint::new(false), Some(limit), &[(2, 6), (1, 5)])
        };
        assert_eq!(shown(28), shown(100));
        assert_eq!(shown(25), "id  name         text\n1   a long name  a long…\n");
        assert_eq!(shown(20), "id  name      text\n1   a long…   a lon…\n");
        assert_eq!(shown(3), "id  name   text\n1   a lo…  a lon…\n");
    }

    #[test]
    fn labels_are_padded_and_further_lines_indented() {
        let rows = [("a", "1\n2".to_owned()), ("long", "3".to_owned())];
        assert_eq!(labelled(&rows, Paint::new(false)), "a     1\n      2\nlong  3\n");
    }
}
