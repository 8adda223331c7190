package ownership

// State is the role of this broker in the remote tier of a partition. The zero value is Following.
// States can be compared. Only [Step] changes them.
type State struct{ phase Phase }

// Phase is the kind of a state, with what is known in it: one of the types of this package that its
// documentation names.
type Phase interface {
	// next returns the request that the phase waits for, or nil if it waits for an event
	// that is no answer.
	next() Request
	// step is Step for an event that concerns the phase.
	step(e Event, effects *Effects) Phase
}

// Phase returns the state's phase.
func (s State) Phase() Phase {
	if s.phase == nil {
		return Following{}
	}
	return s.phase
}

// Next returns the request that has to be performed and answered, or nil. There is one at a time.
func (s State) Next() Request { return s.Phase().next() }

// Owner is a leader that has attached the partition.
type Owner struct {
	LeaderEpoch int32
	BrokerID    int32
	// Claim is random, and distinguishes two attachments of one leader epoch.
	Claim string
}

// Manifest is the name of a manifest. The zero value is none.
type Manifest struct {
	LeaderEpoch int32  // of the leader that wrote it
	Sequence    int64  // from 1 on
	Attempt     string // random: no other manifest ever has it
}

// Pointer is the value in the metadata store: the committed manifest and its owner.
type Pointer struct {
	Owner

	Manifest Manifest // zero: none yet
	Fence    int64    // grows with each write that only fences a swap
	Deleted  bool     // the topic is deleted: no leader claims the pointer
}

// Following is the phase of a broker that does not lead the partition, does not lead it yet, or
// leads it no longer. It changes nothing.
type Following struct{}

func (Following) next() Request              { return nil }
func (Following) step(Event, *Effects) Phase { return Following{} }

// Deposed is the phase of a leader that another leader, or the deletion of the topic, has ended. It
// changes nothing any more: only a new attachment claims again.
type Deposed struct{ By Pointer }

func (Deposed) next() Request                { return nil }
func (d Deposed) step(Event, *Effects) Phase { return d }

// attachment is what a leader knows from its attachment to the end.
type attachment struct {
	owner   Owner
	suspect bool
	tried   int64 // the highest sequence that a manifest was written with
}

func (a attachment) attached() attachment { return a }

// Fences returns the claim of a suspect leader, whose log is compared only under that claim.
// suspect is false for any other leader, and for one that is deposed.
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

	current Manifest // the committed manifest
	// revision is the pointer's; 0: it does not exist yet, and is created before the first object.
	revision int64
	fence    int64   // of the newest pointer that this owner tried to write
	staged   Objects // verified segment objects that no manifest names
}

// pointer returns the pointer that this owner writes for a manifest.
func (t *tenure) pointer(m Manifest) Pointer {
	return Pointer{Owner: t.owner, Manifest: m, Fence: t.fence}
}

// superseded returns the next phase of an owner that finds a pointer that it has not written.
func (t *tenure) superseded(e PointerRead, effects *Effects) Phase {
	p := e.Pointer
	if e.Revision == 0 {
		p = Pointer{Deleted: true} // it is deleted with the topic, and not before
	}
	effects.Conflict = &p
	switch {
	case p.Deleted || p.LeaderEpoch > t.owner.LeaderEpoch:
		return Deposed{By: p}
	case p.LeaderEpoch == t.owner.LeaderEpoch && p.Claim != t.owner.Claim:
		return Deposed{By: p} // by a later attachment: this claim was in the pointer before
	}
	return Unclaimed{t.attachment} // which claims over it, once
}
