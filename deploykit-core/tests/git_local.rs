//! The git source on repositories of this machine.
#![cfg(feature = "git")]

mod git_common;

use std::os::unix::fs::PermissionsExt as _;

use deploykit_core::traits::{Source as _, SourceError};
use deploykit_testkit::git_repo::GitRepo;
use git_common::Scene;

#[test]
fn branches_tags_hashes_and_head_resolve_to_commits() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    repo.git(&["tag", "light"]);
    repo.git(&["tag", "--annotate", "--message", "x", "heavy"]);
    repo.git(&["tag", "--annotate", "--message", "x", "heavier", "heavy"]);
    let tag = repo.git(&["rev-parse", "heavier"]);
    let second = repo.commit_file("a", "2");
    repo.git(&["branch", "feature/x", &first]);
    let scene = Scene::new(repo.url());
    for (text, hash, name) in [
        ("HEAD", &second, "refs/heads/main"),
        ("main", &second, "refs/heads/main"),
        ("feature/x", &first, "refs/heads/feature/x"),
        ("light", &first, "refs/tags/light"),
        ("heavy", &first, "refs/tags/heavy"),
        ("heavier", &first, "refs/tags/heavier"),
        ("refs/heads/main", &second, "refs/heads/main"),
        (&first, &first, first.as_str()),
        (&first[..9], &first, &first),
        (&first.to_uppercase(), &first, &first),
        (&tag, &first, &first),
        (&tag[..9], &first, &first),
    ] {
        let resolved = scene.resolve(text).unwrap();
        assert_eq!(resolved.id.digest(), hash, "{text}");
        assert_eq!(resolved.name, name, "{text}");
    }
    assert!(!scene.cache().exists(), "nothing is copied");
}

#[test]
fn a_bare_repository_and_a_file_address_are_opened_directly() {
    let repo = GitRepo::new();
    let hash = repo.commit_file("a", "1");
    repo.git(&["clone", "--quiet", "--bare", ".", "bare.git"]);
    let bare = repo.path().join("bare.git");
    for url in [
        bare.to_str().unwrap().to_owned(),
        bare.with_extension("").to_str().unwrap().to_owned(),
        format!("file://{}", bare.display()),
    ] {
        let scene = Scene::new(&url);
        assert_eq!(scene.resolve("main").unwrap().id.digest(), hash, "{url}");
        scene.deploy("main").unwrap();
        assert_eq!(scene.read("a"), "1");
    }
}

#[test]
fn a_name_that_does_not_exist_is_answered_with_those_that_look_alike() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    repo.git(&["branch", "release"]);
    let scene = Scene::new(repo.url());
    let error = scene.resolve("relaese").unwrap_err();
    let SourceError::NotFound { similar, .. } = &error else { panic!("{error:?}") };
    assert_eq!(similar, &["release"]);
    assert_eq!(error.hint().unwrap(), "did you mean release?");
    let missing = "0123456789012345678901234567890123456789";
    assert!(matches!(scene.resolve(missing), Err(SourceError::NotFound { .. })));
    assert!(matches!(scene.resolve("0123"), Err(SourceError::NotFound { .. })));
}

#[test]
fn an_ambiguous_hash_lists_the_commits_with_their_subjects() {
    let repo = GitRepo::new();
    let (prefix, first, second) = git_common::two_commits_that_begin_alike(&repo);
    let scene = Scene::new(repo.url());
    let error = scene.resolve(&prefix).unwrap_err();
    let SourceError::Ambiguous { candidates, .. } = &error else { panic!("{error:?}") };
    assert_eq!(candidates.len(), 2);
    for hash in [&first, &second] {
        let subject = repo.git(&["log", "-1", "--format=%s", hash]);
        assert!(candidates.contains(&format!("{hash} {subject}")), "{candidates:?}");
    }
    assert!(error.hint().unwrap().contains(&first));
}

#[test]
fn a_branch_that_looks_like_a_hash_is_the_branch() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    let second = repo.commit_file("a", "2");
    repo.git(&["branch", &first[..7], &second]);
    let scene = Scene::new(repo.url());
    assert_eq!(scene.resolve(&first[..7]).unwrap().id.digest(), second);
    assert_eq!(scene.resolve(&first[..8]).unwrap().id.digest(), first);
}

#[test]
fn a_tag_comes_before_a_branch_of_its_name_with_a_warning() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    repo.git(&["tag", "both"]);
    let second = repo.commit_file("a", "2");
    repo.git(&["branch", "both", &second]);
    let scene = Scene::new(repo.url());
    assert_eq!(scene.resolve("both").unwrap().id.digest(), first);
    let warnings = scene.warnings();
    assert!(warnings[0].contains("refs/heads/both"), "{warnings:?}");
    assert_eq!(scene.resolve("heads/both").unwrap().id.digest(), second);
}

