package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// TestCommittedRecordsStay plays three replicas of a partition against a metadata store, in any order: appends at whoever believes to
// lead, fetches over any length, images that come late, elections, restarts, in-sync sets whose fate nobody learns, records that are only in
// the remote tier any more and followers that go on behind them. What is below
// any replica's high watermark is the same everywhere and for ever, and every replica that could be elected has all of it.
func TestCommittedRecordsStay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newSimulation(t, rt)
		rt.Repeat(map[string]func(*rapid.T){
			"append":  c.append,
			"fetch":   c.fetch, // several times, so that it is drawn more often
			"fetch 2": c.fetch,
			"fetch 3": c.fetch,
			"image":   c.image,
			"elect":   c.elect,
			"restart": c.restart,
			"shrink":  c.shrink,
			"upload":  c.upload,
			"retain":  c.retain,
			"isr":     c.writeISR,
			"":        c.check,
		})
	})
}

// simulation is the cluster: the truth about one partition, and its replicas.
type simulation struct {
	state     metadata.Partition
	epochs    map[int32]int64 // of the brokers' registrations
	replicas  map[int32]*Partition
	committed []string
	next      int
	tier      *fakeTier // has committed[:tier.state.EndOffset]
}

func newSimulation(t *testing.T, rt *rapid.T) *simulation {
	t.Helper()
	c := &simulation{epochs: map[int32]int64{1: 1, 2: 1, 3: 1}, replicas: map[int32]*Partition{}, tier: newFakeTier()}
	c.state = metadata.Partition{Replicas: []int32{1, 2, 3}, Leader: 1, LeaderBrokerEpoch: 1}
	c.setISR([]metadata.Member{{Broker: 1, Epoch: 1}, {Broker: 2, Epoch: 1}, {Broker: 3, Epoch: 1}})
	minISR := rapid.IntRange(1, 2).Draw(rt, "min.insync.replicas")
	for id := range c.epochs {
		cfg := Config{Log: storage.DefaultConfig(), MinInSyncReplicas: minISR}
		cfg.Log.RemoteStorageEnable, cfg.Log.LocalRetentionBytes, cfg.Log.FileDeleteDelayMs = true, 0, 0
		m := New(Options{BrokerID: id, Storage: openStorage(t, vfs.NewMem(), ""), Logger: slog.New(slog.DiscardHandler)})
		b := &bench{m: m}
		b.Partition = b.partition(t, tp0, cfg)
		b.brokerID, b.isr, b.Partition.tier = id, newISRWriter(m), c.tier
		b.resign(role{epoch: -1, leaderID: metadata.NoBroker})
		c.replicas[id] = b.Partition
		c.apply(rt, id)
	}
	return c
}

func (c *simulation) setISR(isr []metadata.Member) {
	c.state.ISR, c.state.ISREpochs = nil, nil
	for _, m := range isr {
		c.state.ISR, c.state.ISREpochs = append(c.state.ISR, m.Broker), append(c.state.ISREpochs, m.Epoch)
	}
}

// live are the in-sync members that have not restarted since.
func (c *simulation) live() []metadata.Member {
	return slices.DeleteFunc(c.state.Members(), func(m metadata.Member) bool { return c.epochs[m.Broker] != m.Epoch })
}

func broker(rt *rapid.T) int32 { return rapid.SampledFrom([]int32{1, 2, 3}).Draw(rt, "broker") }

// apply lets a broker see the truth.
func (c *simulation) apply(rt *rapid.T, id int32) {
	r := roleOf(&c.state)
	if c.state.Leader != id || c.state.LeaderBrokerEpoch != c.epochs[id] {
		c.replicas[id].resign(r)
	} else if err := c.replicas[id].lead(r); err != nil {
		rt.Fatal(err)
	}
}

// image lets one broker see the truth, or all.
func (c *simulation) image(rt *rapid.T) {
	if !rapid.Bool().Draw(rt, "all") {
		c.apply(rt, broker(rt))
		return
	}
	for _, id := range c.state.Replicas {
		c.apply(rt, id)
	}
}

