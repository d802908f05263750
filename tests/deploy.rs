//! The main flows, through the program: deploying, failing, going back, and looking.

mod common;

use common::{App, BUILD, LONG, SERVED, SHORT, build_with, mode, runs, snapshot, until};
use serde_json::Value;

#[test]
fn the_first_deployment_makes_an_active_release() {
    let app = App::new();
    let hash = app.repo.head();
    let ran = app.run(&["deploy"]).expect(0).tells(&hash[..12]).tells("Unchecked:");
    assert!(ran.stderr.contains("sh -c"), "the build's output has its step's name: {ran}");
    assert!(ran.stderr.contains(" | building\n"), "{ran}");
    assert_eq!(app.active_version(), "one");
    assert_eq!(app.read("active/REVISION"), format!("{hash}\n"));
    let target = app.path("active").read_link().unwrap();
    assert_eq!(target.parent().unwrap().as_os_str(), "releases", "the link is relative");
    assert_eq!(app.history(), [("deploy".into(), "deployed".into())]);
    app.assert_tidy();
}

#[test]
fn deploykits_own_directory_is_for_its_owner_alone() {
    let app = App::new();
    app.deploy();
    assert_eq!(mode(&app.path(".deploykit")), 0o700);
    let listed = app.run(&["history"]).expect(0);
    assert!(listed.stdout.contains("deploy"), "{listed}");
}

#[test]
fn a_revision_file_of_the_tree_is_not_overwritten() {
    let app = App::new();
    app.repo.write("REVISION", "mine\n");
    app.deploy_version("two");
    assert_eq!(app.read("active/REVISION"), "mine\n");
}

#[test]
fn what_is_active_already_is_not_deployed_again_and_nothing_is_written() {
    let app = App::new();
    app.deploy();
    let before = snapshot(app.root());
    app.run(&["deploy"]).expect(0).tells("Nothing to do: ").tells("is active already");
    app.run(&["deploy", "-q"]).expect(0);
    assert_eq!(snapshot(app.root()), before);
    assert_eq!(app.history().len(), 1, "nothing happened, so nothing is history");
}

#[test]
fn a_branch_a_tag_and_hashes_are_deployed_and_the_output_names_them() {
    let app = App::new();
    let one = app.repo.head();
    app.repo.git(&["tag", "--annotate", "--message", "first", "v1"]);
    app.repo.git(&["checkout", "--quiet", "-b", "feature"]);
    let two = app.commit("two");
    app.repo.git(&["checkout", "--quiet", "main"]);
    let three = app.commit("three");
    for (revision, hash, version) in [
        ("main", &three, "three"),
        ("feature", &two, "two"),
        ("v1", &one, "one"),
        (&three[..8], &three, "three"),
        (two.as_str(), &two, "two"),
        ("HEAD", &three, "three"),
    ] {
        app.run(&["resolve", revision]).expect(0).tells(hash);
        app.run(&["deploy", revision]).expect(0).tells(&hash[..12]);
        assert_eq!(app.active_version(), version, "{revision}");
    }
    assert_eq!(app.releases().len(), 3, "a release that is confirmed is not built again");
}

#[test]
fn an_unknown_revision_is_refused_and_remembered() {
    let app = App::new();
    let ran = app.run(&["deploy", "nowhere"]).expect(1);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("\"nowhere\""), "{ran}");
    assert!(!app.is_active());
    assert_eq!(app.outcomes(), ["failed"]);
    app.run(&["resolve", "nowhere"]).expect(1).says("nowhere");
    let error = app.json(&["resolve", "nowhere"]);
    assert_eq!(error["error"]["exit"], 1);
    assert_eq!(error["error"]["kind"], "failed");
}

