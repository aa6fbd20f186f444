package render

import _ "embed" // for schema.json

//go:embed schema.json
var schema string

// Schema is the JSON Schema (draft 2020-12) of one line of JSON, of whatever command. It ends with a newline.
func Schema() string { return schema }