func (c *simulation) append(rt *rapid.T) {
	var b record.Builder
	for range rapid.IntRange(1, 3).Draw(rt, "records") {
		c.next++
		b.Append(1000, []byte("k"), fmt.Append(nil, c.next))
	}
	batch, err := b.Build()
	if err != nil {
		rt.Fatal(err)
	}
	at := c.state.Leader
	if rapid.IntRange(0, 3).Draw(rt, "elsewhere") == 0 {
		at = broker(rt)
	}
	_, err = c.replicas[at].Append(batch, rapid.SampledFrom([]int16{AcksLeader, AcksAll}).Draw(rt, "acks"))
	if err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrNotEnoughReplicas) {
		rt.Fatal(err)
	}
}

// fetch has a follower ask whom it believes to lead, or a broker that it believed to lead before.
func (c *simulation) fetch(rt *rapid.T) {
	id := broker(rt)
	follower := c.replicas[id]
	r := follower.role.Load()
	leader := c.replicas[r.leaderID]
	at, follows, _ := follower.position(metadata.Member{Broker: r.leaderID, Epoch: r.leaderEpoch})
	if leader == nil || leader == follower || !follows {
		return
	}
	got := ReplicaFetched{RemoteEnd: -1}
	result, err := leader.readLocal(ReadRequest{
		Offset: at.Offset, MaxBytes: rapid.SampledFrom([]int{1, 100, 10_000}).Draw(rt, "bytes"), MinOne: true, Isolation: ReadLogEnd,
		CurrentLeaderEpoch: at.LeaderEpoch, LastFetchedEpoch: at.LastFetchedEpoch,
		Replica: &metadata.Member{Broker: id, Epoch: c.epochs[id]},
	})
	got.Err, got.HighWatermark, got.LogStart, got.Diverging = err, result.HighWatermark, result.LogStartOffset, result.Diverging
	if err == nil {
		got.RemoteEnd = result.RemoteEndOffset
	}
	if got.Records, err = result.Records.AppendTo(nil); err != nil {
		rt.Fatal(err)
	}
	result.Records.Release()
	err = follower.replicate(at, &got)
	if errors.Is(err, ErrOffsetMovedToTier) {
		err = follower.restore(rt.Context())
	}
	if err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrFencedLeaderEpoch) && !errors.Is(err, ErrUnknownLeaderEpoch) {
		rt.Fatal(err)
	}
}

// elect makes another live in-sync replica the leader, and may take those that are not live out of the set.
func (c *simulation) elect(rt *rapid.T) {
	live := c.live()
	if len(live) == 0 { // the last one restarted: it is the only one that may have everything
		live = []metadata.Member{{Broker: c.state.ISR[0], Epoch: c.epochs[c.state.ISR[0]]}}
		if len(c.state.ISR) > 1 {
			return // not before the others are out
		}
		c.setISR(live)
	}
	next := rapid.SampledFrom(live).Draw(rt, "leader")
	c.state.Leader, c.state.LeaderBrokerEpoch = next.Broker, next.Epoch
	if rapid.Bool().Draw(rt, "drop") {
		c.setISR(live)
	}
	c.state.LeaderEpoch++
	c.state.PartitionEpoch++
}

// restart gives a broker a new registration. It may have lost the end of its log, as after a power failure, if another one is in sync.
func (c *simulation) restart(rt *rapid.T) {
	id := broker(rt)
	if len(c.live()) <= 1 && slices.Contains(c.state.ISR, id) && len(c.state.ISR) > 1 {
		return // the controller took the others out before
	}
	c.epochs[id]++
	if p := c.replicas[id]; len(c.live()) > 0 && rapid.Bool().Draw(rt, "lossy") {
		if err := p.log.Truncate(rapid.Int64Range(p.log.LocalStartOffset(), p.log.EndOffset()).Draw(rt, "end")); err != nil {
			rt.Fatal(err)
		}
	}
	c.replicas[id].resign(role{epoch: c.replicas[id].role.Load().epoch, leaderID: metadata.NoBroker})
}

