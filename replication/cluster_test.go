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
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// TestCommittedRecordsStay runs three replicas of a partition against a metadata store, with random
// events: appends at brokers that believe that they lead, fetches of any length, images that arrive
// late or twice, elections, restarts, ISR changes that are written late or whose outcome is lost,
// brokers that disagree about min.insync.replicas, deleted records, records that are only in the
// remote tier, and followers that continue after them. Records below any replica's high watermark
// are the same everywhere and never change. Every replica that could be elected has all of them,
// and acknowledged records are among them. Records whose deletion was acknowledged stay deleted.
// After all faults have ended, everything is committed.
func TestCommittedRecordsStay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newSimulation(t, rt)
		rt.Repeat(map[string]func(*rapid.T){
			"append":     c.append,
			"fetch":      c.fetch, // several times, so that it is drawn more often
			"fetch 2":    c.fetch,
			"fetch 3":    c.fetch,
			"image":      c.image,
			"elect":      c.elect,
			"restart":    c.restart,
			"shrink":     c.shrink,
			"minimum":    c.minimum,
			"upload":     c.upload,
			"retain":     c.retain,
			"propose":    c.propose,
			"write":      c.writeISR,
			"tell":       c.tellISR,
			"ask":        c.ask,
			"delete":     c.delete,
			"checkpoint": func(rt *rapid.T) { c.checkpoint(rt, broker(rt)) },
			"ask again":  c.ask,
			"":           c.check,
		})
		c.heal(rt)
	})
}

// simulation is the cluster: the truth about one partition, and its replicas.
type simulation struct {
	state     metadata.Partition
	states    []metadata.Partition // all states of the truth so far
	seen      map[int32]int        // index of the state that each broker has applied
	minISR    int                  // min.insync.replicas as the controller sees it
	epochs    map[int32]int64      // of the brokers' registrations
	replicas  map[int32]*Partition
	storages  map[int32]*storage.Manager
	committed []string
	next      int
	tier      *fakeTier // has committed[:tier.state.EndOffset]

	changes      []*isrChange
	appends      []appended
	acknowledged []appended
	deletions    []Deleted
	deleted      int64 // the highest offset of an acknowledged deletion
}

// isrChange is a proposal in flight. It is written or refused at some time, and at some time the
// leader learns the outcome, or that there is no answer.
type isrChange struct {
	metadata.ISRChange
	at              *Partition
	landed, written bool
	told            bool
}

// appended is an append of one record.
type appended struct {
	Appended
	value string
}

func newSimulation(t *testing.T, rt *rapid.T) *simulation {
	t.Helper()
	c := &simulation{epochs: map[int32]int64{1: 1, 2: 1, 3: 1}, replicas: map[int32]*Partition{}, seen: map[int32]int{}, storages: map[int32]*storage.Manager{}, tier: newFakeTier()}
	minISR := rapid.IntRange(1, 2)
	c.minISR = minISR.Draw(rt, "min.insync.replicas")
	c.state = metadata.Partition{Replicas: []int32{1, 2, 3}, Leader: 1, LeaderBrokerEpoch: 1}
	c.setISR([]metadata.Member{{Broker: 1, Epoch: 1}, {Broker: 2, Epoch: 1}, {Broker: 3, Epoch: 1}})
	c.states = append(c.states, c.state)
	for _, id := range c.state.Replicas {
		cfg := Config{Log: storage.DefaultConfig(), MinInSyncReplicas: minISR.Draw(rt, "min.insync.replicas of a broker")}
		cfg.Log.RemoteStorageEnable, cfg.Log.LocalRetentionBytes, cfg.Log.FileDeleteDelayMs = true, 0, 0
		m := New(Options{BrokerID: id, Storage: openStorage(t, vfs.NewMem(), ""), Logger: slog.New(slog.DiscardHandler)})
		b := &bench{m: m}
		b.Partition = b.partition(t, tp0, cfg)
		b.brokerID, b.isr, b.Partition.tier, b.image = id, m.newISRWriter(), c.tier, c.clusterImage
		b.restarted()
		c.replicas[id], c.storages[id] = b.Partition, m.o.Storage
		c.apply(rt, id, 0)
	}
	return c
}

// clusterImage returns an image with the registered brokers.
func (c *simulation) clusterImage() *metadata.Image {
	image := &metadata.Image{Revision: int64(len(c.states)), Brokers: map[int32]metadata.Broker{}}
	for id, epoch := range c.epochs {
		image.Brokers[id] = metadata.Broker{ID: id, Epoch: epoch}
		image.Revision += epoch
	}
	return image
}

