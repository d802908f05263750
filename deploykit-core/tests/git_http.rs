//! The git source over http and https.
#![cfg(feature = "git")]

mod git_common;

use std::sync::Arc;
use std::time::Duration;

use deploykit_core::config::SecretValue;
use deploykit_core::git::GitCredentials;
use deploykit_core::traits::{Source as _, SourceError};
use deploykit_core::{Cause, EventKind, Secret};
use deploykit_testkit::certificates::Authority;
use deploykit_testkit::git_repo::GitRepo;
use deploykit_testkit::git_server::{Behaviour, GitServer};
use git_common::{Scene, chain};

/// A server of the directory in which the repository is, without TLS.
fn serve(repo: &GitRepo) -> GitServer {
    GitServer::start(repo.path().parent().unwrap(), None, Behaviour::default())
}

fn serve_tls(repo: &GitRepo, authority: &Authority, behaviour: Behaviour) -> GitServer {
    let tls = Some(authority.server("127.0.0.1"));
    GitServer::start(repo.path().parent().unwrap(), tls, behaviour)
}

fn literal(text: &str) -> SecretValue {
    SecretValue::Literal(Secret::new(text))
}

fn account(user: &str, password: &str) -> Behaviour {
    Behaviour { account: Some((user.into(), password.into())), ..Behaviour::default() }
}

/// A scene that trusts `authority` and sends these credentials.
fn trusting(url: &str, authority: &Authority, credentials: GitCredentials) -> Scene {
    Scene::with(url, |options| {
        let file = options.base_dir.join("ca.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        options.ca_file = Some("ca.pem".into());
        options.credentials = credentials;
    })
}

fn password(user: &str, password: &str) -> GitCredentials {
    GitCredentials::Password { username: user.into(), password: literal(password) }
}

/// A file that does not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 32).to_le_bytes()[0]
    };
    std::iter::repeat_with(|| next(&mut state)).take(bytes).collect()
}

#[test]
fn branches_tags_hashes_and_head_resolve_without_fetching() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 300_000));
    let first = repo.commit_file("a", "1");
    repo.git(&["tag", "light"]);
    repo.git(&["tag", "--annotate", "--message", "x", "heavy"]);
    let second = repo.commit_file("a", "2");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    for (text, hash, name) in [
        ("HEAD", &second, "refs/heads/main"),
        ("main", &second, "refs/heads/main"),
        ("light", &first, "refs/tags/light"),
        ("heavy", &first, "refs/tags/heavy"),
        ("tags/heavy", &first, "refs/tags/heavy"),
        ("refs/heads/main", &second, "refs/heads/main"),
        (&first, &first, first.as_str()),
        (&first[..9], &first, &first),
        (&second[..4], &second, &second),
    ] {
        let resolved = scene.resolve(text).unwrap();
        assert_eq!(resolved.id.digest(), hash, "{text}");
        assert_eq!(resolved.name, name, "{text}");
        let seen = server.take_seen();
        assert_eq!(seen.len(), 2, "{text} took {seen:?}");
        let bytes: usize = seen.iter().map(|request| request.answered).sum();
        assert!(bytes < 2_000, "{text} moved {bytes} bytes");
    }
    assert!(!scene.cache().exists(), "resolving changes nothing");
}

#[test]
fn a_release_is_fetched_without_history_and_the_next_one_moves_little() {
    let repo = GitRepo::new();
    for number in 0..5 {
        repo.commit_file("history", noise(number, 200_000));
    }
    let first = repo.commit_file("version", "1");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    let written = scene.deploy("main").unwrap();
    assert_eq!((written.files, scene.read("version")), (2, "1".to_owned()));
    let whole = server.take_bytes();
    assert!((200_000..260_000).contains(&whole), "one tree is 200 kB, {whole} bytes were moved");

    let second = repo.commit_file("version", "2");
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("version"), "2");
    let next = server.take_bytes();
    assert!(next < 3_000, "a change of one byte moved {next} bytes");

    // Both are in the cache now: only a branch has to be looked up.
    for hash in [&first, &second] {
        scene.deploy(hash).unwrap();
        assert_eq!(server.take_seen().len(), 0);
    }
    let bytes = scene.events().iter().any(|event| matches!(event, EventKind::Progress { .. }));
    assert!(bytes, "nothing was told of the progress");
}

