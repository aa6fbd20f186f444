package ruleset

// run runs the hooks that lead to the packet's own, and that.
func (e *evaluation) run() {
	own := e.p
	e.come()
	e.p, e.through = own, false
	e.hook()
}

// come runs the hooks that the packet has come through. What its header was there is not known where it may have been
// changed since; what rules have changed for certain is known for the packet as it is.
func (e *evaluation) come() {
	own := e.p
	altered := e.rules.alters(own, e.tracked)
	if own.OIF != "" && own.OIF == own.IIF { // it may have been bridged, and not routed
		altered.change("ttl")
	}
	through := func(f effects) {
		f.mark, f.marked = own.Mark, own.Marked
		e.effects, e.through = f, true
		for _, hook := range own.before() {
			e.p = own.at(hook)
			if hook == "output" && (altered.natted || e.rules.reroutes()) {
				e.p.OIF = "" // it had another route (ip_route_me_harder)
			}
			e.hook()
		}
	}
	if !altered.natted && len(altered.changed) == 0 {
		through(effects{})
		return
	}
	watch := e.watch
	e.watch = watcher{}
	through(effects{})
	header := e.effects
	e.watch = watch
	through(altered)
	e.natted, e.changed = header.natted, header.changed
}

// at is the packet at a hook that it has come through.
func (p Packet) at(hook string) Packet {
	early := hook == "ingress" || hook == "prerouting"
	if early && p.Hook != hook && p.OIF != "" && !p.Bridged && p.Over == "" {
		p.TTL++ // ip_forward has taken one
	}
	p.ByNfTables, p.Hook = p.ByNfTables && p.Hook == hook, hook
	switch {
	case early:
		p.OIF = ""
	case hook == "output":
		p.IIF = ""
	}
	return p
}

// before are the hooks that a packet has come through.
func (p Packet) before() []string {
	switch {
	case p.ARP != nil:
	case p.Bridged && p.Over != "" && p.Hook == "postrouting":
		return []string{"prerouting", "forward"}
	case !p.Bridged && p.Over != "" && p.Hook == "prerouting": // the family netdev sees ports
		return nil
	case !p.Bridged && p.Over != "" && p.Hook == "postrouting":
		return []string{"prerouting", "forward"}
	case p.Bridged && (p.Hook == "input" || p.Hook == "forward"):
		return []string{"prerouting"}
	case p.Hook == "prerouting" && !p.Bridged:
		return []string{"ingress"}
	case p.Hook == "input", p.Hook == "forward":
		return []string{"ingress", "prerouting"}
	case p.Hook == "postrouting" && p.IIF != "":
		return []string{"ingress", "prerouting", "forward"}
	case p.Hook == "postrouting":
		return []string{"output"}
	case p.Hook == "egress" && p.IIF != "":
		return []string{"ingress", "prerouting", "forward", "postrouting"}
	case p.Hook == "egress":
		return []string{"output", "postrouting"}
	}
	return nil
}
