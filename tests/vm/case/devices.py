"""What the unit keeps from the service is kept by the kernel: every device but cameras, and memory
beyond its limit. And the udev rule gives it the cameras."""

import json
import os
import shutil
import subprocess

import station
from station import fail, run, say

DROP_IN = "/run/systemd/system/flawd.service.d/case.conf"
STATE = "/var/lib/flawd/devices.json"

# What DevicePolicy=closed leaves: pseudo devices. /dev/tty is the service's terminal, if it has one.
HARMLESS = {
    *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx")),
    "/dev/pts/ptmx",
}
CAMERA = "/dev/video0"


def drop_in(*lines):
    os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
    with open(DROP_IN, "w") as file:
        file.write("\n".join(["[Service]", *lines]) + "\n")
    run("systemctl", "daemon-reload")


def restart():
    """Starts the service and waits for the outcome."""
    run("systemctl", "stop", "flawd")
    return subprocess.run(["systemctl", "start", "flawd"], check=False).returncode == 0


def outcomes(*lines):
    """Returns what a program in the unit's sandbox could open."""
    if os.path.exists(STATE):
        os.remove(STATE)
    drop_in(f"ExecStartPre=/usr/bin/python3 /run/probe.py {STATE}", *lines)
    if not restart():
        fail("the service does not start with the probe before it")
    with open(STATE) as file:
        return json.load(file)


def opened(found):
    return {path for path, error in found.items() if error is None}


def show(what, found):
    tally = {}
    for error in found.values():
        tally[error or "opened"] = tally.get(error or "opened", 0) + 1
    names = sorted(opened(found)) if len(opened(found)) < 16 else "…"
    say(f"{what}: {len(found)} devices, {tally}; opened: {names}")


run("systemctl", "start", "mosquitto")
station.configure()
# /host is not mounted where the service looks.
shutil.copy("/host/case/probe.py", "/run/probe.py")

say("devices")
found = outcomes()
show("as they are", found)
if not opened(found) <= HARMLESS | {CAMERA} or CAMERA not in opened(found):
    fail("it can open other devices than the camera and harmless ones")

# Now nothing but the unit's policy protects them.
for path in found:
    os.chmod(path, 0o666)
found = outcomes()
show("open to everyone, in the unit", found)
if not opened(found) <= HARMLESS | {CAMERA} or CAMERA not in opened(found):
    fail("its device policy lets it open other devices than the camera and harmless ones")
for path in ("/dev/vda", "/dev/mem", "/dev/ttyS0", "/dev/media0", "/dev/watchdog"):
    if found[path] != "EPERM":
        fail(f"{path}: {found[path]}, and not EPERM")

# The probe can tell: without the policy it opens the disk. Who opens a watchdog has to feed it.
for path in found:
    if path.startswith("/dev/watchdog"):
        os.chmod(path, 0o600)
found = outcomes("DevicePolicy=auto", "DeviceAllow=")
show("open to everyone, without the policy", found)
for path in ("/dev/vda", "/dev/ttyS0", "/dev/media0"):
    if path not in opened(found):
        fail(f"without the policy, {path}: {found[path]}")
os.remove(DROP_IN)

say("the udev rule")
RULES = "/run/udev/rules.d"
os.makedirs(RULES, exist_ok=True)


def node():
    run("udevadm", "control", "--reload")
    run("udevadm", "trigger", "--action=add", "--settle", "/sys/class/video4linux/video0")
    return run("stat", "--format=%U:%G %a", CAMERA).strip()


# A system that gives cameras to root alone.
with open(f"{RULES}/60-case.rules", "w") as file:
    file.write('SUBSYSTEM=="video4linux", GROUP="root", MODE="0600"\n')
os.symlink("/dev/null", f"{RULES}/70-flawd-cameras.rules")
without = node()
os.remove(f"{RULES}/70-flawd-cameras.rules")
with_it = node()
say(f"without it {without}, with it {with_it}")
if (without, with_it) != ("root:root 600", "root:video 660"):
    fail("the rule does not give cameras to the group video")

say("memory")
limit = int(run("systemctl", "show", "--value", "--property=MemoryMax", "flawd"))
drop_in(
    "ExecStartPre=/usr/bin/python3 -c \"held = [b'x' * 2**20 * n for n in range(1, 90)]\"",
    "Restart=no",
)
if restart():
    fail("a program that takes 4 GiB was not stopped")
result = run("systemctl", "show", "--value", "--property=Result", "flawd").strip()
killed = [line for line in run("dmesg").splitlines() if "Memory cgroup out of memory" in line]
say(f"limit {limit / 2**20:.0f} MiB: {result}; {killed[-1] if killed else 'no message'}")
if result != "oom-kill" or not killed:
    fail("the kernel did not enforce MemoryMax")
os.remove(DROP_IN)
run("systemctl", "daemon-reload")
if not restart():
    fail("the service does not start afterwards")
