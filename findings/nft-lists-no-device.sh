#!/usr/bin/env bash
# nft 1.0.6 leaves the device of a chain at ingress or egress out of its JSON, which libnftables-json(5) has as "dev"; its text
# has it. Whoever reads the JSON takes the chain for one that sees the packets of every device.
#
# ipiptrace asks the kernel for the devices where the list has none. Needs root, unshare and nft. It fails if the behaviour has
# changed.
set -euo pipefail
[[ ${1:-} == inside ]] || exec unshare -n "$0" inside
nft 'table netdev t { chain c { type filter hook ingress device lo priority 0; }; }'
nft --version
nft list table netdev t | grep 'device "lo"'
json=$(nft -j list table netdev t)
[[ $json == *'"hook": "ingress"'* && $json != *lo* ]]
echo 'as before: JSON does not say of which device the chain is'
