package insync

import (
	"fmt"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
)

var began = time.Unix(1000, 0)

// leading returns a leader, broker 1, of the replicas 1 to 3, all in sync.
func leading(log Log) State {
	p := PartitionState{Replicas: []int32{1, 2, 3}}
	for _, id := range p.Replicas {
		p.ISR = append(p.ISR, metadata.Member{Broker: id, Epoch: 1})
	}
	s, _ := Step(State{}, BecameLeader{Self: self, Partition: p, Settings: Settings{MinInSyncReplicas: 1}, Log: log, Time: began, Proposes: true})
	return s
}

// fetches returns a fetch of broker 2 after a number of seconds.
func fetches(offset, end, seconds int64) FollowerFetched {
	return FollowerFetched{
		Follower: metadata.Member{Broker: 2, Epoch: 1}, Offset: offset, Log: Log{End: end}, Time: began.Add(time.Duration(seconds) * time.Second),
	}
}

func restarted(f FollowerFetched) FollowerFetched {
	f.Follower.Epoch++
	f.Now.Image = &metadata.Image{} // does not have the new epoch yet
	return f
}

// TestLag: a follower is behind if, for longer than the limit, it has not had the log end that the
// leader had at the follower's previous fetch. Appends in between do not count against it.
func TestLag(t *testing.T) {
	for name, tc := range map[string]struct {
		fetches []FollowerFetched
		end     int64
		behind  bool
	}{
		"has all, and does not fetch": {[]FollowerFetched{fetches(5, 5, 0)}, 5, false},
		"had all, and does not fetch": {[]FollowerFetched{fetches(5, 5, 0)}, 6, true},
		"has all now":                 {[]FollowerFetched{fetches(5, 5, 0), fetches(6, 6, 11)}, 7, false},
		"is another process":          {[]FollowerFetched{restarted(fetches(5, 5, 0))}, 5, true},
		"is another process, of late": {[]FollowerFetched{fetches(5, 5, 5), restarted(fetches(0, 5, 12))}, 5, false},
		"never fetched":               {nil, 1, true},
		// The follower's broker may be another process.
		"never fetched, nothing is there":          {nil, 0, true},
		"keeps up":                                 {[]FollowerFetched{fetches(0, 5, 5), fetches(5, 10, 9), fetches(10, 15, 13)}, 20, false},
		"catches up":                               {[]FollowerFetched{fetches(0, 5, 2), fetches(4, 10, 9), fetches(9, 15, 12)}, 20, true},
		"had what was there too long ago":          {[]FollowerFetched{fetches(0, 5, 1), fetches(5, 10, 12)}, 20, true},
		"what it had counts from the fetch before": {[]FollowerFetched{fetches(0, 5, 3), fetches(5, 10, 12)}, 20, false},
	} {
		s := leading(Log{})
		for _, f := range tc.fetches {
			s, _ = Step(s, f)
		}
		other := fetches(tc.end, tc.end, 13)
		other.Follower.Broker = 3
		s, _ = Step(s, other)
		s, effects := Step(s, Tick{MaxLag: 10 * time.Second, Log: Log{End: tc.end}, Time: began.Add(12500 * time.Millisecond)})
		if behind := effects.Proposal != nil; behind != tc.behind {
			t.Errorf("%s: behind %t", name, behind)
		} else if open, _ := s.Open(); behind && fmt.Sprint(open.ISR) != fmt.Sprint([]metadata.Member{{Broker: 1, Epoch: 1}, {Broker: 3, Epoch: 1}}) {
			t.Errorf("%s: proposed %+v", name, open.ISR)
		}
	}
}

