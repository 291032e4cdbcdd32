"""At 640x480 and 25 frames per second, in colour and in grey, every frame is inspected or counted as
dropped, with the reason: also those that the driver does not deliver."""

import time

import station
from station import fail, say

SECONDS = 20

station.run("systemctl", "start", "mosquitto")
for format in ("yuyv", "grey"):
    station.configure(format=format)
    station.service("start")
    begun, before = station.metrics()
    time.sleep(SECONDS)
    ended, after = station.metrics()
    (captured, dropped, verdicts), (c, d, v) = station.frames(after), station.frames(before)
    rate = (captured - c) / (ended - begun)
    say(
        f"{format}: {rate:.2f} frames per second in {ended - begun:.1f} s, "
        f"{(verdicts - v) / (ended - begun):.2f} of them inspected"
    )
    in_flight = captured - sum(dropped.values()) - verdicts
    say(f"{format}: {captured:.0f} captured, dropped {dropped}, {verdicts:.0f} verdicts")
    if not 0 <= in_flight <= 4:
        fail(f"{in_flight:.0f} frames are neither inspected nor counted as dropped")
    if not 24.5 <= rate <= 25.5:
        fail("that is not 25 frames per second")

    # The driver leaves out every second frame, and counts on.
    station.control("percentage_of_dropped_buffers=50")
    begun, before = station.metrics()
    time.sleep(SECONDS)
    ended, after = station.metrics()
    (captured, dropped, _), (c, d, _) = station.frames(after), station.frames(before)
    rate, missed = (captured - c) / (ended - begun), dropped["missed"] - d["missed"]
    share = missed / (captured - c)
    say(f"{format}: with half of them left out {rate:.2f} per second, {share:.0%} missed")
    if not 24.5 <= rate <= 25.5 or share < 0.4:
        fail("frames that the driver did not deliver are not counted")
    station.control("percentage_of_dropped_buffers=0")
    station.service("stop")
