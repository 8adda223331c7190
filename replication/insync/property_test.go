package insync

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
)

// TestProtocol runs a leader against a metadata store, with random events: fetches that arrive
// late, appends, syncs, deletions, brokers that register again or shut down, images that arrive
// late or twice, elections, reassignments, settings, proposals that are written late and whose
// outcome is lost. The invariants of the package hold after every event. When everything has been
// answered and shown, the leader has the store's ISR.
func TestProtocol(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		actions := map[string]func(*rapid.T){
			"elect":       w.elect,
			"image":       w.image,
			"controller":  w.controller,
			"register":    w.register,
			"fetch":       w.fetch, // several times, so that it is drawn more often
			"fetch 2":     w.fetch,
			"fetch 3":     w.fetch,
			"fetch 4":     w.fetch,
			"grow":        w.grow,
			"tick":        w.tick,
			"directories": func(*rapid.T) { w.step(DirectoriesDue{Now: w.now()}) },
			"settings":    w.settings,
			"write":       w.write,
			"write 2":     w.write,
			"write 3":     w.write,
			"land":        w.landOne,
			"":            w.check,
		}
		for range 4 {
			rt.Repeat(actions)
		}
		w.settle()
		w.heal()
	})
}

const self = 1

// spare is the capacity of an image's ISR slice. The protocol must not write to the elements after
// its length.
const spare = 8

// broker is a broker at one of its epochs.
type broker struct {
	id    int32
	epoch int64
}

// world is a leader and everything around it.
type world struct {
	rt    *rapid.T
	s     State
	clock time.Time

	truth   PartitionState
	history []PartitionState // all states of the truth so far
	copies  []PartitionState // copies of history, to detect modifications
	cluster *metadata.Image
	own     metadata.DirectoryID

	log                    Log
	high                   int64
	leaderEpochStartOffset int64
	// began is the high watermark at the beginning of the leader epoch.
	began    int64
	has      map[broker]int64 // what each broker has fetched at the leader epoch
	config   Settings
	taken    *attempt   // the writer waits for its answer
	attempts []*attempt // attempts that may still be written
}

// attempt is one attempt to write a proposal.
type attempt struct {
	Proposal

	written bool
	landed  bool
}

func newWorld(rt *rapid.T) *world {
	w := &world{rt: rt, clock: time.Unix(1000, 0), has: map[broker]int64{}, config: Settings{MinInSyncReplicas: 1}}
	w.cluster = &metadata.Image{Revision: 1, Brokers: map[int32]metadata.Broker{}}
	for id := range int32(5) {
		w.cluster.Brokers[id] = metadata.Broker{ID: id, Epoch: 1}
	}
	w.truth = PartitionState{Replicas: []int32{1, 2, 3}, ISR: []metadata.Member{{Broker: 1, Epoch: 1}, {Broker: 2, Epoch: 1}, {Broker: 3, Epoch: 1}}}
	w.elect(rt)
	return w
}

func (w *world) now() Now { return Now{Directory: w.own, Image: w.cluster} }

// wrote makes the changed truth an image.
func (w *world) wrote() {
	w.truth.PartitionEpoch++
	w.truth.ISR = append(make([]metadata.Member, 0, spare), w.truth.ISR...)
	w.history = append(w.history, w.truth)
	w.copies = append(w.copies, copied(w.truth))
}

func copied(p PartitionState) PartitionState {
	p.ISR, p.Eligible, p.Replicas = slices.Clone(p.ISR[:spare])[:len(p.ISR)], slices.Clone(p.Eligible), slices.Clone(p.Replicas)
	return p
}

func cloned(s State) State {
	s.followers = slices.Clone(s.followers)
	return s
}