// setISR changes the ISR. Members that leave an ISR that is then smaller than the minimum stay
// eligible (KIP-966).
func (c *simulation) setISR(isr []metadata.Member) {
	eligible := append(c.state.EligibleMembers(), c.state.Members()...)
	c.state.ISR, c.state.ISREpochs, c.state.ELR, c.state.ELREpochs = nil, nil, nil, nil
	for _, m := range isr {
		c.state.ISR, c.state.ISREpochs = append(c.state.ISR, m.Broker), append(c.state.ISREpochs, m.Epoch)
	}
	if len(isr) >= c.minISR {
		return
	}
	for _, m := range eligible {
		if !slices.Contains(c.state.ISR, m.Broker) && !slices.Contains(c.state.ELR, m.Broker) && c.epochs[m.Broker] == m.Epoch {
			c.state.ELR, c.state.ELREpochs = append(c.state.ELR, m.Broker), append(c.state.ELREpochs, m.Epoch)
		}
	}
}

// wrote makes the changed state the truth.
func (c *simulation) wrote() {
	c.state.PartitionEpoch++
	c.states = append(c.states, c.state)
}

// alive returns the members that have not restarted since they became members.
func (c *simulation) alive(ms []metadata.Member) []metadata.Member {
	return slices.DeleteFunc(ms, func(m metadata.Member) bool { return c.epochs[m.Broker] != m.Epoch })
}

// live returns the in-sync members that have not restarted since they became members.
func (c *simulation) live() []metadata.Member { return c.alive(c.state.Members()) }

// electable returns the members that could be the next leader.
func (c *simulation) electable() []metadata.Member {
	if live := c.live(); len(live) > 0 {
		return live
	}
	return c.alive(c.state.EligibleMembers())
}

func broker(rt *rapid.T) int32 { return rapid.SampledFrom([]int32{1, 2, 3}).Draw(rt, "broker") }

// apply shows a broker the truth as it was at some time.
func (c *simulation) apply(rt *rapid.T, id int32, at int) {
	c.seen[id] = at
	state := &c.states[at]
	if _, err := c.replicas[id].become(role.Seen{
		View: role.ViewOf(state), Elected: true, Self: metadata.Member{Broker: id, Epoch: c.epochs[id]},
	}); err != nil {
		rt.Fatal(err)
	}
}

// image shows one broker the present truth, or the truth at some time since the state that it has
// applied, or that state again; or it shows all brokers the present truth.
func (c *simulation) image(rt *rapid.T) {
	newest := len(c.states) - 1
	if rapid.Bool().Draw(rt, "all") {
		for _, id := range c.state.Replicas {
			c.apply(rt, id, newest)
		}
		return
	}
	id := broker(rt)
	at := newest
	if rapid.Bool().Draw(rt, "old") {
		at = rapid.IntRange(c.seen[id], newest).Draw(rt, "state")
	}
	c.apply(rt, id, at)
}

// minimum changes min.insync.replicas for the controller. Its next write then has fewer or more
// eligible replicas.
func (c *simulation) minimum(rt *rapid.T) {
	if rapid.IntRange(0, 3).Draw(rt, "leave") > 0 {
		return
	}
	c.minISR = 3 - c.minISR
	c.setISR(c.state.Members())
	c.wrote()
}

func (c *simulation) append(rt *rapid.T) {
	c.next++
	a := appended{value: fmt.Sprint(c.next)}
	at := c.state.Leader
	if rapid.IntRange(0, 3).Draw(rt, "elsewhere") == 0 {
		at = broker(rt)
	}
	var b record.Builder
	b.Append(1000, []byte("k"), []byte(a.value))
	batch, err := b.Build()
	if err != nil {
		rt.Fatal(err)
	}
	a.Appended, err = c.replicas[at].Append(batch, rapid.SampledFrom([]int16{AcksLeader, AcksAll, AcksAll}).Draw(rt, "acks"))
	switch {
	case err == nil && a.acks == AcksAll:
		c.appends = append(c.appends, a)
	case err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrNotEnoughReplicas):
		rt.Fatal(err)
	}
}

// ask looks at the outcome of appends and deletions, at any time after them.
func (c *simulation) ask(rt *rapid.T) {
	if rapid.Bool().Draw(rt, "later") {
		return
	}
	c.appends = slices.DeleteFunc(c.appends, func(a appended) bool {
		done, err := a.Done()
		if done && err == nil {
			c.acknowledged = append(c.acknowledged, a)
		}
		return done
	})
	c.deletions = slices.DeleteFunc(c.deletions, func(d Deleted) bool {
		done, err := d.Done()
		if done && err == nil {
			c.deleted = max(c.deleted, d.offset)
		}
		return done
	})
}

func (c *simulation) delete(rt *rapid.T) {
	p := c.replicas[c.state.Leader]
	if !p.IsLeader() || rapid.IntRange(0, 3).Draw(rt, "leave") > 0 {
		return
	}
	d, err := p.DeleteRecords(rapid.Int64Range(0, p.HighWatermark()).Draw(rt, "offset"))
	if err != nil {
		rt.Fatal(err)
	}
	c.deletions = append(c.deletions, d)
}