#[test]
fn a_commit_in_the_middle_of_the_history_is_fetched_by_its_hash() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    let second = repo.commit_file("a", "2");
    repo.commit_file("a", "3");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    scene.deploy(&second).unwrap();
    assert_eq!(scene.read("a"), "2");
    // Its parent is not in the cache, whatever is.
    scene.deploy(&first).unwrap();
    assert_eq!(scene.read("a"), "1");
}

#[test]
fn a_partial_hash_is_looked_for_in_the_history_and_leaves_nothing() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 300_000));
    let first = repo.commit_file("a", "1");
    repo.commit_file("a", "2");
    let server = serve(&repo);
    server.behave(|b| b.config.push("uploadpack.allowFilter=true".into()));
    let scene = Scene::new(&server.url("repo"));
    let resolved = scene.resolve(&first[..10]).unwrap();
    assert_eq!(resolved.id.digest(), first);
    let bytes = server.take_bytes();
    assert!(bytes < 5_000, "only commits are needed, {bytes} bytes were moved");
    assert!(!scene.cache().exists());
    // A server that cannot leave out files sends all of them.
    server.behave(|b| b.config.clear());
    assert_eq!(scene.resolve(&first[..10]).unwrap().id.digest(), first);
    assert!(server.take_bytes() > 300_000);
}

#[test]
fn an_ambiguous_hash_lists_the_commits_and_a_missing_one_is_not_found() {
    let repo = GitRepo::new();
    let (prefix, first, second) = git_common::two_commits_that_begin_alike(&repo);
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    let error = scene.resolve(&prefix).unwrap_err();
    let SourceError::Ambiguous { candidates, .. } = &error else { panic!("{error:?}") };
    for hash in [&first, &second] {
        assert!(candidates.iter().any(|c| c.starts_with(&format!("{hash} commit number"))));
    }
    assert_eq!(scene.resolve(&first[..20]).unwrap().id.digest(), first);
    let error = scene.resolve("0123456789").unwrap_err();
    assert!(matches!(error, SourceError::NotFound { .. }), "{error:?}");
}

#[test]
fn a_name_that_does_not_exist_is_answered_with_those_that_look_alike() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    repo.git(&["tag", "v1.2.0"]);
    let server = serve(&repo);
    let url = server.url("repo");
    let error = Scene::new(&url).resolve("v1.2.1").unwrap_err();
    let SourceError::NotFound { similar, url: named, .. } = &error else { panic!("{error:?}") };
    assert_eq!(similar, &["v1.2.0"]);
    assert_eq!(*named, url);
}

#[test]
fn a_hash_that_nobody_has_fails_at_the_fetch_and_keeps_the_cache() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    scene.deploy("main").unwrap();
    let error = scene.deploy("0123456789012345678901234567890123456789").unwrap_err();
    assert!(matches!(error, SourceError::NotFound { .. }), "{error:?}");
    server.take_seen();
    scene.deploy(&first).unwrap();
    assert_eq!(server.take_seen().len(), 0, "the cache is gone");
}

#[test]
fn an_empty_repository_is_a_clear_error() {
    let repo = GitRepo::new();
    let server = serve(&repo);
    let error = chain(&Scene::new(&server.url("repo")).resolve("HEAD").unwrap_err());
    assert!(error.contains("no commit yet"), "{error}");
}

#[test]
fn a_sha256_repository_is_refused_clearly() {
    let repo = GitRepo::with_options(&["--object-format=sha256"]);
    repo.commit_file("a", "1");
    let server = serve(&repo);
    let error = chain(&Scene::new(&server.url("repo")).resolve("main").unwrap_err());
    assert!(error.contains("SHA-256"), "{error}");
}

#[test]
fn what_is_not_supported_is_refused_by_the_fetch_and_once_more_without_the_network() {
    let repo = GitRepo::new();
    let hash = repo.commit_file("a", "1");
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{hash},vendor/x")]);
    repo.git(&["commit", "--quiet", "--message", "submodule"]);
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    let resolved = scene.resolve("main").unwrap();
    for expected in [2, 0] {
        server.take_seen();
        let error = scene.source().fetch(&scene.context(), &resolved).unwrap_err();
        assert!(matches!(error, SourceError::Unsupported { .. }), "{error:?}");
        assert_eq!(server.take_seen().len(), expected);
    }
}

