//! The JSON of settings, with the place of every value.

use camino::Utf8Path;
use jsonc_parser::ast::Value;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::problem::{Place, Problem};

/// What mORMot accepts beside JSON, and writes itself: comments, commas before a closing bracket, names
/// without quotes.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// One file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    file: &'a Utf8Path,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Utf8Path, text: &'a str) -> Self {
        Self { file, text: text.strip_prefix('\u{feff}').unwrap_or(text) }
    }

    pub(super) fn file(&self) -> &'a Utf8Path {
        self.file
    }

    /// The value that the file consists of.
    pub(super) fn parse(&self) -> Result<Value<'a>, Problem> {
        let parsed = parse_to_ast(self.text, &CollectOptions::default(), &OPTIONS);
        let parsed = parsed.map_err(|error| {
            let kind = error.kind().to_string();
            let mut letters = kind.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            let kind: String = first.into_iter().chain(letters).collect();
            self.hinted(Problem::new(
                self.place(error.range().start),
                format!("broken JSON: {kind}"),
            ))
        })?;
        let nothing = || "expected an object or a list in braces or brackets, found nothing";
        parsed.value.ok_or_else(|| Problem::new(self.place(0), nothing()))
    }

    /// Where a byte is.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place { file: self.file.to_owned(), line, column }
    }

    /// mORMot also reads settings in the form of INI files.
    fn hinted(&self, problem: Problem) -> Problem {
        let section = |line: &str| {
            let name = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
            name.is_some_and(|name| !name.is_empty() && name.chars().all(char::is_alphanumeric))
        };
        if self.text.lines().map(str::trim).any(section) {
            return problem.hint("only the JSON form of settings is read, not that of INI files");
        }
        problem
    }
}

/// What a value is, for people.
pub(super) fn describe(value: &Value<'_>) -> &'static str {
    match value {
        Value::StringLit(_) => "a text",
        Value::NumberLit(number) if number.value.contains(['.', 'e', 'E']) => "a fraction",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "true or false",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "null",
    }
}
