//! `[[service]]`, `[systemd]` and `[timers]`.

use camino::Utf8Path;
use deploykit_core::config::{self, Config, ConfigError, ManagerKind, OnDeploy, Ready};

fn parse(text: &str) -> Result<Config, ConfigError> {
    let text = format!("repo.url = \"/srv/app.git\"\n{text}");
    config::parse(&text, Utf8Path::new("deploykit.toml"))
}

const TWO: &str = r#"
[systemd]
manager = "system"

[[service]]
name = "web"
command = ["./web", "--port", "808{instance}"]
count = 3
listen = ["127.0.0.1:808{instance}"]
ready = "notify"
watchdog = "30s"
env = { PORT = "8080" }
limits = { memory = "512MiB", cpu = 150 }
network = { deny = ["any"], allow = ["localhost"] }
directives.Service.Nice = "5"

[[service]]
name = "worker"
command = ["node", "worker.js"]
on_deploy = "reload"
reload = ["kill", "-HUP", "$MAINPID"]
"#;

#[test]
fn services_are_listed_with_what_is_to_run() {
    let config = parse(TWO).unwrap();
    let [web, worker] = &config.service.services[..] else { panic!("{config:?}") };
    assert_eq!((web.name.as_str(), web.count, web.ready), ("web", Some(3), Ready::Notify));
    assert_eq!(web.directives["Service"]["Nice"], "5");
    assert_eq!(web.limits.open_files, 65_536);
    assert_eq!(worker.on_deploy, Some(OnDeploy::Reload));
    assert_eq!(config.systemd.manager, Some(ManagerKind::System));
}

#[test]
fn both_forms_of_service_are_written_and_read_back() {
    let written = |config: &Config| {
        let json = serde_json::to_value(config).unwrap();
        let runtime = serde_json::to_value(config.runtime()).unwrap();
        assert_eq!(json["service"], runtime["service"]);
        (toml::to_string(config).unwrap(), runtime)
    };
    let listed = parse(TWO).unwrap();
    let (text, runtime) = written(&listed);
    assert_eq!(config::parse(&text, Utf8Path::new("deploykit.toml")).unwrap(), listed);
    assert!(runtime["service"].is_array());
    let read: config::RuntimeConfig = serde_json::from_value(runtime).unwrap();
    assert_eq!(read, listed.runtime());
    let commands = parse("[service]\nrestart = [\"./restart\"]").unwrap();
    let (text, runtime) = written(&commands);
    assert_eq!(config::parse(&text, Utf8Path::new("deploykit.toml")).unwrap(), commands);
    assert!(runtime["service"].is_object());
}

#[test]
fn timers_alone_do_not_make_the_service_run_otherwise() {
    let before = parse(TWO).unwrap();
    let after = parse(&format!("timers.poll = \"5m\"\n{TWO}")).unwrap();
    assert_eq!(before.runtime(), after.runtime());
}

fn service(more: &str) -> String {
    format!(
        "systemd.manager = \"user\"\n[[service]]\nname = \"web\"\ncommand = [\"./web\"]\n{more}"
    )
}

