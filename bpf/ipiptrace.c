// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The kernel half of ipiptrace: only includes, in the order in which a packet meets them. */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "event.h"
#include "config.h"
#include "maps.h"
#include "track.h"
#include "emit.h"
#include "known.h"

#include "device.h"
#include "ip.h"
#include "netfilter.h"
#include "socket.h"
#include "route.h"
#include "drop.h"
#include "multi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Nobody reads these. They put the types of the contract into the object's BTF: tests compare them with Go's. */
const struct packet_record *packet_record_type;
const struct drop_record *drop_record_type;
const enum place *place_type;
const enum event_flag *event_flag_type;
const enum section_type *section_type_type;
const enum packet_flag *packet_flag_type;
const enum ip_vs_method *ip_vs_method_type;
const enum tcp_refusal *tcp_refusal_type;
const enum nft_decides *nft_decides_type;
