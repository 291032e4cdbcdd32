//! One emulated machine: QEMU without KVM, which a virtual machine often lacks. Commands go to a
//! shell on its second serial line, over QEMU's standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use super::image::Image;
use crate::files::at;

/// The emulator.
pub(super) const QEMU: &str = "qemu-system-x86_64";

/// What the machine is made of; a snapshot fits no other. The processor has SSE 4.2 and no AVX, which
/// ONNX Runtime can do without; newer ones boot more slowly in emulation. The network has no boot
/// ROM, which costs 12 s.
#[rustfmt::skip]
pub(super) const HARDWARE: &[&str] = &[
    "-machine", "q35",
    "-cpu", "Nehalem",
    "-smp", "2",
    "-m", "1024",
    "-accel", "tcg,thread=multi,tb-size=512",
    "-nodefaults",
    "-display", "none",
    "-no-reboot",
    "-serial", "chardev:console",
    "-chardev", "stdio,id=commands,signal=off",
    "-serial", "chardev:commands",
    "-mon", "chardev=monitor,mode=control",
    "-device", "virtio-blk-pci,drive=disk",
    "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
    "-netdev", "user,id=net",
    "-device", "virtio-net-pci,netdev=net,romfile=",
    "-object", "rng-random,id=random,filename=/dev/urandom",
    "-device", "virtio-rng-pci,rng=random",
];

/// A busy machine emulates the timer so irregularly that the kernel's check of it fails now and then.
/// A panic ends QEMU, which does not reboot.
pub(super) const KERNEL_OPTIONS: &str = "root=LABEL=root rw console=ttyS0 quiet loglevel=4 mitigations=off \
     net.ifnames=0 systemd.show_status=0 no_timer_check panic=-1";

/// How long a boot may take: 54 s were measured on two cores shared with a compilation.
const BOOT: Duration = Duration::from_secs(600);

/// How long a short command may take.
const SHORTLY: Duration = Duration::from_secs(120);

/// The line that the shell writes once it takes commands.
const READY: &str = "@ready";

/// Precedes the exit code of a command.
const ENDED: &str = "@ended ";

/// A running machine; its power is cut when this is dropped.
pub(super) struct Machine {
    qemu: Child,
    commands: ChildStdin,
    /// What the shell writes, line by line; ends with QEMU.
    lines: Receiver<String>,
    monitor: BufReader<UnixStream>,
}

impl Machine {
    /// Boots from a disk, until the shell takes commands.
    pub(super) fn boot(image: &Image, disk: &Path) -> Result<Self, String> {
        let machine = Self::power_on(image, disk)?;
        machine.read(Instant::now() + BOOT, |line| {
            line.ends_with(READY).then_some(())
        })?;
        Ok(machine)
    }

    /// Powers a machine on, and does not wait for it.
    pub(super) fn power_on(image: &Image, disk: &Path) -> Result<Self, String> {
        Self::start(image, disk, &[])
    }

    /// Goes on from a snapshot, with the disk as it was then and the clock of now.
    pub(super) fn restore(image: &Image, snapshot: &str) -> Result<Self, String> {
        let mut machine = Self::start(image, &image.disk(), &["-loadvm", snapshot])?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_err(|_| "this machine's clock is before 1970")?;
        machine.must(&format!("date --set=@{:.3}", now.as_secs_f64()))?;
        Ok(machine)
    }

