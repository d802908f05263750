//! What the git source takes as the identity of a release: a commit, and nothing else.
#![cfg(feature = "git")]

mod git_common;

use camino::Utf8Path;
use deploykit_core::traits::SourceError;
use deploykit_testkit::git_repo::GitRepo;
use deploykit_testkit::git_server::{Behaviour, GitServer};
use git_common::{Scene, refused};

fn serve(repo: &GitRepo) -> GitServer {
    GitServer::start(repo.path().parent().unwrap(), None, Behaviour::default())
}

/// What a cache keeps as commits.
fn kept(cache: &Utf8Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(cache.join("git/refs/deploykit/commits")) else {
        return Vec::new();
    };
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// Over the network a hash that no reference names can only be looked at when it is here.
#[test]
fn the_hash_of_a_tag_is_refused_with_that_of_its_commit() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    repo.git(&["tag", "--annotate", "--message", "x", "inner"]);
    repo.git(&["tag", "--annotate", "--message", "x", "outer", "inner"]);
    let (inner, outer) = (repo.git(&["rev-parse", "inner"]), repo.git(&["rev-parse", "outer"]));
    let server = serve(&repo);
    server.behave(|b| b.config.push("uploadpack.allowAnySHA1InWant=true".into()));
    let scene = Scene::new(&server.url("repo"));
    // Named by a reference it is the commit.
    for tag in ["outer", &outer, &outer[..10]] {
        assert_eq!(scene.resolve(tag).unwrap().id.digest(), first);
    }
    repo.git(&["update-ref", "-d", "refs/tags/inner"]);
    for attempt in ["into no cache", "into a cache"] {
        assert!(refused(&scene, &inner).contains(&format!("its commit, {first}")), "{attempt}");
        assert_eq!(kept(&scene.cache()).len(), usize::from(attempt == "into a cache"));
        scene.deploy("main").unwrap();
        assert_eq!(kept(&scene.cache()), [first.as_str()]);
    }
}

#[test]
fn a_tag_on_a_tree_or_a_file_is_refused_and_not_kept() {
    let repo = GitRepo::new();
    let commit = repo.commit_file("a", "1");
    repo.git(&["tag", "tree", "HEAD^{tree}"]);
    repo.git(&["tag", "--annotate", "--message", "x", "blob", "HEAD:a"]);
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    for (tag, kind) in [("tree", "a tree"), ("blob", "a blob")] {
        let why = refused(&scene, tag);
        assert!(why.contains(kind), "{why}");
        assert_eq!(kept(&scene.cache()), [""; 0]);
    }
    scene.deploy("main").unwrap();
    for (tag, kind) in [("tree", "a tree"), ("blob", "a blob")] {
        let why = refused(&scene, tag);
        assert!(why.contains(kind), "{why}");
        assert_eq!(kept(&scene.cache()), [commit.as_str()]);
    }
    assert!(matches!(scene.resolve("trees"), Err(SourceError::NotFound { .. })));
}
