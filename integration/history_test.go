package integration

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// history records what clients did to the partitions of a topic and what answers they got: appended
// records, numbered by their producer, and records that were read. check compares it with the model
// of a partition: one log that grows at its end.
//
// The model is linearizability, decided by a greedy pass instead of a search
// (github.com/anishathalye/porcupine). The search keeps the set of completed operations for every
// state that it visits. Its memory is quadratic in the operations: a gigabyte for 100,000 records,
// and a nemesis test that runs for hours creates millions. The search is not needed here. An append
// returns its offset, so the appends can have happened only in the order of the offsets. It remains
// to decide whether points in time exist for that order (see inTime). An append that failed may
// have happened, once; the log shows whether it did. TestCheckerAgreesWithPorcupine has both decide
// the same small histories.
//
// Several goroutines may add to a history. check must be called after they have ended.
type history struct {
	began time.Time

	mu         sync.Mutex
	partitions map[int32]*partitionHistory
}

// instant is the time since the history began, in nanoseconds. never stands for a time that did not
// occur.
type instant int64

const never instant = math.MaxInt64

// recordID is the content of a record: its producer, and its number among that producer's records
// in the partition.
type recordID struct{ producer, number int }

func (id recordID) String() string {
	return fmt.Sprintf("record %d of producer %d", id.number, id.producer)
}

// appended is one append.
type appended struct {
	id        recordID
	call, ret instant // ret is never if the append failed: it may then take effect at any time
	offset    int64   // if it did not fail
}

// seen is a record that was read, and the time when it was first read.
type seen struct {
	id recordID
	at instant
}

type partitionHistory struct {
	appends []appended
	reads   map[int64]seen
	broken  []error // violations that were evident when they were added
}

func newHistory() *history {
	return &history{began: time.Now(), partitions: map[int32]*partitionHistory{}}
}

func (h *history) now() instant { return instant(time.Since(h.began)) }

// partition returns the history of a partition. The caller must hold the mutex.
func (h *history) partition(p int32) *partitionHistory {
	if h.partitions[p] == nil {
		h.partitions[p] = &partitionHistory{reads: map[int64]seen{}}
	}
	return h.partitions[p]
}

// append adds an append that began at call and ends now. err is set if it failed.
func (h *history) append(p int32, id recordID, call instant, offset int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := appended{id: id, call: call, ret: h.now(), offset: offset}
	if err != nil {
		a.ret, a.offset = never, -1
	}
	part := h.partition(p)
	part.appends = append(part.appends, a)
}

// read adds a record that was read. A reader reads consecutive offsets: next is the one that it
// should have read, or -1 for any.
func (h *history) read(p int32, id recordID, offset, next int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	part := h.partition(p)
	if next >= 0 && offset != next {
		part.broken = append(part.broken, fmt.Errorf("a reader that was at offset %d was given offset %d", next, offset))
	}
	switch before, again := part.reads[offset]; {
	case !again:
		part.reads[offset] = seen{id, h.now()}
	case before.id != id:
		part.broken = append(part.broken, fmt.Errorf("offset %d was read as %v and as %v", offset, before.id, id))
	}
}

// acknowledged counts the appends that did not fail: all of them, and those of the partition with
// the fewest.
func (h *history) acknowledged() (all, fewest int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fewest = math.MaxInt
	for _, p := range h.partitions {
		n := p.acknowledged()
		all, fewest = all+n, min(fewest, n)
	}
	return all, fewest
}

// acknowledgedOf counts the appends to one partition that did not fail.
func (h *history) acknowledgedOf(p int32) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.partition(p).acknowledged()
}

func (p *partitionHistory) acknowledged() (n int) {
	for _, a := range p.appends {
		if a.ret != never {
			n++
		}
	}
	return n
}

// resumed returns how long after an instant the first append was acknowledged that had begun after
// it, among the producers that are counted. It returns false if there was none.
func (h *history) resumed(p int32, since instant, counted func(producer int) bool) (after time.Duration, yes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := never
	for _, a := range h.partition(p).appends {
		if a.call >= since && counted(a.id.producer) {
			first = min(first, a.ret)
		}
	}
	return time.Duration(first - since), first != never
}

