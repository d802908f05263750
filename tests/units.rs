//! How unit files come and go, through the program and in a real systemd: installed, compared, brought
//! along by a deployment and by a rollback, removed.

mod common;
#[path = "common/host.rs"]
mod host;

use host::{App, Host, QUICK};

/// A service.
fn service(name: &str, more: &str) -> String {
    format!("[[service]]\nname = {name:?}\ncommand = [\"./serve\"]\nuser = \"app\"\n{more}\n")
}

fn configure(host: &Host, app: &App, services: &[String]) {
    host.configure(app, &format!("{}{QUICK}", services.concat()));
}

/// The instances of `web` that are active, and those that are started at boot.
fn instances(host: &Host) -> (Vec<String>, Vec<String>) {
    let active =
        host.systemctl(&["list-units", "--plain", "--no-legend", "--state=active", "web@*"]);
    let active = active.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let enabled = host.unit_files().into_iter().filter_map(|file| {
        file.strip_prefix("multi-user.target.wants/web@").map(|name| format!("web@{name}"))
    });
    (active.collect(), enabled.collect())
}

#[test]
fn instances_and_files_follow_the_configuration_there_and_back() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let of = |count: u32, more: &str| [service("web", &format!("count = {count}\n{more}"))];
    configure(&host, &app, &of(2, ""));
    host.install(&app);
    host.deploy(&app);
    for count in [2, 3, 1, 2] {
        configure(&host, &app, &of(count, ""));
        host.commit(&app, &format!("with {count}"), &[]);
        host.deploy(&app);
        let expected: Vec<_> = (1..=count).map(|number| format!("web@{number}.service")).collect();
        assert_eq!(instances(&host), (expected.clone(), expected));
    }
    // What a bad release brings goes with it.
    let file = "/etc/systemd/system/web@.service";
    let before = host.read(file);
    configure(&host, &app, &of(3, "umask = \"0077\""));
    host.commit(&app, "bad", &[("serve", "#!/bin/sh\nexit 1\n")]);
    host.run(&app, &["deploy"]).expect(3).says("was written anew");
    assert_eq!((host.read(file), host.version(&app)), (before, "with 2".to_owned()));
    let expected = vec!["web@1.service".to_owned(), "web@2.service".to_owned()];
    assert_eq!(instances(&host), (expected.clone(), expected));
    assert_eq!(host.property("web@1.service", "UMask"), "0027");
    assert_eq!(host.systemctl(&["--failed", "--no-legend"]), "");
}

#[test]
fn files_of_others_and_changes_by_hand_are_in_the_way() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    configure(&host, &app, &[service("web", "")]);
    host.run(&app, &["unit", "diff"]).expect(10).tells("web.service would be made");
    host.install(&app);
    let same = host.run(&app, &["unit", "diff"]).expect(0);
    assert_eq!(same.stdout, "");
    host.deploy(&app);

    let path = "/etc/systemd/system/web.service";
    let made = host.read(path);
    let edited = made.replace("UMask=0027", "UMask=0022");
    host.write(path, &edited);
    host.run(&app, &["unit", "diff"]).expect(10).tells("changed by hand").tells("- UMask=0022");
    // It is said, but a deployment goes on with what is there.
    host.commit(&app, "two", &[]);
    host.run(&app, &["deploy"]).expect(0).says("was changed by hand");
    assert_eq!(host.read(path), edited);
    host.run(&app, &["unit", "install"]).expect(1).says("changed by hand").says("--force");
    assert_eq!(host.read(path), edited);
    host.run(&app, &["unit", "install", "--force"]).expect(0).tells("kept");
    assert_eq!(host.read(path), made);
    assert_eq!(host.read(&format!("{path}.before-deploykit")), edited);

    // Somebody else's, and another application's.
    let foreign = "[Service]\nExecStart=sleep infinity\n";
    host.write("/etc/systemd/system/mine.service", foreign);
    configure(&host, &app, &[service("web", ""), service("mine", "")]);
    host.run(&app, &["unit", "install"]).expect(1).says("mine.service was not made by deploykit");
    assert_eq!(host.read("/etc/systemd/system/mine.service"), foreign);
    // A masked one is a link to nothing; it is kept as one.
    host.systemctl(&["mask", "off.service"]);
    configure(&host, &app, &[service("web", ""), service("off", "")]);
    host.run(&app, &["unit", "install"]).expect(1).says("off.service was not made by deploykit");
    host.run(&app, &["unit", "install", "--force"]).expect(0).tells("kept");
    let kept = host.path("/etc/systemd/system/off.service.before-deploykit");
    assert_eq!(std::fs::read_link(kept).unwrap(), std::path::Path::new("/dev/null"));
    assert!(host.read("/etc/systemd/system/off.service").contains("WorkingDirectory="));

    let other = host.app("/srv/other");
    configure(&host, &other, &[service("web", "")]);
    host.run(&other, &["unit", "install"]).expect(1).says("another application").says("--force");
    host.run(&other, &["unit", "diff"]).expect(10).tells("another application");
    assert_eq!(host.read(path), made);
}

