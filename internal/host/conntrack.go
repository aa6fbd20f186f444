package host

import (
	"net/netip"
	"sync"
)

// trackedFlow is one direction of a tracked connection.
type trackedFlow struct {
	proto    uint8
	src, dst netip.AddrPort
}

// trackedIndex finds a connection by either direction of it.
type trackedIndex struct {
	once  sync.Once
	flows map[trackedFlow]trackedAt
}

type trackedAt struct {
	conn int
	back bool
}

// Find is the entry to which a packet belongs, nil if there is none; back: the packet is an answer. Ports are 0 if the
// protocol has none.
func (c *Conntrack) Find(proto uint8, src, dst netip.AddrPort) (conn *Connection, back bool) {
	if c == nil {
		return nil, false
	}
	c.index.once.Do(func() {
		c.index.flows = make(map[trackedFlow]trackedAt, 2*len(c.Conns))
		for i, conn := range c.Conns {
			c.index.add(trackedFlow{conn.Proto, conn.From, conn.To}, trackedAt{i, false})
			c.index.add(trackedFlow{conn.Proto, conn.Back, conn.BackTo}, trackedAt{i, true})
		}
	})
	at, ok := c.index.flows[trackedFlow{proto, src, dst}]
	if !ok {
		return nil, false
	}
	return &c.Conns[at.conn], at.back
}

// add keeps the first one, as the kernel's table is read.
func (x *trackedIndex) add(f trackedFlow, at trackedAt) {
	if _, there := x.flows[f]; !there {
		x.flows[f] = at
	}
}
