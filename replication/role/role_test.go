package role

import (
	"testing"

	"github.com/varvelog/varve/metadata"
)

// view returns the view of a partition that a broker leads, elected under a broker epoch.
func view(leaderEpoch, partitionEpoch, leader int32, brokerEpoch int64) View {
	v := View{Leader: metadata.Member{Broker: leader, Epoch: brokerEpoch}}
	v.LeaderEpoch, v.PartitionEpoch, v.Replicas = leaderEpoch, partitionEpoch, []int32{1, 2, 3}
	return v
}

func nobody(leaderEpoch, partitionEpoch int32) View {
	return view(leaderEpoch, partitionEpoch, metadata.NoBroker, 0)
}

// seen returns an image of a view whose leader is registered, at broker 1 with a broker epoch.
func seen(v View, brokerEpoch int64) Seen {
	return Seen{View: v, Elected: true, Self: metadata.Member{Broker: 1, Epoch: brokerEpoch}, LogEnd: 100}
}

// dead is seen for a view whose leader is not registered.
func dead(v View, brokerEpoch int64) Seen {
	e := seen(v, brokerEpoch)
	e.Elected = false
	return e
}

func state(kind Kind, v View) State {
	s := State{Kind: kind, View: v}
	if kind == Leader {
		s.LeaderEpochStartOffset = 50
	}
	return s
}

func opened() State {
	s, _ := Step(State{}, LogOpened{})
	return s
}

func TestStep(t *testing.T) {
	existed := seen(view(3, 7, 1, 10), 10)
	existed.Existed = true
	leads, follows := state(Leader, view(3, 7, 1, 10)), state(Follower, view(3, 7, 2, 5))
	for name, q := range map[string]struct {
		from   State
		event  Event
		kind   Kind
		start  int64
		change Change
		awaits int64
	}{
		"a new partition":             {State{}, seen(view(3, 7, 1, 10), 10), Absent, 0, CreateLog, 0},
		"one of the last start":       {State{}, existed, Absent, 0, ReopenLog, 0},
		"one that never was":          {State{}, Removed{}, Absent, 0, NoChange, 0},
		"opened":                      {State{}, LogOpened{}, Offline, 0, NoChange, 0},
		"elected":                     {opened(), seen(view(0, 0, 1, 10), 10), Leader, 100, MakeLeader, 0},
		"elected, again":              {leads, seen(view(4, 8, 1, 10), 10), Leader, 100, MakeLeader, 0},
		"elected, after following":    {follows, seen(view(4, 8, 1, 10), 10), Leader, 100, MakeLeader, 0},
		"elected too early":           {opened(), seen(view(0, 0, 1, 11), 10), Unregistered, 0, MakeFollower, 11},
		"elected before registration": {opened(), seen(view(0, 0, 1, 11), 0), Unregistered, 0, MakeFollower, 11},
		"its predecessor is elected":  {opened(), seen(view(0, 0, 1, 9), 10), Unregistered, 0, MakeFollower, 0},
		"elected, and not registered": {opened(), dead(view(0, 0, 1, 10), 10), Unregistered, 0, MakeFollower, 0},
		"still too early":             {state(Unregistered, view(3, 7, 1, 11)), seen(view(3, 7, 1, 11), 10), Unregistered, 0, NoChange, 11},
		"registered by now":           {state(Unregistered, view(3, 7, 1, 11)), seen(view(3, 7, 1, 11), 11), Leader, 100, MakeLeader, 0},
		"the in-sync set changes":     {leads, seen(view(3, 8, 1, 10), 10), Leader, 50, UpdateLeader, 0},
		"its registration lapses":     {leads, dead(view(3, 8, 1, 10), 0), Leader, 50, UpdateLeader, 0},
		"it registers anew":           {leads, dead(view(3, 8, 1, 10), 12), Leader, 50, UpdateLeader, 0},
		"the same leader again":       {leads, seen(view(3, 7, 1, 10), 10), Leader, 50, NoChange, 0},
		"the same follower again":     {follows, seen(view(3, 7, 2, 5), 10), Follower, 0, NoChange, 0},
		"another one is elected":      {leads, seen(view(4, 8, 2, 5), 10), Follower, 0, MakeFollower, 0},
		"the next leader":             {follows, seen(view(4, 8, 3, 6), 10), Follower, 0, MakeFollower, 0},
		"a dead leader":               {follows, dead(view(4, 8, 3, 6), 10), Follower, 0, MakeFollower, 0},
		"no leader":                   {leads, seen(nobody(4, 8), 10), Offline, 0, MakeFollower, 0},
		"an older leader epoch":       {follows, seen(view(2, 9, 1, 10), 10), Follower, 0, NoChange, 0},
		"an older partition epoch":    {leads, seen(view(3, 6, 2, 5), 10), Leader, 50, NoChange, 0},
		"a leader goes":               {leads, Removed{}, Gone, 0, Leave, 0},
		"a follower goes":             {follows, Removed{}, Gone, 0, Leave, 0},
		"it is gone already":          {state(Gone, nobody(3, 7)), Removed{}, Gone, 0, NoChange, 0},
		"it does not come back":       {state(Gone, nobody(3, 7)), seen(view(4, 8, 1, 10), 10), Gone, 0, NoChange, 0},
		"opened twice":                {leads, LogOpened{}, Leader, 50, NoChange, 0},
	} {
		next, effects := Step(q.from, q.event)
		if next.Kind != q.kind || next.LeaderEpochStartOffset != q.start || effects != (Effects{q.change, q.awaits}) {
			t.Errorf("%s: %+v, %+v", name, next, effects)
		}
	}
}

