package tiering

// A segment of a log that is written to fast is closed again and again, often together with those of
// other partitions. Uploads that are as fast as they can be take all processors then for some hundred
// milliseconds, and producers wait for their turn. So a segment goes up not much faster than it was
// filled.

const (
	// paceAhead is how much faster a segment goes up than it was filled: fast enough to be done before
	// the next one is closed, also after a pause.
	paceAhead = 1.5
	// paceLeast is the least bytes a second that an upload is held to: at this rate nobody feels it.
	paceLeast = 64 << 20
	// pacedWaiting is how many closed segments of a partition may wait. More have to be made good for,
	// as fast as it goes.
	pacedWaiting = 2
)

// paceOf is how many bytes a second the upload of a segment sends at most, of so many that wait; 0:
// as many as it can.
func (p *partition) paceOf(s closedSegment, waiting int) int64 {
	since := s.since()
	if waiting > pacedWaiting || since.IsZero() || p.overdue(p.m.o.Now()) > 0 {
		return 0
	}
	filled := p.m.o.Now().Sub(since).Seconds()
	if filled <= 0 {
		return 0
	}
	return max(int64(paceAhead*float64(s.bytes)/filled), paceLeast)
}
