//! The embedding programs under `examples/`, run against real applications.
#![cfg(feature = "git")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use deploykit_testkit::conformance;
use deploykit_testkit::git_repo::GitRepo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

#[path = "../examples/custom_backend.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test needs one of its backends")]
mod custom_backend;

/// The program of an example. Cargo builds the examples together with all tests of a package, and
/// puts them beside the directory of the tests' own programs. Asked for this test alone (`--test
/// examples`), it does not, and an older one is run.
fn example(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --examples`", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

/// An application with this configuration, besides what makes a test quick.
fn application(repo: &GitRepo, config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "repo.url = {:?}\ndisk = {{ min_free = 0, min_free_inodes = 0 }}\n\
         probation.duration = \"10ms\"\n{config}",
        repo.url()
    );
    std::fs::write(directory.path().join("deploykit.toml"), text).unwrap();
    directory
}

fn site() -> GitRepo {
    let repo = GitRepo::new();
    repo.commit_file("public/index.html", "<html>one</html>");
    repo
}

fn page(directory: &TempDir) -> Option<String> {
    std::fs::read_to_string(directory.path().join("active/public/index.html")).ok()
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    format!("{}{error}", String::from_utf8_lossy(&output.stdout))
}

#[test]
fn embed_deploys_and_prints_the_events() {
    let repo = site();
    let directory = application(&repo, "build.commands = [[\"echo\", \"built here\"]]");
    let output = example("embed").arg(directory.path()).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(page(&directory).as_deref(), Some("<html>one</html>"), "{said}");
    for expected in ["DeploymentStarted", "\"built here\"", "Activated", "deployed, unchecked"] {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
    let again = example("embed").arg(directory.path()).output().unwrap();
    assert!(again.status.success() && text(&again).contains("nothing to do"), "{}", text(&again));
}

#[test]
fn embed_fails_when_the_deployment_does() {
    let repo = site();
    let directory = application(&repo, "build.commands = [[\"false\"]]");
    let output = example("embed").arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(page(&directory), None);
}

#[test]
fn a_backend_of_ones_own_serves_and_its_check_sends_a_bad_release_back() {
    let repo = site();
    let snippets = tempfile::tempdir().unwrap();
    let snippet = snippets.path().join("site.conf");
    let config = format!(
        "health = {{ interval = \"5ms\", deadline = \"50ms\", check = [{{ type = \"page\", \
         settings = {{ path = \"public/index.html\", contains = \"</html>\" }} }}] }}\n\
         [service]\nbackend = \"snippet\"\nsettings = {{ file = {snippet:?}, public = \"public\" }}"
    );
    let directory = application(&repo, &config);
    let deploy = || example("custom_backend").arg(directory.path()).output().unwrap();
    let output = deploy();
    assert!(output.status.success(), "{}", text(&output));
    let first = std::fs::read_to_string(&snippet).unwrap();
    let root = directory.path().join("active").canonicalize().unwrap();
    assert!(first.contains(&format!("root {}/public;", root.display())), "{first}");

    repo.commit_file("public/index.html", "half a pa");
    let output = deploy();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("does not contain"), "{}", text(&output));
    assert_eq!(page(&directory).as_deref(), Some("<html>one</html>"));
    assert_eq!(std::fs::read_to_string(&snippet).unwrap(), first);
}

#[test]
fn a_backend_of_ones_own_can_be_put_through_the_suite_of_its_trait() {
    conformance::supervisor(|layout| {
        let file = layout.root().join("site.conf").into_std_path_buf();
        Arc::new(custom_backend::Snippet { file, public: ".".into() })
    });
}

#[test]
fn settings_that_a_backend_does_not_know_are_refused() {
    let repo = site();
    let config = "service = { backend = \"snippet\", settings = { fiel = \"/x\" } }";
    let directory = application(&repo, config);
    let output = example("custom_backend").arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("fiel"), "{}", text(&output));
}

#[test]
fn tokio_embed_deploys_and_gets_the_events() {
    let repo = site();
    let directory = application(&repo, "build.commands = [[\"echo\", \"built here\"]]");
    let output = example("tokio_embed").arg(directory.path()).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(page(&directory).as_deref(), Some("<html>one</html>"));
    assert!(said.contains("\"built here\"") && said.contains("DeploymentFinished"), "{said}");
}

/// A build that never ends by itself.
const ENDLESS: &str = "build.commands = [[\"sh\", \"-c\", \"echo begun; exec sleep 1000\"]]";

#[test]
fn tokio_embed_ends_a_build_that_takes_longer_than_its_limit() {
    let repo = site();
    let directory = application(&repo, ENDLESS);
    let output = example("tokio_embed").arg(directory.path()).arg("1").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.ends_with("interrupted\n"), "{said}");
    assert_eq!(page(&directory), None);
}

#[test]
fn tokio_embed_ends_a_build_when_it_is_interrupted() {
    let repo = site();
    let directory = application(&repo, ENDLESS);
    let mut child = example("tokio_embed")
        .arg(directory.path())
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let begun = output.by_ref().lines().map(Result::unwrap).any(|line| line.contains("\"begun\""));
    assert!(begun, "it ended before the build began");
    interrupt(&child);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.ends_with("interrupted\n"), "{rest}");
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
}
