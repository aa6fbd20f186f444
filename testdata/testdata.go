// Package testdata gives the tests in guests, which have no files of this repository, what they compare with.
package testdata

import "embed"

// Verdicts are what ipiptrace says of each scenario, on every kernel: <scenario>/verdict.golden.
//
//go:embed */verdict.golden
var Verdicts embed.FS
