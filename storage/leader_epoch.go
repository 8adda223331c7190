package storage

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
)

// UndefinedEpoch and UndefinedOffset are the answer for an epoch that the log does not know.
const (
	UndefinedEpoch  int32 = -1
	UndefinedOffset int64 = -1
)

// EpochEntry means that the leader of Epoch appended the batches from StartOffset up to the next
// entry's.
type EpochEntry struct {
	Epoch       int32
	StartOffset int64
}

// epochCache holds a log's leader epochs. Both fields ascend (S17). The log's lock guards changes;
// readers load the immutable slice without it.
type epochCache struct {
	entries atomic.Pointer[[]EpochEntry]
	saved   []EpochEntry // content of the file; guarded by the log's lock
}

func (c *epochCache) load() []EpochEntry {
	if p := c.entries.Load(); p != nil {
		return *p
	}
	return nil
}

func (c *epochCache) store(entries []EpochEntry) { c.entries.Store(&entries) }

// unsaved returns the epochs of the batches below end, and whether the file differs from them. An
// epoch that begins at the end has no batch yet. The next start would ignore its entry, so an
// election alone costs no write to disk.
func (c *epochCache) unsaved(end int64) (entries []EpochEntry, any bool) {
	entries = c.load()
	n := sort.Search(len(entries), func(i int) bool { return entries[i].StartOffset >= end })
	return entries[:n:n], !slices.Equal(entries[:n], c.saved)
}

// latest returns the newest epoch, or UndefinedEpoch.
func (c *epochCache) latest() int32 {
	if entries := c.load(); len(entries) > 0 {
		return entries[len(entries)-1].Epoch
	}
	return UndefinedEpoch
}

// assign adds an epoch that begins at start. Entries that contradict it (not below it in both epoch
// and offset) are removed: they were never committed.
func (c *epochCache) assign(epoch int32, start int64) {
	entries := c.load()
	if epoch < 0 || (len(entries) > 0 && entries[len(entries)-1].Epoch == epoch) {
		return
	}
	keep := len(entries)
	for keep > 0 && (entries[keep-1].Epoch >= epoch || entries[keep-1].StartOffset >= start) {
		keep--
	}
	c.store(append(slices.Clone(entries[:keep]), EpochEntry{Epoch: epoch, StartOffset: start}))
}

// truncateEnd removes the entries that begin at or after end.
func (c *epochCache) truncateEnd(end int64) {
	entries := c.load()
	keep := sort.Search(len(entries), func(i int) bool { return entries[i].StartOffset >= end })
	if keep < len(entries) {
		c.store(slices.Clone(entries[:keep]))
	}
}

// truncateStart removes the entries that end at or before start. The epoch in force at start then
// begins there.
func (c *epochCache) truncateStart(start int64) {
	entries := c.load()
	first := sort.Search(len(entries), func(i int) bool { return entries[i].StartOffset > start }) - 1
	if first < 0 || (first == 0 && entries[0].StartOffset == start) {
		return
	}
	rest := slices.Clone(entries[first:])
	rest[0].StartOffset = start
	c.store(rest)
}

// endOffset answers OffsetForLeaderEpoch: it returns the largest known epoch up to the requested
// one, and its end (exclusive). If all known epochs are larger, that is the requested epoch and the
// start of the first known one.
func (c *epochCache) endOffset(epoch int32, logEnd int64) (int32, int64) {
	entries := c.load()
	if epoch == UndefinedEpoch || len(entries) == 0 {
		return UndefinedEpoch, UndefinedOffset
	}
	if entries[len(entries)-1].Epoch == epoch {
		return epoch, logEnd
	}
	next := sort.Search(len(entries), func(i int) bool { return entries[i].Epoch > epoch })
	switch next {
	case len(entries):
		return UndefinedEpoch, UndefinedOffset // it is newer than all that the log knows
	case 0:
		return epoch, entries[0].StartOffset
	}
	return entries[next-1].Epoch, entries[next].StartOffset
}

// below returns the entries that begin below end.
func (c *epochCache) below(end int64) []EpochEntry {
	entries := c.load()
	n := sort.Search(len(entries), func(i int) bool { return entries[i].StartOffset >= end })
	return slices.Clone(entries[:n])
}

// epochFile is the name of the epoch file in a log's directory.
const epochFile = "leader-epoch-checkpoint"

// FormatEpochs returns the content of a leader-epoch-checkpoint file.
func FormatEpochs(entries []EpochEntry) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(entries))
	for _, e := range entries {
		fmt.Fprintf(&b, "%d %d\n", e.Epoch, e.StartOffset)
	}
	return b.Bytes()
}

// ParseEpochs parses the content of a leader-epoch-checkpoint file.
func ParseEpochs(content []byte) ([]EpochEntry, error) {
	lines, err := checkpointLines(content)
	if err != nil {
		return nil, err
	}
	entries := make([]EpochEntry, 0, len(lines))
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("%w: checkpoint line %q, want epoch and offset", ErrCorrupt, line)
		}
		epoch, epochErr := strconv.ParseInt(f[0], 10, 32)
		start, startErr := strconv.ParseInt(f[1], 10, 64)
		if epochErr != nil || startErr != nil || epoch < 0 || start < 0 {
			return nil, fmt.Errorf("%w: checkpoint line %q, want epoch and offset", ErrCorrupt, line)
		}
		e := EpochEntry{Epoch: int32(epoch), StartOffset: start}
		if n := len(entries); n > 0 && (entries[n-1].Epoch >= e.Epoch || entries[n-1].StartOffset > start) {
			return nil, fmt.Errorf("%w: checkpoint line %q does not ascend", ErrCorrupt, line)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// checkpointLines splits one of Kafka's checkpoint files: version 0, the number of entries, the
// entries. Every line must be complete, so that a torn file is not taken for a whole one.
func checkpointLines(content []byte) ([]string, error) {
	if !bytes.HasSuffix(content, []byte("\n")) {
		return nil, fmt.Errorf("%w: checkpoint does not end with a line", ErrCorrupt)
	}
	sc := bufio.NewScanner(bytes.NewReader(content))
	var lines []string
	for sc.Scan() {
		lines = append(lines, sc.Text())
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(lines) < 2 || strings.TrimSpace(lines[0]) != "0" {
		return nil, fmt.Errorf("%w: checkpoint does not begin with version 0", ErrCorrupt)
	}
	n, err := strconv.Atoi(strings.TrimSpace(lines[1]))
	if err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("%w: checkpoint says %q entries, has %d", ErrCorrupt, lines[1], len(lines)-2)
	}
	return lines[2:], nil
}