// step takes a step, and checks what it did.
func (w *world) step(e Event) Effects {
	before := cloned(w.s)
	again, repeated := Step(cloned(w.s), e)
	next, effects := Step(w.s, e)
	if !reflect.DeepEqual(next, again) || !reflect.DeepEqual(effects, repeated) {
		w.rt.Fatalf("%+v leads to %+v, %+v and to %+v, %+v", e, next, effects, again, repeated)
	}
	w.s = next
	w.checkProposal(&before, e, effects)
	w.checkHighWatermark(e, effects)
	return effects
}

// checkProposal checks what an event has proposed.
func (w *world) checkProposal(before *State, e Event, effects Effects) {
	p := effects.Proposal
	open, is := w.s.Open()
	if p == nil {
		return
	}
	if !is || !reflect.DeepEqual(open, *p) || p.LeaderEpoch != w.s.lead.LeaderEpoch || p.PartitionEpoch != w.s.lead.PartitionEpoch {
		w.rt.Fatalf("%+v: proposed %+v, open %+v, state %+v", e, *p, open, w.s.lead)
	}
	if pending, was := before.set.(*Pending); was && (!pending.Uncertain || pending.Settles) || before.set == nil {
		w.rt.Fatalf("%+v: proposed %+v after %+v", e, *p, before.set)
	}
	leads := false
	for i, m := range p.ISR {
		leads = leads || m.Broker == self
		if slices.ContainsFunc(p.ISR[:i], func(o metadata.Member) bool { return o.Broker == m.Broker }) {
			w.rt.Fatalf("%+v: proposed %+v", e, *p)
		}
		w.checkMember(e, m)
	}
	if !leads {
		w.rt.Fatalf("%+v: the leader is not in %+v", e, *p)
	}
}

// checkMember checks a proposed member.
func (w *world) checkMember(e Event, m metadata.Member) {
	f := w.s.Follower(m.Broker)
	pending, _ := w.s.set.(*Pending)
	switch {
	case pending.Settles:
		if !slices.Contains(w.s.lead.ISR, m) {
			w.rt.Fatalf("%+v: %+v is proposed, committed are %+v", e, m, w.s.lead.ISR)
		}
		return
	case m.Broker == self && m.Directory != w.own, f != nil && f.Epoch == m.Epoch && f.End >= 0 && f.Directory != m.Directory:
		w.rt.Fatalf("%+v: %+v is proposed, its directory is another: %+v, %+v", e, m, w.own, f)
	case m.Broker != self && (f == nil || f.Epoch != m.Epoch) && !slices.Contains(w.s.lead.ISR, m):
		w.rt.Fatalf("%+v: %+v is proposed, committed are %+v, and %+v has not fetched", e, m, w.s.lead.ISR, f)
	case contains(w.s.lead.ISR, m):
		return
	}
	if !w.cluster.ISREligible(m) || f == nil || f.Epoch != m.Epoch || f.End < w.high || f.End < w.leaderEpochStartOffset || f.LogStart < w.log.Start {
		w.rt.Fatalf("%+v: %+v is proposed for %+v", e, m, w.s)
	}
}

// checkHighWatermark checks that an event has moved the high watermark as far as possible, and no
// further.
func (w *world) checkHighWatermark(e Event, effects Effects) {
	if w.s.lead == nil {
		return
	}
	want := max(w.high, w.committable())
	if effects.HighWatermark != 0 && effects.HighWatermark <= w.high || max(w.high, effects.HighWatermark) != want || w.s.highWatermark != want {
		w.rt.Fatalf("%+v: high watermark %d, it was %d and has to be %d; %+v", e, effects.HighWatermark, w.high, want, w.s)
	}
	w.high = want
}

// committable returns the offset that the high watermark must have reached at least.
func (w *world) committable() int64 {
	lead, to := w.s.lead, w.log.End
	if w.config.FlushFirst {
		to = w.log.Flushed
	}
	if w.log.DiskFailed || len(lead.Eligible) > 0 || len(lead.ISR) < min(w.config.MinInSyncReplicas, len(lead.Replicas)) {
		return 0
	}
	for _, m := range w.s.MaximalISR() {
		if f := w.s.Follower(m.Broker); m.Broker != self && (f == nil || f.Epoch != m.Epoch) {
			return 0
		} else if f != nil {
			to = min(to, f.End)
		}
	}
	return to
}

