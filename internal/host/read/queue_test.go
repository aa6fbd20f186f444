package read

import (
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

func TestQueuesAreRead(t *testing.T) {
	got, err := queuesOf("    7   1234     3 2 65531     4     5      120  1\n   10 4294963  0 1     0     0     0        0  1\n")
	want := []host.Queue{{Number: 7, Reader: 1234, Waiting: 3, Full: 4, Unsent: 5}, {Number: 10, Reader: 4294963}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := queuesOf("no number\n"); err == nil {
		t.Error("what is no line of it was taken for one")
	}
}
