#!/usr/bin/env bash
# What a newcomer does, on a Debian that has nothing yet: `bare.sh 12` or `bare.sh 13` makes one with debootstrap,
# installs Go, git and make as the archive and its backports have them, clones HEAD there, and runs the README's
# two commands, or those TARGETs of make that are named. It lives in namespaces of its own and is gone afterwards;
# the packages stay in the cache. Needs root.
#
# It is entered with pivot_root: in a chroot the kernel refuses user namespaces, which tests ask for.
set -euo pipefail

usage() { echo "usage: bare.sh 12|13 [TARGET…]" >&2; exit 2; }
(($#)) || usage
case $1 in
12) suite=bookworm go="-t bookworm-backports golang-go" ;;
13) suite=trixie go=golang-go ;;
*) usage ;;
esac
debian=$1
shift
(($#)) || set -- demo test
((EUID == 0)) || { echo "bare.sh: making a Debian needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap >&2

tree=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ipiptrace/bare
mkdir -p "$cache"
root=$(mktemp -d "$cache/$debian.XXXXXX")
chmod 755 "$root"
trap 'rm -rf --one-file-system "$root"' EXIT

# The archive is the one that this machine's apt uses.
archive=$(apt-get indextargets --format '$(SITE)' | grep -v security | head -n 1)
security=$(apt-get indextargets --format '$(SITE)' | grep security | head -n 1)
[[ $archive ]] || { echo "bare.sh: apt knows no archive: run apt-get update" >&2; exit 1; }

echo "==> Debian $debian, bare" >&2
packages=$cache/$suite.tar
[[ -e $packages ]] || {
	debootstrap --variant=minbase --include=ca-certificates --make-tarball="$packages.new" "$suite" "$root/made" "$archive" >&2
	mv "$packages.new" "$packages"
	rm -rf "$root/made"
}
debootstrap --variant=minbase --include=ca-certificates --unpack-tarball="$packages" "$suite" "$root" "$archive" >/dev/null
{
	echo "deb $archive $suite main"
	echo "deb $archive $suite-backports main"
	[[ -z $security ]] || echo "deb $security $suite-security main"
} >"$root/etc/apt/sources.list"
# This machine's way to the network, and what it trusts there.
cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
git clone -q --bare "$tree" "$root/ipiptrace.git"

export DEBIAN_FRONTEND=noninteractive
inside() {
	cat <<-EOF
		set -eu
		root=$root
		mount --make-rprivate /
		mount --bind "\$root" "\$root"
		cd "\$root"
		mount -t proc proc proc
		mount --rbind /sys sys
		mount --rbind /dev dev
		mount -t tmpfs tmpfs tmp
		mkdir old
		pivot_root . old
		cd /
		umount -l /old
		rmdir /old
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends $go git make >/dev/null
		go version >&2
		git clone -q /ipiptrace.git /root/ipiptrace
		cd /root/ipiptrace
		for target; do
			echo "==> make \$target in Debian $debian" >&2
			make "\$target" TESTFLAGS="${TESTFLAGS-}" </dev/null
		done
	EOF
}
env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
	unshare --mount --pid --fork --kill-child sh -c "$(inside)" bare "$@"
echo "==> Debian $debian: make $* done" >&2
