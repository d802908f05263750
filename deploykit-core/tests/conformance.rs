//! Every backend that there is, put through the suite of its trait: the built-in ones and the fakes
//! that the other tests rely on.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use deploykit_core::config::Config;
use deploykit_core::process::Exit;
use deploykit_core::traits::{BuildError, Builder, HealthCheck, Look, Supervisor, Switching};
use deploykit_core::{
    BackendRequest, Context, Layout, Masker, Registry, Stream, Symlink, service_backend_name,
};
use deploykit_testkit::conformance::{self, BuildCase, HealthCase, Looker};
use deploykit_testkit::fake::{Fakes, digest};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

fn configured(text: &str) -> Config {
    toml::from_str(&format!("repo.url = \"/srv/git\"\n{text}")).unwrap()
}

fn sh(script: &str) -> String {
    format!("[\"sh\", \"-c\", {script:?}]")
}

#[test]
fn the_activators_conform() {
    conformance::activator(|layout| Arc::new(Symlink::new(layout.clone())));
    let fakes = Fakes::default();
    conformance::activator(|layout| fakes.activator(layout));
}

fn built_in_builder(layout: &Layout, script: &str) -> Arc<dyn Builder> {
    let (config, masker) =
        (configured(&format!("build.commands = [{}]", sh(script))), Masker::default());
    let request = BackendRequest::new(&config, layout, &masker);
    Registry::built_in().make_builder("commands", &request).unwrap()
}

#[test]
fn the_builder_commands_conforms() {
    conformance::builder(|layout, case| {
        built_in_builder(
            layout,
            match case {
                BuildCase::Good => "setsid sleep 300 & echo 1 > built; echo done",
                BuildCase::Bad => "setsid sleep 300 & echo broken >&2; exit 3",
                BuildCase::Endless => {
                    "setsid sleep 300 & echo $! > new; mv new begun; exec sleep 300"
                }
            },
        )
    });
}

fn fake_build(ctx: &Context, root: &camino::Utf8Path, case: BuildCase) -> Result<(), BuildError> {
    let failed = |error: std::io::Error| BuildError::Foreign(error.into());
    match case {
        BuildCase::Good => {
            ctx.output("fake", Stream::Stdout, "done");
            std::fs::write(root.join("built"), "").map_err(failed)
        }
        BuildCase::Bad => {
            ctx.output("fake", Stream::Stderr, "broken");
            let (step, tail) = ("fake".into(), vec!["broken".into()]);
            Err(BuildError::Failed { step, exit: Exit::Code(1), tail })
        }
        BuildCase::Endless => {
            std::fs::write(root.join("begun"), "").map_err(failed)?;
            ctx.sleep(ctx.remaining().unwrap_or(Duration::from_secs(300)))?;
            Err(BuildError::Foreign("it is too late".into()))
        }
    }
}

#[test]
fn the_fake_builder_conforms() {
    conformance::builder(|layout, case| {
        let fakes = Fakes::default();
        fakes.world().build = Some(Arc::new(move |ctx, root| fake_build(ctx, root, case)));
        let (config, masker) = (configured(""), Masker::default());
        let request = BackendRequest::new(&config, layout, &masker);
        fakes.registry().make_builder("fake", &request).unwrap()
    });
}

fn service(registry: &Registry, layout: &Layout, text: &str) -> Arc<dyn Supervisor> {
    let (config, masker) = (configured(text), Masker::default());
    let request = BackendRequest::new(&config, layout, &masker);
    registry.make_service(service_backend_name(&config), &request).unwrap()
}

#[test]
fn the_supervisor_none_conforms() {
    conformance::supervisor(|layout| service(&Registry::built_in(), layout, ""));
}

/// A daemon that says where it runs by its working directory, and in a file who it is.
const START: &str = "sleep 300 & echo $! > $DEPLOYKIT_APP/pid";
/// A process that has ended but was not waited for has no command line.
const ALIVE: &str =
    "p=$(cat $DEPLOYKIT_APP/pid 2> /dev/null) && grep -q . /proc/$p/cmdline 2> /dev/null";

