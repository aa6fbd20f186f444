package host

import (
	"reflect"
	"testing"
)

// TestEveryFieldIsOfAPart: a part that Only does not know would be hidden from every check.
func TestEveryFieldIsOfAPart(t *testing.T) {
	var s Snapshot
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue // made of a part
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.Bool:
			f.SetBool(true)
		}
	}
	s.Unread = nil
	var all []Part
	for p := range takes {
		all = append(all, p)
	}
	own := reflect.ValueOf(s.Only(all...)).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).Kind() != reflect.Struct && name != "Unread" && v.Field(i).IsZero() != own.Field(i).IsZero() {
			t.Errorf("%s is of no part", name)
		}
	}
}
