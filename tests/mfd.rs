//! Taking over from mfd and going back to it; and its nine faults, a test each.
//!
//! The test of the fault 3 kills as often as it can in a few seconds; with `DEPLOYKIT_LONG_TESTS=1`
//! in the environment it and that of the fault 4 do ten times as much.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{App, BUILD, SERVED, SHORT, build_with, names};
use deploykit_testkit::git_server::{Behaviour, GitServer};

/// How much more is done when there is time.
fn times() -> u32 {
    if std::env::var_os("DEPLOYKIT_LONG_TESTS").is_some_and(|value| value == "1") { 10 } else { 1 }
}

/// A directory that mfd has used: three releases, the middle one active, and a `mfd.toml`.
struct Used {
    app: App,
    /// The commits, the oldest first.
    hashes: [String; 3],
    /// Their directories.
    directories: [String; 3],
}

fn used_by_mfd() -> Used {
    let app = App::bare();
    let url = app.repo.url();
    app.write(
        "mfd.toml",
        &format!(
            "[repo]\nurl = {url:?}\n\n[build]\ncommands = [[\"cp\", \"version\", \"built\"]]\n"
        ),
    );
    let hashes = ["one", "two", "three"].map(|version| app.commit(version));
    let mut seconds = 1_700_000_000;
    let directories = ["one", "two", "three"].map(|version| {
        seconds += 1000;
        let hash = &hashes[usize::try_from((seconds - 1_700_001_000) / 1000).unwrap()];
        let name = format!("mfd_{seconds}_{hash}");
        for file in ["version", "built"] {
            app.write(&format!("{name}/{file}"), &format!("{version}\n"));
        }
        name
    });
    std::os::unix::fs::symlink(&directories[1], app.path("active")).unwrap();
    Used { app, hashes, directories }
}

/// What mfd makes of a name, by the rules of its parser: three parts, the first of them `mfd`, a
/// number, and 40 characters.
fn mfd_parses(name: &str) -> Option<(i64, String)> {
    let parts: Vec<_> = name.split('_').collect();
    match parts.as_slice() {
        ["mfd", seconds, hash] if hash.len() == 40 => Some((seconds.parse().ok()?, (*hash).into())),
        _ => None,
    }
}

/// What `mfd list` prints: its directories, the newest first, links not counted.
fn mfd_lists(root: &Path) -> String {
    let active = root.join("active").read_link().unwrap();
    let directories = names(root)
        .into_iter()
        .filter(|name| root.join(name).symlink_metadata().is_ok_and(|metadata| metadata.is_dir()));
    let mut found: Vec<_> =
        directories.filter_map(|name| Some((mfd_parses(&name)?, name))).collect();
    found.sort();
    let line = |((_, hash), name): &((i64, String), String)| {
        let mark = if active.as_os_str() == name.as_str() { " (active)" } else { "" };
        format!("{hash}{mark}\n")
    };
    found.iter().rev().map(line).collect()
}

#[test]
fn a_list_is_mfds_before_anything_was_taken_over() {
    let Used { app, hashes: [one, two, three], .. } = used_by_mfd();
    let expected = format!("{three}\n{two} (active)\n{one}\n");
    assert_eq!(mfd_lists(app.root()), expected);
    assert_eq!(app.run(&["list"]).expect(0).stdout, expected);
    app.run(&["status"]).expect(0).tells(&two[..12]);
    assert!(!app.path(".deploykit").exists(), "looking takes nothing over");
}

#[test]
fn a_deployment_takes_over_and_a_rollback_goes_to_what_was_active() {
    let Used { app, hashes: [_, two, _], directories } = used_by_mfd();
    let four = app.commit("four");
    app.run(&["deploy"]).expect(0).says("taken over: ").tells(&four[..12]);
    assert_eq!(app.active_version(), "four");
    app.run(&["list"]).expect(0).tells(&format!("{four} (active)\n")).tells(&two);
    app.run(&["rollback"]).expect(0).tells(&two[..12]);
    assert_eq!(app.active_version(), "two");
    assert_eq!(app.path("active").read_link().unwrap().as_os_str(), directories[1].as_str());
}