func TestServe(t *testing.T) {
	works := Log{End: 100, TierEnd: 100}
	for name, q := range map[string]struct {
		kind    Kind
		request Request
		log     Log
		want    Refusal
	}{
		"leader":                           {Leader, Request{CurrentLeaderEpoch: 3}, works, Served},
		"leader, no epoch":                 {Leader, Request{CurrentLeaderEpoch: -1}, works, Served},
		"older epoch":                      {Leader, Request{CurrentLeaderEpoch: 2}, works, FencedLeaderEpoch},
		"newer epoch":                      {Leader, Request{CurrentLeaderEpoch: 4}, works, UnknownLeaderEpoch},
		"failed":                           {Leader, Request{CurrentLeaderEpoch: 3}, Log{Failed: true}, LogFailed},
		"behind the tier":                  {Leader, Request{CurrentLeaderEpoch: 3}, Log{End: 99, TierEnd: 100}, BehindTier},
		"follower":                         {Follower, Request{CurrentLeaderEpoch: 3}, works, NotLeader},
		"follower may":                     {Follower, Request{3, true}, works, Served},
		"follower may, behind the tier":    {Follower, Request{3, true}, Log{End: 99, TierEnd: 100}, Served},
		"follower may, failed":             {Follower, Request{3, true}, Log{Failed: true}, LogFailed},
		"unregistered":                     {Unregistered, Request{CurrentLeaderEpoch: 3}, works, NotLeader},
		"unregistered may, as it follows":  {Unregistered, Request{3, true}, works, Served},
		"knows no leader":                  {Offline, Request{3, true}, works, NotLeader},
		"gone":                             {Gone, Request{3, true}, works, UnknownPartition},
		"gone, whatever epoch is asked of": {Gone, Request{9, true}, works, UnknownPartition},
		"absent":                           {Absent, Request{3, true}, works, UnknownPartition},
	} {
		s := state(q.kind, view(3, 7, 2, 5))
		if got := s.Serve(q.request, q.log); got != q.want {
			t.Errorf("%s: %d, want %d", name, got, q.want)
		}
	}
}

