//! From a name to a connected stream: look-up, TCP, TLS.
//!
//! A name may have several addresses, and one of them may swallow packets: they are raced, each one
//! starting [`HEAD_START`] after the previous one (RFC 8305).
//!
//! What may block for too long (name servers, files on a network) runs on a separate thread that is
//! not waited for; see [`apart`].

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tokio::{select, time};
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use crate::line::config::{self, FileError, MqttSettings, Secret};
use crate::line::pipeline::channels::threads::Threads;

/// How long an address is tried before the next one is tried in parallel: the recommendation of RFC
/// 8305, section 8.
const HEAD_START: Duration = Duration::from_millis(250);

/// Bytes that may be in the kernel before they are read. An acknowledgement queues behind whatever
/// the broker has sent before it, and triggers grow old there. Several segments of the largest
/// kind, 64 KiB on a loopback: with room for one, TCP crawls (7 MB/s measured).
const RECEIVE_BUFFER: u32 = 1 << 18;

/// A bidirectional stream of bytes. Closing it drops what the kernel has not sent.
pub(crate) type ByteStream = Pin<Box<dyn Bytes>>;

/// A stream to the broker, and the password to be sent on it, if any.
pub(crate) type Dialled = (ByteStream, Option<Secret>);

/// A bidirectional stream of bytes.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Bytes for T {}

/// Resolves a name with the system's resolver; blocks.
pub(crate) fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Resolves the addresses of a name; may block.
pub(crate) trait LookUp:
    FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + 'static
{
}

impl<T: FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + 'static> LookUp for T {}

/// Connects, within the limit in the settings.
pub(crate) async fn dial(settings: MqttSettings, look_up: impl LookUp) -> Result<Dialled, Failure> {
    let limit = settings.connect_timeout;
    let until = time::Instant::now() + limit;
    let (host, port) = (settings.host.clone(), settings.port);
    let addresses = time::timeout_at(until, addresses(host.clone(), port, look_up))
        .await
        .map_err(|_| Failure::late(&format!("no name server has said where `{host}` is"), limit))?
        .map_err(Failure::LookUp)?;
    let files = time::timeout_at(until, read_files(&settings))
        .await
        .map_err(|_| Failure::late(&format!("{} could not be read", files(&settings)), limit))??;
    let named = names(&addresses);
    let socket = time::timeout_at(until, race(addresses))
        .await
        .map_err(|_| Failure::late(&format!("no answer from {named}"), limit))?
        .map_err(Failure::Handshake)?;
    let stream = match files.tls {
        None => Box::pin(socket),
        Some(tls) => time::timeout_at(until, encrypt(socket, host, tls))
            .await
            .map_err(|_| Failure::late("the broker has not agreed upon TLS", limit))??,
    };
    Ok((stream, files.password))
}

/// What is read from files at each connection.
struct Files {
    tls: Option<Arc<ClientConfig>>,
    password: Option<Secret>,
}

/// Reads certificates and password from their files; the disk may be slow.
async fn read_files(settings: &MqttSettings) -> Result<Files, Failure> {
    let (tls, login) = (settings.tls.clone(), settings.login.clone());
    let read = move || -> Result<Files, FileError> {
        Ok(Files {
            tls: tls.map(|tls| tls.client_config()).transpose()?,
            password: login.map(|login| login.password()).transpose()?,
        })
    };
    if settings.tls.is_none() && settings.login.is_none() {
        return Ok(read()?);
    }
    let read = apart(&FILES, "files", read).await;
    Ok(read.map_err(Failure::Handshake)??)
}

/// Returns the keys under which these files are named.
fn files(settings: &MqttSettings) -> &'static str {
    match (&settings.tls, &settings.login) {
        (Some(_), Some(_)) => "the files of [mqtt.tls] and mqtt.password_file",
        (Some(_), None) => "the files of [mqtt.tls]",
        _ => "mqtt.password_file",
    }
}

/// Resolves a name, alternating between the kinds of address.
async fn addresses(host: String, port: u16, look_up: impl LookUp) -> io::Result<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = apart(&NAMES, "look-up", move || look_up(&host, port)).await??;
    if found.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(by_turns(found))
}

/// Starts with the first address's kind, then alternates (RFC 8305, section 4).
fn by_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_kind = found.first().map(SocketAddr::is_ipv6);
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        (found.into_iter()).partition(|address| Some(address.is_ipv6()) == is_first_kind);
    let mut kinds = [first, second];
    let mut ordered = Vec::new();
    while kinds.iter().any(|kind| !kind.is_empty()) {
        ordered.extend(kinds.iter_mut().filter_map(VecDeque::pop_front));
    }
    ordered
}

fn names(addresses: &[SocketAddr]) -> String {
    let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Returns the first connection that is established.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut waiting = VecDeque::from(addresses);
    let mut failures = Vec::new();
    loop {
        if let Some(address) = waiting.pop_front() {
            attempts.spawn(async move { (address, connect(address).await) });
        }
        let head_start = async {
            if waiting.is_empty() {
                std::future::pending().await
            } else {
                time::sleep(HEAD_START).await;
            }
        };
        select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => failures.push((address, error)),
                // Nothing here panics or is aborted.
                Some(Err(error)) => return Err(error.into()),
                None => return Err(all(failures)),
            },
            () = head_start => {}
        }
    }
}

/// Returns why none of them was established.
fn all(mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    if failures.len() == 1 {
        return failures.remove(0).1;
    }
    let texts: Vec<_> = (failures.iter())
        .map(|(address, error)| format!("{address}: {error}"))
        .collect();
    io::Error::other(texts.join(", "))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Before it connects: connecting tells the broker how much it may send at a time.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    // The kernel's buffer is a queue: what is in it when a stalled connection is abandoned must not
    // be delivered later. A clean disconnect waits until the broker has closed its end.
    stream.set_zero_linger()?;
    Ok(stream)
}

/// Negotiates TLS with the broker of this name.
async fn encrypt(
    socket: TcpStream,
    host: String,
    tls: Arc<ClientConfig>,
) -> Result<ByteStream, Failure> {
    let name =
        config::server_name(&host).map_err(|error| Failure::Handshake(io::Error::other(error)))?;
    let connector = TlsConnector::from(tls);
    let stream = (connector.connect(name, socket).await).map_err(Failure::Handshake)?;
    Ok(Box::pin(stream))
}

/// Held by the only thread of a kind that blocks.
type Turn = LazyLock<Arc<Mutex<()>>>;

/// For name servers, and for files: if one of them hangs, the other is not reported as slow.
static NAMES: Turn = LazyLock::new(Arc::default);
static FILES: Turn = LazyLock::new(Arc::default);

/// Runs blocking work on a thread that is not waited for: even if it never ends, the process can.
/// There is one of a kind at a time, so that futile attempts do not pile up threads.
async fn apart<T: Send + 'static>(
    turn: &Turn,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let turn = Arc::clone(turn).lock_owned().await;
    let (sender, receiver) = oneshot::channel();
    Threads::spawn_detached(name, move || {
        // The receiver may be gone.
        sender.send(work()).ok();
        drop(turn);
    })?;
    receiver.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