#[test]
fn a_token_and_a_password_work_over_https_with_a_private_authority() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let authority = Authority::new();
    let token = |username: Option<&str>| GitCredentials::Token {
        token: literal("t0ken-value"),
        username: username.map(str::to_owned),
    };
    for (behaviour, credentials) in [
        (account("oauth2", "t0ken-value"), token(None)),
        (account("mfd", "t0ken-value"), token(Some("mfd"))),
        (account("me", "pa:ss wörd"), password("me", "pa:ss wörd")),
    ] {
        let server = serve_tls(&repo, &authority, behaviour);
        let scene = trusting(&server.url("repo"), &authority, credentials);
        scene.deploy("main").unwrap();
        assert_eq!(scene.read("a"), "1");
        // Credentials are sent at once: nothing is asked twice.
        assert_eq!(server.take_seen().len(), 4);
        git_common::assert_nothing_contains(&scene.cache(), b"t0ken-value");
    }
}

#[test]
fn a_wrong_or_missing_password_is_refused_access_without_a_prompt_or_the_secret() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let authority = Authority::new();
    let server = serve_tls(&repo, &authority, account("me", "right-password"));
    let wrong = password("me", "wrong-password");
    for (credentials, given) in [(wrong, true), (GitCredentials::None, false)] {
        let scene = trusting(&server.url("repo"), &authority, credentials);
        let error = scene.resolve("main").unwrap_err();
        let SourceError::Access { had_credentials, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*had_credentials, given);
        assert!(error.hint().is_some());
        assert!(!format!("{error:?} {}", chain(&error)).contains("wrong-password"));
        assert_eq!(server.take_seen().len(), 1, "it was tried again");
    }
    server.behave(|b| b.status = Some(403));
    let scene = trusting(&server.url("repo"), &authority, password("me", "right-password"));
    assert!(matches!(scene.resolve("main"), Err(SourceError::Access { .. })));
}

#[test]
fn the_name_in_the_address_goes_with_the_token() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let authority = Authority::new();
    let server = serve_tls(&repo, &authority, account("someone", "t0ken-value"));
    let url = server.url("repo").replace("https://", "https://someone@");
    let token = GitCredentials::Token { token: literal("t0ken-value"), username: None };
    trusting(&url, &authority, token).deploy("main").unwrap();
    let open = serve_tls(&repo, &authority, Behaviour::default());
    let url = open.url("repo").replace("https://", "https://someone@");
    trusting(&url, &authority, GitCredentials::None).deploy("main").unwrap();
    assert!(open.take_seen().iter().all(|seen| seen.authorization.is_none()));
}

#[test]
fn a_secret_that_cannot_be_read_is_named_before_anything_is_sent() {
    let repo = GitRepo::new();
    let authority = Authority::new();
    let server = serve_tls(&repo, &authority, Behaviour::default());
    let token = SecretValue::Env("DEPLOYKIT_TEST_NEVER_SET".into());
    let credentials = GitCredentials::Token { token, username: None };
    let scene = trusting(&server.url("repo"), &authority, credentials);
    let error = scene.resolve("main").unwrap_err();
    assert!(matches!(error, SourceError::Credentials(_)), "{error:?}");
    assert!(chain(&error).contains("DEPLOYKIT_TEST_NEVER_SET"));
    assert_eq!(server.take_seen().len(), 0);
}

#[test]
fn an_authority_that_nobody_trusts_is_refused_with_the_hint() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let server = serve_tls(&repo, &Authority::new(), Behaviour::default());
    for scene in [
        Scene::new(&server.url("repo")),
        trusting(&server.url("repo"), &Authority::new(), GitCredentials::None),
    ] {
        let error = scene.resolve("main").unwrap_err();
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
        assert!(error.hint().unwrap().contains("repo.ca_file"), "{:?}", error.hint());
    }
}

#[test]
fn credentials_are_not_sent_over_plain_http() {
    let repo = GitRepo::new();
    let server = serve(&repo);
    let scene = Scene::with(&server.url("repo"), |o| o.credentials = password("me", "secret"));
    let error = scene.resolve("main").unwrap_err();
    assert!(chain(&error).contains("plain http"), "{}", chain(&error));
    assert_eq!(server.take_seen().len(), 0);
}

