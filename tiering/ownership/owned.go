package ownership

// Owned is the phase of a leader that owns the manifest and has no request under way. Uploads,
// commits and sweeps begin only in this phase.
type Owned struct{ tenure }

func (Owned) next() Request { return nil }

func (o Owned) step(e Event, _ *Effects) Phase {
	t := o.tenure
	switch e := e.(type) {
	case UploadDue:
		if t.revision == 0 {
			return Founding{t, e}
		}
		t.staged = t.staged.among(e.Keep)
		return Uploading{tenure: t, objects: e.Objects}
	case CommitDue:
		if t.revision == 0 {
			return Founding{t, e}
		}
		return t.write(e)
	case SweepDue:
		if t.revision != 0 { // without a pointer nothing stops an older leader from committing
			return Confirming{t}
		}
	}
	return o
}

// Staged returns the verified segment objects that no manifest names.
func (o Owned) Staged() Objects { return o.staged }

// Founding is the phase of an owner whose partition has no pointer and is about to get its
// first object. The pointer is written first: whatever happens to the object, there is a
// pointer that leads to it.
type Founding struct {
	tenure

	// due is the event that waits for the pointer; nil: none, a suspect leader creates the pointer.
	due Event
}

func (f Founding) next() Request {
	return SwapPointer{On: f.revision, Pointer: f.pointer(f.current)}
}

func (f Founding) step(e Event, effects *Effects) Phase {
	switch e := e.(type) {
	case Swapped:
		if f.due == nil {
			return f.own(f.current, e.Revision, effects)
		}
		f.revision = e.Revision
		return Owned{f.tenure}.step(f.due, effects)
	case Failed: // it may exist, or be another owner's
		return Unclaimed{f.attachment}
	}
	return f
}

// Uploading is the phase of an owner whose segments are being uploaded. Nothing names an object
// before it is verified. Staged objects may follow one whose upload failed: they wait for it, and
// are not uploaded again.
type Uploading struct {
	tenure

	objects Objects
}

func (u Uploading) next() Request { return Upload{u.objects} }

func (u Uploading) step(e Event, _ *Effects) Phase {
	switch e := e.(type) {
	case Uploaded: // objects that are not among them are orphans, now or later
		u.staged = u.staged.and(e.Objects.among(u.objects))
		return Owned{u.tenure}
	case Failed: // all of them are orphans, now or later
		return Owned{u.tenure}
	}
	return u
}

// Confirming is the phase of an owner that checks that it still owns the pointer, before it treats
// objects that the manifest does not name as orphans.
type Confirming struct{ tenure }

func (Confirming) next() Request { return ReadPointer{} }

func (c Confirming) step(e Event, effects *Effects) Phase {
	switch e := e.(type) {
	case PointerRead:
		if e.Revision != c.revision {
			return c.superseded(e, effects)
		}
		return Sweeping(c)
	case Failed:
		return Owned(c)
	}
	return c
}

// Sweeping is the phase of an owner that deletes orphans. Another leader may claim the pointer at
// the same time: what that leader commits has a higher leader epoch, or is younger than the sweep.
type Sweeping struct{ tenure }

func (s Sweeping) next() Request {
	return Sweep{LeaderEpoch: s.owner.LeaderEpoch, Current: s.current, Staged: s.staged}
}

func (s Sweeping) step(e Event, _ *Effects) Phase {
	switch e.(type) {
	case Done, Failed: // the next sweep finds the rest
		return Owned(s)
	}
	return s
}
