//! The HTTP server of `[monitor] listen`: three read-only paths.
//!
//! A separate thread with a small runtime, so that no client can block the pipeline. And no client
//! can exhaust it: a connection serves one request, has a time limit from its first to its last
//! byte, and their number is limited. If one more comes, the oldest is closed: requests are
//! answered at once, so the oldest has sent nothing, or does not read its answer. So a probe is
//! answered however many connections are idle.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{self, JoinHandle as Client};
use tokio::time;
use tracing::{debug, info, warn};

use super::health::Condition;
use super::metrics::Format;
use super::{Health, Metrics};
use crate::line::event_loop;

/// How much one client, and all of them together, may use.
#[derive(Clone, Copy, Debug)]
struct ClientLimits {
    /// Concurrent connections, at least 1. A collector needs one, an orchestrator another; the rest
    /// is for idle ones. Each takes a file descriptor and some 10 KiB (not measured).
    connections: usize,
    /// From the connection to the last byte of the answer.
    time: Duration,
}

const LIMITS: ClientLimits = ClientLimits {
    connections: 64,
    time: Duration::from_secs(5),
};

/// Bytes of a request's head, and lines in it; a collector sends about a hundred bytes.
const LONGEST_HEAD: usize = 8192;
const MOST_HEADERS: usize = 32;

/// After the system refused a connection, for example for lack of file descriptors.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}, as monitor.listen says; choose another one, or find who has it with `ss -ltnp`"
)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The system's error.
    pub source: io::Error,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is served.
#[derive(Debug)]
struct Pages {
    metrics: Metrics,
    health: Health,
}

impl Server {
    /// Listens and serves from now on. Port 0 uses any free one; see [`Self::address`].
    ///
    /// # Errors
    /// [`ListenError`] if the address is in use or does not belong to this machine, or no thread
    /// can be created.
    pub fn start(
        address: SocketAddr,
        metrics: Metrics,
        health: Health,
    ) -> Result<Self, ListenError> {
        Self::start_within(address, Pages { metrics, health }, LIMITS)
            .map_err(|source| ListenError { address, source })
    }

    fn start_within(address: SocketAddr, pages: Pages, limits: ClientLimits) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = event_loop::new()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, Arc::new(pages), limits) => {}
                        // The other end was dropped.
                        _ = stopped => {}
                    }
                });
            })?;
        if !address.ip().is_loopback() {
            warn!(%address, "Metrics can be read by everyone who reaches this address");
        }
        info!(%address, "Metrics and health are served");
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has already ended the process.
            thread.join().ok();
        }
    }
}

