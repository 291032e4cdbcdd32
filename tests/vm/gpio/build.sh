#!/bin/sh
# Builds the kernel's simulated GPIO chip for the guest of `cargo xtask vm-test`, whose kernel has
# neither gpio-sim nor what it builds on, CONFIG_IRQ_SIM.
#
# usage: build.sh FOLDER      writes irq_sim.ko and gpio-sim.ko into it
# Needs (Debian 12): linux-headers-amd64 linux-source-6.1 make gcc-12
# In the guest: insmod irq_sim.ko && modprobe configfs && insmod gpio-sim.ko; chips are then made
# below /sys/kernel/config/gpio-sim, see chip.sh.
set -eu

folder=$(mkdir -p "$1" && cd "$1" && pwd)
source=/usr/src/linux-source-6.1.tar.xz
headers=$(find /usr/src -maxdepth 1 -name 'linux-headers-6.1.0-*-amd64' | sort -V | tail -n 1)
[ -n "$headers" ] && [ -f "$source" ] || {
    echo "build.sh: apt-get install --no-install-recommends linux-headers-amd64 linux-source-6.1" >&2
    exit 69
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar --extract --xz --file="$source" --directory="$work" --strip-components=1 \
    linux-source-6.1/kernel/irq/irq_sim.c linux-source-6.1/drivers/gpio/gpio-sim.c \
    linux-source-6.1/drivers/gpio/gpiolib.h
mv "$work/kernel/irq/irq_sim.c" "$work/drivers/gpio/gpio-sim.c" "$work/drivers/gpio/gpiolib.h" "$work"

# irq_to_desc is not exported to modules; generic_handle_irq does the same and is.
sed --in-place 's/handle_simple_irq(irq_to_desc(\(.*\)));/generic_handle_irq(\1);/' "$work/irq_sim.c"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' >>"$work/irq_sim.c"
echo "obj-m := irq_sim.o gpio-sim.o" >"$work/Makefile"
make --directory="$headers" M="$work" modules
cp "$work/irq_sim.ko" "$work/gpio-sim.ko" "$folder"
