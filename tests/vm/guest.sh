#!/bin/sh
# Turns a Debian root into the guest of `cargo xtask vm-test`. Run once, in a chroot.
set -eu

echo vm >/etc/hostname
echo "127.0.0.1 localhost vm" >/etc/hosts
# 10.0.2.2 is the host, as QEMU's user network has it.
echo "10.0.2.2 host" >>/etc/hosts
echo "LABEL=root / ext4 noatime 0 1" >/etc/fstab

# One camera like a webcam, as /dev/video0.
echo vivid >/etc/modules-load.d/vivid.conf
echo "options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x00" >/etc/modprobe.d/vivid.conf

# A fixed address: a DHCP client takes a third of the time that an emulated machine boots in.
cat >/etc/systemd/system/address.service <<'UNIT'
[Unit]
Description=Address in QEMU's user network
DefaultDependencies=no
Wants=network.target
Before=network.target network-online.target
After=systemd-udev-settle.service
Wants=systemd-udev-settle.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c "ip link set lo up; ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2"

[Install]
WantedBy=multi-user.target network-online.target
UNIT

# The host writes commands to the second serial line, one per line, once the shell has announced
# itself. Standard error is not the terminal, so the shell prints no prompt.
cat >/etc/systemd/system/commands.service <<'UNIT'
[Unit]
Description=Commands from the host
After=multi-user.target
[Service]
Type=idle
ExecStart=/bin/sh -c "stty raw -echo; echo @ready; exec /bin/sh -s"
Environment=HOME=/root LC_ALL=C
StandardInput=tty-force
StandardOutput=tty
StandardError=journal
TTYPath=/dev/ttyS1
Restart=always
[Install]
WantedBy=graphical.target
UNIT
systemctl --quiet enable address.service commands.service

# What only costs time here. The broker is started by the cases that need one.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-update-utmp.service \
    systemd-timesyncd.service getty@tty1.service serial-getty@ttyS0.service
systemctl --quiet disable mosquitto.service
