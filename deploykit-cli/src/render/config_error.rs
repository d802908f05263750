//! A mistake in a configuration file: the line, a caret, and what would be right.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use deploykit::config::{ConfigError, Problem};

use super::paint::Paint;

/// Every mistake with its place, the first one first. Ends without a line end.
pub(crate) fn render(error: &ConfigError, coloured: bool) -> String {
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    let one = |problem: &Problem| match (error.text(), &problem.span) {
        (Some(text), Some(_)) => {
            renderer.render(&[with_place(error, text, problem)]).trim_end().to_owned()
        }
        _ => without_place(error, problem, Paint::new(coloured)),
    };
    error.problems().iter().map(one).collect::<Vec<_>>().join("\n\n")
}

fn with_place<'a>(error: &'a ConfigError, text: &'a str, problem: &'a Problem) -> Group<'a> {
    let clamp = |span: &std::ops::Range<usize>| {
        let start = span.start.min(text.len());
        start..span.end.clamp(start, text.len())
    };
    let mut snippet = Snippet::source(text).line_start(1).path(error.path().as_str());
    if let Some(span) = &problem.span {
        let mark = AnnotationKind::Primary.span(clamp(span));
        snippet = snippet.annotation(match &problem.label {
            Some(label) => mark.label(label),
            None => mark,
        });
    }
    for (span, label) in &problem.related {
        snippet = snippet.annotation(AnnotationKind::Context.span(clamp(span)).label(label));
    }
    let group = Level::ERROR.primary_title(&problem.message).element(snippet);
    match &problem.hint {
        Some(hint) => group.element(Level::HELP.message(hint)),
        None => group,
    }
}

fn without_place(error: &ConfigError, problem: &Problem, paint: Paint) -> String {
    let mut text = format!("{} {}: {}", paint.error_word("error:"), error.path(), problem.message);
    for cause in deploykit::causes(error) {
        text.push_str(&format!("\n  caused by: {cause}"));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("\n{} {hint}", paint.hint_word("hint:")));
    }
    text
}

#[cfg(test)]
mod tests {
    use deploykit::config;

    #[test]
    fn a_misspelt_key_is_shown_in_its_line_with_what_would_be_right() {
        let text = "[repo]\nurl = \"/srv/app.git\"\n\n[buidl]\ncommands = []\n";
        let error = config::parse(text, "deploykit.toml".into()).unwrap_err();
        let shown = super::render(&error, false);
        let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
        assert_eq!(lines[0], "error: unknown key `buidl`");
        assert_eq!(lines[1], " --> deploykit.toml:4:2");
        assert!(lines.contains(&"4 | [buidl]"), "{shown}");
        assert!(lines.iter().any(|line| line.starts_with("  |  ^^^^^")), "{shown}");
        assert!(shown.ends_with("help: did you mean `build`?"), "{shown}");
        assert!(super::render(&error, true).contains('\u{1b}'));
    }

    #[test]
    fn a_file_that_is_not_there_has_a_hint() {
        let directory = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(directory.path()).unwrap();
        let shown = super::render(&config::find(path).unwrap_err(), false);
        assert!(
            shown.starts_with("error: ") && shown.contains("\nhint: `deploykit init URL`"),
            "{shown}"
        );
    }

    #[test]
    fn secrets_in_the_file_are_not_shown() {
        let text =
            "[repo]\nurl = \"/r\"\ntoken = \"hunter2hunter2\"\ntokken = \"hunter3hunter3\"\n";
        let error = config::parse(text, "deploykit.toml".into()).unwrap_err();
        let shown = super::render(&error, false);
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
