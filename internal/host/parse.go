package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
)

// Parse reads a Snapshot as JSON that anybody may have written. It refuses an address with a zone (RFC 4007), which may
// be any text: what is read of the kernel has none.
func Parse(data []byte) (*Snapshot, error) {
	s := new(Snapshot)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, err
	}
	if s.Conntrack != nil && s.Conntrack.MoreConns < 0 || s.IPVS != nil && s.IPVS.MoreConns < 0 {
		return nil, errors.New("a negative number of connections")
	}
	if zoned, ok := findZone(reflect.ValueOf(s)); ok {
		return nil, fmt.Errorf("the address %q has a zone", zoned)
	}
	if len(s.Rules)*len(s.Routes) > maxSteps {
		return nil, errors.New("too many routing rules and routes")
	}
	slices.SortStableFunc(s.Rules, byPriority) // once, not for each route that is looked up
	return s, nil
}

// maxSteps bounds the steps of a route's lookup: each rule may cost a look at every route. That leaves room for 16 rules on a
// router with all routes of the Internet, and for 16,000 routes on a host with a thousand containers.
const maxSteps = 1 << 24

// findZone is the first address with a zone in a value, if there is one.
func findZone(v reflect.Value) (zoned string, ok bool) {
	switch v.Kind() {
	case reflect.Pointer:
		return findZone(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return "", false // JSON that is kept as text
		}
		for i := range v.Len() {
			if zoned, ok = findZone(v.Index(i)); ok {
				return zoned, true
			}
		}
	case reflect.Struct:
		switch v.Type() {
		case reflect.TypeFor[netip.Addr]():
			addr := v.Interface().(netip.Addr)
			return addr.String(), addr.Zone() != ""
		case reflect.TypeFor[netip.AddrPort]():
			addr := v.Interface().(netip.AddrPort).Addr()
			return addr.String(), addr.Zone() != ""
		}
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			if zoned, ok = findZone(v.Field(i)); ok {
				return zoned, true
			}
		}
	}
	return "", false
}
