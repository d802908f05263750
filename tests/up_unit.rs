//! `up` under a unit of a real systemd.

mod common;
#[path = "common/host.rs"]
mod host;

use host::{App, Host, QUICK};

const UNIT: &str = "deploykit-up@srv-shop.service";

const SERVICES: &str = "[[service]]\nname = \"web\"\ncommand = [\"./serve\"]\ncount = 2\n\
    [[service]]\nname = \"worker\"\ncommand = [\"./serve\"]\nuser = \"app\"\n";

fn configure(host: &Host, app: &App, text: &str) {
    let text = format!("repo.url = {:?}\n{text}{QUICK}", app.repo);
    host.write(&format!("{}/deploykit.toml", app.root), &text);
}

fn pids(host: &Host, app: &App) -> Vec<i64> {
    let all = host.json(app, &["ps"]);
    // Between two of `up` there is nobody to ask.
    let all = all.as_array().into_iter().flatten();
    all.filter_map(|one| one["pid"].as_i64()).collect()
}

fn runs(host: &Host, pid: i64) -> bool {
    let path = format!("/proc/{pid}/cwd");
    host.sandbox.command("test").args(["-e", &path]).status().expect("it runs").success()
}

#[test]
fn its_unit_runs_the_services_and_is_right_about_who_ends() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    configure(&host, &app, SERVICES);
    host.run(&app, &["unit", "show"]).expect(0).tells("ExecStart=").tells("KillMode=process");
    let installed = host.run(&app, &["unit", "install"]).expect(0).tells(UNIT);
    let installed = installed.says("`deploykit ps`");
    assert!(!installed.stdout.contains("deploykit-recover"), "{installed}");
    host.until("it has deployed, and says so", || host.state(UNIT) == "active");
    assert_eq!(host.outcomes(&app), ["deployed"]);
    let before = pids(&host, &app);
    assert_eq!(before.len(), 3);
    let user = host.sandbox.run("stat", &["-c", "%U", &format!("/proc/{}", before[2])]);
    assert_eq!(user.trim(), "app");
    host.run(&app, &["unit", "diff"]).expect(0);
    // Another installation leaves alone what runs.
    host.run(&app, &["unit", "install"]).expect(0);
    assert_eq!(pids(&host, &app), before);
    // A deployment goes on as everywhere.
    host.commit(&app, "two", &[]);
    host.deploy(&app);
    assert_eq!(host.version(&app), "two");
    // Killed, it is started again, and its services have gone on.
    let (second, killed) = (pids(&host, &app), host.pid(UNIT));
    host.sandbox.run("kill", &["-KILL", &killed.to_string()]);
    host.until("it is up again", || host.state(UNIT) == "active" && host.pid(UNIT) != killed);
    host.until("it has taken them over", || pids(&host, &app) == second);
    // Where that is not wanted, they end with it.
    configure(&host, &app, &format!("up.when_killed = \"end\"\n{SERVICES}"));
    host.run(&app, &["unit", "install"]).expect(0);
    host.systemctl(&["restart", UNIT]);
    let (third, killed) = (pids(&host, &app), host.pid(UNIT));
    host.sandbox.run("kill", &["-KILL", &killed.to_string()]);
    host.until("they run anew", || {
        let now = pids(&host, &app);
        now.len() == 3 && now.iter().all(|pid| !third.contains(pid))
    });
    assert!(third.iter().all(|pid| !runs(&host, *pid)));
    // It reads the configuration again when it is told to.
    configure(&host, &app, &SERVICES.replace("count = 2", "count = 3"));
    host.systemctl(&["reload", UNIT]);
    host.until("there is one more", || pids(&host, &app).len() == 4);
    // With it, all end, and it stays down.
    let last = pids(&host, &app);
    host.systemctl(&["stop", UNIT]);
    assert!(last.iter().all(|pid| !runs(&host, *pid)));
    assert_eq!(host.state(UNIT), "inactive");
    host.systemctl(&["start", UNIT]);
    assert_eq!(pids(&host, &app).len(), 4);
    host.run(&app, &["down"]).expect(0);
    host.until("it is not started again", || host.state(UNIT) == "inactive");
    host.run(&app, &["unit", "remove", "--yes"]).expect(0);
    assert!(!host.unit_files().iter().any(|file| file.contains("srv-shop")));
}
