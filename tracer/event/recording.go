package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"
)

// RecordingVersion is the version of the format that this package writes, and the newest that it reads.
// A new key or a new place needs no new version, a changed meaning does.
const RecordingVersion = 1

// ErrTruncated says that a recording ends in the middle of a line: its writer was killed, or the disk was full.
var ErrTruncated = errors.New("the recording ends in the middle of a line")

// ErrNewer says that a recording was made by a newer ipiptrace, in a format that this one does not know.
var ErrNewer = errors.New("recorded by a newer ipiptrace")

// Compressed is the error of a file whose recording, if it is one, can't be read before it is unpacked.
type Compressed struct {
	// Form is zstd or gzip, Unpack the program that unpacks such a file to standard output.
	Form, Unpack string
}

func (c Compressed) Error() string { return "it is compressed (" + c.Form + ")" }

// compressions are the first bytes of compressed files (RFC 8878, RFC 1952).
var compressions = map[string]Compressed{"\x28\xb5\x2f\xfd": {"zstd", "zstdcat"}, "\x1f\x8b": {"gzip", "zcat"}}

// recordingHeader is the first line.
type recordingHeader struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	Run
}

// A Writer writes a recording: JSON, one line for the Run and then one for each event. Every line is one
// Write to the underlying writer, which may want a buffer.
type Writer struct {
	w    io.Writer
	line bytes.Buffer
	enc  *json.Encoder
}

// NewWriter begins a recording of a run. The error is the underlying writer's.
func NewWriter(w io.Writer, run Run) (*Writer, error) {
	out := &Writer{w: w}
	out.enc = json.NewEncoder(&out.line)
	out.enc.SetEscapeHTML(false)
	if err := out.writeLine(recordingHeader{Type: "recording", Version: RecordingVersion, Run: run}); err != nil {
		return nil, err
	}
	return out, nil
}

// Write adds an event. The error is the underlying writer's.
func (w *Writer) Write(e Event) error {
	return w.writeLine(encode(e))
}

func (w *Writer) writeLine(v any) error {
	w.line.Reset()
	if err := w.enc.Encode(v); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	if _, err := w.w.Write(w.line.Bytes()); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

// A Reader reads a recording.
type Reader struct {
	r    *bufio.Reader
	run  Run
	line int
	// buffer holds the line that was read last.
	buffer []byte
}

// NewReader reads the first line. It returns ErrNewer if the recording's version is not known, and a Compressed if it has
// to be unpacked first.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{r: bufio.NewReader(r)}
	for magic, c := range compressions {
		if head, _ := in.r.Peek(len(magic)); string(head) == magic { // an error comes again
			return nil, c
		}
	}
	line, err := in.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("read recording: it is empty")
	}
	if err != nil {
		return nil, err
	}
	if err := measure(line); err != nil {
		return nil, in.wrong(err)
	}
	var header recordingHeader
	if err := json.Unmarshal(line, &header); err != nil || header.Type != "recording" {
		// The version decides before the fields do: a newer one may have changed them.
		var kind struct {
			Type    string `json:"type"`
			Version int    `json:"version"`
		}
		if json.Unmarshal(line, &kind) != nil || kind.Type != "recording" {
			return nil, errors.New("read recording: line 1: this is not a recording of ipiptrace")
		}
		header.Version = kind.Version
		if header.Version <= RecordingVersion {
			return nil, in.wrong(err)
		}
	}
	if header.Version > RecordingVersion {
		return nil, fmt.Errorf("read recording: version %d, this ipiptrace reads up to %d: %w", header.Version, RecordingVersion, ErrNewer)
	}
	if header.Version < 1 {
		return nil, in.wrong(fmt.Errorf("version %d", header.Version))
	}
	if err := header.Run.check(); err != nil {
		return nil, in.wrong(err)
	}
	in.run = header.Run
	findPlaces(in.run.Probes)
	return in, nil
}

// recordingStart is how every recording of any version begins.
const recordingStart = `{"type":"recording",`

// IsRecording reports whether what is read begins as a recording does, of any version.
func IsRecording(r io.Reader) bool {
	head := make([]byte, len(recordingStart))
	n, _ := io.ReadFull(r, head) // what is shorter is none
	return string(head[:n]) == recordingStart
}

// findPlaces finds the place of each probe by its name.
func findPlaces(probes []Probe) {
	for i, p := range probes {
		probes[i].Place, _ = PlaceNamed(p.Name)
	}
}

// Run is the run that was recorded. The Place of each probe is found by its name.
func (r *Reader) Run() Run { return r.run }