/// One that `deploykit up` runs.
fn up(more: &str) -> String {
    format!("[[service]]\nname = \"web\"\ncommand = [\"./web\"]\n{more}")
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_reason() {
    for (text, message) in [
        (&*up("stop_signal = \"TERMM\""), "`service[0].stop_signal`: there is no such signal"),
        (&up("after = [\"wbe\"]"), "`service[0].after[0]`: there is no service \"wbe\""),
        (&up("watch = [\"http://h:808{instance}/\"]"), "it needs `count`"),
        (&up("requires = [\"web\"]"), "\"web\" waits for \"web\" in its turn"),
        (
            &up(
                "requires = [\"a\"]\n[[service]]\nname = \"a\"\ncommand = [\"a\"]\nafter = [\"web\"]",
            ),
            "\"a\" waits for \"web\" in its turn",
        ),
        (
            &up("requires = [\"a\"]\n[[service]]\nname = \"a\"\ncommand = [\"a\"]\nlevel = 2"),
            "\"a\" has the level 2",
        ),
        (
            &up(
                "requires = [\"a\"]\n[[service]]\nname = \"a\"\ncommand = [\"a\"]\nenabled = false",
            ),
            "\"a\" is not enabled",
        ),
        (&up("stop_signal = \"RTMIN+1\""), "no signals of real time"),
        (&up("limits.memory = 0"), "no program runs with so little"),
        (&up("user = \"\""), "it names nobody"),
        (&up("env_files = [\"-\"]"), "it names no file"),
        (&up("ready = \"line\""), "it needs `ready_line` beside it"),
        (&up("ready_delay = \"2s\""), "nothing asks for it"),
        (&up("restart_delay = \"2m\""), "longer than `restart_delay_max`"),
        (&up("reload = [\"x\"]"), "`deploykit up` does not do this, but systemd does"),
        (&up("listen = [\"8080\"]"), "nobody could tell when the new one is ready"),
        (&up("on_deploy = \"rolling\""), "nobody could tell when the new one is ready"),
        (&up("ready = \"notify\"\nlisten = [\"80\", \"80\"]"), "it is listened on already"),
        (
            &up(
                "ready = \"notify\"\nlisten = [\"80\"]\n[[service]]\nname = \"a\"\ncommand = [\"a\"]\n\
                 ready = \"notify\"\nlisten = [\"80\"]",
            ),
            "`service[1].listen[0]`: it is listened on already",
        ),
        (&up("ready = \"notify\"\nlisten = [\"808{instance}\"]"), "it needs `count`"),
        (
            &up("ready = \"check\"\nready_check = \"http://127.0.0.1:80/x\"\nlisten = [\"80\"]"),
            "the old one would answer",
        ),
        (
            &up("ready = \"check\"\nready_check = \"unix:/s\"\nlisten = [\"/s\"]"),
            "the old one would answer",
        ),
        (&up("ready = \"exit\"\nlisten = [\"80\"]"), "it does its work once"),
        (&service("on_deploy = \"hand-over\""), "systemd does not do this"),
        (
            "service = { on_deploy = \"hand-over\", restart = [\"x\"] }",
            "only what `deploykit up` runs",
        ),
        (&up("no_restart_codes = [256]"), "a whole number from 0 to 255"),
        (&service("essential = true"), "systemd does not do this, but `deploykit up` does"),
        (&service("ready = \"line\"\nready_line = \"x\""), "systemd does not do this"),
        (&service("stop_timeout = \"0s\""), "longer than nothing"),
        ("[[service]]\ncommand = [\"./web\"]", "`name` is missing in `service[0]`"),
        ("[service]\ncommand = [\"./web\"]", "unknown key `command` in `service`"),
        ("systemd.manager = \"user\"", "no unit is named"),
        ("service.backend = \"systemd\"", "needs a unit"),
        ("systemd = { unit = \"a\", units = [\"b\"] }", "cannot be given together"),
        ("systemd.units = [\"a\", \"b c\"]", "`systemd.units[1]`: the name of a unit is made"),
        (&format!("systemd.unit = \"a\"\n{}", &service("")[25..]), "cannot be given together"),
        (&service("nmae = \"x\""), "unknown key `nmae` in `service[0]`"),
        (&service("[[service]]\nname = \"web\"\ncommand = [\"b\"]"), "another service called"),
        (&service("").replace("\"web\"", "\"a@b\""), "neither `@` nor a dot"),
        (&service("count = 0"), "at least 1"),
        (&service("count = 2\nlisten = [\"8080\"]"), "systemd opens one for every instance"),
        (&service("listen = [\"h:80\"]"), "it is a port, address:port"),
        (&service("umask = \"0999\""), "octal"),
        (&service("stop_signal = \"term\""), "there is no such signal"),
        (&service("stdout = \"file\""), "\"journal\", \"null\" or an absolute path"),
        (&service("limits.stack = \"5%\""), "it is an amount"),
        (&service("limits.open_files = 0"), "at least 1"),
        (&service("env = { \"a b\" = \"c\" }"), "letters, digits"),
        (&service("env = { A = \"b\\nc\" }"), "one line"),
        (&service("description = \"a\\nb\""), "several lines"),
        (&service("on_deploy = \"reload\""), "needs `reload`"),
        (&service("ready = \"soon\""), "cannot be \"soon\""),
        ("timers.poll = 0", "longer than nothing"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.to_string().contains(message), "{message:?} is not in {error:#}");
    }
}

#[test]
fn who_takes_one_form_for_the_other_is_told() {
    let error = parse("[service]\ncommand = [\"./web\"]").unwrap_err();
    assert!(error.hint().unwrap().contains("[[service]]"), "{error:#}");
}

#[test]
fn a_check_of_instances_is_a_check_with_any_number() {
    let check = |url: &str| format!("[[health.check]]\ntype = \"http\"\nurl = \"{url}\"");
    parse(&check("http://127.0.0.1:808{instance}/health")).unwrap();
    let error = parse(&check("http://127.0.0.1:x{instance}/health")).unwrap_err();
    assert!(error.to_string().contains("host or port"), "{error:#}");
}
