package tiering

// A log with a high write rate closes segment after segment, often at the same time as other
// partitions. Uploads at full speed would then take all processors for some hundred milliseconds,
// and producers would wait. So a segment is uploaded only a little faster than it was filled.

const (
	// paceAhead is how much faster a segment is uploaded than it was filled: fast enough to end
	// before the next one is closed, even after a pause.
	paceAhead = 1.5
	// paceLeast is the lowest limit of an upload, in bytes a second: an upload at this rate
	// disturbs no producer.
	paceLeast = 64 << 20
	// pacedWaiting is how many closed segments of a partition may wait while uploads are paced.
	// With more the partition is behind, and uploads at full speed.
	pacedWaiting = 2
)

// paceOf returns the upload limit of a segment in bytes a second, when so many of the partition's
// segments wait; 0: no limit.
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
