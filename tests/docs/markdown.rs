//! The fenced blocks of a markdown file, and what a test does before them.

use std::path::{Path, PathBuf};

/// Something in a markdown file that a test does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The first word behind the fence; `before` for a comment that prepares what follows.
    pub(crate) kind: String,
    /// The other words.
    pub(crate) options: Vec<String>,
    /// The line of the fence, from 1.
    pub(crate) line: usize,
    /// What is in it.
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|other| other == option)
    }

    /// The exit code that its last command must have.
    pub(crate) fn exit(&self) -> i32 {
        let code = self.options.iter().find_map(|option| option.strip_prefix("exit="));
        code.map_or(0, |code| code.parse().expect("an exit code"))
    }
}

/// The fenced blocks, and the comments that begin with `<!-- before`.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let (opening, end) = match line.trim_start() {
            fence if fence.starts_with("```") => (fence.trim_start_matches('`'), "```"),
            comment if comment.starts_with("<!-- before") => ("before", "-->"),
            _ => continue,
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim_start() != end)
            .collect();
        let mut words =
            opening.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned);
        blocks.push(Block {
            kind: words.next().unwrap_or_default(),
            options: words.collect(),
            line: index + 1,
            text: body.join("\n"),
        });
    }
    blocks
}

/// A command, and the output that is shown below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) command: String,
    pub(crate) output: Option<String>,
}

/// The commands of a `console`: the lines behind `$ `.
pub(crate) fn commands(block: &Block) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(Shown { command: command.to_owned(), output: None });
        } else {
            let last = commands.last_mut().expect("output behind a command");
            let output = last.output.get_or_insert_default();
            output.push_str(line);
            output.push('\n');
        }
    }
    commands
}

/// Whether a text is as shown: `…` stands for anything within a line, a line that is nothing but
/// `…` for any number of lines.
pub(crate) fn fits(shown: &str, found: &str) -> bool {
    let (shown, found): (Vec<_>, Vec<_>) = (shown.lines().collect(), found.lines().collect());
    lines_fit(&shown, &found)
}

fn lines_fit(shown: &[&str], found: &[&str]) -> bool {
    match shown {
        [] => found.is_empty(),
        ["…", rest @ ..] => (0..=found.len()).any(|passed| lines_fit(rest, &found[passed..])),
        [line, rest @ ..] => {
            found.first().is_some_and(|first| line_fits(line, first.trim_end()))
                && lines_fit(rest, &found[1..])
        }
    }
}

fn line_fits(shown: &str, found: &str) -> bool {
    let mut parts = shown.trim_end().split('…');
    let Some(mut rest) = parts.next().and_then(|first| found.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the root of the repository")
}

/// The README, the change log and every chapter of the book, by their paths from the root.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("README.md"), PathBuf::from("CHANGELOG.md")];
    let mut directories = vec![PathBuf::from("docs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).expect("the book") {
            let entry = entry.expect("an entry of the book");
            let path = directory.join(entry.file_name());
            match path.extension() {
                _ if entry.path().is_dir() => directories.push(path),
                Some(extension) if extension == "md" => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

pub(crate) fn read(file: &Path) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
