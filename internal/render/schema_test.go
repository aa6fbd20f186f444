package render

import (
	"encoding/json"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/doctor"
	"ipiptrace/tracer/event"
)

// described is what this test reads of a part of the schema.
type described struct {
	Ref         string               `json:"$ref"`
	Description string               `json:"description"`
	Type        string               `json:"type"`
	Const       any                  `json:"const"`
	Enum        []any                `json:"enum"`
	Required    []string             `json:"required"`
	Properties  map[string]described `json:"properties"`
	Defs        map[string]described `json:"$defs"`
}

// written are the structs behind the schema's objects.
var written = map[string]any{
	"journey": jsonJourney{}, "outer": jsonOuter{}, "inner": jsonInner{}, "step": jsonStep{}, "drop": jsonDrop{},
	"reject": jsonReject{}, "rule": diagnose.Rule{}, "cause": diagnose.Cause{}, "next": diagnose.Next{}, "notice": jsonNotice{},
	"account": jsonAccount{}, "probes": jsonProbes{}, "skipped": jsonSkipped{}, "loss": jsonLoss{},
	"seen": jsonSeen{}, "destination": jsonDestination{},
	"probe": struct {
		Type string `json:"type"`
		event.Probe
	}{},
	"finding": jsonFinding{}, "report": jsonReport{}, "check": jsonCheck{}, "unasked": jsonUnasked{}, "summary": jsonSummary{}, "watched": jsonWatched{}, "facts": doctor.Facts{}, "sending": doctor.Sending{}, "source": doctor.Source{}, "mtu": doctor.MTU{},
	"explanation": struct {
		Type string `json:"type"`
		diagnose.Doc
	}{},
}

// elsewhere are the objects whose struct is another package's own: cmd/ipiptrace compares what it prints.
var elsewhere = []string{"lab"}

func TestSchemaHasTheFieldsOfTheStructs(t *testing.T) {
	var all described
	if err := json.Unmarshal([]byte(Schema()), &all); err != nil {
		t.Fatal(err)
	}
	for name, def := range all.Defs {
		s, ok := written[name]
		switch {
		case def.Properties == nil || slices.Contains(elsewhere, name):
			continue
		case !ok:
			t.Errorf("%s: no struct is written so", name)
			continue
		}
		fields := fieldsOf(reflect.TypeOf(s))
		if got, want := slices.Sorted(maps.Keys(def.Properties)), slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, the struct %v", name, got, want)
		}
		for field, f := range fields {
			p := def.Properties[field]
			if p.Description == "" && p.Const == nil {
				t.Errorf("%s.%s is not described", name, field)
			}
			if got := slices.Contains(def.Required, field); got == f.optional {
				t.Errorf("%s.%s is required: %v, may be left out: %v", name, field, got, f.optional)
			}
			if got := typeOf(all.Defs, p); got != f.json {
				t.Errorf("%s.%s is %q, the struct's is written as %q", name, field, got, f.json)
			}
		}
	}
}

// field is how a struct's field is written.
type field struct {
	json     string
	optional bool
}

func fieldsOf(t reflect.Type) map[string]field {
	fields := map[string]field{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			maps.Copy(fields, fieldsOf(f.Type))
		case name != "-":
			fields[name] = field{jsonType(f.Type), strings.Contains(options, "omit")}
		}
	}
	return fields
}

func jsonType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[netip.Addr]():
		return "string"
	case t.Kind() == reflect.Pointer:
		return jsonType(t.Elem())
	case t.Kind() == reflect.Slice:
		return "array"
	case t.Kind() == reflect.Struct:
		return "object"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.String:
		return "string"
	}
	return "integer"
}

// typeOf follows a reference, and takes a constant for what it is.
func typeOf(defs map[string]described, p described) string {
	if p.Ref != "" {
		return typeOf(defs, defs[strings.TrimPrefix(p.Ref, "#/$defs/")])
	}
	if p.Type != "" {
		return p.Type
	}
	for _, v := range append(p.Enum, p.Const) {
		switch v.(type) {
		case string:
			return "string"
		case bool:
			return "boolean"
		}
	}
	return ""
}