#[test]
fn a_rollback_is_the_first_thing_that_is_asked_for() {
    let Used { app, hashes: [one, ..], .. } = used_by_mfd();
    app.run(&["rollback", &one]).expect(0);
    assert_eq!(app.active_version(), "one");
}

#[test]
fn a_rollback_does_not_go_forth_to_what_mfd_had_left_or_only_begun() {
    let Used { app, hashes: [_, _, three], directories } = used_by_mfd();
    let begun = format!("mfd_1800000000_{three}");
    std::fs::create_dir(app.path(&begun)).unwrap();
    app.run(&["rollback"]).expect(0);
    assert_eq!(app.active_version(), "one");
    app.run(&["rollback"]).expect(1).says("no earlier confirmed release").says("name a release");
    app.run(&["rollback", &directories[2]]).expect(0);
    assert_eq!(app.active_version(), "three");
    let listed = app.json(&["list"]).to_string();
    assert!(!listed.contains(&begun) && app.path(&begun).is_dir(), "{listed}");
}

#[test]
fn mfds_releases_are_pruned_like_others_and_what_is_active_never() {
    let Used { app, directories, .. } = used_by_mfd();
    app.run(&["prune"]).expect(0);
    assert!(app.path(&directories[1]).is_dir(), "it is active");
    for version in ["four", "five", "six"] {
        app.deploy_version(version);
        assert_eq!(app.active_version(), version);
        let list = app.json(&["list"]);
        assert!(list.as_array().unwrap().len() <= 3, "{list}");
    }
    assert!(
        names(app.root()).iter().all(|name| mfd_parses(name).is_none()),
        "{:?}",
        names(app.root())
    );
    app.assert_tidy();
}

#[test]
fn what_was_active_under_mfd_is_kept_as_long_as_a_rollback_needs_it() {
    let Used { app, directories, .. } = used_by_mfd();
    app.deploy_version("four");
    assert!(app.path(&directories[1]).is_dir(), "a rollback goes there");
    assert_eq!(app.json(&["status"])["rollback"]["path"], directories[1].as_str());
}

#[test]
fn every_key_of_mfds_configuration_is_read() {
    let Used { app, .. } = used_by_mfd();
    let url = app.repo.url();
    let rest = "build.commands = [[\"true\"]]\nsystemd.unit = \"app\"\n";
    app.write("mfd.toml", &format!("repo.url = {url:?}\nrepo.token = \"tok-canary-1\"\n{rest}"));
    app.run(&["config", "check"]).expect(2).says("chmod");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(app.path("mfd.toml"), private).unwrap();
    app.run(&["config", "check"]).expect(0);
    let account = "repo.username = \"me\"\nrepo.password = \"pass-canary-1\"\n";
    app.write("mfd.toml", &format!("repo.url = {url:?}\n{account}{rest}"));
    app.run(&["config", "show"]).expect(0).tells("unit = \"app\"").tells("username = \"me\"");
    app.write("mfd.toml", &format!("repo.url = {url:?}\nrepo.token = \"x\"\n{account}{rest}"));
    app.run(&["config", "check"]).expect(2).says("repo.token").says("repo.password");
    app.write("mfd.toml", &format!("repo.url = {url:?}\nrepo.password = \"x\"\n{rest}"));
    app.run(&["config", "check"]).expect(2).says("username");
}

