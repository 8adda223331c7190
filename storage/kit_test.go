package storage

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is a manager on a file system in memory, with its own clock.
type kit struct {
	t       testing.TB
	fs      vfs.FS
	options Options
	m       *Manager
	clock   *clock
}

// clock is a time that advances only when the test asks for it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// epoch0 is the time at which every test begins.
var epoch0 = time.UnixMilli(1_700_000_000_000)

func newKit(t testing.TB, fsys vfs.FS, change func(*Config)) *kit {
	t.Helper()
	k := &kit{t: t, fs: fsys, clock: &clock{now: epoch0}}
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	k.options = Options{
		FS: fsys, Dirs: []string{"/data"}, ClusterID: "test", NodeID: 1, Now: k.clock.Now,
		Logger: slog.New(slog.DiscardHandler),
		Config: func(string) Config { return cfg },
	}
	if _, real := fsys.(vfs.OS); real {
		k.options.Dirs = []string{t.TempDir()}
	}
	k.open()
	return k
}

func (k *kit) open() {
	k.t.Helper()
	m, err := OpenManager(k.t.Context(), k.options)
	if err != nil {
		k.t.Fatalf("open: %v", err)
	}
	k.m = m
	// Tests close it themselves where it matters.
	k.t.Cleanup(func() { _ = m.Close() })
}

// reopen shuts down cleanly and opens again.
func (k *kit) reopen() {
	k.t.Helper()
	if err := k.m.Close(); err != nil {
		k.t.Fatalf("close: %v", err)
	}
	k.open()
}

// on returns a kit with the same options on another file system, not opened.
func (k *kit) on(fsys vfs.FS) *kit {
	next := &kit{t: k.t, fs: fsys, options: k.options, clock: k.clock}
	next.options.FS = fsys
	return next
}

func (k *kit) mem() *vfs.Mem {
	k.t.Helper()
	m, ok := k.fs.(*vfs.Mem)
	if !ok {
		k.t.Fatalf("%T cannot be cloned", k.fs)
	}
	return m
}

// crashed returns an opened kit on what a crash of the machine may leave.
func (k *kit) crashed(seed uint64) *kit {
	k.t.Helper()
	next := k.on(k.mem().CrashClone(seed))
	next.open()
	return next
}

// dead returns a kit, not opened, on what a kill of the process leaves.
func (k *kit) dead() *kit {
	k.t.Helper()
	return k.on(k.mem().Clone())
}

// killed returns an opened kit on what a kill of the process leaves.
func (k *kit) killed() *kit {
	k.t.Helper()
	next := k.dead()
	next.open()
	return next
}

func (k *kit) log() *Log {
	k.t.Helper()
	l, err := k.m.Create("t", 0, testID)
	if err != nil {
		k.t.Fatal(err)
	}
	return l
}

var testID = [16]byte{1, 2, 3}

func (k *kit) path(name string) string { return filepath.Join("/data/t-0", name) }

func (k *kit) files() []string {
	k.t.Helper()
	entries, err := k.fs.ReadDir("/data/t-0")
	if err != nil {
		k.t.Fatal(err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// batchOf builds a client's batch of n records with values of valueSize bytes, the first one at ts.
func batchOf(n, valueSize int, ts int64, change ...func(*record.Builder)) record.Batch {
	var b record.Builder
	for _, c := range change {
		c(&b)
	}
	value := make([]byte, valueSize)
	for i := range n {
		for k := range value {
			value[k] = byte(i + k)
		}
		b.Append(ts+int64(i), []byte{byte(i)}, value)
	}
	batch, err := b.Build()
	if err != nil {
		panic(err)
	}
	return batch
}

func producer(id int64, epoch int16, sequence int32) func(*record.Builder) {
	return func(b *record.Builder) {
		b.HasProducer, b.ProducerID, b.ProducerEpoch, b.BaseSequence = true, id, epoch, sequence
	}
}

func mustAppend(t testing.TB, l *Log, b []byte) AppendInfo {
	t.Helper()
	info, err := l.Append(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// fill appends n batches of one record each, 100 ms apart.
func fill(t testing.TB, l *Log, n int) {
	t.Helper()
	for range n {
		mustAppend(t, l, batchOf(1, 50, epoch0.UnixMilli()+l.EndOffset()*100))
	}
}

// readAll reads from an offset to the end, batch by batch.
func readAll(t testing.TB, l *Log, from int64) []record.Batch {
	t.Helper()
	batches, err := readRange(l, from, l.EndOffset())
	if err != nil {
		t.Fatal(err)
	}
	return batches
}

func readRange(l *Log, from, limit int64) ([]record.Batch, error) {
	return readChecked(l, from, limit, record.Batch.Check)
}

func readChecked(l *Log, from, limit int64, check func(record.Batch) error) ([]record.Batch, error) {
	var batches []record.Batch
	for from < limit {
		s, err := l.Read(from, 300, limit, true)
		if err != nil {
			return nil, err
		}
		buf, err := s.AppendTo(nil)
		s.Release()
		if err != nil {
			return nil, err
		}
		if len(buf) == 0 {
			break
		}
		for b := range eachBatch(buf) {
			if err = check(b); err != nil {
				return nil, err
			}
			batches = append(batches, b)
			from = b.NextOffset()
		}
	}
	return batches, nil
}

func commit(l *Log) { l.SetHighWatermark(l.EndOffset()) }
