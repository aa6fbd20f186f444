package host

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// TestNoAddressOfASnapshotHasAZone puts a zone into every address that a snapshot can hold, one at a time.
func TestNoAddressOfASnapshotHasAZone(t *testing.T) {
	var whole Snapshot
	addrs := fill(reflect.ValueOf(&whole).Elem())
	if len(addrs) < 15 {
		t.Fatalf("only %d addresses were found", len(addrs))
	}
	parse := func() error {
		data, err := json.Marshal(&whole)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(data)
		return err
	}
	if err := parse(); err != nil {
		t.Fatalf("without a zone: %v", err)
	}
	zoned := netip.MustParseAddr("fe80::1%a; touch x")
	for i, v := range addrs {
		before := v.Interface()
		if v.Type() == reflect.TypeFor[netip.Addr]() {
			v.Set(reflect.ValueOf(zoned))
		} else {
			v.Set(reflect.ValueOf(netip.AddrPortFrom(zoned, 80)))
		}
		if err := parse(); err == nil || !strings.Contains(err.Error(), "has a zone") {
			t.Errorf("address %d: %v", i, err)
		}
		v.Set(reflect.ValueOf(before))
	}
}

// fill gives every list one element and every address a value, and returns the addresses.
func fill(v reflect.Value) (addrs []reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if v.Type() == reflect.TypeFor[[]json.RawMessage]() {
			v.Index(0).SetBytes([]byte("{}"))
			return nil
		}
		return fill(v.Index(0))
	case reflect.Struct:
		switch v.Interface().(type) {
		case netip.Addr, netip.AddrPort:
			return []reflect.Value{v}
		case netip.Prefix:
			return nil
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				addrs = append(addrs, fill(v.Field(i))...)
			}
		}
	}
	return addrs
}

func TestASnapshotThatCanNotBeIsRefused(t *testing.T) {
	for _, text := range []string{
		`{"neighbours":[{"addr":"10.0.0.1 dev x"}]}`, `{"neighbours":[{"addr":"web.example"}]}`,
		`{"addrs":[{"prefix":"fe80::1%x/64"}]}`, `{"netns":-1}`, `{"conntrack":{"more_conns":-1}}`, `[]`, `7`, `"x"`,
		`{"rules":[` + strings.Repeat("{},", 1<<13) + `{}],"routes":[` + strings.Repeat("{},", 1<<11) + `{}]}`,
	} {
		if s, err := Parse([]byte(text)); err == nil {
			t.Errorf("%.80s: %d rules", text, len(s.Rules))
		}
	}
}