// upload has the leader of the newest epoch commit a part of its log to the remote tier; an older one would be fenced by the pointer.
func (c *simulation) upload(rt *rapid.T) {
	p := c.replicas[c.state.Leader]
	if r := p.role.Load(); !r.leader || r.epoch != c.state.LeaderEpoch {
		return
	}
	if err := errors.Join(p.log.Roll(), p.log.Flush(context.Background(), p.log.EndOffset())); err != nil {
		rt.Fatal(err)
	}
	closed := p.log.ClosedSegments(c.tier.state.EndOffset)
	if len(closed) == 0 {
		return
	}
	s := rapid.SampledFrom(closed).Draw(rt, "segment")
	files, release, err := s.Open()
	if err != nil {
		rt.Fatal(err)
	}
	defer release()
	c.tier.state = storage.RemoteState{EndOffset: s.EndOffset, Epochs: files.LeaderEpochs}
	p.log.SetRemoteEndOffset(s.EndOffset)
}

// retain has a replica delete from its disk what it knows to be in the remote tier.
func (c *simulation) retain(rt *rapid.T) {
	p := c.replicas[broker(rt)]
	if err := p.log.Roll(); err != nil {
		rt.Fatal(err)
	}
	if _, err := p.log.EnforceRetention(time.Now()); err != nil {
		rt.Fatal(err)
	}
	if p.log.LocalStartOffset() > c.tier.state.EndOffset {
		rt.Fatalf("the local log begins at %d, the tier ends at %d", p.log.LocalStartOffset(), c.tier.state.EndOffset)
	}
}

func (c *simulation) shrink(rt *rapid.T) { c.replicas[broker(rt)].shrink(-1) }

// writeISR writes what a broker proposes, if the truth allows it, and may not tell.
func (c *simulation) writeISR(rt *rapid.T) {
	p := c.replicas[broker(rt)]
	change, ok := p.pendingISR()
	if !ok {
		return
	}
	allowed := c.state.LeaderEpoch == change.LeaderEpoch && c.state.PartitionEpoch == change.PartitionEpoch
	for _, m := range change.ISR {
		allowed = allowed && (c.epochs[m.Broker] == m.Epoch || slices.Contains(c.state.Members(), m))
	}
	lost := rapid.SampledFrom([]string{"told", "told", "request lost", "reply lost"}).Draw(rt, "fate")
	if allowed && lost != "request lost" {
		c.setISR(change.ISR)
		c.state.PartitionEpoch++
	}
	switch {
	case lost != "told":
		p.proposed(change, false, context.DeadlineExceeded)
	case allowed:
		p.proposed(change, false, nil)
	default:
		p.proposed(change, true, metadata.ErrConflict)
	}
}

func (c *simulation) check(rt *rapid.T) {
	for _, id := range []int32{1, 2, 3} {
		p := c.replicas[id]
		have := c.contents(rt, p)
		high := int(p.HighWatermark())
		if high > len(have) {
			rt.Fatalf("broker %d has high watermark %d of %d records", id, high, len(have))
		}
		known := min(high, len(c.committed))
		if !slices.Equal(have[:known], c.committed[:known]) {
			rt.Fatalf("broker %d has committed %v, before it was %v", id, have[:high], c.committed)
		}
		if high > known {
			c.committed = have[:high]
		}
	}
	for _, m := range c.live() {
		if have := c.contents(rt, c.replicas[m.Broker]); len(have) < len(c.committed) || !slices.Equal(have[:len(c.committed)], c.committed) {
			rt.Fatalf("broker %d could be elected and has %v of %v, %+v", m.Broker, have, c.committed, c.state)
		}
	}
}

// contents are the records of a replica's log, over both tiers.
func (c *simulation) contents(t rapid.TB, p *Partition) []string {
	t.Helper()
	local := p.log.LocalStartOffset()
	if int(local) > len(c.committed) {
		t.Fatalf("the local log begins at %d, %d records are committed", local, len(c.committed))
	}
	return append(slices.Clone(c.committed[:local]), contents(t, p)...)
}

// contents are the records of a replica's local log.
func contents(t rapid.TB, p *Partition) []string {
	t.Helper()
	var out []string
	for next := p.log.LocalStartOffset(); next < p.log.EndOffset(); {
		slice, err := p.log.Read(next, 1<<20, p.log.EndOffset(), true)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := slice.AppendTo(nil)
		slice.Release()
		if err != nil {
			t.Fatal(err)
		}
		for len(rest) > 0 {
			var b record.Batch
			if b, rest, err = record.Split(rest); err != nil {
				t.Fatal(err)
			}
			next = b.NextOffset()
			for r, err := range b.Records() {
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, string(r.Value))
			}
		}
	}
	return out
}
