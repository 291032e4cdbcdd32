//! Cameras on the loopback address, each a process that can be killed and started again.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use flawd_testing::process::Process;
use jpeg_encoder::{ColorType, Encoder};

/// The variable that tells this test program to be an MJPEG camera, on this port.
const MJPEG_PORT: &str = "FLAWD_TEST_MJPEG_PORT";

/// The variable that names Aravis' camera, which Debian has in a package with a graphical program.
const ARAVIS: &str = "FLAWD_TEST_ARAVIS_CAMERA";

/// A kind of camera, and where it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// RTSP, by its path.
    Rtsp(&'static str),
    /// JPEG pictures in an endless answer to an HTTP request.
    Mjpeg,
    /// GigE Vision. Its standard has one port, so there is only one of these at a time.
    Gige,
}

/// A running camera.
pub(crate) struct Camera {
    kind: Kind,
    port: u16,
    process: Process,
}

impl Camera {
    pub(crate) fn start(kind: Kind) -> Self {
        let (process, port) = spawn(kind, 0);
        Self {
            kind,
            port,
            process,
        }
    }

    /// Kills it: it says nothing more to anything.
    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// Starts it again, at the same place.
    pub(crate) fn start_again(&mut self) {
        (self.process, _) = spawn(self.kind, self.port);
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// The pipeline that reads it.
    pub(crate) fn pipeline(&self) -> String {
        let port = self.port;
        match self.kind {
            Kind::Rtsp(path) => format!(
                "rtspsrc location=rtsp://127.0.0.1:{port}{path} protocols=tcp latency=100 \
                 ! decodebin ! videoconvert"
            ),
            Kind::Mjpeg => format!(
                "souphttpsrc location=http://127.0.0.1:{port}/video is-live=true \
                 do-timestamp=true timeout=2 retries=0 ! multipartdemux ! image/jpeg"
            ),
            Kind::Gige => "aravissrc camera-name=127.0.0.1 \
                           ! video/x-raw,format=GRAY8,width=96,height=96,framerate=20/1"
                .to_owned(),
        }
    }
}

fn spawn(kind: Kind, port: u16) -> (Process, u16) {
    let (mut command, name) = match kind {
        Kind::Rtsp(_) => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gstreamer/rtsp.py");
            // Debian's own, which has the bindings.
            let mut command = Command::new("/usr/bin/python3");
            command.arg(script).arg(port.to_string());
            (command, "rtsp.py")
        }
        Kind::Mjpeg => {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let test = "camera::an_mjpeg_camera_if_another_test_starts_it";
            command.args([test, "--exact", "--nocapture"]);
            command.env(MJPEG_PORT, port.to_string());
            (command, "MJPEG camera")
        }
        Kind::Gige => {
            let program = std::env::var_os(ARAVIS);
            let program = program.unwrap_or_else(|| "arv-fake-gv-camera-0.8".into());
            let mut command = Command::new(program);
            command.args(["-i", "127.0.0.1", "-s", "FLAWD"]);
            (command, "GigE camera")
        }
    };
    let process = Process::spawn(&mut command, name, Stdio::piped(), Stdio::inherit());
    if matches!(kind, Kind::Gige) {
        return (process, port);
    }
    let line = process.wait_for_line("its port", |line| line.contains("port "));
    let (_, port) = line.rsplit_once("port ").unwrap();
    (process, port.trim().parse().unwrap())
}

/// Not a test of its own: the process that [`Kind::Mjpeg`] starts.
#[test]
fn an_mjpeg_camera_if_another_test_starts_it() {
    let Some(port) = std::env::var_os(MJPEG_PORT) else {
        return;
    };
    let port: u16 = port.to_str().unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    println!("port {}", listener.local_addr().unwrap().port());
    for client in listener.incoming() {
        let client = client.unwrap();
        thread::spawn(move || serve(client, |client, part| client.write_all(part)));
    }
}

/// Answers a request with pictures, 20 each second, until the client has left. `send` sends each.
#[expect(
    clippy::disallowed_methods,
    reason = "a camera takes its time for each picture"
)]
pub(crate) fn serve(
    client: TcpStream,
    mut send: impl FnMut(&mut TcpStream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut request = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if request.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let mut client = client;
    client.set_nodelay(true)?;
    client.write_all(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\
          Content-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n",
    )?;
    let mut shift = 0_u8;
    loop {
        send(&mut client, &part(shift))?;
        thread::sleep(Duration::from_millis(50));
        shift = shift.wrapping_add(1);
    }
}

/// One picture with what is around it; each differs from the one before.
fn part(shift: u8) -> Vec<u8> {
    let mut jpeg = Vec::new();
    let pixels: Vec<u8> = (0..96 * 96)
        .flat_map(|place: usize| {
            let (row, column) = (place / 96, place % 96);
            let shade = (row * 2 + column + usize::from(shift)) % 200 + 30;
            [shade as u8, 128, (230 - shade) as u8]
        })
        .collect();
    let encoder = Encoder::new(&mut jpeg, 90);
    encoder.encode(&pixels, 96, 96, ColorType::Rgb).unwrap();
    let mut part = format!(
        "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        jpeg.len()
    )
    .into_bytes();
    part.extend(jpeg);
    part.extend(b"\r\n");
    part
}
