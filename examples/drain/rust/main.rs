//! A service that loses no request when another release takes over, with axum: it takes the socket that is
//! there already, says when it is ready, and when it is asked to end it accepts nobody any more, finishes what
//! it has begun, and says good-bye on each connection with its last answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::response::Response;
use axum::routing::get;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// So long a connection may lie idle that a client uses again: longer than clients keep them. What comes
/// later finds it closed.
const IDLE: Duration = Duration::from_millis(2500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut term = signal(SignalKind::terminate())?;
    // The socket is descriptor 3, and `LISTEN_PID` says that it is meant for this process.
    let socket = listenfd::ListenFd::from_env().take_tcp_listener(0)?.ok_or("no socket")?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket)?;

    let is_draining = Arc::new(AtomicBool::new(false));
    let app = routes(version())
        .layer(axum::middleware::map_response_with_state(Arc::clone(&is_draining), say_good_bye));
    ready()?;

    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = term.recv() => break,
        };
        let service = TowerToHyperService::new(app.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        // What goes wrong on one connection is that client's business.
        tokio::spawn(connections.watch(connection));
    }
    // From here on the next release accepts.
    drop(listener);
    is_draining.store(true, Ordering::Relaxed);
    // Whoever uses an idle connection is still answered, for the last time.
    tokio::time::sleep(IDLE).await;
    // What is still being answered is finished, and what is idle closed.
    connections.shutdown().await;
    Ok(())
}

/// The last answer of a connection says so, and the client opens another one.
async fn say_good_bye(
    is_draining: axum::extract::State<Arc<AtomicBool>>,
    mut response: Response,
) -> Response {
    if is_draining.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// sd_notify(3): `READY=1` to the socket that is named in the environment.
fn ready() -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let name = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
    if !name.is_empty() {
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    }
    Ok(())
}

fn version() -> &'static str {
    let text = std::fs::read_to_string("VERSION").unwrap_or_default();
    Box::leak(text.trim().to_owned().into_boxed_str())
}

fn routes(version: &'static str) -> Router {
    let answer = move || async move { ([("X-Version", version)], format!("{version} is here\n")) };
    let slow = move || async move {
        tokio::time::sleep(Duration::from_millis(800)).await;
        answer().await
    };
    Router::new().route("/", get(answer)).route("/slow", get(slow))
}
