package ownership

import (
	"fmt"
	"reflect"
	"testing"
)

var (
	us    = Owner{LeaderEpoch: 5, BrokerID: 1, Claim: "us"}
	older = Owner{LeaderEpoch: 4, BrokerID: 2, Claim: "older"}
	newer = Owner{LeaderEpoch: 6, BrokerID: 2, Claim: "newer"}
	// sibling is an attachment of our leader epoch, of an earlier process or of a later one.
	sibling = Owner{LeaderEpoch: 5, BrokerID: 1, Claim: "sibling"}

	current = Manifest{LeaderEpoch: 4, Sequence: 7, Attempt: "old"}
	next    = Manifest{LeaderEpoch: 5, Sequence: 8, Attempt: "a"}
)

// read returns an answer to ReadPointer.
func read(revision int64, owner Owner, m Manifest) PointerRead {
	return PointerRead{Pointer: Pointer{Owner: owner, Manifest: m}, Revision: revision}
}

// after returns the state after some events, each of which has to change something.
func after(t *testing.T, events ...Event) State {
	t.Helper()
	s, _ := Step(State{}, BecameLeader{Owner: us})
	for _, e := range events {
		before := s
		if s, _ = Step(s, e); s == before {
			t.Fatalf("%#v changes nothing in %#v", e, before)
		}
	}
	return s
}

var (
	loading   = []Event{read(10, older, current)}
	toRead    = []Event{PointerRead{Pointer{Owner: older, Manifest: current}, 10, true}}
	claiming  = append(loading[:1:1], Loaded{LoadManifest{current}, false})
	claim11   = SwapPointer{On: 10, Pointer: Pointer{Owner: us, Manifest: current}}
	owned     = append(claiming[:2:2], Swapped{claim11, 11})
	reading   = append(loading[:1:1], Loaded{LoadManifest{current}, true})
	writing   = append(owned[:3:3], CommitDue{Attempt: "a"})
	swapping  = append(writing[:4:4], Done{WriteManifest{next}})
	commit12  = SwapPointer{On: 11, Pointer: Pointer{Owner: us, Manifest: next}}
	settling  = append(swapping[:5:5], Failed{commit12})
	fencing   = append(settling[:6:6], read(11, us, current))
	fence12   = SwapPointer{On: 11, Pointer: Pointer{Owner: us, Manifest: current, Fence: 1}}
	uploading = append(owned[:3:3], UploadDue{Objects: "segment"})
	staged    = append(uploading[:4:4], Uploaded{Upload{"segment"}, "segment"})
	sweeping  = append(staged[:5:5], SweepDue{}, read(11, us, current))

	fresh    = []Event{PointerRead{}}
	founding = append(fresh[:1:1], UploadDue{Objects: "segment"})
	// foundingA waits with a commit.
	foundingA = append(fresh[:1:1], CommitDue{Attempt: "a"})
	found1    = SwapPointer{On: 0, Pointer: Pointer{Owner: us}}
	first     = Manifest{LeaderEpoch: 5, Sequence: 1, Attempt: "a"}
)

