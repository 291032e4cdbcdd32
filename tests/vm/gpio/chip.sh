#!/bin/sh
# Makes a simulated GPIO chip in the guest and shows that it works: a level that is set from outside
# is read, and its edge wakes a program that waits for it. Needs the modules of build.sh in FOLDER.
#
# usage: chip.sh FOLDER [LINES]      the chip's device is printed; 8 lines unless told otherwise
set -eu

insmod "$1/irq_sim.ko"
modprobe configfs
insmod "$1/gpio-sim.ko"
mountpoint --quiet /sys/kernel/config || mount -t configfs none /sys/kernel/config
chip=/sys/kernel/config/gpio-sim/flawd
mkdir -p $chip/bank0
echo "${2:-8}" >$chip/bank0/num_lines
echo 1 >$chip/live
name=$(cat $chip/bank0/chip_name)
echo "/dev/$name"

# A line is pulled from outside below sim_gpioN; what a program drives is its value.
pull=$(find "/sys/devices/platform/$(cat $chip/dev_name)/$name" -path '*sim_gpio0/pull')
base=$(cat "/sys/devices/platform/$(cat $chip/dev_name)/$name"/gpio/gpiochip*/base 2>/dev/null ||
    cat "/sys/devices/platform/$(cat $chip/dev_name)"/gpio/gpiochip*/base)
echo "$base" >/sys/class/gpio/export
line=/sys/class/gpio/gpio$base
echo in >"$line/direction"
echo rising >"$line/edge"
python3 - "$line/value" "$pull" <<'PYTHON'
import select
import sys
import time

value, pull = sys.argv[1:]
with open(value) as line:
    edges = select.poll()
    edges.register(line, select.POLLPRI | select.POLLERR)
    assert line.read().strip() == "0"
    edges.poll(0)
    begun = time.monotonic()
    with open(pull, "w") as outside:
        outside.write("pull-up")
    assert edges.poll(5000), "the edge wakes nothing"
    print(f"edge after {(time.monotonic() - begun) * 1e3:.2f} ms")
    line.seek(0)
    assert line.read().strip() == "1"
PYTHON
echo "$base" >/sys/class/gpio/unexport
