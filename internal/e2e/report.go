package main

import (
	"fmt"
	"strings"
	"time"
)

// report prints checks as they end and counts them.
type report struct {
	passed, failed int
	// verdicts are those on lost packets, and doubtful those of them that were uncertain or did not come, since the kernel
	// had missed a probe.
	verdicts, doubtful int
	// explaining is how long the commands of explain's pages have taken.
	explaining time.Duration
}

// explain is a check of what a page of explain says.
func (r *report) explain(name string, check func() error) {
	began := time.Now()
	r.check(name, check())
	r.explaining += time.Since(began)
}

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

// seldom, one in so many, a verdict may be doubtful; one may be at least.
const seldom = 50

// gaps checks that few verdicts were doubtful.
func (r *report) gaps() {
	if r.verdicts == 0 {
		return
	}
	r.note("%d of %d verdicts had gaps", r.doubtful, r.verdicts)
	var err error
	if r.doubtful > max(1, r.verdicts/seldom) {
		err = fmt.Errorf("more than one in %d", seldom)
	}
	r.check("gaps", err)
}

// end is the exit status. That nothing was checked is a failure.
func (r *report) end() int {
	if r.failed > 0 || r.passed == 0 {
		fmt.Printf("FAIL: %d passed, %d failed\n", r.passed, r.failed)
		return 1
	}
	fmt.Printf("PASS: %d passed\n", r.passed)
	return 0
}
