"""The clock is wrong at the start and set while the service runs: inspection goes on, no verdict is
late, numbers go on, times follow the clock, and the jump is counted."""

import datetime
import time

import station
from station import Subscriber, Triggers, fail, run, say, until

YEAR = 365 * 86400

run("systemctl", "start", "mosquitto")
station.configure(camera='deadline = "30s"\ntrigger = { mode = "mqtt", match_within = "1s" }')
true = time.time()
began = time.monotonic()


def now():
    return true + time.monotonic() - began


def set_clock(seconds):
    run("date", f"--set=@{now() + seconds:.3f}")


set_clock(-YEAR)
station.service("start")
subscriber = Subscriber()
triggers = Triggers()
last = 0


def judge(what):
    """Judges three parts; returns how far the last picture's time is from the true one, in s."""
    global last
    for _ in range(3):
        part = triggers.send()
        _, verdict = subscriber.next("top/verdict", lambda it: it["part_id"] == part)
        if verdict["verdict"] == "no_decision":
            fail(f"{what}: {verdict}")
        if verdict["seq"] != last + 1:
            fail(f"{what}: {verdict['seq']} follows {last}")
        last = verdict["seq"]
    captured = datetime.datetime.fromisoformat(verdict["captured_at"]).timestamp()
    offset = captured - now()
    say(f"{what}: verdict {last}, picture {offset:.1f} s from the true time")
    return offset


def jumps():
    return station.metrics()[1]["flawd_clock_jumps_total"]


def near(offset, wanted):
    if abs(offset - wanted) > 20:
        fail(f"the picture's time is {offset:.1f} s from the true one, and the clock {wanted}")


near(judge("a year behind"), -YEAR)
before = jumps()
set_clock(0)
near(judge("set right"), 0)
until("the jump is counted", lambda: jumps() == before + 1)
set_clock(-3600)
near(judge("an hour back"), -3600)
until("the jump back is counted", lambda: jumps() == before + 2)
set_clock(0)
near(judge("set right again"), 0)