// TestRefusedSetWaitsForANewerImage: on the same image it would be refused again, at every tick.
func TestRefusedSetWaitsForANewerImage(t *testing.T) {
	image := &metadata.Image{Revision: 7}
	s := leading(Log{End: 5})
	tick := func(image *metadata.Image) (effects Effects) {
		s, effects = Step(s, Tick{Log: Log{End: 5}, Now: Now{Image: image}, Time: began.Add(time.Hour)})
		return effects
	}
	p := tick(image).Proposal
	if p == nil || len(p.ISR) != 1 {
		t.Fatalf("proposed %+v", p)
	}
	if again := tick(image).Proposal; again != nil {
		t.Errorf("proposed %+v while another is on its way", again)
	}
	s, _ = Step(s, ProposalAnswered{Proposal: *p, Outcome: WasRefused, Log: Log{End: 5}, Image: image})
	if again := tick(image).Proposal; again != nil {
		t.Errorf("proposed %+v again", again)
	}
	if tick(&metadata.Image{Revision: 8}).Proposal == nil {
		t.Error("not proposed on a newer image")
	}
}

// TestUncertainProposalSettles: a refusal says nothing about an earlier attempt. Until the
// committed ISR was written again, or that write was refused too, the high watermark waits for the
// members of both sets.
func TestUncertainProposalSettles(t *testing.T) {
	s := leading(Log{End: 5})
	var effects Effects
	propose := func(want int, uncertain, settles bool) {
		t.Helper()
		p, pending := s.set.(*Pending)
		if !pending || len(p.Proposal.ISR) != want || p.Uncertain != uncertain || p.Settles != settles || len(p.MaximalISR) != 3 || effects.Proposal == nil {
			t.Fatalf("%#v, %+v", s.set, effects)
		}
	}
	answer := func(outcome Outcome) {
		p, _ := s.Open()
		s, effects = Step(s, ProposalAnswered{Proposal: p, Outcome: outcome, Log: Log{End: 5}, Image: &metadata.Image{Revision: 7}})
	}
	tick := func(revision int64) {
		s, effects = Step(s, Tick{Log: Log{End: 5}, Now: Now{Image: &metadata.Image{Revision: revision}}, Time: began.Add(time.Hour)})
	}
	tick(7)
	propose(1, false, false)
	answer(WasRefused)
	if s.set != (Committed{}) {
		t.Fatalf("refused for certain: %#v", s.set)
	}
	tick(8)
	answer(WasUncertain)
	if p := s.set.(*Pending); !p.Uncertain || effects != (Effects{}) {
		t.Fatalf("uncertain: %#v, %+v", p, effects)
	}
	answer(WasRefused)
	propose(3, true, true)
	answer(WasUncertain)
	answer(WasRefused)
	if _, unsettled := s.set.(*Unsettled); !unsettled || effects != (Effects{}) || len(s.MaximalISR()) != 3 {
		t.Fatalf("refused twice: %#v, %+v", s.set, effects)
	}
	tick(8)
	propose(1, true, false)
	answer(WasRefused)
	propose(3, true, true)
	answer(WasWritten)
	if _, written := s.set.(*Written); !written || effects != (Effects{}) || len(s.MaximalISR()) != 3 {
		t.Fatalf("written: %#v, %+v", s.set, effects)
	}
	if tick(9); effects.Proposal != nil {
		t.Fatalf("proposed %+v before the image", effects.Proposal)
	}
}

// TestUnsettledSetsAddUp: any of the sets that were proposed on a state may be the one that was
// written.
func TestUnsettledSetsAddUp(t *testing.T) {
	s := leading(Log{End: 5})
	back := fetches(5, 5, 0)
	back.Follower.Epoch = 2
	s, _ = Step(s, back)
	for _, outcome := range []Outcome{WasUncertain, WasRefused, WasRefused} {
		p, _ := s.Open()
		s, _ = Step(s, ProposalAnswered{Proposal: p, Outcome: outcome, Log: Log{End: 5}})
	}
	s, effects := Step(s, Tick{Log: Log{End: 5}, Time: began.Add(time.Hour)})
	if effects.Proposal == nil || len(effects.Proposal.ISR) != 1 || !contains(s.MaximalISR(), back.Follower) || len(s.MaximalISR()) != 4 {
		t.Errorf("proposed %+v, the maximal set is %+v", effects.Proposal, s.MaximalISR())
	}
}