// check checks what holds at all times. Any member of the store's ISR may be elected, so it is in
// the maximal ISR and has all committed records. The members of a set that can still be written are
// in the maximal ISR too.
func (w *world) check(*rapid.T) {
	if w.s.lead == nil || w.truth.LeaderEpoch != w.s.lead.LeaderEpoch {
		return
	}
	maximal := w.s.MaximalISR()
	open, _ := w.s.Open()
	members := slices.Concat(w.truth.ISR, w.s.lead.ISR, open.ISR)
	for _, a := range w.attempts {
		if a.LeaderEpoch == w.truth.LeaderEpoch && a.PartitionEpoch == w.truth.PartitionEpoch {
			members = append(members, a.ISR...)
		}
	}
	for _, m := range members {
		if !contains(maximal, m) {
			w.rt.Fatalf("%+v is not in the maximal set %+v; the store has %+v", m, maximal, w.truth)
		}
	}
	for _, m := range w.truth.ISR {
		if has := w.has[broker{m.Broker, m.Epoch}]; m.Broker != self && has < w.high && w.high > w.began {
			w.rt.Fatalf("high watermark %d, the store has %+v in sync, which has %d; %+v", w.high, m, has, w.s)
		}
	}
}

// elect makes this broker the leader at a higher epoch, often after it has resigned.
func (w *world) elect(rt *rapid.T) {
	if w.s.lead != nil && rapid.IntRange(0, 3).Draw(rt, "leave") > 0 {
		return
	}
	if rapid.Bool().Draw(rt, "resign") {
		w.resign(rt)
	}
	w.truth.LeaderEpoch++
	if !slices.ContainsFunc(w.truth.ISR, func(m metadata.Member) bool { return m.Broker == self }) {
		w.truth.ISR = append(slices.Clone(w.truth.ISR), metadata.Member{Broker: self, Epoch: 1})
	}
	w.wrote()
	w.began, w.leaderEpochStartOffset, w.has = w.high, w.log.End, map[broker]int64{}
	w.step(BecameLeader{
		Self: self, Partition: w.truth, Settings: w.config, Log: w.log, HighWatermark: w.high, Directory: w.own, Time: w.clock, Proposes: true,
	})
	if _, committed := w.s.set.(Committed); !committed {
		w.rt.Fatalf("elected, the set is %+v", w.s.set)
	}
}

// resign leaves a broker that ignores all events.
func (w *world) resign(rt *rapid.T) {
	if effects := w.step(Resigned{}); effects != (Effects{Wake: true}) {
		rt.Fatalf("resigned: %+v", effects)
	}
	w.fetch(rt)
	w.grow(rt)
	w.tick(rt)
	if !reflect.DeepEqual(w.s, State{}) {
		rt.Fatalf("resigned: %+v", w.s)
	}
}

// image shows a present or past state of the truth.
func (w *world) image(rt *rapid.T) {
	p := w.truth
	if rapid.Bool().Draw(rt, "old") {
		p = w.history[rapid.IntRange(max(0, len(w.history)-5), len(w.history)-1).Draw(rt, "state")]
	}
	if w.s.lead == nil || p.LeaderEpoch != w.s.lead.LeaderEpoch {
		return
	}
	before := cloned(w.s)
	effects := w.step(ImageSeen{Partition: p, Log: w.log, Directory: w.own})
	if p.PartitionEpoch > before.lead.PartitionEpoch {
		if _, committed := w.s.set.(Committed); !committed || !reflect.DeepEqual(w.s.lead.ISR, p.ISR) {
			rt.Fatalf("a newer image leads to %+v", w.s)
		}
		for _, f := range w.s.Followers() {
			if was := before.Follower(f.Broker); was != nil && *was != f || was == nil && f.End != -1 {
				rt.Fatalf("a newer image leads from %+v to %+v", was, f)
			}
		}
	} else if effects != (Effects{}) || !reflect.DeepEqual(before, w.s) {
		rt.Fatalf("an image of partition epoch %d leads from %+v to %+v, %+v", p.PartitionEpoch, before, w.s, effects)
	}
}

