#!/bin/sh
# Which Go builds this tree. Prints what GOTOOLCHAIN has to be: "local" where this machine's Go is as new as
# go.mod asks, "auto" where it can fetch that one itself, as Go does since 1.21. Where neither is so it says in
# one line which Go is needed and where it comes from, and fails.
set -u
need=$(sed -n 's/^go //p' "$(dirname "$0")/../../go.mod")

newer() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$1" ]; }

lacking() {
	echo "building needs Go $need, or Go 1.21 and newer, which fetches it: $1; $(where)" >&2
	exit 1
}

# Debian 12's own Go is 1.19, its backports have 1.23; Debian 13's is 1.24.
where() {
	id='' codename=''
	[ ! -r /etc/os-release ] || { id=$(. /etc/os-release && echo "${ID-}") codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}"); }
	case $id-$codename in
	debian-bookworm) echo "it is in bookworm-backports: apt-get install -t bookworm-backports golang-go" ;;
	debian-*) echo "install it with: apt-get install golang-go" ;;
	*) echo "it comes from https://go.dev/dl/" ;;
	esac
}

have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || have=
have=${have#go}
have=${have%% *}
if [ -z "$have" ]; then
	lacking "this machine has no go in PATH"
elif newer "$have" "$need"; then
	echo local
elif newer "$have" 1.21; then
	echo auto
else
	lacking "this machine's is $have"
fi