#[test]
fn going_back_to_mfd_leaves_directories_that_it_takes_for_its_own() {
    let Used { app, hashes: [_, two, _], directories } = used_by_mfd();
    let four = app.deploy_version("four");
    let old_path = app.path("active").canonicalize().unwrap();
    app.run(&["uninstall"]).expect(2).says("uninstall --yes");
    app.run(&["uninstall", "--to-mfd", "--yes"]).expect(0).tells("renamed ");
    assert!(!app.path(".deploykit").exists() && !app.path(".deploykit.removed").exists());

    let active = app.path("active").read_link().unwrap();
    let (_, hash) = mfd_parses(active.to_str().unwrap()).expect("a name of mfd's");
    assert_eq!(hash, four);
    assert!(app.path(active.to_str().unwrap()).symlink_metadata().unwrap().is_dir());
    assert_eq!(app.active_version(), "four");
    let listed = mfd_lists(app.root());
    assert!(listed.starts_with(&format!("{four} (active)\n")), "{listed}");
    assert!(listed.contains(&two), "{listed}");
    let same = old_path.join("built");
    assert_eq!(std::fs::read_to_string(same).unwrap(), "four\n", "the old path still resolves");
    assert!(app.path(&directories[1]).is_dir());

    // And to deploykit again.
    assert_eq!(app.run(&["list"]).expect(0).stdout, listed);
    app.deploy_version("five");
    assert_eq!(app.active_version(), "five");
    app.run(&["rollback"]).expect(0);
    assert_eq!(app.active_version(), "four");
    app.run(&["list"]).expect(0).tells(&format!("{four} (active)"));
}

#[test]
fn going_back_to_mfd_can_be_broken_off_and_done_again_and_nothing_is_lost() {
    for (again, code) in [("uninstall --to-mfd --yes", 0), ("prune", 0), ("deploy", 0)] {
        let app = App::new();
        app.deploy_version("one");
        app.deploy_version("two");
        app.deploy_version("three");
        // As a kill leaves it: some releases have their new name, and a link under the old one.
        for release in app.json(&["list"]).as_array().unwrap() {
            let (path, digest) = (release["path"].as_str().unwrap(), &release["source"]);
            let hash = digest.as_str().unwrap().strip_prefix("git:").unwrap();
            let at = release["created"].as_str().unwrap();
            let seconds = at.parse::<jiff::Timestamp>().unwrap().as_second();
            let name = format!("mfd_{seconds}_{hash}");
            std::fs::rename(app.path(path), app.path(&name)).unwrap();
            std::os::unix::fs::symlink(format!("../{name}"), app.path(path)).unwrap();
        }
        app.run(&again.split(' ').collect::<Vec<_>>()).expect(code);
        assert_eq!(app.active_version(), "three", "after {again}");
        app.run(&["rollback"]).expect(0);
        assert_eq!(app.active_version(), "two", "after {again}");
    }
}

#[test]
fn a_release_that_was_half_renamed_for_mfd_is_removed_as_a_whole() {
    let app = App::new();
    app.deploy();
    let first = app.active_release();
    let name = format!("mfd_1700000000_{}", app.repo.head());
    app.deploy_version("two");
    std::fs::rename(app.path("releases").join(&first), app.path(&name)).unwrap();
    let link = app.path("releases").join(&first);
    std::os::unix::fs::symlink(format!("../{name}"), link).unwrap();
    app.configure(&format!("{BUILD}{SHORT}[releases]\nkeep = 1\nkeep_others = 0\n"));
    app.deploy_version("three");
    assert!(!app.path(&name).exists(), "it would be taken for one of mfd's");
    app.assert_tidy();
}

#[test]
fn a_directory_with_two_names_is_one_release_and_is_not_removed_under_the_other() {
    let Used { app, directories, .. } = used_by_mfd();
    let other = app.root().with_file_name("other");
    std::os::unix::fs::symlink(app.root(), &other).unwrap();
    let link = |target: &Path| {
        std::fs::remove_file(app.path("active")).unwrap();
        std::os::unix::fs::symlink(target, app.path("active")).unwrap();
    };
    for target in [other.join(&directories[1]), "current".into()] {
        let _ = std::os::unix::fs::symlink(&directories[1], app.path("current"));
        link(&target);
        let config = app.read("mfd.toml");
        app.write("deploykit.toml", &format!("{config}\n[releases]\nkeep = 1\nkeep_others = 0\n"));
        app.run(&["prune"]).expect(0);
        assert_eq!(app.active_version(), "two");
        assert_eq!(app.json(&["list"]).as_array().unwrap().len(), 2, "active, and the way back");
    }
}