// TestSuspectLeaderIsServedWhenItsLogContinuesTheTier: until then such a leader serves no request,
// and the tier is always asked.
func TestSuspectLeaderIsServedWhenItsLogContinuesTheTier(t *testing.T) {
	v := view(3, 7, 1, 10)
	v.LossyEpoch = 2 // an earlier leader may have lost records without noticing
	leads, follows := state(Leader, v), state(Follower, v)
	for _, q := range []struct {
		s    *State
		log  Log
		want Refusal
	}{
		{&leads, Log{End: 5}, Suspicious},
		{&leads, Log{End: 5, Continues: true}, Served},
		{&leads, Log{End: 5, Continues: true, TierEnd: 6}, BehindTier},
		{&follows, Log{End: 5}, Served},
	} {
		if got := q.s.Serve(Request{3, true}, q.log); got != q.want {
			t.Errorf("kind %d, %+v: %d, want %d", q.s.Kind, q.log, got, q.want)
		}
	}
	if d := (Told{}).Duty(&leads, TierNeeds{Exists: true}); d != AttachTier {
		t.Errorf("the tier of a topic that has none enabled is not asked: %d", d)
	}
}

func TestFetch(t *testing.T) {
	leader := metadata.Member{Broker: 2, Epoch: 5}
	for name, q := range map[string]struct {
		kind   Kind
		leader metadata.Member
		log    FollowerLog
		want   Fetch
	}{
		"ready":                  {Follower, leader, FollowerLog{}, Ready},
		"not on the disk yet":    {Follower, leader, FollowerLog{Unflushed: true}, FlushFirst},
		"being restored":         {Follower, leader, FollowerLog{Restoring: true, Unflushed: true}, Blocked},
		"failed":                 {Follower, leader, FollowerLog{Failed: true, Unflushed: true}, Blocked},
		"the leader's next life": {Follower, metadata.Member{Broker: 2, Epoch: 6}, FollowerLog{}, NotFollowing},
		"another one":            {Follower, metadata.Member{Broker: 3, Epoch: 5}, FollowerLog{}, NotFollowing},
		"it leads":               {Leader, leader, FollowerLog{}, NotFollowing},
		"it is gone":             {Gone, leader, FollowerLog{}, NotFollowing},
		"its own election":       {Unregistered, leader, FollowerLog{}, NotFollowing},
	} {
		s := state(q.kind, view(3, 7, 2, 5))
		if got := s.Fetch(q.leader, q.log); got != q.want {
			t.Errorf("%s: %d, want %d", name, got, q.want)
		}
	}
}

// TestReplicatesAt: replicas that do not lead apply an answer only at the epoch of its leader.
func TestReplicatesAt(t *testing.T) {
	for kind, want := range map[Kind]bool{
		Absent: false, Offline: true, Unregistered: true, Follower: true, Leader: false, Gone: false,
	} {
		s := state(kind, view(3, 7, 2, 5))
		if s.ReplicatesAt(3) != want || s.ReplicatesAt(2) || s.ReplicatesAt(4) {
			t.Errorf("kind %d: %t", kind, s.ReplicatesAt(3))
		}
	}
}