#[test]
fn what_is_not_wanted_any_more_goes() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/a shop-1/${x}%");
    let listening = "listen = [\"8101\"]";
    configure(&host, &app, &[service("old", listening), service("many", "count = 2")]);
    host.install(&app);
    host.deploy(&app);
    assert_eq!(host.directory("old.service"), host.release(&app));
    assert_eq!(host.state("many@2.service"), "active");
    // What acts for it finds it, whatever its path is made of.
    let recover = host.sandbox.run("systemd-escape", &["--path", &app.root]);
    let recover = format!("deploykit-recover@{}.service", recover.trim());
    host.systemctl(&["start", "--", &recover]);
    host.until("it has looked", || {
        host.property(&recover, "ExecMainExitTimestampMonotonic") != "0"
    });
    assert_eq!(host.property(&recover, "Result"), "success", "{recover}");
    // Beside it, another one that nothing of this happens to.
    let other = host.app("/srv/a-shop");
    configure(&host, &other, &[service("other", "")]);
    host.install(&other);
    host.deploy(&other);

    // They are there as long as a release is that is run by them.
    let keep = "[releases]\nkeep = 1\n".to_owned();
    configure(&host, &app, &[service("new", ""), keep]);
    for version in ["two", "three", "four"] {
        if version == "two" {
            let told = host.run(&app, &["unit", "diff"]).expect(10).stdout;
            assert!(!told.contains("would be removed"), "{told}");
        }
        host.commit(&app, version, &[]);
        host.deploy(&app);
        assert_eq!(host.state("new.service"), "active");
    }
    host.run(&app, &["prune"]).expect(0);
    let diff = host.run(&app, &["unit", "diff"]).expect(10);
    diff.tells("old.socket would be removed").tells("many@.service would be removed");
    let told = host.json(&app, &["unit", "install"]);
    assert_eq!(told["stopped"].as_array().unwrap().len(), 0, "they were ended: {told}");
    for unit in ["old.socket", "old.service", "many@1.service", "many@2.service"] {
        assert_eq!(host.property(unit, "LoadState"), "not-found", "{unit}");
    }
    let left = host.unit_files();
    assert!(!left.iter().any(|file| file.contains("old") || file.contains("many")), "{left:?}");

    host.run(&app, &["unit", "remove"]).expect(2).says("--yes");
    let pid = host.pid("other.service");
    host.run(&app, &["unit", "remove", "--yes"]).expect(0).tells("stopped new.service");
    let of_other = r"srv-a\x2dshop";
    assert_eq!(
        host.unit_files(),
        [
            "deploykit-recover@.service".to_owned(),
            "deploykit-recover@.timer".to_owned(),
            format!("deploykit-recover@{of_other}.service.d/10-deploykit.conf"),
            format!("deploykit-recover@{of_other}.timer.d/10-deploykit.conf"),
            format!("multi-user.target.wants/deploykit-recover@{of_other}.service"),
            "multi-user.target.wants/other.service".to_owned(),
            "other.service".to_owned(),
            format!("timers.target.wants/deploykit-recover@{of_other}.timer"),
        ]
    );
    let known = host.systemctl(&["list-units", "--all", "--no-legend", "deploykit-*", "new*"]);
    assert_eq!(known.lines().filter(|line| !line.contains(of_other)).count(), 0, "{known}");
    assert_eq!(host.pid("other.service"), pid);
    let again = host.json(&app, &["unit", "remove", "--yes"]);
    assert_eq!(again["removed"].as_array().unwrap().len(), 0, "{again}");
}

