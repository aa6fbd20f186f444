#!/usr/bin/env bash
# nft 1.0.6, asked for two sets in one run, finds only the last one: the first is "No such file or directory", and so
# nothing is listed at all. Each of them alone is listed. (The cache of sets is filtered by the last command.)
#
# ipiptrace asks for each set by a run of its own. Needs root (a network namespace of its own) and apt. It fails if the
# behaviour has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir"
packages=(libnftnl11=1.2.4-2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
apt-get download -q "${packages[@]}" >/dev/null || { echo "Debian 12 has not these packages any more: ${packages[*]}" >&2; exit 2; }
for deb in *.deb; do dpkg -x "$deb" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu

cat >try.sh <<'E2'
nft=root/usr/sbin/nft
$nft 'add table ip t; add set ip t a { type inet_service; }; add set ip t b { type inet_service; }'
for command in 'list set ip t a' 'list set ip t b' 'list set ip t a; list set ip t b'; do
	echo "$command: $($nft "$command" 2>&1 | grep -cE '^	set') listed"
	$nft "$command" 2>&1 | grep -o 'No such file or directory' || true
done
E2
unshare -n bash try.sh | tee seen
diff seen - <<'E2'
list set ip t a: 1 listed
list set ip t b: 1 listed
list set ip t a; list set ip t b: 0 listed
No such file or directory
E2
echo "as before: of two sets the first is not found"