// controller writes the partition: it removes a broker from the ISR, changes whether one is
// eligible, or changes the replicas.
func (w *world) controller(rt *rapid.T) {
	switch rapid.SampledFrom([]string{"shrink", "eligible", "not eligible", "replicas"}).Draw(rt, "write") {
	case "shrink":
		out := rapid.Int32Range(2, 4).Draw(rt, "out")
		w.truth.ISR = slices.DeleteFunc(slices.Clone(w.truth.ISR), func(m metadata.Member) bool { return m.Broker == out })
	case "eligible":
		w.truth.Eligible = []metadata.Member{{Broker: 2, Epoch: 1}}
	case "not eligible":
		w.truth.Eligible = nil
	case "replicas":
		w.truth.Replicas = rapid.SampledFrom([][]int32{{1, 2, 3}, {1, 2, 3, 4}, {4, 1}, {1}}).Draw(rt, "replicas")
		w.truth.ISR = slices.DeleteFunc(slices.Clone(w.truth.ISR), func(m metadata.Member) bool { return !slices.Contains(w.truth.Replicas, m.Broker) })
	}
	w.wrote()
}

// register registers a broker again, or begins its shutdown.
func (w *world) register(rt *rapid.T) {
	id := rapid.Int32Range(2, 4).Draw(rt, "broker")
	next := &metadata.Image{Revision: w.cluster.Revision + 1, Brokers: maps.Clone(w.cluster.Brokers)}
	if rapid.Bool().Draw(rt, "stops") {
		next.Brokers[id] = metadata.Broker{ID: id, Epoch: next.Brokers[id].Epoch, InControlledShutdown: true}
	} else {
		next.Brokers[id] = metadata.Broker{ID: id, Epoch: next.Brokers[id].Epoch + 1}
	}
	w.cluster = next
}

// fetch makes a broker fetch, at its epoch or an earlier one, at the end of what it has, or as it
// did some time ago.
func (w *world) fetch(rt *rapid.T) {
	id := rapid.Int32Range(2, 4).Draw(rt, "broker")
	e := FollowerFetched{Log: w.log, Now: w.now(), Time: w.clock}
	e.Follower = metadata.Member{Broker: id, Epoch: max(1, w.cluster.Brokers[id].Epoch-int64(rapid.IntRange(0, 5).Draw(rt, "earlier")/5))}
	e.Follower.Directory[0] = byte(rapid.IntRange(0, 9).Draw(rt, "directory") / 8)
	e.LogStart = rapid.SampledFrom([]int64{0, w.log.Start, w.log.Start}).Draw(rt, "log start")
	if w.s.lead != nil {
		e.LeaderEpoch = w.s.lead.LeaderEpoch - int32(rapid.IntRange(0, 5).Draw(rt, "other leader epoch")/5)
	}
	at := broker{id, e.Follower.Epoch}
	e.Offset = rapid.SampledFrom([]int64{w.log.End, w.log.End, min(w.has[at]+1, w.log.End), w.has[at], 0}).Draw(rt, "offset")
	if w.s.lead == nil {
		w.step(e)
		return
	}
	before := cloned(w.s)
	f := before.Follower(id)
	if e.LeaderEpoch != w.s.lead.LeaderEpoch || f == nil || f.Epoch > e.Follower.Epoch {
		if effects := w.step(e); effects != (Effects{}) || !reflect.DeepEqual(before, w.s) {
			rt.Fatalf("%+v leads from %+v to %+v, %+v", e, before, w.s, effects)
		}
		return
	}
	w.has[at] = max(w.has[at], e.Offset)
	effects := w.step(e)
	if now := w.s.Follower(id); now.End != e.Offset || now.LogStart != e.LogStart || now.Member != e.Follower {
		rt.Fatalf("%+v: %+v", e, now)
	}
	if wakes := f.LogStart != e.LogStart || f.Epoch != e.Follower.Epoch || f.End != e.Offset; wakes != effects.Wake {
		rt.Fatalf("%+v after %+v: %+v", e, f, effects)
	}
}