// TestEachStep checks the transition of each phase for each event that concerns it.
func TestEachStep(t *testing.T) {
	deleted := PointerRead{Pointer: Pointer{Deleted: true, Owner: Owner{LeaderEpoch: 1 << 30}, Manifest: current}, Revision: 12}
	for _, tc := range []struct {
		name    string
		given   []Event
		event   Event
		phase   Phase
		next    Request
		effects Effects
	}{
		{"there is no pointer", nil, PointerRead{}, Owned{}, nil, Effects{Adopt: &Manifest{}}},
		{"an older leader's", nil, read(10, older, current), Loading{}, LoadManifest{current}, Effects{}},
		{"one of our leader epoch", nil, read(10, sibling, current), Loading{}, LoadManifest{current}, Effects{}},
		{"no manifest yet", nil, read(10, older, Manifest{}), Claiming{}, SwapPointer{10, Pointer{Owner: us}}, Effects{}},
		{"no manifest, but our claim", nil, read(10, us, Manifest{}), Owned{}, nil, Effects{Adopt: &Manifest{}}},
		{"none yet, and not to be written", nil, PointerRead{Pointer{Owner: older}, 10, true}, Reading{}, nil, Effects{Adopt: &Manifest{}}},
		{"a newer leader's", nil, read(10, newer, current), Deposed{}, nil, conflict(read(10, newer, current))},
		{"a deleted topic's", nil, deleted, Deposed{}, nil, conflict(deleted)},
		{"the pointer cannot be read", nil, Failed{ReadPointer{}}, Unclaimed{}, ReadPointer{}, Effects{}},

		{"the manifest is loaded", loading, Loaded{LoadManifest{current}, false}, Claiming{}, claim11, Effects{}},
		{"the manifest is not to be replaced", loading, Loaded{LoadManifest{current}, true}, Reading{}, nil, Effects{Adopt: &current}},
		{"the pointer is not to be written", toRead, Loaded{LoadManifest{current}, false}, Reading{}, nil, Effects{Adopt: &current}},
		{"what is only read is looked at again", reading, RefreshDue{}, Unclaimed{}, ReadPointer{}, Effects{}},
		{"the claim was written before", []Event{read(11, us, current)}, Loaded{LoadManifest{current}, false}, Owned{}, nil, Effects{Adopt: &current}},
		{"the manifest is not there", loading, Failed{LoadManifest{current}}, Unclaimed{}, ReadPointer{}, Effects{}},
		{"claimed", claiming, Swapped{claim11, 11}, Owned{}, nil, Effects{Adopt: &current}},
		{"not known to be claimed", claiming, Failed{claim11}, Unclaimed{}, ReadPointer{}, Effects{}},

		{"a segment", owned, UploadDue{Objects: "segment"}, Uploading{}, Upload{"segment"}, Effects{}},
		{"a commit", owned, CommitDue{Attempt: "a"}, Writing{}, WriteManifest{next}, Effects{}},
		{"a segment without a pointer", fresh, UploadDue{Objects: "segment"}, Founding{}, found1, Effects{}},
		{"a commit without a pointer", fresh, CommitDue{Attempt: "a"}, Founding{}, found1, Effects{}},
		{"the pointer is there", founding, Swapped{found1, 1}, Uploading{}, Upload{"segment"}, Effects{}},
		{"the pointer is there for a commit", foundingA, Swapped{found1, 1}, Writing{}, WriteManifest{first}, Effects{}},
		{"the pointer is not known to be there", founding, Failed{found1}, Unclaimed{}, ReadPointer{}, Effects{}},
		{"a sweep", owned, SweepDue{}, Confirming{}, ReadPointer{}, Effects{}},
		{"a sweep without a pointer", fresh, SweepDue{}, Owned{}, nil, Effects{}},
		{"uploaded", uploading, Uploaded{Upload{"segment"}, "segment"}, Owned{}, nil, Effects{}},
		{"not known to be uploaded", uploading, Failed{Upload{"segment"}}, Owned{}, nil, Effects{}},
		{"still ours", append(staged[:5:5], SweepDue{}), read(11, us, current), Sweeping{}, Sweep{5, current, "segment"}, Effects{}},
		{"not ours any more", append(owned[:3:3], SweepDue{}), read(12, newer, current), Deposed{}, nil, conflict(read(12, newer, current))},
		{"that of a later attachment", append(owned[:3:3], SweepDue{}), read(12, sibling, current), Deposed{}, nil, conflict(read(12, sibling, current))},
		{"the topic is gone", append(owned[:3:3], SweepDue{}), PointerRead{}, Deposed{}, nil, Effects{Conflict: &Pointer{Deleted: true}}},
		{"not known whose", append(owned[:3:3], SweepDue{}), Failed{ReadPointer{}}, Owned{}, nil, Effects{}},
		{"swept", sweeping, Done{Sweep{5, current, "segment"}}, Owned{}, nil, Effects{}},
		{"not known to be swept", sweeping, Failed{Sweep{5, current, "segment"}}, Owned{}, nil, Effects{}},

		{"the manifest is written", writing, Done{WriteManifest{next}}, Swapping{}, commit12, Effects{}},
		{"not known to be written", writing, Failed{WriteManifest{next}}, Owned{}, nil, Effects{Lost: true}},
		{"committed", swapping, Swapped{commit12, 12}, Owned{}, nil, Effects{Adopt: &next}},
		{"not known to be committed", swapping, Failed{commit12}, Settling{}, ReadPointer{}, Effects{}},
		{"it was committed", settling, read(12, us, next), Owned{}, nil, Effects{Adopt: &next}},
		{"it is not yet", settling, read(11, us, current), Fencing{}, fence12, Effects{}},
		{"it is still not known", settling, Failed{ReadPointer{}}, Settling{}, ReadPointer{}, Effects{}},
		{"a newer leader was faster", settling, read(12, newer, current), Deposed{}, nil, lost(read(12, newer, current))},
		{"a later attachment was faster", settling, read(12, sibling, current), Deposed{}, nil, lost(read(12, sibling, current))},
		{"the topic was deleted", settling, deleted, Deposed{}, nil, lost(deleted)},
		{"the pointer was deleted", settling, PointerRead{}, Deposed{}, nil, Effects{Lost: true, Conflict: &Pointer{Deleted: true}}},
		{"our claim with a third manifest", settling, read(12, us, Manifest{5, 8, "b"}), Unclaimed{}, ReadPointer{}, lost(read(12, us, Manifest{5, 8, "b"}))},
		{"an older leader's, which cannot be", settling, read(12, older, current), Unclaimed{}, ReadPointer{}, lost(read(12, older, current))},
		{"fenced", fencing, Swapped{fence12, 12}, Owned{}, nil, Effects{Lost: true}},
		{"not known to be fenced", fencing, Failed{fence12}, Settling{}, ReadPointer{}, Effects{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, effects := Step(after(t, tc.given...), tc.event)
			if reflect.TypeOf(got.Phase()) != reflect.TypeOf(tc.phase) || got.Next() != tc.next || !reflect.DeepEqual(effects, tc.effects) {
				t.Errorf("it is %#v\nand asks for %#v, want %#v;\neffects %s, want %s", got.Phase(), got.Next(), tc.next, text(effects), text(tc.effects))
			}
		})
	}
}

