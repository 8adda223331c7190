package replication

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// background runs a part until the test ends, or until the returned function is called.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// openStorage opens data directories in fs, /data by default, without running the storage manager.
func openStorage(t *testing.T, fs vfs.FS, clusterID string, dirs ...string) *storage.Manager {
	t.Helper()
	if len(dirs) == 0 {
		dirs = []string{"/data"}
	}
	m, err := storage.OpenManager(t.Context(), storage.Options{
		FS: fs, Dirs: dirs, ClusterID: clusterID, NodeID: 1, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		// A retention round, the first of which is at a random time, would delete the records:
		// their timestamps are in 1970.
		RetentionInterval: 1 << 60,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() }) // a test may have closed it
	return m
}

// bench is one partition with the parts of a manager but without metadata.
type bench struct {
	*Partition
	m    *Manager
	tier *fakeTier
}

var tp0 = metadata.TopicPartition{Topic: "t", Partition: 0}

func newBench(t *testing.T, fs vfs.FS, change func(*Config)) *bench {
	t.Helper()
	cfg := Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 1}
	cfg.Log.RemoteStorageEnable = true
	if change != nil {
		change(&cfg)
	}
	b := &bench{tier: newFakeTier()}
	s := openStorage(t, fs, "")
	b.m = New(Options{BrokerID: 1, Storage: s, Tier: b.tier, Logger: slog.New(slog.DiscardHandler), ColdMaxWait: 10 * time.Second})
	// Run's error is ignored: tests may break the disk.
	background(t, func(ctx context.Context) error { _ = s.Run(ctx); return nil })
	background(t, func(ctx context.Context) error { b.m.cold.run(ctx); return nil })
	b.Partition = b.partition(t, tp0, cfg)
	return b
}

func (b *bench) partition(t *testing.T, tp metadata.TopicPartition, cfg Config) *Partition {
	t.Helper()
	log, err := b.m.o.Storage.Create(tp.Topic, tp.Partition, metadata.TopicID{1})
	if err != nil {
		t.Fatal(err)
	}
	p := b.m.newPartition(tp, metadata.TopicID{1}, log)
	p.configure(&cfg)
	if err = p.lead(leads(0, 1)); err != nil {
		t.Fatal(err)
	}
	return p
}

// batch builds a batch with one record per value. Each timestamp is ts plus the record's index.
func batch(t testing.TB, ts int64, values ...string) []byte {
	t.Helper()
	var b record.Builder
	for i, v := range values {
		b.Append(ts+int64(i), []byte("k"), []byte(v))
	}
	return build(t, &b)
}

func build(t testing.TB, b *record.Builder) []byte {
	t.Helper()
	out, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out)
}

func (b *bench) append(t testing.TB, acks int16, values ...string) Appended {
	t.Helper()
	a, err := b.Append(batch(t, 1000, values...), acks)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// values returns the values of the records at or after an offset.
func values(t testing.TB, r *Records, from int64) []string {
	t.Helper()
	buf, err := r.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for len(buf) > 0 {
		b, rest, err := record.Split(buf)
		if err != nil {
			break // cut off by the size limit
		}
		for rec, recErr := range b.Records() {
			if recErr != nil {
				t.Fatal(recErr)
			}
			if rec.Offset >= from {
				out = append(out, string(rec.Value))
			}
		}
		buf = rest
	}
	return out
}

func readAt(offset int64) ReadRequest {
	return ReadRequest{Offset: offset, MaxBytes: 1 << 20, MinOne: true, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}
}

// fakeTier is an in-memory remote tier whose reads can be blocked.
type fakeTier struct {
	mu       sync.Mutex
	batches  map[metadata.TopicPartition][]record.Batch
	attached map[metadata.TopicPartition]int32 // leader epochs
	followed map[metadata.TopicPartition]int32
	state    storage.RemoteState // what LatestState returns
	kicked   func()              // called by Kick with the lock held; may be nil
	err      error
	hold     chan struct{} // reads wait for it; nil: they do not wait
	started  chan int64    // receives the offset of each read that begins
	max      storage.TimestampOffset
	before   []int64 // the bounds of lookups by time
	inMemory bool    // reads that must not wait have a result
	held     int     // bytes held by each result; 0: its own length
	epochs   map[int32]EpochEnd
	aborted  []storage.AbortedTxn
	lookUp   func() // called by lookups of aborted transactions; may be nil
}

func newFakeTier() *fakeTier {
	return &fakeTier{
		batches: map[metadata.TopicPartition][]record.Batch{}, attached: map[metadata.TopicPartition]int32{},
		followed: map[metadata.TopicPartition]int32{},
		started:  make(chan int64, 100),
	}
}

func (f *fakeTier) add(tp metadata.TopicPartition, b ...record.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches[tp] = append(f.batches[tp], b...)
}

func (f *fakeTier) Rebuild(context.Context, metadata.TopicPartition, bool) (tiering.Rebuilt, error) {
	return tiering.Rebuilt{}, tiering.ErrUnknownPartition
}

func (f *fakeTier) Attach(_ context.Context, p tiering.Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attached[p.TopicPartition] = p.LeaderEpoch
	delete(f.followed, p.TopicPartition)
	if p.Suspect != nil {
		p.Suspect.Continues()
	}
}

func (f *fakeTier) Follow(_ context.Context, p tiering.Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed[p.TopicPartition] = p.LeaderEpoch
	delete(f.attached, p.TopicPartition)
}

func (f *fakeTier) LatestState(context.Context, metadata.TopicPartition) (storage.RemoteState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.err
}

func (f *fakeTier) Detach(_ context.Context, tp metadata.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, tp)
	delete(f.followed, tp)
}