// check compares the history with the final logs by partition, each from offset 0. It returns the
// violations.
func (h *history) check(logs map[int32][]recordID) error { return h.checkFrom(nil, logs) }

// checkFrom is check for logs that start at other offsets because earlier records were legitimately
// deleted.
func (h *history) checkFrom(starts map[int32]int64, logs map[int32][]recordID) error {
	var all []error
	for _, p := range slices.Sorted(maps.Keys(h.partitions)) {
		if err := h.partitions[p].checkFrom(starts[p], logs[p]); err != nil {
			all = append(all, fmt.Errorf("partition %d:\n%w", p, err))
		}
	}
	return errors.Join(all...)
}

func (p *partitionHistory) check(log []recordID) error { return p.checkFrom(0, log) }

// checkFrom checks the model of one partition, whose log starts at an offset. It returns at most
// ten violations.
func (p *partitionHistory) checkFrom(start int64, log []recordID) error {
	found := slices.Clone(p.broken)
	wrong := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	calls := map[recordID]appended{}
	for _, a := range p.appends {
		calls[a.id] = a
	}
	at, last := map[recordID]int64{}, map[int]int64{}
	for i, id := range log {
		offset := start + int64(i)
		if first, twice := at[id]; twice {
			wrong("duplicated: %v is at offset %d and at %d", id, first, offset)
			continue
		}
		at[id] = offset
		if _, ok := calls[id]; !ok {
			wrong("invented: %v, at offset %d, was never written", id, offset)
		}
		if before, ok := last[id.producer]; ok && log[before-start].number > id.number {
			wrong("re-ordered: %v, at offset %d, comes after %v, at %d", id, offset, log[before-start], before)
		}
		last[id.producer] = offset
	}
	for _, a := range p.appends {
		if a.ret != never && a.offset < start {
			continue
		}
		if is, ok := at[a.id]; a.ret != never && !ok {
			wrong("lost: %v, acknowledged at offset %d, is not in the log", a.id, a.offset)
		} else if a.ret != never && is != a.offset {
			wrong("moved: %v, acknowledged at offset %d, is at %d", a.id, a.offset, is)
		}
	}
	for _, offset := range slices.Sorted(maps.Keys(p.reads)) {
		r, end := p.reads[offset], start+int64(len(log))
		switch {
		case offset < start:
		case offset >= end:
			wrong("vanished: %v was read at offset %d, and the log ends at %d", r.id, offset, end)
		case log[offset-start] != r.id:
			wrong("vanished: %v was read at offset %d, where %v is", r.id, offset, log[offset-start])
		}
	}
	if len(found) == 0 {
		found = p.inTime(start, log, calls)
	}
	if len(found) > 10 {
		found = append(found[:10], fmt.Errorf("and %d more", len(found)-10))
	}
	return errors.Join(found...)
}

// inTime looks for points in time at which the appends can have taken effect, in the order of the
// log. Each must lie between the append's call and return, not before the preceding record's, and
// not after the return of a read of that record or a later one. The earliest possible point for
// each append is the best for all later ones.
func (p *partitionHistory) inTime(start int64, log []recordID, calls map[recordID]appended) (wrong []error) {
	earliest, by := instant(0), recordID{}
	for i, id := range log {
		a := calls[id]
		if a.call > earliest {
			earliest, by = a.call, id
		}
		if a.ret < earliest {
			wrong = append(wrong, fmt.Errorf("out of time: %v, acknowledged after %v, is at offset %d, behind %v, which was first sent at %v",
				id, time.Duration(a.ret), start+int64(i), by, time.Duration(earliest)))
		}
		if r, ok := p.reads[start+int64(i)]; ok && r.at < earliest {
			wrong = append(wrong, fmt.Errorf("out of time: %v, at offset %d, was read at %v, and %v, before it in the log or itself, was first sent at %v",
				id, start+int64(i), time.Duration(r.at), by, time.Duration(earliest)))
		}
	}
	return wrong
}