// grow changes the log.
func (w *world) grow(rt *rapid.T) {
	switch rapid.SampledFrom([]string{"append", "fail", "flush", "delete", "move"}).Draw(rt, "grow") {
	case "append":
		w.log.End += rapid.Int64Range(1, 3).Draw(rt, "records")
		w.step(Appended{Log: w.log})
	// The append is not on disk. The disk works again at once; a real failure would end the
	// leadership.
	case "fail":
		w.log.End += rapid.Int64Range(1, 3).Draw(rt, "records")
		w.log.DiskFailed = true
		w.step(Appended{Log: w.log})
		w.log.DiskFailed = false
		w.step(Flushed{Log: w.log})
	case "flush":
		w.log.Flushed = rapid.Int64Range(w.log.Flushed, w.log.End).Draw(rt, "flushed")
		w.step(Flushed{Log: w.log})
	case "delete":
		w.log.Start = rapid.Int64Range(w.log.Start, max(w.log.Start, w.high)).Draw(rt, "log start")
	case "move":
		w.own[0] = 7 - w.own[0]
	}
}

func (w *world) tick(rt *rapid.T) {
	w.clock = w.clock.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "seconds")) * time.Second)
	failed := rapid.IntRange(0, 3).Draw(rt, "disk failed") == 0
	w.log.DiskFailed = failed
	effects := w.step(Tick{MaxLag: 2 * time.Second, Log: w.log, Now: w.now(), Time: w.clock})
	w.log.DiskFailed = false
	if failed && effects != (Effects{}) {
		rt.Fatalf("a leader without its disk: %+v", effects)
	}
}

func (w *world) settings(rt *rapid.T) {
	w.config = Settings{MinInSyncReplicas: rapid.IntRange(1, 3).Draw(rt, "min.insync.replicas"), FlushFirst: rapid.Bool().Draw(rt, "flush")}
	w.step(SettingsChanged{Settings: w.config, Log: w.log})
}

// attempt makes the writer take the open proposal. It takes one at a time.
func (w *world) attempt() {
	if p, open := w.s.Open(); open && w.taken == nil {
		w.taken = &attempt{Proposal: p}
		w.attempts = append(w.attempts, w.taken)
	}
}

// landOne delivers an attempt to the store, whether or not the writer still waits for it.
func (w *world) landOne(rt *rapid.T) {
	if len(w.attempts) > 0 {
		w.land(rapid.SampledFrom(w.attempts).Draw(rt, "attempt"))
	}
}

func (w *world) land(a *attempt) {
	if a.landed {
		return
	}
	w.attempts = slices.DeleteFunc(w.attempts, func(o *attempt) bool { return o == a })
	a.landed = true
	a.written = w.truth.LeaderEpoch == a.LeaderEpoch && w.truth.PartitionEpoch == a.PartitionEpoch
	for _, m := range a.ISR {
		a.written = a.written && (contains(w.truth.ISR, m) || w.cluster.ISREligible(m))
	}
	if a.written {
		w.truth.ISR = a.ISR
		w.wrote()
	}
}

