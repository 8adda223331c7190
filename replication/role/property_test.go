package role

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
)

// world is one replica of broker 1, the cluster as it learns about it, and a record of what it must
// not do.
type world struct {
	rt     *rapid.T
	store  []View  // the partition's states, the newest last
	newest int     // index of the newest state that the replica has seen, -1: none
	epochs []int64 // of all registrations of this process
	self   int64   // of the present registration, 0: none

	s       State
	existed bool
	log     Log
	starts  map[int32]int64 // start offsets of the leader epochs at which it has led

	told     Told
	elected  bool // the listener considers this broker the leader
	electedE int32
	attached bool // the tier has been notified of a role
	tierE    int32
	removed  bool // the log was removed
}

// TestRoles plays random images, old and new, elections, registrations, logs that grow and fail,
// and effects that fail. It checks the invariants of the package after every step.
func TestRoles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{rt: rt, newest: -1, starts: map[int32]int64{}, existed: rapid.Bool().Draw(rt, "existed")}
		w.store = []View{nobody(0, 0)}
		rt.Repeat(map[string]func(*rapid.T){
			"":          w.check,
			"write":     w.write,
			"see":       w.see,
			"catch up":  w.catchUp,
			"register":  w.register,
			"append":    w.append,
			"fail":      func(*rapid.T) { w.log.Failed = w.s.Kind != Absent },
			"tier":      func(rt *rapid.T) { w.log.TierEnd = rapid.Int64Range(0, w.log.End+2).Draw(rt, "tier end") },
			"leave":     w.leave,
			"announce":  w.announce,
			"next duty": w.duty,
		})
	})
}

// write changes the partition in the store: another ISR, or an election.
func (w *world) write(rt *rapid.T) {
	v := w.store[len(w.store)-1]
	v.PartitionEpoch++
	if rapid.Bool().Draw(rt, "elects") {
		v.LeaderEpoch++
		v.Leader = metadata.Member{Broker: rapid.SampledFrom([]int32{1, 1, 2, metadata.NoBroker}).Draw(rt, "leader")}
		// Under a registration of this process, of an earlier one, or one that it does not know of
		// yet.
		v.Leader.Epoch = rapid.SampledFrom([]int64{max(w.self, 1), 1, w.self + 10}).Draw(rt, "broker epoch")
	}
	w.store = append(w.store, v)
}

// register gives the process a registration, or takes it away.
func (w *world) register(rt *rapid.T) {
	if w.self != 0 && rapid.Bool().Draw(rt, "lapses") {
		w.self = 0
		return
	}
	last := int64(1) // of the earlier process
	if len(w.epochs) > 0 {
		last = w.epochs[len(w.epochs)-1]
	}
	w.self = last + 10
	w.epochs = append(w.epochs, w.self)
}

// append grows the log. A follower may also truncate it.
func (w *world) append(rt *rapid.T) {
	if w.s.Kind == Leader {
		w.log.End++
		return
	}
	w.log.End = rapid.Int64Range(0, w.log.End+3).Draw(rt, "end")
}

func (w *world) see(rt *rapid.T) {
	w.bring(rt, rapid.IntRange(0, len(w.store)-1).Draw(rt, "image"), rapid.Bool().Draw(rt, "elected"))
}

// catchUp shows the newest image, and checks that the role follows from that image alone.
func (w *world) catchUp(rt *rapid.T) {
	if !w.bring(rt, len(w.store)-1, true) {
		return
	}
	v := &w.store[len(w.store)-1]
	want := map[bool]Kind{true: Offline, false: Follower}[v.Leader.Broker == metadata.NoBroker]
	if v.Leader.Broker == 1 {
		want = Unregistered
		if _, led := w.starts[v.LeaderEpoch]; led || w.self != 0 && v.Leader.Epoch == w.self {
			want = Leader
		}
	}
	if w.s.Kind != want || !w.s.sameAs(v) {
		rt.Fatalf("%+v at broker epoch %d is %d, want %d", v, w.self, w.s.Kind, want)
	}
}

// bring shows a state to the replica. It returns false if the replica does not follow it: its log
// was not open, it is gone, or an effect has failed.
func (w *world) bring(rt *rapid.T, at int, elected bool) bool {
	e := Seen{
		View: w.store[at], Elected: elected, Self: metadata.Member{Broker: 1, Epoch: w.self}, Existed: w.existed, LogEnd: w.log.End,
	}
	before := w.s
	next, effects := Step(w.s, e)
	if before.Kind == Absent {
		w.open(next, effects)
		return false
	}
	if at < w.newest && (next.Kind != before.Kind || !next.sameAs(&before.View) || effects != (Effects{})) {
		rt.Fatalf("the older %+v has made %+v of %+v: %+v", e.View, next, before, effects)
	}
	if (effects.Change == NoChange) != (next.Kind == before.Kind && next.sameAs(&before.View)) {
		rt.Fatalf("%+v makes %+v of %+v: %+v", e.View, next, before, effects)
	}
	if effects.AwaitEpoch != 0 && (effects.AwaitEpoch <= w.self || next.Kind != Unregistered) {
		rt.Fatalf("at broker epoch %d it waits for %d as %d", w.self, effects.AwaitEpoch, next.Kind)
	}
	if effects.Change != NoChange && rapid.IntRange(0, 4).Draw(rt, "fails") == 0 {
		return false
	}
	w.s = next
	if before.Kind == Gone {
		return false
	}
	w.newest = max(w.newest, at)
	if effects.Change == MakeLeader {
		w.begin(e)
	}
	if again, effects := Step(w.s, e); effects.Change != NoChange || again.Kind != w.s.Kind {
		rt.Fatalf("%+v, seen again, makes %+v of %+v: %+v", e.View, again, w.s, effects)
	}
	return true
}