// TestRefusedFollowerHoldsNothingBack: the high watermark has waited for a proposed follower. After
// the refusal it advances without it.
func TestRefusedFollowerHoldsNothingBack(t *testing.T) {
	p := PartitionState{Replicas: []int32{1, 2}, ISR: []metadata.Member{{Broker: 1, Epoch: 1}}}
	s, _ := Step(State{}, BecameLeader{Self: self, Partition: p, Log: Log{End: 5}, Time: began, Proposes: true})
	s, effects := Step(s, fetches(5, 5, 0))
	proposed := effects.Proposal
	if s, effects = Step(s, Appended{Log: Log{End: 6}}); effects.HighWatermark != 0 || proposed == nil {
		t.Fatalf("proposed %+v, then appended: %+v", proposed, effects)
	}
	s, effects = Step(s, ProposalAnswered{Proposal: *proposed, Outcome: WasRefused, Log: Log{End: 6}})
	if effects.HighWatermark != 6 || s.set != (Committed{}) {
		t.Errorf("refused: %+v, %#v", effects, s.set)
	}
}

// TestLateAnswerChangesNothing: it concerns a set that is based on another state.
func TestLateAnswerChangesNothing(t *testing.T) {
	for _, late := range []Proposal{{LeaderEpoch: 1}, {PartitionEpoch: 1}} {
		s := leading(Log{End: 5})
		s, _ = Step(s, Tick{Log: Log{End: 5}, Time: began.Add(time.Hour)})
		for _, outcome := range []Outcome{WasRefused, WasUncertain, WasWritten} {
			var effects Effects
			s, effects = Step(s, ProposalAnswered{Proposal: late, Outcome: outcome, Log: Log{End: 5}})
			if p, pending := s.Set().(*Pending); !pending || p.Uncertain || effects != (Effects{}) {
				t.Errorf("%+v, %d: %#v, %+v", late, outcome, s.Set(), effects)
			}
		}
	}
}

// TestWithoutAWriterNothingIsProposed: not even new directories of the logs.
func TestWithoutAWriterNothingIsProposed(t *testing.T) {
	p := PartitionState{Replicas: []int32{1, 2}, ISR: []metadata.Member{{Broker: 1}, {Broker: 2}}}
	s, _ := Step(State{}, BecameLeader{Self: self, Partition: p})
	for _, e := range []Event{Tick{Log: Log{End: 5}, Time: began}, DirectoriesDue{Now: Now{Directory: metadata.DirectoryID{1}}}} {
		var effects Effects
		if s, effects = Step(s, e); effects.Proposal != nil {
			t.Errorf("%+v: %+v", e, effects.Proposal)
		}
	}
}

// BenchmarkFollowerFetched measures two followers that fetch in turn, each one record further every
// time.
func BenchmarkFollowerFetched(b *testing.B) {
	s := leading(Log{})
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		e := fetches(i/2, i/2, 0)
		e.Follower.Broker += int32(i % 2)
		s, _ = Step(s, e)
	}
}

func BenchmarkAppended(b *testing.B) {
	s := leading(Log{})
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		s, _ = Step(s, Appended{Log: Log{End: i, Flushed: i}})
	}
}

// TestHotPathTakesNoMemory: fetches and appends are events of every partition, many times per
// second.
func TestHotPathTakesNoMemory(t *testing.T) {
	s := leading(Log{})
	end := int64(0)
	allocations := testing.AllocsPerRun(100, func() {
		end++
		s, _ = Step(s, Appended{Log: Log{End: end}})
		for id := range int32(2) {
			e := FollowerFetched{Follower: metadata.Member{Broker: 2 + id, Epoch: 1}, Offset: end, Log: Log{End: end}, Time: began}
			s, _ = Step(s, e)
		}
	})
	if allocations != 0 || s.highWatermark != end {
		t.Errorf("%v allocations, high watermark %d of %d", allocations, s.highWatermark, end)
	}
}