    fn start(image: &Image, disk: &Path, more: &[&str]) -> Result<Self, String> {
        let monitor = image.share().with_file_name("monitor");
        fs::remove_file(&monitor).ok();
        let listener = UnixListener::bind(&monitor).map_err(at(&monitor))?;
        let mut qemu = command(image, disk, &monitor)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {QEMU}: {error}"))?;
        let commands = qemu.stdin.take().expect("it was asked for");
        let output = BufReader::new(qemu.stdout.take().expect("it was asked for"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                    return;
                }
            }
        });
        // QEMU connects before it does anything else. If it ends instead, so does this.
        let accepted = thread::spawn(move || listener.accept());
        while !accepted.is_finished() {
            if let Ok(Some(status)) = qemu.try_wait() {
                UnixStream::connect(&monitor).ok();
                return Err(format!(
                    "{QEMU} does not start: {status}; its message is above"
                ));
            }
            thread::yield_now();
        }
        let (stream, _) = accepted
            .join()
            .expect("accepting does not panic")
            .map_err(|error| format!("QEMU's monitor: {error}"))?;
        let mut machine = Self {
            qemu,
            commands,
            lines,
            monitor: BufReader::new(stream),
        };
        machine.answer()?;
        machine.ask(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(machine)
    }

    /// Shows it the shared folder as `/host`.
    pub(super) fn mount_host(&mut self) -> Result<(), String> {
        self.must(
            "modprobe 9pnet_virtio && mkdir -p /host && \
             mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 host /host",
        )
    }

    /// Runs a command, passes each line that it prints to `show`, and returns its exit code.
    pub(super) fn run(
        &mut self,
        command: &str,
        patience: Duration,
        mut show: impl FnMut(&str),
    ) -> Result<i32, String> {
        // An empty line first, in case the command's last one has no end.
        let line = format!("({command}) </dev/null 2>&1; code=$?; echo; echo \"{ENDED}$code\"\n");
        let sent = self.commands.write_all(line.as_bytes());
        sent.and_then(|()| self.commands.flush())
            .map_err(|error| format!("the machine takes no command: {error}"))?;
        self.read(Instant::now() + patience, |line| {
            let code = line.strip_prefix(ENDED).and_then(|it| it.parse().ok());
            if code.is_none() && !line.is_empty() {
                show(line);
            }
            code
        })
        .map_err(|error| format!("`{command}`: {error}"))
    }

    /// Runs a short command that has to succeed.
    pub(super) fn must(&mut self, command: &str) -> Result<(), String> {
        let mut said = Vec::new();
        let code = self.run(command, SHORTLY, |line| said.push(line.to_owned()))?;
        if code == 0 {
            return Ok(());
        }
        Err(format!("`{command}` ends with {code}: {}", said.join("\n")))
    }

    /// Saves the machine under a name, in place of an earlier one of that name.
    pub(super) fn save(&mut self, snapshot: &str) -> Result<(), String> {
        self.must("sync")?;
        let line = format!(
            r#"{{"execute":"human-monitor-command","arguments":{{"command-line":"savevm {snapshot}"}}}}"#
        );
        let answer = self.ask(&line)?;
        if answer.contains(r#""return": """#) {
            return Ok(());
        }
        Err(format!("the machine cannot be saved: {answer}"))
    }

    /// Returns the first line that `wanted` takes.
    fn read<T>(
        &self,
        until: Instant,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, String> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err("no answer from the machine in time".to_owned());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err("QEMU has ended".to_owned());
                }
            }
        }
    }

    /// Sends a command to QEMU and returns its answer.
    fn ask(&mut self, line: &str) -> Result<String, String> {
        let stream = self.monitor.get_mut();
        writeln!(stream, "{line}").map_err(|error| format!("QEMU's monitor: {error}"))?;
        loop {
            let answer = self.answer()?;
            if !answer.contains(r#""event""#) {
                return Ok(answer);
            }
        }
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut answer = String::new();
        match self.monitor.read_line(&mut answer) {
            Ok(1..) => Ok(answer),
            Ok(0) => Err("QEMU has ended; its message is above".to_owned()),
            Err(error) => Err(format!("QEMU's monitor: {error}")),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SIGKILL: what the machine has not flushed to its disk is gone.
        self.qemu.kill().ok();
        self.qemu.wait().ok();
    }
}

fn command(image: &Image, disk: &Path, monitor: &Path) -> Command {
    let is_raw = disk.extension().is_some_and(|it| it == "img");
    let format = if is_raw { "raw" } else { "qcow2" };
    let drive = format!(
        "if=none,id=disk,file={},format={format},cache=writeback",
        disk.display()
    );
    let share = format!(
        "local,id=host,security_model=none,path={}",
        image.share().display()
    );
    let mut qemu = Command::new(QEMU);
    qemu.args(["-chardev".to_owned(), console(image)])
        .args(["-chardev".to_owned(), socket(monitor)])
        .args(["-drive", &drive, "-fsdev", &share])
        .args(HARDWARE)
        .arg("-kernel")
        .arg(image.kernel())
        .arg("-initrd")
        .arg(image.initrd())
        .args(["-append", KERNEL_OPTIONS]);
    qemu
}

fn console(image: &Image) -> String {
    format!(
        "file,id=console,append=on,path={}",
        image.console_log().display()
    )
}

fn socket(monitor: &Path) -> String {
    format!("socket,id=monitor,path={}", monitor.display())
}