// checkpoint makes a broker's deletions crash-safe.
func (c *simulation) checkpoint(rt *rapid.T, id int32) {
	if err := c.storages[id].Checkpoint(); err != nil {
		rt.Fatal(err)
	}
}

// fetch makes a follower fetch from the broker that it believes to be the leader.
func (c *simulation) fetch(rt *rapid.T) {
	c.fetchBy(rt, broker(rt), rapid.SampledFrom([]int{1, 100, 10_000}).Draw(rt, "bytes"))
}

func (c *simulation) fetchBy(rt *rapid.T, id int32, maxBytes int) {
	follower := c.replicas[id]
	r := follower.role.Load()
	leader := c.replicas[r.Leader.Broker]
	at, fetch := follower.position(metadata.Member{Broker: r.Leader.Broker, Epoch: r.Leader.Epoch})
	if leader == nil || leader == follower || fetch == role.NotFollowing {
		return
	}
	got := ReplicaFetched{RemoteEnd: -1}
	result, err := leader.readLocal(ReadRequest{
		Offset: at.Offset, MaxBytes: maxBytes, MinOne: true, Isolation: ReadLogEnd,
		CurrentLeaderEpoch: at.LeaderEpoch, LastFetchedEpoch: at.LastFetchedEpoch,
		Replica: &metadata.Member{Broker: id, Epoch: c.epochs[id]}, LogStart: at.LogStart,
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

// elect makes another live in-sync or eligible replica the leader, and may remove members that are
// not live from the ISR.
func (c *simulation) elect(rt *rapid.T) {
	live := c.electable()
	// The last member has restarted. No other replica is certain to have all records.
	if len(live) == 0 {
		live = []metadata.Member{{Broker: c.state.ISR[0], Epoch: c.epochs[c.state.ISR[0]]}}
		if len(c.state.ISR) > 1 {
			return // not before the others have left the ISR
		}
		c.setISR(live)
	}
	next := rapid.SampledFrom(live).Draw(rt, "leader")
	c.state.Leader, c.state.LeaderBrokerEpoch = next.Broker, next.Epoch
	switch {
	case len(c.live()) == 0:
		c.setISR([]metadata.Member{next})
	case rapid.Bool().Draw(rt, "drop"):
		c.setISR(live)
	}
	c.state.LeaderEpoch++
	c.wrote()
}

// restart gives a broker a new registration. If another replica is in sync, the broker may have
// lost the end of its log, as after a power failure.
func (c *simulation) restart(rt *rapid.T) {
	id := broker(rt)
	if len(c.live()) <= 1 && slices.Contains(c.state.ISR, id) && len(c.state.ISR) > 1 {
		return // the controller has removed the others before
	}
	c.epochs[id]++
	if p := c.replicas[id]; len(c.live()) > 0 && rapid.Bool().Draw(rt, "lossy") {
		if err := p.log.TruncateCommitted(rapid.Int64Range(p.log.LocalStartOffset(), p.log.EndOffset()).Draw(rt, "end")); err != nil {
			rt.Fatal(err)
		}
	}
	c.replicas[id].restarted()
}

// upload makes the leader of the newest epoch commit a part of its log to the remote tier. The
// pointer would fence an older leader.
func (c *simulation) upload(rt *rapid.T) {
	p := c.replicas[c.state.Leader]
	if r := p.role.Load(); !r.Leads() || r.LeaderEpoch != c.state.LeaderEpoch {
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

// retain makes a replica delete from its disk what it knows to be in the remote tier.
func (c *simulation) retain(rt *rapid.T) {
	p := c.replicas[broker(rt)]
	if err := p.log.Roll(); err != nil {
		rt.Fatal(err)
	}
	if _, err := p.log.EnforceRetention(time.Now()); err != nil {
		rt.Fatal(err)
	}
	if local := p.log.LocalStartOffset(); local > max(c.tier.state.EndOffset, p.log.StartOffset()) {
		rt.Fatalf("the local log begins at %d, the tier ends at %d", local, c.tier.state.EndOffset)
	}
}

func (c *simulation) shrink(rt *rapid.T) { c.replicas[broker(rt)].maybeShrinkISR(-1) }

// propose sends a broker's proposal, unless an earlier one is unanswered.
func (c *simulation) propose(rt *rapid.T) { c.proposeBy(c.replicas[broker(rt)]) }

func (c *simulation) proposeBy(p *Partition) {
	for _, o := range c.changes {
		if o.at == p && !o.told {
			return
		}
	}
	if change, ok := p.pendingISR(); ok {
		c.changes = append(c.changes, &isrChange{ISRChange: change, at: p})
	}
}

// someChange returns a proposal that has not been processed, or whose leader has no answer yet.
func (c *simulation) someChange(rt *rapid.T) *isrChange {
	c.changes = slices.DeleteFunc(c.changes, func(o *isrChange) bool { return o.landed && o.told })
	if len(c.changes) == 0 {
		return nil
	}
	return rapid.SampledFrom(c.changes).Draw(rt, "change")
}

// writeISR delivers a proposal to the store, which writes it if the truth still allows it.
func (c *simulation) writeISR(rt *rapid.T) {
	if o := c.someChange(rt); o != nil {
		c.land(o)
	}
}

func (c *simulation) land(o *isrChange) {
	if o.landed {
		return
	}
	o.landed = true
	o.written = c.state.LeaderEpoch == o.LeaderEpoch && c.state.PartitionEpoch == o.PartitionEpoch
	for _, m := range o.ISR {
		o.written = o.written && (c.epochs[m.Broker] == m.Epoch || slices.Contains(c.state.Members(), m))
	}
	if o.written {
		c.setISR(o.ISR)
		c.wrote()
	}
}

// tellISR answers a leader, or lets its request time out, whether or not the proposal was or will
// be written.
func (c *simulation) tellISR(rt *rapid.T) {
	if o := c.someChange(rt); o != nil {
		c.tell(o, rapid.Bool().Draw(rt, "lost"))
	}
}

func (c *simulation) tell(o *isrChange, lost bool) {
	switch {
	case o.told:
		return
	case lost || !o.landed:
		o.at.proposed(o.ISRChange, false, context.DeadlineExceeded)
	case o.written:
		o.at.proposed(o.ISRChange, false, nil)
	default:
		o.at.proposed(o.ISRChange, true, metadata.ErrConflict)
	}
	o.told = true
}

// heal delivers everything, then checks that all records get committed.
func (c *simulation) heal(rt *rapid.T) {
	for range 8 {
		for _, o := range c.changes {
			c.land(o)
			c.tell(o, false)
		}
		if leader := (metadata.Member{Broker: c.state.Leader, Epoch: c.state.LeaderBrokerEpoch}); !slices.Contains(c.live(), leader) {
			next := c.electable()
			if len(next) == 0 {
				next = []metadata.Member{{Broker: c.state.ISR[0], Epoch: c.epochs[c.state.ISR[0]]}}
			}
			c.state.Leader, c.state.LeaderBrokerEpoch = next[0].Broker, next[0].Epoch
			c.setISR(next[:1])
			c.state.LeaderEpoch++
			c.wrote()
		}
		if live := c.live(); len(live) < len(c.state.ISR) {
			c.setISR(live)
			c.wrote()
		}
		for _, id := range c.state.Replicas {
			c.apply(rt, id, len(c.states)-1)
		}
		for _, id := range c.state.Replicas {
			for range 20 {
				c.fetchBy(rt, id, 10_000)
			}
			c.checkpoint(rt, id)
			c.fetchBy(rt, id, 10_000) // to report the checkpointed log start
		}
		for _, p := range c.replicas {
			c.proposeBy(p)
		}
		c.check(rt)
	}
	leader := c.replicas[c.state.Leader]
	if high, end := leader.HighWatermark(), leader.log.EndOffset(); high != end || len(c.state.ISR) != len(c.state.Replicas) {
		rt.Fatalf("healed, the leader has high watermark %d of %d, %+v, %#v", high, end, c.state, leader.insync.Set())
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
	for _, m := range c.electable() {
		p := c.replicas[m.Broker]
		if have := c.contents(rt, p); len(have) < len(c.committed) || !slices.Equal(have[:len(c.committed)], c.committed) {
			rt.Fatalf("broker %d could be elected and has %v of %v, %+v", m.Broker, have, c.committed, c.state)
		}
		if start := p.log.StartOffset(); start < c.deleted {
			rt.Fatalf("broker %d could be elected and begins at %d; records below %d are deleted, %+v", m.Broker, start, c.deleted, c.state)
		}
	}
	for _, a := range c.acknowledged {
		if int(a.LastOffset) >= len(c.committed) || c.committed[a.LastOffset] != a.value {
			rt.Fatalf("%q was acknowledged at offset %d; committed are %v", a.value, a.LastOffset, c.committed)
		}
	}
}

// contents returns the records of a replica's log, over both tiers.
func (c *simulation) contents(t rapid.TB, p *Partition) []string {
	t.Helper()
	local := p.log.LocalStartOffset()
	if int(local) > len(c.committed) {
		t.Fatalf("the local log begins at %d, %d records are committed", local, len(c.committed))
	}
	return append(slices.Clone(c.committed[:local]), contents(t, p)...)
}

// contents returns the records of a replica's local log.
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
