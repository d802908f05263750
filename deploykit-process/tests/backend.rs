//! The backend keeps what every supervisor promises.

use std::sync::{Arc, Mutex};

use deploykit_core::traits::Supervisor;
use deploykit_core::{BackendRequest, Layout, Masker, config};
use deploykit_process::control::Server;
use deploykit_process::{Manager, Processes, Quiet, socket};
use deploykit_testkit::conformance;

fn supervisor(layout: &Layout, services: &str) -> Arc<dyn Supervisor> {
    let text = format!("repo.url = \"/r\"\nsystemd.manager = \"user\"\n{services}");
    let config = config::parse(&text, "deploykit.toml".into()).unwrap();
    let masker = Masker::default();
    Processes::construct(&BackendRequest { config: &config, layout, masker: &masker }).unwrap()
}

#[test]
fn it_keeps_what_a_supervisor_promises() {
    let of = |name: &str, more: &str| {
        format!("[[service]]\nname = {name:?}\ncommand = [\"sleep\", \"1000\"]\n{more}\n")
    };
    for services in
        [of("web", ""), format!("{}{}", of("web", "count = 2"), of("worker", "after = [\"web\"]"))]
    {
        let server: Mutex<Option<Server>> = Mutex::new(None);
        conformance::supervisor(|layout| {
            server.lock().unwrap().get_or_insert_with(|| {
                std::fs::create_dir_all(layout.private()).unwrap();
                Server::start(Arc::new(Manager::start(Quiet).unwrap()), &socket(layout)).unwrap()
            });
            supervisor(layout, &services)
        });
    }
}