func conflict(r PointerRead) Effects { return Effects{Conflict: &r.Pointer} }

func lost(r PointerRead) Effects { return Effects{Lost: true, Conflict: &r.Pointer} }

func text(e Effects) string {
	adopt, other := "none", "none"
	if e.Adopt != nil {
		adopt = fmt.Sprint(*e.Adopt)
	}
	if e.Conflict != nil {
		other = fmt.Sprint(*e.Conflict)
	}
	return fmt.Sprintf("adopt %s, lost %t, conflict %s", adopt, e.Lost, other)
}

// phases returns a state of every phase.
func phases(t *testing.T) []State {
	t.Helper()
	confirming := append(owned[:3:3], SweepDue{})
	deposed := []Event{read(10, newer, current)}
	var states []State
	seen := map[reflect.Type]bool{}
	for _, events := range [][]Event{
		nil, loading, claiming, owned, writing, swapping, settling, fencing, uploading, staged, confirming, sweeping, deposed,
		reading, founding,
	} {
		s := after(t, events...)
		seen[reflect.TypeOf(s.Phase())] = true
		states = append(states, s)
	}
	if len(seen) != 14 {
		t.Fatalf("%d phases: %v", len(seen), seen)
	}
	return states
}

// TestWorkBeginsInOwnedOnly checks that uploads, commits and sweeps never begin beside other
// work of the owner.
func TestWorkBeginsInOwnedOnly(t *testing.T) {
	for _, s := range append(phases(t), State{}) {
		for _, e := range []Event{UploadDue{Objects: "other"}, CommitDue{}, SweepDue{}} {
			got, effects := Step(s, e)
			if _, is := s.Phase().(Owned); is == (got == s) || effects != (Effects{}) {
				t.Errorf("%#v leads from %#v to %#v, %#v", e, s.Phase(), got.Phase(), effects)
			}
		}
	}
}

