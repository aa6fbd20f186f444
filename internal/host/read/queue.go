package read

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"ipiptrace/internal/host"
)

// queues reads those of netfilter that programs read. The file is the module's: without it no program reads any.
func (r *reader) queues() error {
	text, err := os.ReadFile(r.files.net("netfilter/nfnetlink_queue"))
	if errors.Is(err, fs.ErrNotExist) {
		r.s.Queues = []host.Queue{}
		return nil
	}
	if err == nil {
		r.s.Queues, err = queuesOf(string(text))
	}
	return err
}

// queuesOf reads a line for each queue: its number, its reader, how many packets wait, what of them is copied and how
// many bytes, how many found the queue full, how many the reader's socket, and how many there were.
func queuesOf(text string) (all []host.Queue, err error) {
	all = []host.Queue{}
	for line := range strings.Lines(text) {
		var q host.Queue
		var mode, bytes uint64
		if _, err := fmt.Sscan(line, &q.Number, &q.Reader, &q.Waiting, &mode, &bytes, &q.Full, &q.Unsent); err != nil {
			return nil, fmt.Errorf("/proc/net/netfilter/nfnetlink_queue: %q is not understood", strings.TrimSpace(line))
		}
		all = append(all, q)
	}
	return all, nil
}
