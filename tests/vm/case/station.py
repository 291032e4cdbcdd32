"""What the cases share: the installed service, its configuration, its metrics, what it publishes, and
the controls of the virtual camera."""

import json
import queue
import subprocess
import sys
import threading
import time
import urllib.request

CONFIGURATION = """
[station]
name = "vm"
state = "/var/lib/flawd"

[inference]
bundle = "/var/lib/flawd/bundle"

[camera.top]
# The virtual camera's picture is not one of the bundle's parts.
quality_gate = false
{camera}
[camera.top.v4l2]
device = "/dev/video0"
format = "{format}"
width = 640
height = 480
rate = 25

[evidence]
enabled = false

[mqtt]
host = "{host}"
{mqtt}
[monitor]
listen = "127.0.0.1:9464"
"""

# An emulated processor is 40 to 110 times slower than a real one.
PATIENCE = 120

DRIVER = "/sys/bus/platform/drivers/vivid"


def fail(problem):
    """Ends the case."""
    sys.stdout.flush()
    subprocess.run(["journalctl", "--no-pager", "--unit=flawd", "--lines=30"], check=False)
    sys.exit(f"FAILED: {problem}")


def say(text):
    print(text, flush=True)


def run(*command):
    """Runs a command that has to succeed, and returns what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def until(what, condition, limit=PATIENCE):
    """Waits until a condition holds, and returns its value."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            fail(f"not within {limit} s: {what}")
        time.sleep(0.05)


def configure(format="yuyv", host="localhost", camera="", mqtt=""):
    text = CONFIGURATION.format(format=format, host=host, camera=camera, mqtt=mqtt)
    with open("/etc/flawd/flawd.toml", "w") as file:
        file.write(text)


def service(verb):
    run("systemctl", verb, "flawd")


def metrics():
    """Returns the moment and the metrics."""
    with urllib.request.urlopen("http://127.0.0.1:9464/metrics") as answer:
        moment = time.monotonic()
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return moment, {name: float(value) for name, value in pairs}


def frames(values):
    """Returns the camera's counts: frames from the source, dropped ones by reason, verdicts."""
    dropped = {
        reason: values[f'flawd_frames_dropped_total{{camera="top",reason="{reason}"}}']
        for reason in ("overrun", "missed", "unused")
    }
    verdicts = sum(
        value for name, value in values.items() if name.startswith("flawd_verdicts_total")
    )
    return values['flawd_frames_captured_total{camera="top"}'], dropped, verdicts


def control(setting):
    """Sets a control of the virtual camera."""
    run("v4l2-ctl", "-d", "/dev/video0", "-c", setting)


def driver(verb):
    """Takes the camera away (unbind) or brings it back (bind)."""
    with open(f"{DRIVER}/{verb}", "w") as file:
        file.write("vivid.0")


class Subscriber:
    """Everything that is published, with the moment of its arrival."""

    def __init__(self, prefix=(), topic="flawd/vm/#"):
        command = [*prefix, "mosquitto_sub", "-V", "5", "-q", "1", "-F", "%t %p", "-t", topic]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.messages = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            self.messages.put((time.monotonic(), topic.removeprefix("flawd/vm/"), payload))

    def next(self, topic, wanted=lambda payload: True, limit=PATIENCE):
        """Returns the next message on a topic that is wanted, with its moment; drops others."""
        end = time.monotonic() + limit
        while True:
            try:
                left = max(0, end - time.monotonic())
                moment, at, payload = self.messages.get(timeout=left)
            except queue.Empty:
                fail(f"no such message on {topic} within {limit} s")
            if at == topic and wanted(payload := json.loads(payload)):
                return moment, payload

    def during(self, seconds):
        """Yields what arrives within this time: moment, topic, payload."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                moment, topic, payload = self.messages.get(timeout=left)
            except queue.Empty:
                return
            yield moment, topic, json.loads(payload)


class Triggers:
    """One process that publishes triggers, because starting one takes a while."""

    def __init__(self):
        command = ["mosquitto_pub", "-q", "1", "-l", "-t", "flawd/vm/top/trigger"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        self.sent = 0

    def send(self):
        """Sends one, and returns the name of its part."""
        self.sent += 1
        part = f"part-{self.sent}"
        self.process.stdin.write(json.dumps({"part_id": part}) + "\n")
        self.process.stdin.flush()
        return part
