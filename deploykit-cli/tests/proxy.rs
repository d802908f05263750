//! The proxy that the environment names.

mod common;

use std::net::TcpListener;

use common::{App, Done};
use deploykit_testkit::git_repo::GitRepo;
use deploykit_testkit::git_server::{Behaviour, GitServer};

/// A port at which nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `resolve` with nothing but these variables that are about proxies.
fn resolve(url: &str, variables: &[(&str, &str)]) -> Done {
    let app = App::empty();
    app.write("deploykit.toml", &format!("repo.url = \"{url}\""));
    let mut command = app.command(&["resolve", "main"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    Done::of(command.envs(variables.iter().copied()).output().unwrap())
}

#[test]
fn what_the_proxy_is_to_blame_for_is_said_of_the_proxy() {
    let nobody = format!("http://me:S3CRET@127.0.0.1:{}", closed_port());
    for (value, expected) in [
        (nobody.as_str(), "no connection to 127.0.0.1"),
        ("http://me:S3CRET@proxy.invalid:1", "no host \"proxy.invalid\""),
        ("socks5://me:S3CRET@127.0.0.1", "only http and https proxies"),
        ("http://:S3CRET", "not the address of a proxy"),
    ] {
        let done = resolve("https://repo.invalid/x", &[("https_proxy", value)]).exits_with(1);
        for part in [expected, "https_proxy", "no_proxy"] {
            assert!(done.stderr.contains(part), "{part} is missing: {done:#?}");
        }
        assert!(!done.stderr.contains("S3CRET") && !done.stderr.contains("no host \"repo"));
    }
}

#[test]
fn each_kind_of_address_has_its_proxy_as_with_git() {
    let repo = GitRepo::new();
    let hash = repo.commit_file("a", "1");
    let server = GitServer::start(repo.path().parent().unwrap(), None, Behaviour::default());
    let url = server.url("repo");
    let nobody = format!("http://127.0.0.1:{}", closed_port());
    let of_https = [("https_proxy", nobody.as_str()), ("HTTPS_PROXY", &nobody)];
    assert_eq!(resolve(&url, &of_https).exits_with(0).stdout.trim(), hash);
    let with_exception = [("http_proxy", nobody.as_str()), ("no_proxy", "127.0.0.1")];
    assert_eq!(resolve(&url, &with_exception).exits_with(0).stdout.trim(), hash);
    for variable in ["http_proxy", "all_proxy"] {
        let done = resolve(&url, &[(variable, &nobody)]).exits_with(1);
        assert!(done.stderr.contains(variable), "{done:#?}");
    }
}