// write advances the open proposal by some steps: it is taken, reaches the store, and is answered,
// or its answer is lost.
func (w *world) write(rt *rapid.T) {
	w.attempt()
	if w.taken != nil && rapid.Bool().Draw(rt, "land") {
		w.land(w.taken)
	}
	if w.taken != nil && rapid.Bool().Draw(rt, "answer") {
		w.tell(rapid.IntRange(0, 2).Draw(rt, "lost") == 0)
	}
}

func (w *world) tell(lost bool) {
	a := w.taken
	w.taken = nil
	e := ProposalAnswered{Proposal: a.Proposal, Outcome: WasUncertain, Log: w.log, Image: w.cluster}
	switch {
	case lost || !a.landed:
	case a.written:
		e.Outcome = WasWritten
	default:
		e.Outcome = WasRefused
	}
	w.step(e)
}

// settle delivers everything in flight. Then the leader is in the state of the store, or an image
// arrives that shows that state.
func (w *world) settle() {
	for _, a := range slices.Clone(w.attempts) {
		w.land(a)
	}
	for round := 0; ; round++ {
		if w.taken != nil {
			w.land(w.taken)
			w.tell(false)
		}
		if _, open := w.s.Open(); !open {
			break
		}
		if round > 3 {
			w.rt.Fatalf("it does not settle: %+v", w.s.set)
		}
		w.attempt()
	}
	if w.s.lead != nil && w.truth.LeaderEpoch == w.s.lead.LeaderEpoch {
		if _, committed := w.s.set.(Committed); !committed && w.truth.PartitionEpoch == w.s.lead.PartitionEpoch {
			w.rt.Fatalf("%#v, and no image will come", w.s.set)
		}
		w.step(ImageSeen{Partition: w.truth, Log: w.log, Directory: w.own})
		if maximal := w.s.MaximalISR(); !slices.Equal(maximal, w.truth.ISR) {
			w.rt.Fatalf("settled, the maximal set is %+v, the store has %+v", maximal, w.truth.ISR)
		}
		w.check(w.rt)
	}
}

// heal makes all replicas fetch everything. Then all of them are in sync, and everything is
// committed.
func (w *world) heal() {
	if w.s.lead == nil {
		return
	}
	w.config = Settings{MinInSyncReplicas: 1}
	w.step(SettingsChanged{Settings: w.config, Log: w.log})
	w.truth.Eligible, w.truth.Replicas, w.cluster = nil, []int32{1, 2, 3}, &metadata.Image{Revision: w.cluster.Revision + 1, Brokers: map[int32]metadata.Broker{
		1: {ID: 1, Epoch: 1}, 2: {ID: 2, Epoch: 101}, 3: {ID: 3, Epoch: 102},
	}}
	w.truth.ISR = slices.DeleteFunc(slices.Clone(w.truth.ISR), func(m metadata.Member) bool { return m.Broker == 4 })
	w.wrote()
	for range 4 {
		w.step(ImageSeen{Partition: w.truth, Log: w.log, Directory: w.own})
		for id := int32(2); id <= 3; id++ {
			w.step(FollowerFetched{
				LeaderEpoch: w.s.lead.LeaderEpoch, Follower: metadata.Member{Broker: id, Epoch: 99 + int64(id)}, Offset: w.log.End, LogStart: w.log.Start,
				Log: w.log, Now: w.now(), Time: w.clock,
			})
		}
		if w.attempt(); w.taken != nil {
			w.land(w.taken)
			w.tell(false)
		}
	}
	if w.high != w.log.End || len(w.truth.ISR) != 3 {
		w.rt.Fatalf("healed, the high watermark is %d of %d; %+v", w.high, w.log.End, w.truth)
	}
	for i, p := range w.history {
		p.ISR, w.copies[i].ISR = p.ISR[:spare], w.copies[i].ISR[:spare]
		if !reflect.DeepEqual(p, w.copies[i]) {
			w.rt.Fatalf("the protocol has changed an image: %+v, it was %+v", p, w.copies[i])
		}
	}
}