func (f *fakeTier) Kick(metadata.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kicked != nil {
		f.kicked()
	}
}

func (f *fakeTier) epochOf(tp metadata.TopicPartition) (int32, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	epoch, ok := f.attached[tp]
	return epoch, ok
}

func (f *fakeTier) Read(ctx context.Context, tp metadata.TopicPartition, offset int64, maxBytes int, limit int64) (tiering.Batches, error) {
	if tiering.ReaderOf(ctx).Cached && !f.inMemory {
		return tiering.Batches{}, tiering.ErrNotCached
	}
	f.mu.Lock()
	batches, err, hold, held := f.batches[tp], f.err, f.hold, f.held
	f.mu.Unlock()
	select {
	case f.started <- offset:
	default: // enough reads are recorded
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return tiering.Batches{}, ctx.Err()
		}
	}
	if err != nil {
		return tiering.Batches{}, err
	}
	var out []byte
	for _, b := range batches {
		if b.LastOffset() < offset || b.NextOffset() > limit {
			continue
		}
		if len(out) > 0 && len(out)+len(b) > maxBytes {
			break
		}
		out = append(out, b...)
	}
	if len(out) == 0 {
		return tiering.Batches{}, tiering.ErrOffsetOutOfRange
	}
	return tiering.Batches{Parts: [][]byte{out}, Held: max(held, len(out))}, nil
}

// AbortedTransactions never reports its result as complete.
func (f *fakeTier) AbortedTransactions(_ context.Context, _ metadata.TopicPartition, from, upTo, before int64) ([]storage.AbortedTxn, bool, error) {
	if f.lookUp != nil {
		f.lookUp()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []storage.AbortedTxn
	for _, t := range f.aborted {
		if t.LastOffset >= from && t.FirstOffset < upTo && t.LastOffset < before {
			out = append(out, t)
		}
	}
	return out, false, f.err
}

func (f *fakeTier) OffsetForTimestamp(_ context.Context, tp metadata.TopicPartition, ts, before int64) (storage.TimestampOffset, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = append(f.before, before)
	for _, b := range f.batches[tp] {
		for rec, err := range b.Records() {
			if err == nil && rec.Timestamp >= ts {
				return storage.TimestampOffset{Offset: rec.Offset, Timestamp: rec.Timestamp, LeaderEpoch: b.LeaderEpoch()}, true, f.err
			}
		}
	}
	return storage.TimestampOffset{}, false, f.err
}

func (f *fakeTier) MaxTimestamp(_ context.Context, _ metadata.TopicPartition, before int64) (storage.TimestampOffset, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = append(f.before, before)
	return f.max, f.max.Timestamp > 0, f.err
}

func (f *fakeTier) EndOffsetForEpoch(_ context.Context, _ metadata.TopicPartition, epoch int32) (int32, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if end, ok := f.epochs[epoch]; ok {
		return end.Epoch, end.EndOffset, f.err
	}
	return -1, -1, f.err
}

func (f *fakeTier) Status(tp metadata.TopicPartition) (tiering.Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.attached[tp]
	return tiering.Status{Segments: int64(len(f.batches[tp]))}, ok
}

// leads returns the view of a partition that broker 1 leads, with all replicas in sync.
func leads(epoch int32, replicas ...int32) role.View {
	v := led(epoch, 1, replicas...)
	v.Leader.Epoch = 0
	for _, id := range replicas {
		v.ISR = append(v.ISR, metadata.Member{Broker: id})
	}
	return v
}

// led returns the view of a partition with the given leader, which may be none.
func led(epoch, leader int32, replicas ...int32) role.View {
	v := role.View{Leader: metadata.Member{Broker: leader, Epoch: 1}}
	v.LeaderEpoch, v.Replicas = epoch, replicas
	return v
}

// lead shows the partition an image in which its broker is elected.
func (p *Partition) lead(v role.View) error {
	_, err := p.become(role.Seen{View: v, Elected: true, Self: v.Leader})
	return err
}

// resign shows the partition an image in which its broker does not lead.
func (p *Partition) resign(v role.View) {
	_, _ = p.become(role.Seen{View: v, Self: metadata.Member{Broker: p.brokerID}})
}

// restarted makes a partition forget its role, as a new process would.
func (p *Partition) restarted() {
	opened, _ := role.Step(role.State{}, role.LogOpened{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.makeFollowerLocked(&opened)
}
