package command

import (
	"fmt"
	"regexp"
	"strconv"
)

// FilterHandle is the kind and the handle of a tc filter, as tc writes them; u32's is that of its table, its bucket and
// its key (TC_U32_HTID).
func FilterHandle(kind, handle string) Part {
	n, err := strconv.ParseUint(handle, 0, 32)
	of := OneOf("the kind of the filter", kind, "u32", "flower", "matchall", "bpf", "basic", "fw", "flow", "cgroup", "route")
	switch {
	case err != nil:
		return unsaid("the filter has no handle")
	case kind != "u32":
		return Say("handle").And(said(fmt.Sprintf("%#x", n)), of)
	}
	bucket := ""
	if b := n >> 12 & 0xff; b != 0 {
		bucket = strconv.FormatUint(b, 16)
	}
	return Say("handle").And(said(fmt.Sprintf("%x:%s:%x", n>>20, bucket, n&0xfff)), of)
}

var classID = regexp.MustCompile(`^[0-9a-f]{1,4}:[0-9a-f]{0,4}$`)

// Class is the number of a class, or of a queueing discipline: "1:10", "1:".
func Class(number string) Part {
	if !classID.MatchString(number) {
		return unsaid("the number of the class is none")
	}
	return said(number)
}
