#!/bin/sh
# Installs what a fresh Debian machine lacks, before anything that needs Node 24: the npm packages of the lock file
# (they bring Node 24 itself), then Debian packages for the groups named as arguments: lab, test, bench, faults, policy, map,
# vm, kubernetes, image, arm64.
# Silent and quick when all is there. A plain user is told what to install, and what works goes on.
set -eu
cd "$(dirname "$0")/.."
say() { echo "setup: $*" >&2; }

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "installing the npm packages of package-lock.json"
  npm ci --no-audit --no-fund --loglevel=error >&2
  touch node_modules/.package-lock.json
fi
# npm 9 (Debian 12's own) unpacks the package that holds Node 24 and does not link its program.
if [ ! -e node_modules/.bin/node ]; then
  for node in node_modules/node-linux-*/bin/node; do
    [ ! -x "$node" ] || ln -sf "../${node#node_modules/}" node_modules/.bin/node
  done
  [ -e node_modules/.bin/node ] || say "no Node 24 for $(uname -sm) came with npm ci: install Node 24 yourself"
fi

# One word per program: what to look for, a colon, the Debian package that has it.
lab='nft:nftables ip:iproute2 ping:iputils-ping arping:iputils-arping openssl:openssl'
vm='qemu-system-x86_64:qemu-system-x86 /boot/vmlinuz-*-amd64:linux-image-amd64 busybox:busybox-static modprobe:kmod'
kubernetes='runc:runc nft:nftables ip:iproute2 iptables:iptables conntrack:conntrack openssl:openssl
  curl:curl ping:iputils-ping sysctl:procps
  debootstrap:debootstrap /usr/lib/cni/loopback:containernetworking-plugins'
arm64='qemu-aarch64-static:qemu-user-static'
bench='/usr/lib/cni/ptp:containernetworking-plugins'
faults='sysctl:procps iptables:iptables conntrack:conntrack bridge:iproute2'
map='/usr/bin/chromium:chromium'
policy='iptables-nft-restore:iptables sysctl:procps'
test="kubectl:kubernetes-client bird:bird2 /usr/lib/frr/bgpd:frr gobgp:gobgpd bgpctl:openbgpd exabgp:exabgp $bench
  promtool:prometheus bgpdump:bgpdump pmbmpd:pmacct tcpdump:tcpdump conntrack:conntrack ps:procps podman:podman runc:runc
  NetworkManager:network-manager networkctl:systemd dbus-daemon:dbus-daemon"

# Programs are looked for where Debian puts them, as in lib/system-program.ts. The PATH that npm gives has
# node_modules/.bin first, where a dependency may have a program of the same name (`nft` of @vercel/nft).
PATH=/usr/sbin:/usr/bin:/sbin:/bin
present() {
  case $1 in
    /*) ls $1 >/dev/null 2>&1 ;; # unquoted: the name may be a pattern
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}
# Compiler and strip for both kinds of machine; Debian names its own compiler like a cross compiler too.
image='x86_64-linux-gnu-gcc:gcc-x86-64-linux-gnu aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu git:git'
case $(uname -m) in
  x86_64) image=$(echo "$image" | sed 's/gcc-x86-64-linux-gnu/gcc/') ;;
  aarch64) image=$(echo "$image" | sed 's/gcc-aarch64-linux-gnu/gcc/') ;;
esac

missing=
for group in "$@"; do
  case $group in
    lab) programs=$lab ;;
    test) programs=$test ;;
    bench) programs=$bench ;;
    policy) programs=$policy ;;
    faults) programs=$faults ;;
    map) programs=$map ;;
    vm) programs=$vm ;;
    kubernetes) programs=$kubernetes ;;
    image) programs=$image ;;
    arm64) programs=$arm64 ;;
    *) say "unknown group $group: give lab, test, bench, policy, map, vm, kubernetes, image or arm64"; exit 2 ;;
  esac
  set -f # a pattern in the list stays one until present() asks
  for pair in $programs; do
    set +f
    present "${pair%%:*}" || case " $missing " in *" ${pair#*:} "*) ;; *) missing="$missing ${pair#*:}" ;; esac
  done
  set +f
  # cni/plugin.c is compiled by a C compiler that is here; tcc is the smallest one, and has no assembler for arm64
  case $group:$(uname -m) in
    vm:* | image:* | arm64:*) ;;
    *:x86_64) present gcc || present clang || present cc || present tcc || missing="$missing tcc" ;;
    *) present gcc || present clang || present cc || missing="$missing gcc" ;;
  esac
done
case " $* " in *" test "*) [ -x .cache/bird3/bird ] || sh lab/bird3.sh || : ;; esac
[ -n "$missing" ] || exit 0

# The lab of a plain user needs nothing but this compiler: it is unpacked below .cache, where cni/compile.ts looks last.
unpack_tcc() {
  here=$PWD/.cache/tcc
  mkdir -p "$here/lists/partial" "$here/archives/partial" || return 1
  dirs="-o Dir::State=$here -o Dir::State::lists=$here/lists -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache=$here"
  apt-get -qq $dirs update && (cd "$here" && apt-get -qq $dirs download tcc && dpkg-deb -x tcc_*.deb .)
}
case "$missing " in
  *" tcc "*)
    if [ "$(id -u)" != 0 ] && [ ! -x .cache/tcc/usr/bin/tcc ] && command -v apt-get >/dev/null 2>&1; then
      say "unpacking the compiler tcc below .cache"
      unpack_tcc >/dev/null || say "apt-get could not fetch tcc"
    fi
    ;;
esac

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  say "missing:$missing. What needs these is left out or fails; on Debian, as root:"
  say "  apt-get install --no-install-recommends$missing"
  exit 0
fi

# The programs are wanted, not the services: a routing daemon must not start on the machine itself, now or at boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
say "installing with apt-get:$missing"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $missing; } >/dev/null || {
  say "apt-get could not install all of:$missing. What needs these fails; the rest goes on."
  exit 0
}
for service in bird frr gobgpd openbgpd exabgp prometheus; do
  case "$missing " in *" $service"*) systemctl disable --quiet "$service" 2>/dev/null || : ;; esac
done
case "$missing " in
  *" podman "*) systemctl disable --quiet podman.socket podman-restart podman-auto-update.timer 2>/dev/null || : ;;
esac
# it would take over the network of this machine at the next boot
case "$missing " in *" network-manager "*) systemctl mask --quiet NetworkManager 2>/dev/null || : ;; esac