#[test]
fn an_ambiguous_hash_lists_what_it_could_mean() {
    let app = App::new();
    let tree = app.repo.git(&["rev-parse", "HEAD^{tree}"]);
    let mut seen = std::collections::HashMap::<String, String>::new();
    let (first, second) = (0..)
        .find_map(|number| {
            let message = format!("commit number {number}");
            let hash = app.repo.git(&["commit-tree", &tree, "-p", "HEAD", "-m", &message]);
            let other = seen.insert(hash[..4].to_owned(), hash.clone())?;
            Some((other, hash))
        })
        .unwrap();
    let merge = ["commit-tree", &tree, "-p", &first, "-p", &second, "-m", "merge"];
    let merged = app.repo.git(&merge);
    app.repo.git(&["update-ref", "refs/heads/main", &merged]);
    let ran = app.run(&["deploy", &first[..4]]).expect(1);
    assert!(ran.stderr.contains(&first[..7]) && ran.stderr.contains(&second[..7]), "{ran}");
    assert!(!app.is_active());
}

#[test]
fn a_failed_build_shows_its_last_lines_and_leaves_everything_as_it_was() {
    let app = App::new();
    app.deploy();
    app.configure(&format!("{}{SHORT}", build_with("echo what is wrong; exit 7")));
    app.commit("two");
    let ran = app.run(&["deploy"]).expect(1);
    let ran = ran.says("error: build failed").says("7").says("  | what is wrong\n");
    let log = app.path(".deploykit/logs/2.log");
    let ran = ran.says(&format!("`deploykit show 2`, {}", log.display())).says("is still active");
    assert!(ran.stdout.is_empty(), "{ran}");
    assert!(std::fs::read_to_string(log).unwrap().contains("what is wrong"));
    app.run(&["show", "2"]).expect(0).tells("what is wrong").tells("outcome     failed");
    assert_eq!(app.active_version(), "one");
    assert_eq!(app.releases().len(), 1);
    app.assert_tidy();
}

#[test]
fn a_release_that_is_ill_is_rolled_back_and_the_service_with_it() {
    let app = App::served(SHORT);
    app.deploy();
    app.assert_serves("one");
    let bad = app.commit_with("two", &["ill"]);
    let ran = app.run(&["deploy"]).expect(3).says("error: verify failed").says("it is ill");
    ran.says("was activated and rolled back: the previous release").says("serves again");
    app.assert_serves("one");
    assert_eq!(app.outcomes(), ["rolled-back", "deployed"]);
    let starts: Vec<_> = app.read("service.log").lines().map(str::to_owned).collect();
    assert_eq!(starts.len(), 3, "the old release's service was started again: {starts:?}");

    // Nothing implicit deploys it again, and naming it is not enough.
    app.run(&["deploy"]).expect(1).says("is marked bad").says("--retry");
    app.run(&["deploy", &bad]).expect(1).says("is marked bad");
    app.run(&["deploy", "--if-changed"]).expect(0).tells("is marked bad");
    app.run(&["plan"]).expect(1).says("is marked bad");
    app.run(&["deploy", "--retry"]).expect(3);
    app.assert_serves("one");
}

#[test]
fn a_first_release_that_is_ill_is_withdrawn() {
    let app = App::served(SHORT);
    app.commit_with("one", &["ill"]);
    app.run(&["deploy"]).expect(1).says("it is ill").says("nothing is active");
    assert!(!app.is_active());
    assert_eq!(app.serves(), None, "the service is stopped");
    assert_eq!(app.outcomes(), ["failed"]);
    assert_eq!(app.json(&["status"])["active"], Value::Null);
    app.deploy_version("two");
    app.assert_serves("two");
}

#[test]
fn a_service_that_does_not_start_is_rolled_back() {
    let app = App::served(SHORT);
    app.deploy();
    app.commit_with("two", &["unstartable"]);
    app.run(&["deploy"]).expect(3).says("error: service failed").says("  | it cannot start");
    app.assert_serves("one");
}

#[test]
fn when_the_previous_release_is_ill_too_a_person_must_look() {
    let app = App::served(SHORT);
    app.deploy();
    app.commit("two");
    app.write("ill", "");
    app.run(&["deploy"]).expect(5).says("This is not in a good state").says("deploykit restart");
    assert_eq!(app.active_version(), "one");
    assert_eq!(app.outcomes()[0], "broken");
}