#[test]
fn an_empty_repository_and_a_tag_on_a_tree_are_clear_errors() {
    let repo = GitRepo::new();
    let scene = Scene::new(repo.url());
    let error = git_common::chain(&scene.resolve("HEAD").unwrap_err());
    assert!(error.contains("refs/heads/main") && error.contains("no commit yet"), "{error}");
    repo.commit_file("a", "1");
    repo.git(&["tag", "tree", "HEAD^{tree}"]);
    repo.git(&["tag", "--annotate", "--message", "x", "blob", "HEAD:a"]);
    for (tag, kind) in [("tree", "a tree"), ("blob", "a blob")] {
        let error = scene.resolve(tag).unwrap_err();
        assert!(
            matches!(&error, SourceError::Refused { why, .. } if why.contains(kind)),
            "{error:?}"
        );
    }
}

#[test]
fn a_missing_directory_and_one_without_a_repository_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = Scene::new(missing.to_str().unwrap()).resolve("main").unwrap_err();
    assert!(matches!(&error, SourceError::Io { path, .. } if *path == missing), "{error:?}");
    let error = Scene::new(directory.path().to_str().unwrap()).resolve("main").unwrap_err();
    assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_sha256_repository_is_refused_clearly() {
    let repo = GitRepo::with_options(&["--object-format=sha256"]);
    repo.commit_file("a", "1");
    let error = git_common::chain(&Scene::new(repo.url()).resolve("main").unwrap_err());
    assert!(error.contains("SHA-256") && !error.contains("reach"), "{error}");
}

#[test]
fn what_is_no_repository_that_can_be_read_is_said_in_words_of_its_own() {
    let repo = GitRepo::with_options(&["--ref-format=reftable"]);
    repo.commit_file("a", "1");
    let error = git_common::chain(&Scene::new(repo.url()).resolve("main").unwrap_err());
    assert!(error.contains("reftable"), "{error}");
    // What a file says may be a secret.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes");
    std::fs::write(&file, "S3CRET").unwrap();
    std::fs::write(directory.path().join(".git"), "S3CRET").unwrap();
    for path in [&file, directory.path()] {
        let error = Scene::new(path.to_str().unwrap()).resolve("main").unwrap_err();
        let error = git_common::chain(&error);
        assert!(error.contains("it is a file") && !error.contains("S3CRET"), "{error}");
    }
}

#[test]
fn objects_are_not_replaced_by_others() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    let second = repo.commit_file("a", "2");
    repo.git(&["replace", &second, &first]);
    let scene = Scene::new(repo.url());
    assert_eq!(scene.resolve("main").unwrap().id.digest(), second);
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "2");
}

#[test]
fn the_tree_has_executable_files_links_and_line_ends_as_git_writes_them() {
    let repo = GitRepo::new();
    repo.write("bin/run", "#!/bin/sh\n").make_executable("bin/run");
    repo.write("dos.txt", "a\nb\n")
        .write("plain.txt", "a\n")
        .write(".gitattributes", "dos.txt eol=crlf\n");
    repo.link("current", "bin/run").link("outside", "/etc/hostname");
    repo.commit("all kinds");
    let scene = Scene::new(repo.url());
    let written = scene.deploy("main").unwrap();
    assert_eq!(written.files, 6);
    let mode = |name: &str| {
        scene.release().join(name).symlink_metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("bin/run") & 0o111, 0o111);
    assert_eq!(mode("plain.txt") & 0o111, 0);
    assert_eq!(mode("plain.txt") & 0o600, 0o600);
    assert_eq!(scene.read("dos.txt"), "a\r\nb\r\n");
    let link = |name: &str| std::fs::read_link(scene.release().join(name)).unwrap();
    assert_eq!(link("current").to_str(), Some("bin/run"));
    assert_eq!(link("outside").to_str(), Some("/etc/hostname"));
    assert!(!scene.release().join(".git").exists());
}

#[test]
fn the_size_counts_files_links_and_directories() {
    let repo = GitRepo::new();
    repo.write("a/b/c", "12345").write("a/b/d", "1").write("e", "1234").link("l", "e");
    repo.commit("sizes");
    let scene = Scene::new(repo.url());
    let id = scene.resolve("main").unwrap().id;
    let size = scene.source().size(&scene.context(), &id).unwrap().unwrap();
    assert_eq!((size.entries, size.bytes), (6, 11));
}

#[test]
fn programs_that_the_repositorys_configuration_names_are_not_run() {
    let repo = GitRepo::new();
    let trace = repo.path().join("ran");
    let program = format!("touch {}; cat", trace.display());
    repo.write(".gitattributes", "* filter=own\n").commit_file("a", "1");
    for key in ["filter.own.smudge", "filter.own.clean", "core.fsmonitor"] {
        repo.git(&["config", key, &program]);
    }
    repo.git(&["config", "filter.own.required", "true"]);
    let scene = Scene::new(repo.url());
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "1");
    assert!(!trace.exists(), "a program was run");
    assert!(scene.warnings()[0].contains("\"own\""), "{:?}", scene.warnings());
}

