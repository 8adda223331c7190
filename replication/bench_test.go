package replication

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// benchLeader returns a leader of three replicas, all in sync, without background goroutines.
func benchLeader(b *testing.B) *Partition {
	b.Helper()
	s, err := storage.OpenManager(b.Context(), storage.Options{
		FS: vfs.NewMem(), Dirs: []string{"/data"}, NodeID: 1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	m := New(Options{BrokerID: 1, Storage: s, Logger: slog.New(slog.DiscardHandler)})
	log, err := s.Create(tp0.Topic, tp0.Partition, metadata.TopicID{1})
	if err != nil {
		b.Fatal(err)
	}
	p := m.newPartition(tp0, metadata.TopicID{1}, log)
	p.isr = m.newISRWriter()
	p.configure(&Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 2})
	if err = p.lead(leads(0, 1, 2, 3)); err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkFollowerFetched measures a follower's fetch in the in-sync protocol: two followers in
// turn, each one record further every time.
func BenchmarkFollowerFetched(b *testing.B) {
	p := benchLeader(b)
	for range 1000 {
		if _, err := p.Append(batch(b, 1000, "v"), AcksLeader); err != nil {
			b.Fatal(err)
		}
	}
	r := p.role.Load()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.fetchedBy(metadata.Member{Broker: int32(2 + i%2)}, r, int64(i/2%1000), 0)
	}
}

// BenchmarkAppendWithFollowers measures an append of a small batch by a leader with followers.
func BenchmarkAppendWithFollowers(b *testing.B) {
	p := benchLeader(b)
	records := batch(b, 1000, "v")
	buf := slices.Clone(records)
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, records) // an append writes the offset into it
		if _, err := p.Append(buf, AcksLeader); err != nil {
			b.Fatal(err)
		}
	}
}
