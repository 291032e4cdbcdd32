#!/bin/bash
# What happens to a package in a clean Debian that has booted with systemd. Run inside it, by
# `cargo xtask package-test`. /host holds:
#   old.deb, new.deb   the package, in two versions
#   hang.so            ONNX Runtime whose inference can be made to hang
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root
cd /host

step() { echo "== $*"; }
fail() {
    echo "FAILED: $*"
    systemctl status flawd --no-pager --lines=0 || true
    journalctl --no-pager --unit flawd | tail -n 60
    exit 1
}
# what COMMAND…: fails with the name if the command does.
check() {
    local what=$1
    shift
    "$@" >/tmp/said 2>&1 || { cat /tmp/said; fail "$what"; }
}
property() { systemctl show flawd --property="$1" --value; }
# until_is LIMIT PROPERTY VALUE: waits until a property of the service has a value.
until_is() {
    local end=$((SECONDS + $1))
    until [ "$(property "$2")" = "$3" ]; do
        [ $SECONDS -lt $end ] || fail "$2 is '$(property "$2")' after $1 s and not '$3'"
        sleep 0.2
    done
}
is() { [ "$(property "$1")" = "$2" ] || fail "$1 is '$(property "$1")' and not '$2'"; }
# Everything on the disk but what apt, dpkg and the journal note down, and backups of user databases.
files() {
    find / -xdev \( -path /host -o -path /tmp -o -path /var/log -o -path /var/cache/apt \
        -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /root -o -path '/etc/*-' \
        -o -path /etc/.pwd.lock -o -path /var/lib/systemd/deb-systemd-helper-enabled \
        -o -path /var/lib/systemd/deb-systemd-helper-masked -o -path /var/cache/ldconfig \
        -o -path '/run/*' -o -path '/var/tmp/*' \) -prune -o -print | sort
}
ready() {
    exec 3<>/dev/tcp/127.0.0.1/9464
    printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
    head -n 1 <&3 | grep -q ' 200 '
}

step "a clean system"
# As Debian's installer writes it.
echo "127.0.0.1 localhost" >/etc/hosts
files >/tmp/before

step "the version before is installed, and is neither enabled nor started"
check "it installs" apt-get install --yes ./old.deb
[ "$(systemctl is-enabled flawd || true)" = disabled ] || fail "the service is enabled"
is ActiveState inactive
check "the account is in the groups of cameras and GPUs" \
    sh -c 'id --name --groups flawd | grep -w video | grep -w render'
[ "$(stat --format=%U:%a /var/lib/flawd)" = flawd:750 ] || fail "/var/lib/flawd is not flawd's"
for file in man/man1/flawd.1.gz bash-completion/completions/flawd \
    zsh/vendor-completions/_flawd fish/vendor_completions.d/flawd.fish doc/flawd/copyright \
    doc/flawd/docs/operations.md flawd/backbones/efficientnet-lite0.onnx; do
    [ -s /usr/share/$file ] || fail "/usr/share/$file is missing"
done
check "all installed files are whole" sh -c '! dpkg --verify flawd | grep .'
check "systemd finds nothing to say about the unit" \
    sh -c '! systemd-analyze verify --man=no flawd.service 2>&1 | grep .'
check "udev finds nothing to say about the rule" \
    sh -c '! udevadm test /sys/devices/virtual/mem/null 2>&1 | grep "flawd-cameras.rules:[0-9]"'

step "with a bundle, the shipped configuration is right"
check "parts are made" flawd demo --write /tmp/parts
rm /tmp/parts/train/good/[1-9]*.png
check "a bundle is trained, with the backbone of the package" flawd train /tmp/parts --size 128 \
    --epochs 1 --hidden 8 --out /tmp/bundle
check "the backbone was the package's" grep --quiet efficientnet-lite0 /tmp/bundle/bundle.toml
[ "$(flawd check -c /etc/flawd/flawd.toml >/dev/null 2>&1; echo $?)" = 78 ] ||
    fail "without a bundle, the check does not end with 78"
