"""A camera that is unplugged, that falls silent, or that reports an error: triggers meanwhile get
`no_decision: camera_lost`, each trigger gets one verdict, and the camera is back within 5 s."""

import time

import station
from station import Subscriber, Triggers, fail, say, until

BACK_WITHIN = 5.0

station.run("systemctl", "start", "mosquitto")
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


def found(since):
    """Sends triggers until one is judged."""
    while True:
        moment, verdict = judge()
        if is_judged(verdict):
            break
        if verdict["reason"] not in ("camera_lost", "trigger_unmatched", "frame_stale"):
            fail(f"before the camera is back, a trigger gets {verdict}")
        if moment - since > 60:
            fail("the camera is not back after 60 s")
    say(f"    a part is judged {moment - since:.2f} s after the camera's return")
    if moment - since > BACK_WITHIN:
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
    back = time.monotonic()
    found(back)
    judged()

say("silent")
station.control("percentage_of_dropped_buffers=100")
lost(time.monotonic())
station.control("percentage_of_dropped_buffers=0")
found(time.monotonic())
judged()

# The driver ends the stream and can be opened again at once, so a trigger may see nothing of it.
for fault in ("inject_fatal_streaming_error", "disconnect"):
    say(fault)
    station.control(f"{fault}=1")
    found(time.monotonic())
    judged()


def counted():
    _, values = station.metrics()
    accepted = values['flawd_triggers_total{camera="top",outcome="accepted"}']
    return accepted == triggers.sent == station.frames(values)[2]


until(f"{triggers.sent} triggers, and one verdict for each", counted)
say(f"{triggers.sent} triggers, and one verdict for each")