// TestLateAnswerChangesNothing checks that the answer to a request that the state does not wait for
// has no effect.
func TestLateAnswerChangesNothing(t *testing.T) {
	all := append(phases(t), State{})
	for _, s := range all {
		for _, other := range all {
			r := other.Next()
			if r == nil || r == s.Next() {
				continue
			}
			answers := []Event{Done{r}, Failed{r}}
			switch r := r.(type) {
			case ReadPointer:
				answers = append(answers, read(12, newer, current))
			case SwapPointer:
				answers = append(answers, Swapped{r, 12})
			case LoadManifest:
				answers = append(answers, Loaded{r, false}, Loaded{r, true})
			}
			for _, e := range answers {
				if got, effects := Step(s, e); got != s || effects != (Effects{}) {
					t.Errorf("%#v leads from %#v to %#v, %#v", e, s.Phase(), got.Phase(), effects)
				}
			}
		}
	}
}

// TestLeadershipEndsInEveryPhase checks that a broker can resign or be elected in every phase. The
// answer to a request under way then changes nothing, and a leader at another epoch knows nothing
// of the time before.
func TestLeadershipEndsInEveryPhase(t *testing.T) {
	for _, s := range phases(t) {
		if got, effects := Step(s, Resigned{}); got != (State{}) || got.Next() != nil || effects != (Effects{}) {
			t.Errorf("resigned in %#v: %#v, %#v", s.Phase(), got, effects)
		}
		want, _ := Step(State{}, BecameLeader{Owner: newer})
		if got, effects := Step(s, BecameLeader{Owner: newer}); got != want || effects != (Effects{}) {
			t.Errorf("elected in %#v: %#v, %#v", s.Phase(), got, effects)
		}
	}
}

// TestStagedObjects checks that a staged object is uploaded once, and stays staged until a manifest
// names it or it is not kept.
func TestStagedObjects(t *testing.T) {
	is := func(s State, want Objects) {
		t.Helper()
		if owned, ok := s.Phase().(Owned); !ok || owned.Staged() != want {
			t.Errorf("staged is %q, want %q: %#v", owned.Staged(), want, s.Phase())
		}
	}
	step := func(s State, events ...Event) State {
		for _, e := range events {
			s, _ = Step(s, e)
		}
		return s
	}
	three := ObjectsOf("a", "b", "c")
	s := step(after(t, owned...), UploadDue{Objects: three})
	if s.Next() != (Upload{three}) {
		t.Fatalf("it asks for %#v", s.Next())
	}
	s = step(s, Uploaded{Upload{three}, ObjectsOf("c", "stranger", "a")})
	is(s, ObjectsOf("c", "a"))

	// Commits that fail, or name no staged object, and a sweep leave it staged.
	retention := Manifest{5, 9, "y"}
	s = step(s,
		CommitDue{Names: "a", Attempt: "x"}, Failed{WriteManifest{Manifest{5, 8, "x"}}},
		CommitDue{Attempt: "y"}, Done{WriteManifest{retention}}, Swapped{SwapPointer{11, Pointer{Owner: us, Manifest: retention}}, 12},
		SweepDue{}, read(12, us, retention),
	)
	if want := (Sweep{5, retention, ObjectsOf("c", "a")}); s.Next() != want {
		t.Fatalf("it asks for %#v, want %#v", s.Next(), want)
	}
	s = step(s, Done{s.Next()})
	is(s, ObjectsOf("c", "a"))

	// The object that failed is uploaded beside the one that is kept. What is not kept is an
	// orphan.
	is(step(s, UploadDue{Objects: "d", Keep: "c"}, Failed{Upload{"d"}}), "c")
	again := step(s, UploadDue{Objects: "d", Keep: ObjectsOf("a", "c")}, Uploaded{Upload{"d"}, "d"})
	is(again, ObjectsOf("c", "a", "d"))

	// What a manifest names is no longer staged, even if only the pointer shows that it was
	// committed.
	upload := Manifest{5, 10, "z"}
	is(step(again, CommitDue{Names: ObjectsOf("a", "d"), Attempt: "z"}, Done{WriteManifest{upload}},
		Failed{SwapPointer{12, Pointer{Owner: us, Manifest: upload}}}, read(13, us, upload)), "c")
}