// Events yields what was recorded, once: a second stream goes on where the first one stopped.
// A line that can't be read ends the stream with an error that names it; ErrTruncated if it is an unfinished last line.
func (r *Reader) Events() Stream {
	return func(yield func(Event, error) bool) {
		for {
			e, err := r.read()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (r *Reader) read() (Event, error) {
	line, err := r.next()
	truncated := errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !truncated {
		return Event{}, err
	}
	if err := measure(line); err != nil {
		return Event{}, r.wrong(err)
	}
	var rec record
	if err := json.Unmarshal(line, &rec); err != nil {
		if truncated {
			return Event{}, r.wrong(ErrTruncated)
		}
		return Event{}, r.wrong(err)
	}
	if cap(r.buffer) > maxEventLine {
		r.buffer = nil // its state is unpacked next, and the event has the text
	}
	e, err := rec.event()
	if err != nil {
		return Event{}, r.wrong(err)
	}
	if e.Kind != State && len(line) > maxEventLine {
		return Event{}, r.wrong(fmt.Errorf("longer than %d bytes", maxEventLine))
	}
	if err := e.check(); err != nil {
		return Event{}, r.wrong(err)
	}
	return e, nil
}

// Line is the number of the line that was read last, from 1.
func (r *Reader) Line() int { return r.line }

// next is the next line that is not empty, valid until the one after it is read; io.EOF after the last one, and
// io.ErrUnexpectedEOF with a last line that has no end.
func (r *Reader) next() ([]byte, error) {
	for {
		line, err := r.readLine()
		r.line++
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, r.wrong(err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if err != nil && r.line > 1 {
				return line, io.ErrUnexpectedEOF
			}
			return line, nil
		}
		if err != nil {
			return nil, io.EOF
		}
	}
}

// readLine is bufio's ReadBytes with a limit, in one buffer: a file that is no recording must not fill the memory.
func (r *Reader) readLine() ([]byte, error) {
	r.buffer = r.buffer[:0]
	for {
		part, err := r.r.ReadSlice('\n')
		r.buffer = append(r.buffer, part...)
		if len(r.buffer) > maxLine {
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return r.buffer, err
		}
	}
}

func (r *Reader) wrong(err error) error {
	return fmt.Errorf("read recording: line %d: %w", r.line, err)
}

// record is an Event as it is written. Addresses of memory and hashes are hexadecimal strings: many JSON
// readers keep no more than 53 bits of a number.
type record struct {
	Kind     string        `json:"k,omitzero"`
	Time     time.Duration `json:"t"`
	Place    string        `json:"p,omitzero"`
	First    bool          `json:"f,omitzero"`
	Reused   bool          `json:"re,omitzero"`
	Returned bool          `json:"r,omitzero"`
	Skb      address       `json:"s,omitzero"`
	Seen     time.Duration `json:"at,omitzero"`
	ID       address       `json:"i,omitzero"`
	Peer     address       `json:"pe,omitzero"`
	Netns    uint32        `json:"n,omitzero"`
	Ifindex  uint32        `json:"if,omitzero"`
	CPU      uint32        `json:"c,omitzero"`
	Value    int32         `json:"v,omitzero"`
	Aux      uint32        `json:"a,omitzero"`
	Packet   *packetRecord `json:"pk,omitempty"`
	Drop     *dropRecord   `json:"d,omitempty"`
	Count    uint64        `json:"ct,omitzero"`
	Totals   *Totals       `json:"to,omitempty"`

	Host   json.RawMessage `json:"h,omitempty"`
	Probes []Probe         `json:"pr,omitempty"`
}

type packetRecord struct {
	Dev      string        `json:"d,omitzero"`
	Outer    *headerRecord `json:"o,omitempty"`
	Inner    headerRecord  `json:"i"`
	Quoted   bool          `json:"q,omitzero"`
	FlowOnly bool          `json:"fl,omitzero"`
	HasPorts bool          `json:"hp,omitzero"`
	Options  bool          `json:"op,omitzero"`
	NoInner  bool          `json:"ni,omitzero"`
	SrcPort  uint16        `json:"sp,omitzero"`
	DstPort  uint16        `json:"dp,omitzero"`
	Seq      uint32        `json:"sq,omitzero"`
	Ack      uint32        `json:"ak,omitzero"`
	TCPFlags TCPFlags      `json:"tf,omitzero"`
	ICMPType uint8         `json:"it,omitzero"`
	ICMPCode uint8         `json:"ic,omitzero"`
	UDPLen   uint16        `json:"ul,omitzero"`
	Segments uint16        `json:"sg,omitzero"`
	SkbLen   uint32        `json:"l,omitzero"`
}

type headerRecord struct {
	Src      netip.Addr `json:"s"`
	Dst      netip.Addr `json:"d"`
	TTL      uint8      `json:"t,omitzero"`
	Protocol uint8      `json:"p,omitzero"`
	ID       uint16     `json:"i,omitzero"`
	Len      uint16     `json:"l,omitzero"`
	Frag     uint16     `json:"f,omitzero"`
	SrcPort  uint16     `json:"sp,omitzero"`
	DstPort  uint16     `json:"dp,omitzero"`
	FOU      bool       `json:"fou,omitzero"`
}

type dropRecord struct {
	Function string   `json:"f,omitzero"`
	Symbol   string   `json:"s,omitzero"`
	Reason   string   `json:"r,omitzero"`
	Stack    []string `json:"st,omitempty"`
}

// address is a number that is written in hexadecimal.
type address uint64

// MarshalText writes the number without 0x.
func (a address) MarshalText() ([]byte, error) {
	return strconv.AppendUint(nil, uint64(a), 16), nil
}

// UnmarshalText is the reverse of MarshalText.
func (a *address) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("%q is not a hexadecimal number of 64 bits", text)
	}
	*a = address(n)
	return nil
}

// kinds are the names of the kinds in a recording, by Kind; a sighting has none.
var kinds = []string{Sighting: "", Tick: "tick", Lost: "lost", End: "end", State: "state", Watch: "watch"}

func encode(e Event) record {
	return record{
		Kind: kinds[e.Kind], Time: e.Time, Place: e.Place.String(),
		First: e.First, Reused: e.Reused, Returned: e.Returned,
		Skb: address(e.Skb), Seen: e.Seen, ID: address(e.ID), Peer: address(e.Peer),
		Netns: e.Netns, Ifindex: e.Ifindex, CPU: e.CPU, Value: e.Value, Aux: e.Aux,
		Packet: encodePacket(e.Packet), Drop: (*dropRecord)(e.Drop), Count: e.Count, Totals: e.Totals,
		Host: e.Host, Probes: e.Probes,
	}
}

func encodePacket(p *Packet) *packetRecord {
	if p == nil {
		return nil
	}
	return &packetRecord{
		Dev: p.Dev, Outer: (*headerRecord)(p.Outer), Inner: headerRecord(p.Inner),
		Quoted: p.Quoted, FlowOnly: p.FlowOnly, HasPorts: p.HasPorts, Options: p.Options, NoInner: p.NoInner,
		SrcPort: p.SrcPort, DstPort: p.DstPort, Seq: p.Seq, Ack: p.Ack, TCPFlags: p.TCPFlags,
		ICMPType: p.ICMPType, ICMPCode: p.ICMPCode, UDPLen: p.UDPLen, Segments: p.Segments, SkbLen: p.SkbLen,
	}
}

func (r record) event() (Event, error) {
	e := Event{
		Time: r.Time, First: r.First, Reused: r.Reused, Returned: r.Returned,
		Skb: uint64(r.Skb), Seen: r.Seen, ID: uint64(r.ID), Peer: uint64(r.Peer),
		Netns: r.Netns, Ifindex: r.Ifindex, CPU: r.CPU, Value: r.Value, Aux: r.Aux,
		Packet: r.Packet.packet(), Drop: (*Drop)(r.Drop), Count: r.Count, Totals: r.Totals,
		Host: r.Host, Probes: r.Probes,
	}
	findPlaces(e.Probes)
	kind, err := kindNamed(r.Kind)
	if err != nil {
		return Event{}, err
	}
	e.Kind = kind
	if r.Place == "" {
		if kind == Sighting {
			return Event{}, errors.New("a sighting without a place")
		}
		return e, nil
	}
	place, ok := PlaceNamed(r.Place)
	if !ok {
		return Event{}, fmt.Errorf("place %q: %w", r.Place, ErrNewer)
	}
	e.Place = place
	return e, nil
}

func kindNamed(name string) (Kind, error) {
	for k, n := range kinds {
		if n == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("kind %q: %w", name, ErrNewer)
}

func (p *packetRecord) packet() *Packet {
	if p == nil {
		return nil
	}
	return &Packet{
		Dev: p.Dev, Outer: (*Header)(p.Outer), Inner: Header(p.Inner),
		Quoted: p.Quoted, FlowOnly: p.FlowOnly, HasPorts: p.HasPorts, Options: p.Options, NoInner: p.NoInner,
		SrcPort: p.SrcPort, DstPort: p.DstPort, Seq: p.Seq, Ack: p.Ack, TCPFlags: p.TCPFlags,
		ICMPType: p.ICMPType, ICMPCode: p.ICMPCode, UDPLen: p.UDPLen, Segments: p.Segments, SkbLen: p.SkbLen,
	}
}