#[test]
fn credentials_do_not_follow_a_redirection_to_another_server() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let authority = Authority::new();
    let target = serve_tls(&repo, &authority, Behaviour::default());
    let redirect = Some(target.url("").trim_end_matches('/').to_owned());
    let server = serve_tls(&repo, &authority, Behaviour { redirect, ..Behaviour::default() });
    let scene = trusting(&server.url("repo"), &authority, password("me", "secret"));
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "1");
    assert!(server.take_seen().iter().all(|seen| seen.authorization.is_some()));
    let seen = target.take_seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
    // Nor when the other one asks for them.
    target.behave(|b| b.account = Some(("me".into(), "secret".into())));
    assert!(matches!(scene.resolve("main"), Err(SourceError::Access { .. })));
    assert!(target.take_seen().iter().all(|seen| seen.authorization.is_none()));
}

#[test]
fn a_redirection_from_https_to_http_is_refused() {
    let repo = GitRepo::new();
    let authority = Authority::new();
    let target = serve(&repo);
    let redirect = Some(target.url("").trim_end_matches('/').to_owned());
    let server = serve_tls(&repo, &authority, Behaviour { redirect, ..Behaviour::default() });
    let scene = trusting(&server.url("repo"), &authority, GitCredentials::None);
    let error = chain(&scene.resolve("main").unwrap_err());
    assert!(error.contains("less safe"), "{error}");
    assert_eq!(target.take_seen().len(), 0);
}

#[test]
fn faults_of_the_server_have_their_words_and_hints() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    for (status, words) in
        [(404, "path in repo.url"), (500, "try again later"), (200, "page for people")]
    {
        server.behave(|b| b.status = Some(status));
        let error = scene.resolve("main").unwrap_err();
        let said = if status == 200 { "git repository" } else { &status.to_string() };
        assert!(chain(&error).contains(said), "{}", chain(&error));
        assert!(error.hint().unwrap().contains(words), "{:?}", error.hint());
    }
    let missing = Scene::new(&server.url("nothing"));
    server.behave(|b| b.status = None);
    assert!(chain(&missing.resolve("main").unwrap_err()).contains("404"));
}

#[test]
fn a_host_that_does_not_exist_or_does_not_listen_is_named() {
    let error = Scene::new("http://no-such-host.invalid/x").resolve("main").unwrap_err();
    assert!(matches!(error, SourceError::Transport { .. }), "{error:?}");
    assert!(chain(&error).contains("no-such-host.invalid"), "{}", chain(&error));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = Scene::new(&format!("http://127.0.0.1:{port}/x")).resolve("main").unwrap_err();
    assert!(chain(&error).to_lowercase().contains("refused"), "{}", chain(&error));
}

#[test]
fn a_connection_that_breaks_in_the_middle_is_an_error_and_the_next_fetch_works() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 300_000));
    repo.commit_file("a", "1");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    let resolved = scene.resolve("main").unwrap();
    server.behave(|b| b.cut_after = Some(100_000));
    let error = scene.source().fetch(&scene.context(), &resolved).unwrap_err();
    assert!(matches!(error, SourceError::Transport { .. }), "{error:?}");
    server.behave(|b| b.cut_after = None);
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "1");
    assert_eq!(scene.warnings(), [""; 0]);
}

#[test]
fn a_silent_server_is_given_up_after_the_timeout() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 300_000));
    repo.commit_file("a", "1");
    let server = serve(&repo);
    let scene = Scene::with(&server.url("repo"), |o| o.timeout = Duration::from_secs(1));
    let resolved = scene.resolve("main").unwrap();
    server.behave(|b| b.stall_after = Some(100_000));
    let error = chain(&scene.source().fetch(&scene.context(), &resolved).unwrap_err());
    assert!(error.contains("no answer for 1 s"), "{error}");
}

#[test]
fn a_cancellation_or_the_deadline_ends_a_fetch_at_once_and_the_cache_stays_good() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 300_000));
    let first = repo.commit_file("a", "1");
    let server = serve(&repo);
    // The timeout of ten minutes would not end it.
    let scene =
        Arc::new(Scene::with(&server.url("repo"), |o| o.timeout = Duration::from_secs(600)));
    scene.deploy("main").unwrap();
    repo.write("big2", noise(2, 300_000)).commit_file("a", "2");
    let resolved = scene.resolve("main").unwrap();
    server.behave(|b| b.stall_after = Some(100_000));

    let ctx = scene.context().with_timeout(Duration::from_millis(300));
    let error = scene.source().fetch(&ctx, &resolved).unwrap_err();
    assert!(chain(&error).contains("time for it ran out"), "{}", chain(&error));

    server.take_seen();
    let theirs = Arc::clone(&scene);
    let fetch = std::thread::spawn(move || theirs.source().fetch(&theirs.context(), &resolved));
    // The request that stalls has been answered in part.
    while !server.take_seen().iter().any(|seen| seen.request.starts_with("POST")) {
        std::thread::yield_now();
    }
    scene.context().cancellation().cancel(Cause::Interrupt);
    let error = fetch.join().unwrap().unwrap_err();
    assert!(matches!(error, SourceError::Cancelled(_)), "{error:?}");

    scene.context().cancellation().take();
    server.behave(|b| b.stall_after = None);
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "2");
    server.take_seen();
    scene.deploy(&first).unwrap();
    assert_eq!(server.take_seen().len(), 0, "the first release is still in the cache");
    assert_eq!(scene.warnings(), [""; 0]);
}

