"""A slow and lossy link to the broker, and one that is cut: every trigger that arrives gets one
verdict, records arrive complete and in order, and verdicts of the cut never arrive late."""

import subprocess
import time

import station
from station import Subscriber, fail, run, say, until

CUT = 30

for command in (
    "ip netns add far",
    "ip link add near type veth peer name far netns far",
    "ip address add 10.9.0.1/24 dev near",
    "ip link set near up",
    "ip -n far address add 10.9.0.2/24 dev far",
    "ip -n far link set far up",
    "ip -n far link set lo up",
):
    run(*command.split())
with open("/run/far.conf", "w") as file:
    file.write("listener 1883\nallow_anonymous true\nmax_queued_messages 0\n")
subprocess.Popen(
    ["ip", "netns", "exec", "far", "mosquitto", "-c", "/run/far.conf"], stderr=subprocess.DEVNULL
)
until("the broker listens", lambda: ":1883" in run("ip", "netns", "exec", "far", "ss", "-ltn"))


# Beside the broker, beyond the link.
FAR = ["ip", "netns", "exec", "far"]
subscriber = Subscriber(prefix=FAR, topic="flawd/vm/top/+")
TRIGGER = 'trigger = { mode = "interval", interval = "500ms", match_within = "1s" }'
station.configure(host="10.9.0.2", camera=TRIGGER, mqtt='reconnect_max = "5s"')
station.service("start")


def collect(seconds):
    """Returns what arrives: verdicts and records as lists of (moment, seq)."""
    arrived = {"top/verdict": [], "top/record": []}
    for moment, topic, payload in subscriber.during(seconds):
        if topic in arrived:
            arrived[topic].append((moment, payload["seq"]))
    return arrived["top/verdict"], arrived["top/record"]


def shape(verb):
    for where in ([], ["-n", "far"]):
        device = "far" if where else "near"
        run("tc", *where, "qdisc", verb, "dev", device, "root", "netem", "delay", "200ms", "loss", "10%")


verdicts, records = collect(15)
say(f"a good link: {len(verdicts)} verdicts, {len(records)} records in 15 s")

shape("add")
slow_verdicts, slow_records = collect(40)
say(f"200 ms and 10 % loss each way: {len(slow_verdicts)} verdicts, {len(slow_records)} records in 40 s")
run("tc", "qdisc", "del", "dev", "near", "root")
run("tc", "-n", "far", "qdisc", "del", "dev", "far", "root")

run("ip", "-n", "far", "link", "set", "far", "down")
cut = time.monotonic()
during = collect(CUT)
run("ip", "-n", "far", "link", "set", "far", "up")
back = time.monotonic()
if during[0] or during[1]:
    # What was on its way.
    say(f"after the cut: {len(during[0])} verdicts, {len(during[1])} records")
after_verdicts, after_records = collect(45)
say(f"after {CUT} s without a link: {len(after_verdicts)} verdicts, {len(after_records)} records in 45 s")

all_records = [seq for _, seq in records + slow_records + during[1] + after_records]
missing = set(range(1, max(all_records) + 1)) - set(all_records)
if missing:
    fail(f"records are missing: {sorted(missing)}")
first = list(dict.fromkeys(all_records))
if first != sorted(first):
    fail("records arrive out of order")
seen = [seq for _, seq in verdicts + slow_verdicts + during[0]]
if not after_verdicts or max(all_records) < after_verdicts[0][1]:
    fail("after the cut, verdicts or records do not arrive")
gap = after_verdicts[0][1] - max(seen) - 1
say(f"{gap} verdicts of the time without a link did not arrive, and their records did")
if gap < CUT:
    fail("verdicts of the time without a link arrived after it")
