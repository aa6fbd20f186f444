package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/render"
	"ipiptrace/tracer/event"
)

// replayed are the journeys that `replay -o json` prints of a recording.
func replayed(run event.Run, events event.Stream) ([]line, error) {
	var b bytes.Buffer
	out := render.NewJSON(&b)
	assembler, inquiry := journey.New(journey.Options{Run: run}), diagnose.NewInquiry()
	show := func(verdicts []diagnose.Verdict) (err error) {
		for _, v := range verdicts {
			if err = out.Journey(v); err != nil {
				break
			}
		}
		return err
	}
	for m, err := range assembler.Assemble(events) {
		switch {
		case err != nil:
		case m.Last:
			err = show(append(inquiry.End(m.Ended), inquiry.Finish()...))
		default:
			err = show(inquiry.Add(m.Event, m.Ended))
		}
		if err != nil {
			return nil, err
		}
	}
	return journeysOf(b.Bytes())
}

// journeysOf are the journeys of a run's JSON.
func journeysOf(out []byte) (journeys []line, err error) {
	for raw := range bytes.Lines(out) {
		j := line{raw: string(raw)}
		if err := json.Unmarshal(raw, &j); err != nil {
			return nil, fmt.Errorf("%w: %s", err, raw)
		}
		if j.Type == "journey" {
			journeys = append(journeys, j)
		}
	}
	return journeys, nil
}