// TestFate goes through all ways in which a log can be missing in an image (R10). A log is deleted
// only if an event has deleted it.
func TestFate(t *testing.T) {
	s := state(Follower, view(3, 7, 2, 5))
	for n := range 1 << 5 {
		bit := func(i int) bool { return n>>i&1 == 1 }
		for _, epoch := range []int32{6, 7, 8} {
			a := Absence{
				Incomplete: bit(0), HasTopic: bit(1), Vanished: bit(2), NameTaken: bit(3), Elsewhere: bit(4), PartitionEpoch: epoch,
			}
			fate, why := s.Fate(a)
			deleted := !a.HasTopic && !a.Incomplete && !a.Vanished
			moved := a.HasTopic && a.Elsewhere && a.PartitionEpoch > s.PartitionEpoch
			if (fate == Delete) != (deleted || moved) {
				t.Errorf("%+v: %d", a, fate)
			}
			stays := a.HasTopic && !a.Elsewhere || !a.HasTopic && a.Incomplete && !a.NameTaken
			if (fate == Keep) != stays || fate == KeepAll {
				t.Errorf("%+v: %d", a, fate)
			}
			if (fate == SetAside) != (why != "") {
				t.Errorf("%+v: %d, %q", a, fate, why)
			}
		}
		stray := Stray{Incomplete: bit(0), HasName: bit(1), SameTopic: bit(2), Elsewhere: bit(3)}
		fate, why := stray.Fate()
		if fate == Delete || (fate == SetAside) != (why != "") || (fate == KeepAll) != (stray.Incomplete && !stray.HasName) {
			t.Errorf("%+v: %d, %q", stray, fate, why)
		}
	}
	for why, a := range map[string]Absence{
		Renamed:  {Incomplete: true, NameTaken: true},
		NoTopic:  {Vanished: true},
		WentBack: {HasTopic: true, Elsewhere: true, PartitionEpoch: 7},
	} {
		if _, got := s.Fate(a); got != why {
			t.Errorf("%+v: %q", a, got)
		}
	}
	for why, stray := range map[string]Stray{
		NoTopic:  {},
		Renamed:  {HasName: true, Incomplete: true},
		OnOthers: {HasName: true, SameTopic: true, Elsewhere: true, Incomplete: true},
		"":       {HasName: true, SameTopic: true},
	} {
		if _, got := stray.Fate(); got != why {
			t.Errorf("%+v: %q", stray, got)
		}
	}
}

// TestTierHearsOfEachElection: the tier fences by leader epochs.
func TestTierHearsOfEachElection(t *testing.T) {
	needs := TierNeeds{Exists: true, Wanted: true}
	leads, again := state(Leader, view(3, 7, 1, 10)), state(Leader, view(4, 8, 1, 10))
	follows, gone := state(Follower, view(4, 8, 2, 5)), state(Gone, nobody(4, 8))
	var none Told
	told := none.Done(AttachTier, &leads)
	for name, q := range map[string]struct {
		told  Told
		s     State
		needs TierNeeds
		want  Duty
	}{
		"a leader":                   {none, leads, needs, AttachTier},
		"a follower":                 {none, follows, needs, FollowTier},
		"the same":                   {told, leads, needs, NoDuty},
		"the same leader, elected":   {told, again, needs, AttachTier},
		"a leader at its epoch":      {none.Done(FollowTier, &follows), again, needs, AttachTier},
		"the leader follows":         {told, follows, needs, FollowTier},
		"no tier":                    {none, leads, TierNeeds{Wanted: true}, NoDuty},
		"no tiered topic":            {none, leads, TierNeeds{Exists: true}, NoDuty},
		"a tiered topic that ends":   {told, again, TierNeeds{Exists: true}, AttachTier},
		"failed":                     {told, again, TierNeeds{Exists: true, Wanted: true, Failed: true}, NoDuty},
		"gone":                       {told, gone, needs, DetachTier},
		"gone, and failed":           {told, gone, TierNeeds{Exists: true, Failed: true}, DetachTier},
		"gone, and the tier knows":   {told.Done(DetachTier, &gone), gone, needs, RemoveLog},
		"gone, and it was not there": {none, gone, needs, RemoveLog},
		"absent":                     {none, State{}, needs, NoDuty},
	} {
		if got := q.told.Duty(&q.s, q.needs); got != q.want {
			t.Errorf("%s: %d, want %d", name, got, q.want)
		}
	}
}

// TestServeMakesNoGarbage: every append and every fetch calls Serve.
func TestServeMakesNoGarbage(t *testing.T) {
	s := state(Leader, view(3, 7, 1, 10))
	if n := testing.AllocsPerRun(100, func() {
		if s.Serve(Request{CurrentLeaderEpoch: -1}, Log{End: 1}) != Served {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