#[test]
fn fault_1_a_rollback_restarts_the_service() {
    let app = App::served(SHORT);
    app.deploy();
    app.deploy_version("two");
    app.assert_serves("two");
    app.run(&["rollback"]).expect(0);
    app.assert_serves("one");
}

#[test]
fn fault_2_a_failed_build_is_never_activated_by_the_next_deployment() {
    let app = App::new();
    app.deploy();
    let flaky = build_with("test -e \"$DEPLOYKIT_APP/mended\" || exit 7");
    app.configure(&format!("{flaky}{SHORT}"));
    app.commit("two");
    for _ in 0..2 {
        app.run(&["deploy"]).expect(1).says("build failed");
        assert_eq!(app.active_version(), "one");
    }
    app.write("mended", "");
    app.run(&["deploy"]).expect(0).says("build: done");
    assert_eq!(app.active_version(), "two");
}

/// An application with two releases between which one can go to and fro without building.
fn two_releases() -> (App, [String; 2]) {
    let app = App::new();
    let one = app.repo.head();
    app.deploy();
    let two = app.deploy_version("two");
    (app, [one, two])
}

#[test]
fn fault_3_a_kill_never_leaves_anything_without_an_active_release() {
    let (app, hashes) = two_releases();
    let end = Instant::now() + Duration::from_secs(4) * times();
    let (mut kills, mut round) = (0u32, 0u64);
    while Instant::now() < end {
        round += 1;
        let hash = &hashes[usize::try_from(round % 2).unwrap()];
        let deploying = app.start(&["deploy", "--retry", hash]);
        // It takes some 10 to 30 milliseconds: the kills sweep over all of it.
        std::thread::sleep(Duration::from_micros(round * 7919 % 30_000));
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(deploying.pid()),
            nix::sys::signal::Signal::SIGKILL,
        );
        kills += u32::from(deploying.wait().code.is_none());
        let version = std::fs::read_to_string(app.path("active/built"));
        assert!(version.is_ok(), "after {kills} kills: {version:?}");
    }
    assert!(kills > 10, "only {kills} of {round} were killed in time");
    app.run(&["recover"]).expect(0);
    app.assert_tidy();
    app.run(&["deploy", "--retry", &hashes[0]]).expect(0);
    assert_eq!(app.active_version(), "one");
    assert!(app.outcomes().iter().all(|outcome| outcome != "none"));
}

