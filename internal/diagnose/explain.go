package diagnose

import (
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

// Explain finds the cause of a lost journey. s is the state of the namespace in which it was lost, read after the
// loss; nil if it was not read.
func Explain(j journey.Journey, s *host.Snapshot) Verdict {
	return Verdict{Journey: j, Cause: &Cause{Code: "unknown", Certainty: NotKnown}}
}