#[test]
fn the_supervisor_command_conforms() {
    let stop = format!(
        "cd /; if {ALIVE}; then kill $(cat $DEPLOYKIT_APP/pid); while {ALIVE}; do sleep 0.01; done; fi"
    );
    let status = format!("{ALIVE} || exit 3");
    let restart = sh(&format!("({stop}); {START}"));
    let (start, stop, status) = (sh(START), sh(&stop), sh(&status));
    for keys in [
        format!("start = {start}\nstop = {stop}\nstatus = {status}"),
        format!("start = {start}\nstop = {stop}"),
        format!("restart = {restart}\nstop = {stop}\nstatus = {status}"),
    ] {
        let text = format!("[service]\n{keys}");
        conformance::supervisor(|layout| service(&Registry::built_in(), layout, &text));
    }
}

#[test]
fn the_fake_supervisors_conform() {
    for switching in [Switching::Nothing, Switching::Restart, Switching::Overlap] {
        let fakes = Fakes::default();
        fakes.world().switching = Some(switching);
        let registry = fakes.registry();
        conformance::supervisor(|layout| service(&registry, layout, "service.backend = \"fake\""));
    }
}

fn check(registry: &Registry, layout: &Layout, keys: &str) -> Arc<dyn HealthCheck> {
    let (config, masker) = (configured(&format!("[[health.check]]\n{keys}")), Masker::default());
    let request = BackendRequest::new(&config, layout, &masker);
    registry.make_check(&request, &config.health.checks[0]).unwrap()
}

fn built_in_check(layout: &Layout, keys: &str) -> Arc<dyn HealthCheck> {
    check(&Registry::built_in(), layout, keys)
}

/// A port on which nobody listens, and which nobody else gets while the socket is kept.
fn closed() -> (String, OwnedFd) {
    let (family, kind, flags) = (AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddrV4 = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    (address.to_string(), socket)
}

#[test]
fn the_check_tcp_conforms() {
    conformance::health(|layout, case| {
        let check = |address: &str| {
            built_in_check(layout, &format!("type = \"tcp\"\naddress = \"{address}\""))
        };
        match case {
            HealthCase::Well => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                Looker::new(check(&listener.local_addr().unwrap().to_string()), listener)
            }
            HealthCase::Absent => {
                let (address, reserved) = closed();
                Looker::new(check(&address), reserved)
            }
            HealthCase::Wrong | HealthCase::Silent => None,
        }
    });
}

#[test]
fn the_check_unix_conforms() {
    conformance::health(|layout, case| {
        let path = layout.root().join("socket");
        let _ = std::fs::remove_file(&path);
        let check = built_in_check(layout, &format!("type = \"unix\"\npath = \"{path}\""));
        match case {
            HealthCase::Well => Looker::new(check, UnixListener::bind(path).unwrap()),
            HealthCase::Absent => Looker::new(check, ()),
            HealthCase::Wrong | HealthCase::Silent => None,
        }
    });
}

#[test]
fn the_check_exec_conforms() {
    conformance::health(|layout, case| {
        let script = match case {
            HealthCase::Well => "test -e content && echo all is well",
            HealthCase::Absent | HealthCase::Wrong => "echo no; exit 1",
            HealthCase::Silent => "sleep 300 & sleep 300",
        };
        let keys = format!("type = \"exec\"\ncommand = {}", sh(script));
        Looker::new(built_in_check(layout, &keys), ())
    });
}

/// Answers every request with one status, until it is dropped.
#[derive(Debug)]
struct Answering {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    fn with(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ending = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.load(Ordering::SeqCst) {
                    return;
                }
                // Who asked may have gone away: that is no failure of the server.
                let _ = answer(stream, status);
            }
        });
        Self { address, ending, thread: Some(thread) }
    }
}

fn answer(mut stream: TcpStream, status: u16) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
#[cfg(feature = "http")]
fn the_check_http_conforms() {
    conformance::health(|layout, case| {
        let check = |address: &dyn std::fmt::Display| {
            built_in_check(layout, &format!("type = \"http\"\nurl = \"http://{address}/\""))
        };
        match case {
            HealthCase::Well | HealthCase::Wrong => {
                let server = Answering::with(if case == HealthCase::Well { 200 } else { 500 });
                Looker::new(check(&server.address), server)
            }
            HealthCase::Absent => {
                let (address, reserved) = closed();
                Looker::new(check(&address), reserved)
            }
            HealthCase::Silent => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                Looker::new(check(&listener.local_addr().unwrap()), listener)
            }
        }
    });
}