#[test]
fn stale_locks_and_half_packs_are_no_obstacle() {
    let repo = GitRepo::new();
    repo.commit_file("a", "1");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    scene.deploy("main").unwrap();
    let git = scene.cache().join("git");
    for name in ["shallow.lock", "packed-refs.lock", "objects/pack/.tmp123", "objects/pack/x.idx"] {
        std::fs::write(git.join(name), "left by a killed process").unwrap();
    }
    repo.commit_file("a", "2");
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "2");
    assert!(!git.join("shallow.lock").exists());
    assert_eq!(scene.warnings(), [""; 0]);
}

#[test]
fn a_damaged_cache_is_thrown_away_with_a_warning() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 100_000)).commit_file("a", "1");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    let resolved = scene.resolve("main").unwrap();
    let fetch = || scene.source().fetch(&scene.context(), &resolved);
    let damages: [&dyn Fn(); 3] = [
        // No objects any more: noticed by the fetch.
        &|| git_common::packs(&scene.cache()).iter().for_each(|p| std::fs::remove_file(p).unwrap()),
        // Half a pack.
        &|| git_common::overwrite(&git_common::packs(&scene.cache())[0], |b| b.truncate(200)),
        // A few bytes in the middle of a file: noticed by the checkout only.
        &|| {
            git_common::overwrite(&git_common::packs(&scene.cache())[0], |b| {
                let middle = b.len() / 2;
                b[middle..middle + 8].fill(0);
            });
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        fetch().unwrap();
        damage();
        fetch().unwrap();
        scene.check_out(&resolved).unwrap();
        assert_eq!(std::fs::read(scene.release().join("big")).unwrap(), noise(1, 100_000));
        assert_eq!(scene.warnings().len(), number + 1, "{:?}", scene.warnings());
    }
}

#[test]
fn a_damaged_cache_does_not_break_the_fetch_of_the_next_release() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 100_000)).commit_file("a", "1");
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    scene.deploy("main").unwrap();
    git_common::packs(&scene.cache()).iter().for_each(|p| std::fs::remove_file(p).unwrap());
    repo.commit_file("a", "2");
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "2");
    assert_eq!(scene.warnings().len(), 1);
}

#[test]
fn a_server_of_the_old_protocol_serves_tips_tags_and_at_last_the_whole_history() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    repo.commit_file("a", "2");
    repo.git(&["tag", "--annotate", "--message", "x", "heavy"]);
    repo.commit_file("a", "3");
    let server = serve(&repo);
    server.behave(|b| {
        b.old_protocol = true;
    });
    for (revision, content) in [("main", "3"), ("heavy", "2"), (&first, "1")] {
        let scene = Scene::new(&server.url("repo"));
        scene.deploy(revision).unwrap();
        assert_eq!(scene.read("a"), content);
        scene.deploy("main").unwrap();
        assert_eq!(scene.read("a"), "3");
    }
}

#[test]
fn the_cache_is_compacted_when_many_fetches_have_gone_into_it() {
    let repo = GitRepo::new();
    repo.write("big", noise(1, 50_000));
    let server = serve(&repo);
    let scene = Scene::new(&server.url("repo"));
    let mut most = 0;
    for number in 0..33 {
        repo.commit_file("a", number.to_string());
        let resolved = scene.resolve("main").unwrap();
        scene.source().fetch(&scene.context(), &resolved).unwrap();
        most = most.max(git_common::packs(&scene.cache()).len());
    }
    assert_eq!(most, 31, "it was compacted too early or not at all");
    assert!(git_common::packs(&scene.cache()).len() < 3);
    scene.deploy("main").unwrap();
    assert_eq!(scene.read("a"), "32");
    assert_eq!(scene.warnings(), [""; 0]);
}
