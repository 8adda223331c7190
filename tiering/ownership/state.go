package ownership

// State is what this broker is to the remote tier of a partition. The zero value is Following.
// States can be compared. Only [Step] changes them.
type State struct{ phase Phase }

// Phase is the kind of a state, and what is known in it: one of the types of this package that
// are named in its documentation.
type Phase interface {
	// next is what the phase waits for; nil: for an event that is no answer.
	next() Request
	// step is Step for an event that the phase may heed.
	step(e Event, effects *Effects) Phase
}

// Phase is the state's.
func (s State) Phase() Phase {
	if s.phase == nil {
		return Following{}
	}
	return s.phase
}

// Next is the request that has to be performed and answered, nil if there is none. There is one
// at a time.
func (s State) Next() Request { return s.Phase().next() }

// Owner is a leader that has attached the partition.
type Owner struct {
	LeaderEpoch int32
	BrokerID    int32
	// Claim is drawn at random, so that two attachments of one leader epoch are told apart.
	Claim string
}

// Manifest is the name of a manifest. The zero value is none.
type Manifest struct {
	LeaderEpoch int32  // of the leader that wrote it
	Sequence    int64  // from 1 on
	Attempt     string // drawn at random: no other manifest ever has it
}

// Pointer is what the metadata store has: the committed manifest, and whose it is.
type Pointer struct {
	Owner

	Manifest Manifest // zero: none yet
	Fence    int64    // grows with each write that only fences a swap
	Deleted  bool     // the topic is deleted. No leader claims the pointer
}

// Following is the phase of a broker that does not lead the partition, or does not yet or any
// more. It changes nothing.
type Following struct{}

func (Following) next() Request              { return nil }
func (Following) step(Event, *Effects) Phase { return Following{} }

// Deposed is the phase of a leader that another one, or the deletion of the topic, has ended. It
// changes nothing, for good: only another attachment claims again.
type Deposed struct{ By Pointer }

func (Deposed) next() Request                { return nil }
func (d Deposed) step(Event, *Effects) Phase { return d }

// attachment is what a leader knows from the beginning to the end.
type attachment struct {
	owner   Owner
	suspect bool
	tried   int64 // the highest sequence that a manifest was written with
}

func (a attachment) attached() attachment { return a }

// Fences returns the claim of a suspect leader, whose log is compared only under that claim. It
// returns false for any other leader, and for one that is deposed.
func (s State) Fences() (claim string, suspect bool) {
	p, ok := s.Phase().(interface{ attached() attachment })
	if !ok {
		return "", false
	}
	a := p.attached()
	return a.owner.Claim, a.suspect
}

// tenure is what the owner of a pointer knows.
type tenure struct {
	attachment

	current  Manifest // the committed manifest
	revision int64    // of the pointer; 0: it does not exist, the first object waits for it
	fence    int64    // of the newest pointer that was tried
	staged   Objects  // verified segment objects that no manifest names
}

// pointer is one that this owner writes.
func (t *tenure) pointer(m Manifest) Pointer {
	return Pointer{Owner: t.owner, Manifest: m, Fence: t.fence}
}

// superseded is what becomes of an owner that finds a pointer that it has not written.
func (t *tenure) superseded(e PointerRead, effects *Effects) Phase {
	p := e.Pointer
	if e.Revision == 0 {
		p = Pointer{Deleted: true} // it goes with the topic, and not before
	}
	effects.Conflict = &p
	switch {
	case p.Deleted || p.LeaderEpoch > t.owner.LeaderEpoch:
		return Deposed{By: p}
	case p.LeaderEpoch == t.owner.LeaderEpoch && p.Claim != t.owner.Claim:
		return Deposed{By: p} // by a later attachment, for our claim was in the pointer
	}
	return Unclaimed{t.attachment} // to claim over it, once
}
