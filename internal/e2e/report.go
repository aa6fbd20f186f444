package main

import (
	"fmt"
	"strings"
)

// report prints checks as they end and counts them.
type report struct{ passed, failed int }

func (r *report) check(name string, err error) {
	if err == nil {
		r.passed++
		fmt.Printf("--- PASS: %s\n", name)
		return
	}
	r.failed++
	fmt.Printf("--- FAIL: %s\n", name)
	r.note("%s", strings.ReplaceAll(err.Error(), "\n", "\n    "))
}

func (r *report) note(format string, args ...any) { fmt.Printf("    "+format+"\n", args...) }

// end is the exit status. That nothing was checked is a failure.
func (r *report) end() int {
	if r.failed > 0 || r.passed == 0 {
		fmt.Printf("FAIL: %d passed, %d failed\n", r.passed, r.failed)
		return 1
	}
	fmt.Printf("PASS: %d passed\n", r.passed)
	return 0
}
