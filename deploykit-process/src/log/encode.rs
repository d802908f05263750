//! What a line looks like in the file.

use std::borrow::Cow;

use deploykit_core::Timestamp;

use super::{LogFormat, Stream};

/// The lines as they are written to the file. Each has an end then, except the last of a plain file,
/// which has one if it had one.
pub(super) fn lines(
    format: LogFormat,
    now: Timestamp,
    from: Stream,
    lines: &[u8],
) -> Cow<'_, [u8]> {
    if format == LogFormat::Plain {
        return Cow::Borrowed(lines);
    }
    let mut text = Vec::with_capacity(lines.len() * 3 / 2);
    let prefix = prefix(format, now, from);
    for line in split(lines) {
        text.extend_from_slice(prefix.as_bytes());
        if format == LogFormat::Json {
            push_json(&mut text, &String::from_utf8_lossy(line));
        } else {
            text.extend_from_slice(line);
        }
        text.push(b'\n');
    }
    Cow::Owned(text)
}

/// A line of ours, with its end.
pub(super) fn ours(format: LogFormat, now: Timestamp, text: &str) -> Vec<u8> {
    let plain = match format {
        LogFormat::Plain => format!("{}: {text}\n", Stream::Ours.as_str()),
        LogFormat::Timestamps | LogFormat::Json => format!("{text}\n"),
    };
    lines(format, now, Stream::Ours, plain.as_bytes()).into_owned()
}

fn prefix(format: LogFormat, now: Timestamp, from: Stream) -> String {
    let from = from.as_str();
    match format {
        LogFormat::Plain => String::new(),
        LogFormat::Timestamps => format!("{now} {from}: "),
        LogFormat::Json => format!(r#"{{"time":"{now}","stream":"{from}","line":"#),
    }
}

fn push_json(text: &mut Vec<u8>, line: &str) {
    // A string into memory cannot fail to be written.
    if serde_json::to_writer(&mut *text, line).is_err() {
        text.extend_from_slice(b"null");
    }
    text.push(b'}');
}

fn split(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_time_and_its_stream() {
        let now = Timestamp::from_millis(1_700_000_000_123);
        let text = |format, from, bytes: &[u8]| {
            String::from_utf8(lines(format, now, from, bytes).into_owned()).unwrap()
        };
        assert_eq!(
            text(LogFormat::Timestamps, Stream::Err, b"a\n\nb"),
            "2023-11-14T22:13:20.123Z err: a\n2023-11-14T22:13:20.123Z err: \n\
             2023-11-14T22:13:20.123Z err: b\n"
        );
        assert_eq!(
            text(LogFormat::Json, Stream::Out, b"say \"\xff\"\n"),
            "{\"time\":\"2023-11-14T22:13:20.123Z\",\"stream\":\"out\",\"line\":\"say \\\"\u{fffd}\\\"\"}\n"
        );
        assert_eq!(text(LogFormat::Plain, Stream::Out, b"a\nb"), "a\nb");
    }
}