#[test]
fn without_rights_nothing_is_written() {
    let Some(host) = Host::boot() else { return };
    let app = host.app_of("app", "/srv/shop", "system");
    configure(&host, &app, &[service("web", "")]);
    let ran = host.run(&app, &["unit", "install"]).expect(1);
    ran.says("cannot write").says("sudo deploykit unit install");
    assert_eq!(host.unit_files(), [""; 0]);
    // root has installed it, and nobody has given the user the right to restart it.
    host.run_as_root(&app, &["unit", "install"]).expect(0);
    assert_eq!(host.property("web.service", "User"), "app");
    host.run(&app, &["unit", "remove", "--yes"]).expect(1).says("app may not");
    assert!(host.exists("/etc/systemd/system/web.service"));
    host.run(&app, &["deploy"]).expect(1).says("app may not");
    let root = host.app("/srv/rooted");
    configure(&host, &root, &["[[service]]\nname = \"x\"\ncommand = [\"./serve\"]\n".to_owned()]);
    host.run(&root, &["unit", "install"]).expect(2).says("belongs to root").says("user = ");
}

#[test]
fn what_only_a_bad_release_has_goes_with_it_and_a_unit_may_get_another_name() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    configure(&host, &app, &[service("web", "count = 2")]);
    host.install(&app);
    host.deploy(&app);
    let file = "/etc/systemd/system/web@.service";
    let before = host.read(file);
    // The first instance is never brought over, since its unit needs one that is not there.
    configure(&host, &app, &[service("web", "count = 2\nrequires = [\"no-such.service\"]")]);
    host.commit(&app, "needy", &[]);
    let ran = host.run(&app, &["deploy"]).expect(3);
    ran.says("needs the unit no-such.service, which is not there");
    assert_eq!(host.read(file), before, "its unit file went with it");
    host.systemctl(&["kill", "--signal=KILL", "web@1"]);
    host.until("it is started again", || host.property("web@1", "NRestarts") == "1");
    host.until("it runs", || host.state("web@1") == "active");

    // Units of one's own, of which only the bad release has the second.
    let root = &app.root;
    for name in ["old", "new"] {
        let text = format!(
            "[Service]\nUser=app\nWorkingDirectory={root}/active\nExecStart={root}/active/serve\n"
        );
        host.write(&format!("/etc/systemd/system/{name}.service"), &text);
    }
    host.systemctl(&["daemon-reload"]);
    let named = |unit: &str| {
        let text = format!("repo.url = {:?}\nsystemd.unit = {unit:?}\n{QUICK}", app.repo);
        host.write(&format!("{root}/deploykit.toml"), &text);
    };
    named("old");
    host.commit(&app, "own", &[]);
    host.run(&app, &["deploy"]).expect(0);
    assert_eq!(instances(&host).0, [""; 0], "what the release before ran has ended");
    named("new");
    host.commit(&app, "bad", &[("serve", "#!/bin/sh\nsleep 0.03\nexit 1\n")]);
    host.run(&app, &["deploy"]).expect(3);
    assert_eq!((host.state("old"), host.property("new", "MainPID")), ("active".into(), "0".into()));
    host.commit(&app, "good", &[("serve", "#!/bin/sh\nexec sleep 1000\n")]);
    host.run(&app, &["deploy"]).expect(0);
    assert_eq!((host.state("old"), host.state("new")), ("inactive".into(), "active".into()));
}

#[test]
fn a_service_by_the_name_of_another_applications_is_refused_before_anything_is_touched() {
    let Some(host) = Host::boot() else { return };
    let (one, two) = (host.app("/srv/one"), host.app("/srv/two"));
    configure(&host, &one, &[service("web", "count = 2")]);
    host.install(&one);
    host.deploy(&one);
    let pids = [host.pid("web@1"), host.pid("web@2")];
    configure(&host, &two, &[service("shop", "")]);
    host.install(&two);
    host.deploy(&two);
    configure(&host, &two, &[service("shop", "umask = \"0077\""), service("web", "count = 1")]);
    let ran = host.run(&two, &["deploy"]).expect(1);
    ran.says("web@.service was made for another application").says("give it another one");
    assert_eq!([host.pid("web@1"), host.pid("web@2")], pids);
    assert_eq!(instances(&host).1.len(), 2, "both are still started at boot");
}
