"""A camera that is unplugged, that falls silent, or that reports an error: triggers meanwhile get
`no_decision: camera_lost`, each trigger gets one verdict, and the camera is back within 5 s."""

import datetime
import time

import station
from station import Subscriber, Triggers, fail, run, say, until

BACK_WITHIN = 5.0

run("systemctl", "start", "mosquitto")
# A trigger may take a frame that is up to a second away: an emulated machine is slow.
station.configure(camera='trigger = { mode = "mqtt", match_within = "1s", queue = 64 }')
station.service("start")
subscriber = Subscriber()
triggers = Triggers()


def judge():
    """Sends a trigger and returns its verdict, with the moment of its arrival."""
    part = triggers.send()
    return subscriber.next("top/verdict", lambda verdict: verdict["part_id"] == part)


def is_judged(verdict):
    return verdict["verdict"] != "no_decision"


def lost(since):
    """Sends triggers until the camera counts as lost, and some more; returns how long that took."""
    while True:
        moment, verdict = judge()
        if not is_judged(verdict):
            break
        if moment - since > 30:
            fail("a camera that gives no frames is not lost after 30 s")
    if verdict["reason"] != "camera_lost":
        fail(f"the reason is not camera_lost: {verdict}")
    say(f"    lost after {moment - since:.2f} s: {verdict.get('detail')}")
    for _ in range(5):
        _, verdict = judge()
        if verdict.get("reason") != "camera_lost":
            fail(f"while the camera is away, a trigger gets {verdict}")


def found():
    """Sends triggers until one is judged. The camera was back when it took the picture; the verdict
    comes when the emulated processor has computed it."""
    since, returned = time.monotonic(), time.time()
    while True:
        moment, verdict = judge()
        if is_judged(verdict):
            break
        if verdict["reason"] not in ("camera_lost", "trigger_unmatched", "frame_stale"):
            fail(f"before the camera is back, a trigger gets {verdict}")
        if moment - since > 60:
            fail("the camera is not back after 60 s")
    taken = datetime.datetime.fromisoformat(verdict["captured_at"]).timestamp() - returned
    say(
        f"    {taken:.2f} s after the camera's return a picture is taken, and after "
        f"{moment - since:.2f} s the part is judged"
    )
    if taken > BACK_WITHIN:
        fail(f"that is more than {BACK_WITHIN} s")


def judged():
    _, verdict = judge()
    if not is_judged(verdict):
        fail(f"a trigger with a camera that works gets {verdict}")


for _ in range(3):
    judged()

for round in (1, 2):
    say(f"unplugged, round {round}")
    gone = time.monotonic()
    station.driver("unbind")
    lost(gone)
    station.driver("bind")
    found()
    judged()

say("silent")
station.control("percentage_of_dropped_buffers=100")
lost(time.monotonic())
station.control("percentage_of_dropped_buffers=0")
found()
judged()

# The driver ends the stream and can be opened again at once, so a trigger may see nothing of it.
for fault in ("inject_fatal_streaming_error", "disconnect"):
    say(fault)
    station.control(f"{fault}=1")
    found()
    judged()


def counted():
    _, values = station.metrics()
    accepted = values['flawd_triggers_total{camera="top",outcome="accepted"}']
    return accepted == triggers.sent == station.frames(values)[2]


until(f"{triggers.sent} triggers, and one verdict for each", counted)
say(f"{triggers.sent} triggers, and one verdict for each")

say("absent at the start")
station.service("stop")
run("modprobe", "--remove", "vivid")
run("rmmod", "videobuf2_memops", "videobuf2_common", "videodev")
with open("/proc/devices") as file:
    knows_cameras = "video4linux" in file.read()
if knows_cameras:
    fail("the kernel still knows of cameras: this would not show what a later one is allowed")
run("systemctl", "start", "--no-block", "flawd")


def shown(name):
    return run("systemctl", "show", "--value", f"--property={name}", "flawd").strip()


until("it is started again", lambda: int(shown("NRestarts")) > 0)
if shown("ExecMainStatus") not in ("0", "69"):
    fail(f"without a camera it ends with {shown('ExecMainStatus')}")
run("modprobe", "vivid")
until("it is active", lambda: shown("ActiveState") == "active")
say(f"    active after {shown('NRestarts')} restarts")
judged()