func (w *world) open(next State, effects Effects) {
	if want := map[bool]Change{true: ReopenLog, false: CreateLog}[w.existed]; effects != (Effects{Change: want}) || next.Kind != Absent {
		w.rt.Fatalf("an absent partition is %+v, %+v", next, effects)
	}
	w.s, _ = Step(next, LogOpened{})
}

// begin records and checks the beginning of a leadership.
func (w *world) begin(e Seen) {
	if !e.Elected || e.View.Leader.Broker != 1 || e.View.Leader.Epoch != w.self {
		w.rt.Fatalf("it leads %+v at broker epoch %d", e.View, w.self)
	}
	if _, led := w.starts[w.s.LeaderEpoch]; led {
		w.rt.Fatalf("leader epoch %d begins twice", w.s.LeaderEpoch)
	}
	w.starts[w.s.LeaderEpoch] = w.log.End
}

func (w *world) leave(rt *rapid.T) {
	if rapid.IntRange(0, 5).Draw(rt, "leaves") > 0 {
		return
	}
	before := w.s
	var effects Effects
	w.s, effects = Step(w.s, Removed{})
	if left := before.Kind != Absent && before.Kind != Gone; (effects.Change == Leave) != left || before.Kind != Absent && w.s.Kind != Gone {
		rt.Fatalf("%+v leaves as %+v, %+v", before, w.s, effects)
	}
}

func (w *world) announce(rt *rapid.T) {
	var news News
	switch w.told, news = w.told.Announce(&w.s); news {
	case Elected:
		if !w.s.Leads() || w.elected && w.electedE >= w.s.LeaderEpoch {
			rt.Fatalf("elected at %d, after %d", w.s.LeaderEpoch, w.electedE)
		}
		w.elected, w.electedE = true, w.s.LeaderEpoch
	case Resigned:
		if w.s.Leads() || !w.elected {
			rt.Fatal("resigned, and was not elected")
		}
		w.elected = false
	case NoNews:
	}
	if w.elected != w.s.Leads() || w.elected && w.electedE != w.s.LeaderEpoch {
		rt.Fatalf("the listener does not know %+v", w.s)
	}
}

func (w *world) duty(rt *rapid.T) {
	if w.removed {
		return
	}
	d := w.told.Duty(&w.s, TierNeeds{Exists: true, Failed: w.log.Failed, Wanted: rapid.Bool().Draw(rt, "wanted")})
	switch d {
	case AttachTier, FollowTier:
		if (d == AttachTier) != w.s.Leads() || w.s.IsGone() || w.log.Failed || w.attached && w.tierE > w.s.LeaderEpoch {
			rt.Fatalf("%d for %+v, the tier knows epoch %d", d, w.s, w.tierE)
		}
		w.attached, w.tierE = true, w.s.LeaderEpoch
	case DetachTier:
		if !w.s.IsGone() || !w.attached {
			rt.Fatalf("detached: %+v", w.s)
		}
		w.attached = false
	case RemoveLog:
		if !w.s.IsGone() || w.attached {
			rt.Fatalf("its log goes: %+v, the tier has it: %t", w.s, w.attached)
		}
		w.removed = true
	case NoDuty:
		if w.s.IsGone() {
			rt.Fatal("its log stays")
		}
	}
	w.told = w.told.Done(d, &w.s)
}

// check checks what is true of every state.
func (w *world) check(rt *rapid.T) {
	if w.newest >= 0 && w.s.LeaderEpoch < w.store[w.newest].LeaderEpoch {
		rt.Fatalf("leader epoch %d after %d", w.s.LeaderEpoch, w.store[w.newest].LeaderEpoch)
	}
	if start, led := w.starts[w.s.LeaderEpoch]; w.s.Leads() && (!led || start != w.s.LeaderEpochStartOffset) {
		rt.Fatalf("leader epoch %d starts at %d, and at %d: %t", w.s.LeaderEpoch, w.s.LeaderEpochStartOffset, start, led)
	}
	for _, r := range []Request{{-1, false}, {-1, true}, {w.s.LeaderEpoch, true}} {
		served := w.s.Serve(r, w.log) == Served
		if served && (w.log.Failed || w.s.IsGone() || w.s.Kind == Absent || w.s.Leads() && w.log.TierEnd > w.log.End || !r.FromFollower && !w.s.Leads()) {
			rt.Fatalf("%+v with %+v serves %+v", w.s, w.log, r)
		}
		if !served && w.s.Leads() && !w.log.Failed && w.log.TierEnd <= w.log.End {
			rt.Fatalf("%+v with %+v does not serve %+v", w.s, w.log, r)
		}
	}
}
