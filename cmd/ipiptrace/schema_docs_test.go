package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ipiptrace/internal/render"
)

// TestDocsOfJSONAreTheSchemas: docs/json.md describes the fields in the words of the schema.
func TestDocsOfJSONAreTheSchemas(t *testing.T) {
	var schema struct {
		Defs json.RawMessage `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(render.Schema()), &schema); err != nil {
		t.Fatal(err)
	}
	defs := members[definition](t, schema.Defs)
	titles := map[string]string{}
	for _, d := range defs {
		titles["#/$defs/"+d.name] = d.value.Title
	}
	var b strings.Builder
	for _, d := range defs {
		if d.value.Title == "" {
			continue // a kind of value, not an object
		}
		fmt.Fprintf(&b, "\n### %s\n\n", d.value.Title)
		if d.value.Description != "" {
			fmt.Fprintf(&b, "%s\n\n", d.value.Description)
		}
		if d.value.Properties == nil {
			fmt.Fprintf(&b, "%s\n", d.value.values(titles))
			continue
		}
		b.WriteString("| field | value | what it says |\n| --- | --- | --- |\n")
		for _, p := range members[definition](t, d.value.Properties) {
			name := "`" + p.name + "`"
			if !strings.Contains(string(d.value.Required), `"`+p.name+`"`) {
				name += " ?"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, p.value.values(titles), p.value.Description)
		}
	}
	b.WriteString("\n")
	section(t, "json.md", "fields", b.String())
}

// definition is what the page says of a part of the schema.
type definition struct {
	Title, Description, Type string
	Ref                      string `json:"$ref"`
	Const                    any
	Enum                     []any
	Items                    *definition
	Required, Properties     json.RawMessage
}

// values are those that a field may have.
func (d definition) values(titles map[string]string) string {
	switch title := titles[d.Ref]; {
	case d.Const != nil:
		return fmt.Sprintf("`%v`", d.Const)
	case d.Enum != nil:
		words := make([]string, len(d.Enum))
		for i, word := range d.Enum {
			words[i] = fmt.Sprintf("`%v`", word)
		}
		return strings.Join(words, " ")
	case title != "":
		return fmt.Sprintf("[%s](#%s)", strings.ToLower(title), anchor(title))
	case d.Ref != "":
		return strings.TrimPrefix(d.Ref, "#/$defs/")
	case d.Items != nil:
		return "list of " + d.Items.values(titles)
	}
	return d.Type
}

// anchor is how GitHub links to a heading.
func anchor(title string) string {
	title = strings.ReplaceAll(strings.ToLower(title), " ", "-")
	return strings.ReplaceAll(title, "'", "")
}

// member is a member of a JSON object.
type member[T any] struct {
	name  string
	value T
}

// members of a JSON object, in their order.
func members[T any](t *testing.T, object json.RawMessage) (all []member[T]) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	_, err := dec.Token()
	for err == nil && dec.More() {
		var name json.Token
		var m member[T]
		if name, err = dec.Token(); err == nil {
			m.name = name.(string)
			err = dec.Decode(&m.value)
			all = append(all, m)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}
