package host

// NftTable is a table of nftables, of every family that this namespace has.
type NftTable struct {
	// Family is "ip", "inet", "netdev", "bridge", "arp" or "ip6".
	Family string     `json:"family"`
	Name   string     `json:"name"`
	Handle uint64     `json:"handle,omitempty"`
	Chains []NftChain `json:"chains,omitempty"`
	Sets   []NftSet   `json:"sets,omitempty"`
	// Dormant tables are not evaluated.
	Dormant bool `json:"dormant,omitempty"`
	// IPTables: the rules are iptables-nft's.
	IPTables bool `json:"iptables,omitempty"`
}

// NftChain is a chain; one with a Hook is a base chain.
type NftChain struct {
	Name   string `json:"name"`
	Handle uint64 `json:"handle,omitempty"`
	// Hook is "ingress", "prerouting", "input", "forward", "output", "postrouting", "egress".
	Hook     string    `json:"hook,omitempty"`
	Type     string    `json:"type,omitempty"`
	Priority int32     `json:"priority,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Devices  []string  `json:"devices,omitempty"`
	Rules    []NftRule `json:"rules,omitempty"`
}

// NftRule is a rule: its expressions in order, as the kernel evaluates them.
type NftRule struct {
	Handle uint64 `json:"handle"`
	// Number counts the rules of the chain from 1, for iptables-nft's -D.
	Number int       `json:"number,omitempty"`
	Text   string    `json:"text,omitempty"`
	Exprs  []NftExpr `json:"exprs,omitempty"`
}

// NftExpr is one expression. Attrs that Name does not have are empty; a Name that nobody here knows stays
// visible, with Unknown set.
type NftExpr struct {
	Name    string `json:"name"`
	Unknown bool   `json:"unknown,omitempty"`
}

// NftSet is a set, map or verdict map.
type NftSet struct {
	Name   string `json:"name"`
	Handle uint64 `json:"handle,omitempty"`
}

// LegacyTable is a table of iptables-legacy.
type LegacyTable struct {
	Name string `json:"name"`
}
