//! What `check` has found.

use deploykit::traits::{Finding, Severity};

use super::paint::Paint;
use super::text::{clean, clean_lines, count};

/// Whether nothing is to be mended.
pub(crate) fn is_fine(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity == Severity::Fine)
}

/// One line for each, with why it matters and what mends it below, and how many there are.
pub(crate) fn screen(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let mut text: String = findings.iter().map(|finding| one(finding, width, paint)).collect();
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    let sum = match (errors, warnings) {
        (0, 0) if findings.is_empty() => "There is nothing to look at.".to_owned(),
        (0, 0) => "All is in order.".to_owned(),
        (0, warnings) => format!("{}.", count(warnings as u64, "warning")),
        (errors, 0) => format!("{}.", count(errors as u64, "error")),
        (errors, warnings) => {
            format!("{}, {}.", count(errors as u64, "error"), count(warnings as u64, "warning"))
        }
    };
    text.push_str(&format!("{sum}\n"));
    text
}

fn one(finding: &Finding, width: usize, paint: Paint) -> String {
    let word = match finding.severity {
        Severity::Fine => paint.good("ok     "),
        Severity::Warning => paint.warn("warning"),
        _ => paint.bad("error  "),
    };
    let name = clean(&finding.name);
    let mut text = format!("{word}  {name:width$}  {}\n", clean(&finding.found));
    let indent = " ".repeat(width + 11);
    if let Some(why) = &finding.why {
        text.push_str(&format!("{indent}{}\n", clean(why)));
    }
    if let Some(mend) = &finding.mend {
        for (index, line) in clean_lines(mend).lines().enumerate() {
            let word = if index == 0 { paint.hint_word("hint: ") } else { "      ".to_owned() };
            text.push_str(&format!("{indent}{word}{line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_why_it_matters_and_what_mends_it() {
        let findings = [
            Finding::fine("bus", "systemd 252 answers"),
            Finding::warning("unit web.service", "it is disabled").why("why").mend("one\ntwo"),
        ];
        let text = screen(&findings, Paint::new(false));
        let expected = "\
ok       bus               systemd 252 answers
warning  unit web.service  it is disabled
                           why
                           hint: one
                                 two
1 warning.
";
        assert_eq!(text, expected);
        assert!(!is_fine(&findings) && is_fine(&findings[..1]));
        assert!(screen(&findings[..1], Paint::new(false)).ends_with("All is in order.\n"));
    }
}