cp --recursive /tmp/bundle /var/lib/flawd/bundle
check "flawd check" flawd check -c /etc/flawd/flawd.toml

step "the service is active after the first frame, and not before"
cat >/etc/flawd/flawd.toml <<'END'
[station]
name = "package"
state = "/var/lib/flawd"

[inference]
bundle = "/var/lib/flawd/bundle"

[camera.top]
overflow = "newest-wins"
frame_timeout = "60s"

[camera.top.synthetic]
rate = 10.0
size = "128x128"
fault.stall = { after = 0, lasts = "10s" }

[mqtt]
host = "localhost"
username = "flawd"
password_credential = "mqtt-password"

[monitor]
listen = "127.0.0.1:9464"
END
install -m 600 /dev/stdin /etc/flawd/mqtt-password <<<secret
mkdir -p /etc/systemd/system/flawd.service.d
cat >/etc/systemd/system/flawd.service.d/test.conf <<'END'
[Service]
LoadCredential=mqtt-password:/etc/flawd/mqtt-password
Environment=FLAWD_ONNXRUNTIME=/usr/local/lib/hang.so
END
cp hang.so /usr/local/lib/hang.so
systemctl daemon-reload
systemctl enable --quiet flawd
systemctl start --no-block flawd
until_is 120 StatusText "Not ready: waiting for the first frame: top"
is ActiveState activating
until_is 120 ActiveState active
check "it is ready" ready
is StatusText Ready
[ "$(stat --format=%U "/proc/$(property MainPID)")" = flawd ] || fail "it does not run as flawd"
check "a reload is taken" systemctl reload flawd
check "names are resolved, and no broker listens" \
    sh -c 'journalctl --unit flawd | grep "Cannot connect to the broker.*refused"'
check "system calls are filtered" grep --quiet '^Seccomp:.2' "/proc/$(property MainPID)/status"
is OOMPolicy kill
[ "$(property MemoryMax)" != infinity ] || fail "memory is not limited"

step "a hang in the inference ends it, and it is started again"
is NRestarts 0
touch /run/flawd-hangs
until_is 90 NRestarts 1
rm /run/flawd-hangs
check "it was the watchdog" sh -c 'journalctl --unit flawd | grep "Watchdog timeout"'
until_is 120 ActiveState active

step "it stops within its grace period"
begun=$SECONDS
systemctl stop flawd
[ $((SECONDS - begun)) -le 10 ] || fail "stopping takes $((SECONDS - begun)) s"
is Result success
is ExecMainStatus 0

step "it stops while inference hangs, and names what hangs"
systemctl start flawd
touch /run/flawd-hangs
until_is 60 StatusText "Not ready: the stage infer hangs"
systemctl stop flawd
rm /run/flawd-hangs
is Result exit-code
is ExecMainStatus 70
check "it names the stage" sh -c 'journalctl --unit flawd | grep "grace period.*infer"'

step "an upgrade keeps configuration, state and enabling, and restarts the service"
systemctl start flawd
before=$(property InvocationID)
check "it upgrades" apt-get install --yes --option Dpkg::Options::=--force-confold ./new.deb
until_is 120 ActiveState active
[ "$(property InvocationID)" != "$before" ] || fail "the service was not restarted"
[ "$(systemctl is-enabled flawd)" = enabled ] || fail "the service is no longer enabled"
check "the configuration is the administrator's" grep --quiet '"package"' /etc/flawd/flawd.toml

step "removing it stops the service, and keeps configuration and state"
check "it is removed" apt-get remove --yes flawd
is ActiveState inactive
for kept in /etc/flawd/flawd.toml /var/lib/flawd/bundle/bundle.toml; do
    [ -e $kept ] || fail "$kept is gone"
done
[ ! -e /usr/bin/flawd ] || fail "the program is still there"

step "purging it leaves no file behind"
rm -r /etc/systemd/system/flawd.service.d /usr/local/lib/hang.so
check "it is purged" apt-get purge --yes flawd
files >/tmp/after
diff /tmp/before /tmp/after || fail "purging leaves files, or takes them away"

echo "package-test: ok in $SECONDS s"