#[test]
fn rebuild_makes_a_second_release_of_a_commit() {
    let app = App::new();
    app.deploy();
    let first = app.releases();
    app.run(&["deploy", "--rebuild"]).expect(0);
    assert_eq!(app.releases().len(), 2);
    let active = app.path("active").read_link().unwrap();
    assert!(!active.ends_with(&first[0]), "the new one is active");
    // Scripts see the commit once, people both releases.
    assert_eq!(app.run(&["list"]).stdout, format!("{} (active)\n", app.repo.head()));
    assert_eq!(app.json(&["list"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_changed_build_makes_a_new_release_and_a_changed_service_does_not() {
    let app = App::served(SHORT);
    app.deploy();
    app.configure(&format!("{BUILD}{SERVED}[probation]\nduration = \"120ms\"\n"));
    app.run(&["deploy"]).expect(0).tells("stays active; its service was brought to");
    assert_eq!(app.releases().len(), 1);
    app.configure(&format!("{}{SERVED}{SHORT}", build_with("echo other > other")));
    app.run(&["deploy"]).expect(0);
    assert_eq!(app.releases().len(), 2);
    assert_eq!(app.read("active/other"), "other\n");
}

#[test]
fn a_hold_keeps_what_nobody_named_from_being_deployed() {
    let app = App::new();
    app.deploy();
    app.run(&["hold", "the", "fair"]).expect(0);
    app.run(&["status"]).expect(0).tells("held by").tells("the fair");
    app.commit("two");
    app.run(&["deploy"]).expect(1).says("is held by").says("unhold");
    app.run(&["deploy", "--if-changed"]).expect(0).tells("is held by");
    assert_eq!(app.active_version(), "one");
    app.run(&["deploy", "main"]).expect(0).says("the present release is held by");
    assert_eq!(app.active_version(), "two");
    app.run(&["unhold"]).expect(0).tells("The hold is over.");
    app.run(&["unhold"]).expect(0).tells("Nothing was held.");
    app.deploy_version("three");
}

#[test]
fn an_operator_confirms_during_the_probation() {
    let app = App::served(LONG);
    let deploying = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    app.run(&["status"]).expect(0).tells("probation").tells("watched by process ");
    app.run(&["confirm"]).expect(0).tells("is confirmed.");
    deploying.wait().expect(0);
    assert_eq!(app.outcomes(), ["deployed"]);
    app.assert_serves("one");
    app.run(&["confirm"]).expect(1).says("nothing is on probation");
}

#[test]
fn an_operator_rolls_back_during_the_probation_without_waiting() {
    let app = App::served(SHORT);
    app.deploy();
    app.configure(&format!("{BUILD}{SERVED}{LONG}"));
    app.commit("two");
    let deploying = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    app.run(&["rollback"]).expect(0).tells("Went back to");
    app.assert_serves("one");
    deploying.wait().expect(3);
    assert_eq!(app.history()[0], ("rollback".into(), "deployed".into()));
    assert_eq!(app.history()[1], ("deploy".into(), "rolled-back".into()));
    app.run(&["deploy"]).expect(1).says("is marked bad: rolled back by");
}

#[test]
fn a_rollback_goes_to_what_was_active_before_or_to_what_is_named() {
    let app = App::served(SHORT);
    app.deploy();
    let (one, name) = (app.repo.head(), app.active_release());
    let two = app.deploy_version("two");
    app.deploy_version("three");
    app.run(&["rollback"]).expect(0).tells(&two[..12]).tells("is marked bad now");
    app.assert_serves("two");
    app.run(&["rollback", &one[..7]]).expect(0);
    app.assert_serves("one");
    app.run(&["rollback"]).expect(1).says("there is no earlier confirmed release");
    app.run(&["rollback", "nowhere"]).expect(1).says("there is no release \"nowhere\"");
    app.run(&["rollback", &two]).expect(1).says("is marked bad").says("--retry");
    app.run(&["rollback", "--retry", &two]).expect(0);
    app.assert_serves("two");
    app.run(&["rollback", &two]).expect(1).says("is active already");
    app.run(&["rollback", "--retry", &name]).expect(0);
    assert_eq!(app.active_release(), name);
}

#[test]
fn a_rollback_to_a_release_that_is_ill_comes_back() {
    let app = App::served(SHORT);
    app.deploy();
    let first = app.active_release();
    app.deploy_version("two");
    app.write(&format!("releases/{first}/ill"), "");
    app.run(&["rollback"]).expect(3).says("it is ill");
    app.assert_serves("two");
}

#[test]
fn so_many_releases_are_kept_and_never_fewer_than_a_rollback_needs() {
    let app = App::new();
    app.deploy();
    for version in ["two", "three", "four"] {
        app.deploy_version(version);
    }
    assert_eq!(app.releases().len(), 3);
    app.configure(&format!("{BUILD}{SHORT}[releases]\nkeep = 1\n"));
    let removed = app.json(&["prune"]);
    assert_eq!(removed["removed"].as_array().unwrap().len(), 1, "the predecessor stays: {removed}");
    app.run(&["rollback"]).expect(0);
    assert_eq!(app.active_version(), "three");
    app.assert_tidy();
}

#[test]
fn a_release_that_something_runs_from_is_not_removed() {
    let app = App::new();
    app.deploy();
    let first = app.releases()[0].clone();
    let script = "echo ready > ../ready; exec sleep 86400";
    let mut user = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(app.path("releases").join(&first))
        .spawn()
        .unwrap();
    until("it runs", || app.path("releases/ready").exists());
    app.remove("releases/ready");
    for version in ["two", "three", "four"] {
        app.deploy_version(version);
    }
    let there = app.releases().contains(&first);
    user.kill().unwrap();
    user.wait().unwrap();
    assert!(there, "it was removed below a running process");
    app.run(&["prune"]).expect(0).tells(&first);
}

#[test]
fn shared_files_come_from_the_first_release_and_stay() {
    let app = App::bare();
    let shared = "[shared]\nfiles = [\"etc/app.conf\"]\ndirs = [\"data\"]\n";
    app.configure(&format!("{}{SHORT}{shared}", build_with("cat etc/app.conf > seen")));
    app.repo.write("etc/app.conf", "first");
    app.commit("one");
    app.deploy();
    assert_eq!(app.read("shared/etc/app.conf"), "first");
    app.write("shared/etc/app.conf", "edited");
    app.write("active/data/file", "kept");
    app.repo.write("etc/app.conf", "second");
    app.deploy_version("two");
    assert_eq!(app.read("active/etc/app.conf"), "edited");
    assert_eq!(app.read("active/seen"), "edited");
    assert_eq!(app.read("active/data/file"), "kept");
}

#[test]
fn a_missing_shared_file_fails_before_anything_is_built() {
    let app = App::bare();
    let shared = "[shared]\nfiles = [\"secret.key\"]\n";
    app.configure(&format!("{}{SHORT}{shared}", build_with("touch \"$DEPLOYKIT_APP/built\"")));
    app.commit("one");
    let ran = app.run(&["deploy"]).expect(1).says("error: shared files are missing: secret.key");
    assert!(!app.path("built").exists() && !app.path("releases").exists(), "{ran}");
    app.run(&["plan"]).expect(1).says("error: shared files are missing: secret.key");
    // What the hint says works.
    app.write("key", "k");
    for command in ran.stderr.split('`').skip(1).step_by(2) {
        let command = command.replace("FILE", "key");
        let mut shell = std::process::Command::new("sh");
        let status = shell.args(["-c", &command]).current_dir(app.root()).status().unwrap();
        assert!(status.success(), "{command}");
    }
    app.run(&["plan"]).expect(10);
    app.deploy();
    assert_eq!(app.read("active/secret.key"), "k");
}

#[test]
fn a_shared_file_that_is_configured_later_comes_from_the_repository_as_at_first() {
    let app = App::new();
    app.deploy();
    let shared = "[shared]\nfiles = [\"etc/app.conf\"]\n";
    app.configure(&format!("{BUILD}{SHORT}{shared}"));
    app.run(&["deploy"]).expect(1).says("error: shared files are missing: etc/app.conf");
    app.repo.write("etc/app.conf", "seed");
    app.deploy_version("two");
    assert_eq!(app.read("shared/etc/app.conf"), "seed");
    assert!(app.path("active/etc/app.conf").is_symlink());
}

#[test]
fn a_disk_without_room_is_told_with_the_numbers_before_anything_begins() {
    for (key, unit) in [("min_free = \"100%\"", "iB"), ("min_free_inodes = \"100%\"", "inodes")] {
        let app = App::bare();
        app.configure(&format!("{BUILD}{SHORT}[disk]\n{key}\n"));
        app.commit("one");
        let ran = app.run(&["deploy"]).expect(1).says("has not enough room").says(unit);
        assert!(ran.stderr.chars().any(|c| c.is_ascii_digit()), "{ran}");
        app.run(&["plan"]).expect(1).says("has not enough room").says(unit);
        assert!(app.releases().is_empty() && !app.is_active());
    }
}

#[test]
fn an_active_release_that_is_gone_is_told_and_mended() {
    let app = App::new();
    app.deploy();
    let target = app.path("active").canonicalize().unwrap();
    std::fs::remove_dir_all(target).unwrap();
    app.run(&["status"]).expect(5).tells("its directory is gone");
    app.run(&["deploy", "--rebuild"]).expect(0);
    assert_eq!(app.active_version(), "one");
    app.run(&["status"]).expect(0);
}

#[test]
fn a_link_that_somebody_has_changed_is_a_fact() {
    let app = App::new();
    app.deploy();
    let first = app.active_release();
    app.deploy_version("two");
    app.remove("active");
    std::os::unix::fs::symlink(format!("releases/{first}"), app.path("active")).unwrap();
    app.run(&["recover"]).expect(0).says("the active link was changed by somebody else");
    assert_eq!(app.json(&["status"])["active"]["id"], first);
    assert_eq!(app.active_version(), "one");
    app.deploy();
    assert_eq!(app.active_version(), "two");
}

#[test]
fn a_repository_with_submodules_or_lfs_is_refused_before_anything_is_built() {
    let submodule = |app: &App| {
        let entry = format!("160000,{},sub", app.repo.head());
        app.repo.git(&["update-index", "--add", "--cacheinfo", &entry]);
        app.repo.git(&["commit", "--quiet", "--message", "a submodule"]);
    };
    let lfs = |app: &App| {
        let oid = "a".repeat(64);
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n");
        app.repo.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        app.repo.commit_file("big.bin", pointer);
    };
    for word in ["submodule", "LFS"] {
        let app = App::bare();
        app.configure(&format!("{}{SHORT}", build_with("touch \"$DEPLOYKIT_APP/built\"")));
        app.commit("one");
        if word == "LFS" {
            lfs(&app);
        } else {
            submodule(&app);
        }
        app.run(&["deploy"]).expect(1).says(word);
        assert!(!app.path("built").exists() && !app.is_active());
        assert!(app.releases().is_empty());
    }
}

#[test]
fn what_a_build_leaves_running_is_ended() {
    let app = App::bare();
    let script = "setsid sleep 86400 & echo $! > \"$DEPLOYKIT_APP/left\"";
    app.configure(&format!("{}{SHORT}", build_with(script)));
    app.commit("one");
    app.deploy();
    let pid = common::pid_in(&app.path("left"));
    assert!(!runs(pid), "a process outlived its build");
}

/// The signals that a process blocks, a bit each.
fn blocked(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

#[test]
fn builds_and_services_take_the_signals_that_end_them() {
    // deploykit waits for these signals itself. A service that blocked them could not be stopped.
    // No shell stands between: some of them clear the mask now and then.
    let app = App::bare();
    app.configure(
        "[build]\ncommands = [[\"cp\", \"/proc/self/status\", \"build.status\"]]\n\
         [service]\nrestart = [\"cp\", \"/proc/self/status\", \"service.status\"]\n",
    );
    app.commit("one");
    app.deploy();
    for name in ["build", "service"] {
        assert_eq!(blocked(&app.read(&format!("active/{name}.status"))), 0, "of the {name}");
    }
}