// TestObjects checks that Objects is an ordered set.
func TestObjects(t *testing.T) {
	some := ObjectsOf("b", "a")
	for got, want := range map[Objects]Objects{
		some.and(ObjectsOf("c", "a")):     ObjectsOf("b", "a", "c"),
		Objects("").and(some):             some,
		some.and(""):                      some,
		some.among(ObjectsOf("a", "c")):   "a",
		some.without(ObjectsOf("a", "c")): "b",
		some.without(""):                  some,
		some.without(some):                "",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if len(Objects("").Names()) != 0 || Objects("").Has("") || !some.Has("a") || some.Has("c") {
		t.Error("their names are others")
	}
}

// TestSequenceGrowsWithEachAttempt: a manifest whose commit failed may exist. It must not pass for
// newer than the one that is committed later.
func TestSequenceGrowsWithEachAttempt(t *testing.T) {
	s := after(t, owned...)
	for sequence := int64(8); sequence < 12; sequence++ {
		if s, _ = Step(s, CommitDue{Attempt: "a"}); s.Next() != (WriteManifest{Manifest{5, sequence, "a"}}) {
			t.Fatalf("it asks for %#v, want sequence %d", s.Next(), sequence)
		}
		s, _ = Step(s, Failed{s.Next()})
	}
}

// TestFenceGrows checks that each fence writes another value, and so another revision.
func TestFenceGrows(t *testing.T) {
	s := after(t, fencing...)
	for fence := int64(1); fence < 4; fence++ {
		r, is := s.Next().(SwapPointer)
		if !is || r.Pointer.Fence != fence || r.Pointer.Manifest != current {
			t.Fatalf("it asks for %#v, want fence %d", s.Next(), fence)
		}
		s, _ = Step(s, Failed{r})
		s, _ = Step(s, read(11, us, current))
	}
}

// TestSuspectLeaderClaimsFirst: what a suspect leader compares its log with must not grow any more.
func TestSuspectLeaderClaimsFirst(t *testing.T) {
	for name, q := range map[string][]struct {
		event Event
		next  Request
	}{
		"an older leader's": {
			{read(10, older, current), claim11},
			{Swapped{claim11, 11}, LoadManifest{current}},
			{Loaded{LoadManifest{current}, false}, nil},
		},
		"the claim was written before": {
			{read(11, us, current), LoadManifest{current}},
			{Loaded{LoadManifest{current}, false}, nil},
		},
		"there is no pointer":    {{PointerRead{}, found1}, {Swapped{found1, 1}, nil}},
		"no manifest yet":        {{read(10, older, Manifest{}), SwapPointer{10, Pointer{Owner: us}}}, {Swapped{SwapPointer{10, Pointer{Owner: us}}, 11}, nil}},
		"another one was faster": {{PointerRead{}, found1}, {Failed{found1}, ReadPointer{}}},
	} {
		s, _ := Step(State{}, BecameLeader{us, true})
		for i, step := range q {
			var effects Effects
			if s, effects = Step(s, step.event); s.Next() != step.next || (effects.Adopt != nil) != (step.next == nil) {
				t.Fatalf("%s, step %d: it asks for %#v, adopts %v", name, i, s.Next(), effects.Adopt)
			}
		}
	}
}
