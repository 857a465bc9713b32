#!/bin/sh
# Makes .cache/bird3/bird, BIRD 3 of Debian 13, for tests on a Debian 12, which has BIRD 2 alone. Nothing is installed:
# apt-get checks the signatures of Debian 13 with lists and a sources file of its own, its packages are unpacked below
# .cache, and the program is started by that release's own loader and libraries. Needs no root. Exits with 1, and says
# why, where that cannot be done; the tests of BIRD 3 are skipped then.
set -eu
cd "$(dirname "$0")/.."
to=$PWD/.cache/bird3
[ ! -x "$to/bird" ] || exit 0
PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() { echo "setup: no BIRD 3, its tests are skipped: $*" >&2; exit 1; }
command -v apt-get >/dev/null 2>&1 || fail 'this is no Debian'

# What bird links to, and what that links to.
packages='bird3 libc6 libssh-4 libssl3t64 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 libkeyutils1
  zlib1g libzstd1'
mkdir -p .cache
new=$(mktemp -d "$PWD/.cache/bird3.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial" "$new/root"
# the mirror that this machine's own packages come from
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
  awk '$2 ~ /^(bookworm|trixie|oldstable|stable)$/ { print $1; exit }')
echo "deb ${mirror:-http://deb.debian.org/debian} trixie main" >"$new/apt/sources.list"
dirs="-o Dir::State=$new/apt -o Dir::State::lists=$new/apt/lists -o Dir::State::status=/dev/null -o Dir::Cache=$new/apt
  -o Dir::Etc::SourceList=$new/apt/sources.list -o Dir::Etc::SourceParts=/dev/null"
# apt-get's own user may not write in a folder of ours
quick='-o APT::Sandbox::User= -o Acquire::Languages=none -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20'
(cd "$new/apt" && apt-get -qq $dirs $quick update && apt-get -qq $dirs $quick download $packages) >"$new/apt/log" 2>&1 ||
  fail "apt-get: $(grep -m1 '^E: ' "$new/apt/log" || tail -n1 "$new/apt/log")"
for package in "$new"/apt/*.deb; do dpkg-deb -x "$package" "$new/root"; done
loader=$(cd "$new/root" && ls usr/lib/*/ld-linux-*.so.* | head -n1)
[ -n "$loader" ] || fail 'its libc6 has no loader'
cat >"$new/bird" <<END
#!/bin/sh
root='$to/root'
exec "\$root/$loader" --library-path "\$root/${loader%/*}" "\$root/usr/sbin/bird" "\$@"
END
chmod 755 "$new" "$new/bird"
rm -rf "$new/apt" "$new/root/usr/share"
rm -rf "$to"
mv "$new" "$to"
version=$("$to/bird" --version 2>&1) || { rm -rf "$to"; fail "it does not run here: $version"; }