#[test]
fn fault_4_readers_never_see_that_nothing_is_active() {
    let (app, hashes) = two_releases();
    let (link, file) = (app.path("active"), app.path("active/built"));
    let (ending, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let switches = 300 * times();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !ending.load(Ordering::Relaxed) {
                link.metadata().expect("the active release");
                let version = std::fs::read_to_string(&file).expect("its file");
                assert!(matches!(version.trim(), "one" | "two"), "{version:?}");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for number in 0..switches {
            let target = &hashes[usize::try_from(number % 2).unwrap()];
            let verb = if number % 4 < 2 { "deploy" } else { "rollback" };
            app.run(&[verb, "--retry", target]).expect(0);
            if reader.is_finished() {
                break;
            }
        }
        ending.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 1000);
    assert!(app.history().len() > usize::try_from(switches).unwrap());
}

#[test]
fn fault_5_two_deployments_never_build_at_once() {
    let app = App::bare();
    // The second of two at once would find the directory of the first.
    let alone =
        "mkdir \"$DEPLOYKIT_APP/building\" && sleep 0.1 && rmdir \"$DEPLOYKIT_APP/building\"";
    app.configure(&format!("{}{SHORT}", build_with(alone)));
    app.commit("one");
    let running: Vec<_> = (0..4).map(|_| app.start(&["deploy", "--rebuild", "--wait"])).collect();
    for deploying in running {
        deploying.wait().expect(0);
    }
    assert_eq!(app.outcomes(), ["deployed"; 4]);
    app.assert_tidy();
}

#[test]
fn fault_6_failed_builds_are_not_listed_do_not_count_and_are_no_target() {
    let (app, [one, two]) = two_releases();
    app.configure(&format!("{}{SHORT}", build_with("exit 7")));
    let mut failed = Vec::new();
    for version in ["three", "four", "five", "six"] {
        failed.push(app.commit(version));
        app.run(&["deploy"]).expect(1);
    }
    assert_eq!(app.run(&["list"]).stdout, format!("{two} (active)\n{one}\n"));
    assert_eq!(app.releases().len(), 2);
    for hash in failed {
        app.run(&["rollback", "--retry", &hash]).expect(1).says("there is no release");
    }
    app.run(&["rollback"]).expect(0);
    assert_eq!(app.active_version(), "one");
}

#[test]
fn fault_7_a_deployment_moves_what_is_new_and_resolving_moves_nothing() {
    let app = App::bare();
    let noise = (0..50_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let noise: Vec<u8> = noise.flat_map(u64::to_le_bytes).collect();
    let size = noise.len();
    app.repo.write("noise", noise);
    let root = app.repo.path().parent().unwrap();
    let server = GitServer::start(root, None, Behaviour::default());
    let url = server.url("repo/.git");
    app.write("deploykit.toml", &format!("[repo]\nurl = {url:?}\n{BUILD}{SHORT}"));
    app.commit("one");
    app.run(&["resolve"]).expect(0);
    assert!(server.take_bytes() < 4_000, "a name is resolved without its objects");
    app.deploy();
    let first = server.take_bytes();
    assert!((size..size + size / 2).contains(&first), "once, not twice: {first} of {size}");
    app.deploy_version("two");
    let second = server.take_bytes();
    assert!(second < size / 10, "only what is new: {second}");
    app.deploy();
    let third = server.take_seen();
    let posts = third.iter().filter(|seen| seen.request.starts_with("POST")).count();
    assert_eq!(posts, 1, "one ls-refs: {third:?}");
}

#[test]
fn fault_8_a_misspelt_key_is_refused() {
    let Used { app, .. } = used_by_mfd();
    let url = app.repo.url();
    let text = format!(
        "[repo]\nurl = {url:?}\n[build]\ncommands = [[\"true\"]]\n[systmed]\nunit = \"x\"\n"
    );
    app.write("mfd.toml", &text);
    let ran = app.run(&["deploy"]).expect(2).says("unknown key `systmed`").says("mfd.toml:5");
    ran.says("did you mean `systemd`?");
    assert_eq!(app.active_version(), "two");
}

#[test]
fn fault_9_a_token_in_the_configuration_is_refused_unless_private_and_never_shown() {
    let app = App::bare();
    app.commit("one");
    let token = "ghp_canaryCANARY123";
    let url = app.repo.url();
    app.write(
        "deploykit.toml",
        &format!("[repo]\nurl = {url:?}\ntoken = {token:?}\n{BUILD}{SERVED}"),
    );
    let ran = app.run(&["deploy"]).expect(2).says("chmod ");
    assert!(!ran.stderr.contains(token), "{ran}");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(app.path("deploykit.toml"), private).unwrap();
    for arguments in [&["config", "show"][..], &["config", "show", "--json"], &["status", "--json"]]
    {
        let ran = app.run(arguments).expect(0);
        assert!(!ran.stdout.contains(token) && !ran.stderr.contains(token), "{ran}");
    }
}