#[test]
fn what_is_not_supported_is_refused_before_anything_is_built_with_a_hint() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let submodule = |repo: &GitRepo| {
        let hash = repo.commit_file("a", "1");
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{hash},vendor/x")]);
        repo.git(&["commit", "--quiet", "--message", "submodule"]);
    };
    let lfs = |repo: &GitRepo| {
        repo.write("sub/.gitattributes", "*.bin filter=lfs\n").commit_file("sub/x.bin", pointer);
    };
    let encoding = |repo: &GitRepo| {
        let attributes = "*.txt working-tree-encoding=UTF-16\n";
        repo.write(".gitattributes", attributes).write("x.txt", [0xff, 0xfe, b'a', 0]).commit("e");
    };
    let ident = |repo: &GitRepo| {
        repo.write(".gitattributes", "*.c ident\n").commit_file("x.c", "/* $Id$ */\n");
    };
    type Make<'a> = &'a dyn Fn(&GitRepo);
    let cases: [(&str, Make<'_>); 4] = [
        ("submodule \"vendor/x\"", &submodule),
        ("Git LFS file \"sub/x.bin\"", &lfs),
        ("encoding UTF-16 of \"x.txt\"", &encoding),
        ("keyword $Id$ in \"x.c\"", &ident),
    ];
    for (expected, make) in cases {
        let repo = GitRepo::new();
        make(&repo);
        let scene = Scene::new(repo.url());
        let resolved = scene.resolve("main").unwrap();
        let error = scene.source().fetch(&scene.context(), &resolved).unwrap_err();
        let SourceError::Unsupported { what, hint, .. } = &error else { panic!("{error:?}") };
        assert_eq!(what, expected);
        assert!(!hint.is_empty());
    }
}

#[test]
fn a_tree_that_no_host_can_hold_is_refused_before_it_is_unfolded() {
    let deep = vec!["d"; 2100].join("/");
    let long = vec!["d".repeat(200); 21].join("/");
    let name = "n".repeat(256);
    let target = "t".repeat(5000);
    for (mode, path, content, expected) in [
        ("100644", deep.as_str(), "x", "2048 directories"),
        ("100644", &long, "x", "4220 bytes, more than 4095"),
        ("100644", &name, "x", "256 bytes, more than 255"),
        ("120000", "link", &target, "link \"link\" has 5000 bytes"),
        ("120000", "link", "", "link \"link\" has 0 bytes"),
    ] {
        let repo = GitRepo::new();
        git_common::commit_entry(&repo, mode, path, content);
        let why = git_common::refused(&Scene::new(repo.url()), "main");
        assert!(why.contains(expected), "{why}");
    }
}

/// Ten million files in a repository of eight objects.
#[test]
fn a_tree_that_unfolds_into_millions_of_files_is_refused() {
    let repo = GitRepo::new();
    let mut inner = repo.commit_file("a", "1");
    inner = repo.git(&["rev-parse", &format!("{inner}^{{tree}}")]);
    for _ in 0..7 {
        let entries: Vec<_> = (0..10).map(|n| format!("040000 tree {inner}\t{n}\n")).collect();
        inner = repo.git_with(&["mktree"], entries.concat().as_bytes());
    }
    let commit = repo.git(&["commit-tree", &inner, "-m", "bomb"]);
    repo.git(&["update-ref", "refs/heads/main", &commit]);
    let why = git_common::refused(&Scene::new(repo.url()), "main");
    assert!(why.contains("MiB of memory"), "{why}");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let repo = GitRepo::new();
    // It is short enough by itself, and too long behind the path of any release.
    let path = format!("{}/file", vec!["d".repeat(99); 40].join("/") + &"d".repeat(88));
    git_common::commit_entry(&repo, "100644", &path, "x");
    let error = git_common::chain(&Scene::new(repo.url()).deploy("main").unwrap_err());
    assert!(error.contains("ddd/file\"") && error.contains("too long"), "{error}");
}

#[test]
fn attributes_without_a_file_that_has_them_are_no_obstacle() {
    let repo = GitRepo::new();
    let attributes = "*.bin filter=lfs\n*.txt working-tree-encoding=UTF-16\n*.u working-tree-encoding=UTF-8\n*.c ident\n";
    repo.write(".gitattributes", attributes).write("real.bin", "not a pointer").write("a.u", "u");
    repo.commit_file("a.c", "no keyword");
    let scene = Scene::new(repo.url());
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("real.bin"), "not a pointer");
}

#[test]
fn a_missing_object_is_an_error_and_not_a_hole_in_the_release() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let blob = repo.git(&["rev-parse", "HEAD:a"]);
    std::fs::remove_file(repo.path().join(".git/objects").join(&blob[..2]).join(&blob[2..]))
        .unwrap();
    let scene = Scene::new(repo.url());
    assert!(matches!(scene.deploy("main"), Err(SourceError::Foreign { .. })));
}

#[test]
fn a_cancelled_checkout_says_so() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let scene = Scene::new(repo.url());
    let resolved = scene.resolve("main").unwrap();
    let ctx = scene.context();
    ctx.cancellation().cancel(deploykit_core::Cause::Interrupt);
    let error = scene.source().materialise(&ctx, &resolved.id, &scene.release()).unwrap_err();
    assert!(matches!(error, SourceError::Cancelled(_)), "{error:?}");
}