async fn serve(listener: TcpListener, pages: Arc<Pages>, limits: ClientLimits) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "Cannot serve metrics");
            return;
        }
    };
    let mut clients = VecDeque::new();
    loop {
        let accepted = listener.accept().await;
        clients.retain(|client: &Client<()>| !client.is_finished());
        match accepted {
            Ok((stream, _)) => {
                if clients.len() >= limits.connections {
                    give_way(&mut clients);
                }
                let pages = Arc::clone(&pages);
                clients.push_back(tokio::spawn(async move {
                    if time::timeout(limits.time, answer(stream, pages))
                        .await
                        .is_err()
                    {
                        debug!("A client of the monitor was too slow");
                    }
                }));
                // A request in progress is answered before another one is accepted.
                task::yield_now().await;
            }
            Err(error) => {
                debug!(%error, "Cannot accept a client of the monitor");
                // It may be for lack of the file descriptor that the oldest client has.
                give_way(&mut clients);
                time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Disconnects the oldest client.
fn give_way(clients: &mut VecDeque<Client<()>>) {
    if let Some(oldest) = clients.pop_front() {
        debug!("A client of the monitor gave way to another one");
        oldest.abort();
    }
}

/// Handles one request and its answer.
async fn answer(stream: TcpStream, pages: Arc<Pages>) {
    let page = service_fn(move |request: Request<Incoming>| {
        let response = pages.get(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        // Small clients end their side with the request, and wait for the answer.
        .half_close(true)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_HEADERS)
        // The whole exchange has a limit.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), page)
        .await;
    if let Err(error) = served {
        debug!(%error, "A client of the monitor was not served");
    }
}

impl Pages {
    fn get(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !["/metrics", "/healthz", "/readyz"].contains(&path) {
            let paths = "there are /metrics, /healthz and /readyz\n";
            return response(StatusCode::NOT_FOUND, "text/plain", paths.to_owned());
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let text = "only GET and HEAD\n".to_owned();
            let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", text);
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            return refusal;
        }
        match path {
            "/metrics" => {
                let accept = request.headers().get_all(ACCEPT).iter();
                let format = Format::accepted_by(accept.filter_map(|value| value.to_str().ok()));
                let text = self.metrics.encode(format);
                response(StatusCode::OK, format.content_type(), text)
            }
            "/healthz" => condition(&self.health.condition(), |condition| condition.healthy),
            _ => condition(&self.health.condition(), |condition| condition.ready),
        }
    }
}

fn condition(
    condition: &Condition,
    is_well: impl FnOnce(&Condition) -> bool,
) -> Response<Full<Bytes>> {
    let status = if is_well(condition) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let text = serde_json::to_string(condition).expect("a condition has string keys");
    response(status, "application/json", text)
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Instant;

    use flawd_core::event::Phase;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// Long enough for a busy machine; only a failing test waits this long.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn server(limits: ClientLimits) -> (Server, Metrics, Health) {
        let (metrics, health) = (Metrics::new(["top"]), Health::new());
        let pages = Pages {
            metrics: metrics.clone(),
            health: health.clone(),
        };
        (
            Server::start_within(ANY, pages, limits).unwrap(),
            metrics,
            health,
        )
    }

    fn connect(server: &Server) -> TcpStream {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Returns everything that comes back for these bytes; a reset connection also counts as ended.
    fn exchange(server: &Server, request: &[u8]) -> String {
        let mut stream = connect(server);
        // A client that is too slow is disconnected; then there is no answer.
        stream.write_all(request).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        String::from_utf8(answer).unwrap()
    }

    fn get(server: &Server, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        parse(&exchange(server, request.as_bytes()))
    }

    /// Returns status and body.
    fn parse(answer: &str) -> (u16, String) {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        (status.parse().unwrap_or_default(), body.to_owned())
    }

    #[test]
    fn metrics_are_served_in_the_format_that_was_asked_for() {
        let (server, metrics, _) = server(LIMITS);
        metrics.mqtt_connected(true);
        let (status, body) = get(&server, "/metrics");
        assert_eq!(status, 200);
        let expected = "flawd_mqtt_connected 1\n";
        assert!(body.contains(expected), "{body}");
        let request = "GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\
                       Accept: application/openmetrics-text\r\n\r\n";
        let answer = exchange(&server, request.as_bytes());
        let content_type = "content-type: application/openmetrics-text; version=1.0.0;";
        assert!(answer.contains(content_type), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[test]
    fn health_and_readiness_are_a_status_and_a_reason() {
        let (server, _, health) = server(LIMITS);
        assert_eq!(get(&server, "/healthz").0, 200);
        let (status, body) = get(&server, "/readyz");
        assert_eq!(status, 503);
        let expected = r#"{"ready":false,"reason":"starting","phase":"preoperational"}"#;
        assert_eq!(body, expected);
        health.report(Phase::ContinuousExecution, None);
        assert_eq!(get(&server, "/readyz").0, 200);
    }

    /// As `nc -N` and other small clients do.
    #[test]
    fn a_client_that_ends_its_side_after_the_request_is_answered() {
        let (server, _, _) = server(LIMITS);
        for number in 0..200 {
            let mut stream = connect(&server);
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(parse(&answer).0, 200, "request {number}");
        }
    }

    #[test]
    fn whatever_else_is_asked_is_refused() {
        let (server, _, _) = server(LIMITS);
        for path in ["/", "/metrics/", "/metric", "/healthz/../metrics"] {
            assert_eq!(get(&server, path).0, 404, "{path}");
        }
        for method in ["POST", "PUT", "DELETE"] {
            let request =
                format!("{method} /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            let answer = exchange(&server, request.as_bytes());
            assert_eq!(parse(&answer).0, 405, "{answer}");
            assert!(answer.contains("allow: GET, HEAD"), "{answer}");
        }
        let head = b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(parse(&exchange(&server, head)), (200, String::new()));
    }

    #[test]
    fn a_head_without_an_end_and_garbage_are_not_taken() {
        let (server, _, _) = server(LIMITS);
        let mut long = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
        long.resize(LONGEST_HEAD + 1, b'a');
        let answer = exchange(&server, &long);
        assert!([0, 431].contains(&parse(&answer).0), "{answer}");
        let answer = exchange(&server, b"\x16\x03\x01\x00\xa5 hello\r\n\r\n");
        assert!([0, 400].contains(&parse(&answer).0), "{answer}");
        assert_eq!(get(&server, "/metrics").0, 200);
    }

    #[test]
    fn clients_that_say_nothing_are_sent_away_and_the_others_are_served() {
        let (server, _, _) = server(ClientLimits {
            connections: 2,
            time: Duration::from_millis(100),
        });
        let mut silent: Vec<_> = (0..5).map(|_| connect(&server)).collect();
        for stream in &mut silent {
            // It may have been disconnected already.
            stream.write_all(b"GET /metrics").ok();
        }
        // A client has no more time than they, and a busy machine may use it up.
        let begun = Instant::now();
        while get(&server, "/metrics").0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "the others are not served");
        }
        for stream in &mut silent {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).ok();
            assert!(rest.is_empty());
        }
    }

    /// None of them is ever disconnected for being slow.
    #[test]
    fn connections_that_stand_idle_give_way_to_a_probe() {
        let limits = ClientLimits {
            connections: 8,
            time: Duration::from_secs(24 * 60 * 60),
        };
        let (server, _, _) = server(limits);
        let mut idle = Vec::new();
        for number in 0..100 {
            let mut stream = connect(&server);
            if number % 2 == 0 {
                // It may have been disconnected already.
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").ok();
            }
            idle.push(stream);
            if number % 10 == 9 {
                assert_eq!(get(&server, "/healthz").0, 200, "after {number}");
            }
        }
        // Those that came first are gone.
        let mut rest = Vec::new();
        idle[0].read_to_end(&mut rest).ok();
        assert!(rest.is_empty());
    }

    #[test]
    fn an_address_that_is_taken_is_named_and_free_again_after_the_end() {
        let (server, metrics, health) = server(LIMITS);
        let address = server.address();
        let error = Server::start(address, metrics.clone(), health.clone()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains("monitor.listen"), "{text}");
        let held = connect(&server);
        drop(server);
        drop(held);
        let again = Server::start(address, metrics, health).unwrap();
        assert_eq!(get(&again, "/metrics").0, 200);
    }
}
