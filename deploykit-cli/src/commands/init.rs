//! `init`: a configuration to begin with.

use std::fs::OpenOptions;
use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit::config;
use serde_json::json;

use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;

const FILE: &str = "deploykit.toml";

/// `deploykit init`
pub(super) fn init(shell: &Shell, url: Option<&str>) -> Result<Exit, CliError> {
    let directory = &shell.global.directory;
    let inside = |name: &str| match directory.as_str() {
        "." => Utf8PathBuf::from(name),
        _ => directory.join(name),
    };
    let path = shell.global.config.clone().unwrap_or_else(|| inside(FILE));
    let mfd = inside("mfd.toml");
    if mfd.exists() && !path.exists() {
        return Ok(read_already(shell, &mfd));
    }
    let url = address(directory, url)?;
    std::fs::create_dir_all(directory)
        .map_err(|error| CliError::io(format!("cannot make {directory}"), &error))?;
    write_new(&path, &config::starter(&url))?;
    let value = json!({ "written": path, "url": url });
    shell.answer(&value, || format!("Wrote {path}, which deploys {url}.\n"));
    let place = place(directory);
    shell.note(&format!(
        "Next:\n  1. say in it how to build, how to run, and how to see whether it works\n  \
         2. deploykit{place} up        deploys it, and runs what [[service]] describes\n  \
         3. deploykit{place} deploy    deploys what is new; from the first time on, where something else runs it"
    ));
    Ok(Exit::DONE)
}

fn read_already(shell: &Shell, mfd: &Utf8Path) -> Exit {
    let value = json!({ "written": null, "configuration": mfd });
    shell.answer(&value, || format!("Nothing to do: deploykit reads {mfd}.\n"));
    shell.note(&format!(
        "`deploykit deploy` takes the installation over as it is. For what mfd.toml cannot say, \
         rename it to {FILE}: every key of it keeps its meaning."
    ));
    Exit::DONE
}

/// ` -C DIR`, when it is not the present directory.
fn place(directory: &Utf8Path) -> String {
    if directory == "." { String::new() } else { format!(" -C {directory}") }
}

/// The address that was given, or the one that the repository in the directory came from.
fn address(directory: &Utf8Path, url: Option<&str>) -> Result<String, CliError> {
    if let Some(url) = url {
        return match config::RepoUrl::try_from(url.to_owned()) {
            Ok(_) => Ok(url.to_owned()),
            Err(why) => {
                Err(CliError::usage(why, "`deploykit init https://example.org/me/app.git`"))
            }
        };
    }
    origin(directory).ok_or_else(|| {
        CliError::usage(
            "no address of a repository was given",
            "name one: `deploykit init https://example.org/me/app.git`; in a git repository with \
             an origin it is found",
        )
    })
}

/// Never over a file that exists.
fn write_new(path: &Utf8Path, text: &str) -> Result<(), CliError> {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    let written = created.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::usage(
            format!("{path} exists already"),
            "`deploykit config check` tells whether it is valid",
        ),
        _ => CliError::io(format!("cannot write {path}"), &error),
    })
}

/// The address of `origin` of the git repository in this directory, without what may be a secret.
fn origin(directory: &Utf8Path) -> Option<String> {
    let text = std::fs::read_to_string(git_directory(directory)?.join("config")).ok()?;
    Some(without_secrets(origin_in(&text)?))
}

/// `.git`, or where a `.git` file of a linked worktree leads.
fn git_directory(directory: &Utf8Path) -> Option<Utf8PathBuf> {
    let git = directory.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = std::fs::read_to_string(&git).ok()?;
    let private = directory.join(text.strip_prefix("gitdir:")?.trim());
    match std::fs::read_to_string(private.join("commondir")) {
        Ok(common) => Some(private.join(common.trim())),
        Err(_) => Some(private),
    }
}

/// The last `url` of the section `remote "origin"`.
fn origin_in(text: &str) -> Option<&str> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').trim_start_matches('[') == "remote \"origin\"";
        } else if let Some((key, value)) = line.split_once('=')
            && inside
            && key.trim().eq_ignore_ascii_case("url")
        {
            found = Some(value.trim().trim_matches('"'));
        }
    }
    found.filter(|url| !url.is_empty())
}

/// An http address without the user name, the password and the query, which may be a token.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) =
        url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))
    else {
        return url.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_found_among_other_remotes() {
        let text = "[core]\n\turl = no\n[remote \"other\"]\n\turl = no\n\
                    [remote \"origin\"]\n\tfetch = x\n\tURL = https://host/a.git\n[branch \"x\"]\n\turl=no\n";
        assert_eq!(origin_in(text), Some("https://host/a.git"));
        assert_eq!(origin_in("[remote \"upstream\"]\nurl = x\n"), None);
    }

    #[test]
    fn a_token_in_the_origin_is_not_written_down() {
        assert_eq!(without_secrets("https://me:tok@host/a@b.git"), "https://host/a@b.git");
        assert_eq!(without_secrets("https://tok@host"), "https://host");
        assert_eq!(without_secrets("https://host/a.git?private_token=tok"), "https://host/a.git");
        assert_eq!(without_secrets("git@host:a.git"), "git@host:a.git");
        assert_eq!(without_secrets("ssh://git@host/a.git"), "ssh://git@host/a.git");
    }
}