#[test]
fn the_fake_check_conforms() {
    conformance::health(|layout, case| {
        let fakes = Fakes::default();
        let look = match case {
            HealthCase::Well => Look::Well("ok".into()),
            HealthCase::Absent => Look::NotYet("nobody answers".into()),
            HealthCase::Wrong => Look::Ill("500".into()),
            HealthCase::Silent => return None,
        };
        fakes.world().health.insert(digest(1), look);
        Looker::new(check(&fakes.registry(), layout, "type = \"fake\""), ())
    });
}

mod sources {
    use deploykit_core::traits::Source;
    use deploykit_core::{Revision, SourceId};
    use deploykit_testkit::conformance::SourceCase;

    use super::*;

    fn revision(text: &str) -> Revision {
        text.parse().unwrap()
    }

    fn absent() -> Vec<SourceId> {
        vec![
            SourceId::new("git", &digest(99)).unwrap(),
            SourceId::new("archive", &digest(1)).unwrap(),
            SourceId::new("git", &"ab".repeat(32)).unwrap(),
        ]
    }

    #[test]
    fn the_fake_source_conforms() {
        let fakes = Fakes::default();
        let content = fakes.head(1);
        let registry = fakes.registry();
        let make = |layout: &Layout| -> Arc<dyn Source> {
            let (config, masker) = (configured(""), Masker::default());
            registry.make_source("fake", &BackendRequest::new(&config, layout, &masker)).unwrap()
        };
        conformance::source(&SourceCase {
            make: &make,
            known: Revision::remote_head(),
            unknown: revision("nope"),
            files: &[("content", &content)],
            absent: absent(),
            cut_off: None,
        });
    }

    #[cfg(feature = "git")]
    mod git {
        use deploykit_core::git::{GitOptions, GitSource};
        use deploykit_testkit::certificates::Authority;
        use deploykit_testkit::git_repo::GitRepo;
        use deploykit_testkit::git_server::{Behaviour, GitServer};

        use super::*;

        const FILES: &[(&str, &str)] = &[("a", "one\n"), ("deep/er/b", "two\n"), ("deep/c", "")];

        fn repo() -> GitRepo {
            let repo = GitRepo::new();
            repo.commit_file("old", "gone");
            repo.git(&["rm", "--quiet", "old"]);
            for (path, content) in FILES {
                repo.write(path, content);
            }
            repo.commit("all of it");
            repo.git(&["tag", "-a", "v1", "-m", "annotated"]);
            repo
        }

        fn conforms(
            repo: &GitRepo,
            cut_off: Option<&dyn Fn()>,
            options: impl Fn(&Layout) -> GitOptions,
        ) {
            let make = |layout: &Layout| -> Arc<dyn Source> {
                Arc::new(GitSource::new(options(layout)).unwrap())
            };
            for known in ["HEAD", "main", "v1", &repo.head(), &repo.head()[..9]] {
                // What is cut off cannot be resolved again: only the last one is.
                let last = known.len() == 9;
                conformance::source(&SourceCase {
                    make: &make,
                    known: revision(known),
                    unknown: revision("nope"),
                    files: FILES,
                    absent: absent(),
                    cut_off: cut_off.filter(|_| last),
                });
            }
        }

        fn at(url: &str) -> impl Fn(&Layout) -> GitOptions {
            move |layout| GitOptions::new(url, layout.cache(), layout.root())
        }

        #[test]
        fn the_git_source_conforms_on_a_path() {
            let repo = repo();
            conforms(&repo, None, at(repo.url()));
        }

        #[test]
        fn the_git_source_conforms_on_a_file_address() {
            let repo = repo();
            conforms(&repo, None, at(&format!("file://{}", repo.url())));
        }

        #[test]
        fn the_git_source_conforms_over_https_and_needs_the_server_no_more_once_it_has_fetched() {
            let (repo, authority) = (repo(), Authority::new());
            let root = repo.path().parent().unwrap();
            std::fs::write(root.join("ca.pem"), authority.pem()).unwrap();
            let tls = Some(authority.server("127.0.0.1"));
            let server = GitServer::start(root, tls, Behaviour::default());
            let ca_file = root.join("ca.pem").to_str().unwrap().to_owned();
            let cut_off = || server.behave(|behaviour| behaviour.status = Some(500));
            let url = server.url("repo");
            conforms(&repo, Some(&cut_off), |layout| {
                let mut options = at(&url)(layout);
                options.ca_file = Some(ca_file.clone().into());
                options
            });
        }
    }
}
