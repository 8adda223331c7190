package ownership

// commit is the state of a manifest that is to replace the current one.
type commit struct {
	tenure

	manifest Manifest
	names    Objects // the staged objects that the manifest names
}

// Writing is the phase of an owner whose manifest is being written.
type Writing struct{ commit }

// write begins a commit, under the sequence after all that were tried. So the newest manifest is
// always the committed one, or one that was to follow it.
func (t *tenure) write(e CommitDue) Phase {
	c := commit{tenure: *t, names: e.Names}
	c.tried = max(t.current.Sequence, t.tried) + 1
	c.manifest = Manifest{t.owner.LeaderEpoch, c.tried, e.Attempt}
	return Writing{c}
}

func (w Writing) next() Request { return WriteManifest{w.manifest} }

func (w Writing) step(e Event, effects *Effects) Phase {
	switch e.(type) {
	case Done:
		return Swapping(w)
	case Failed: // what was written is an orphan, now or later
		effects.Lost = true
		return Owned{w.tenure}
	}
	return w
}

// Swapping is the phase of an owner whose manifest is written and now goes into the pointer.
type Swapping struct{ commit }

func (s Swapping) next() Request {
	return SwapPointer{On: s.revision, Pointer: s.pointer(s.manifest)}
}

func (s Swapping) step(e Event, effects *Effects) Phase {
	switch e := e.(type) {
	case Swapped:
		return s.committed(e.Revision, effects)
	case Failed: // it may have happened, or still happen
		return Settling(s)
	}
	return s
}

// committed makes the manifest the current one.
func (c *commit) committed(revision int64, effects *Effects) Phase {
	t := c.tenure
	t.current, t.revision = c.manifest, revision
	t.staged = t.staged.without(c.names)
	effects.Adopt = &t.current
	return Owned{t}
}

// Settling is the phase of an owner that does not know whether its swap happened. The
// pointer shows it.
type Settling struct{ commit }

func (Settling) next() Request { return ReadPointer{} }

func (s Settling) step(e Event, effects *Effects) Phase {
	read, ok := e.(PointerRead)
	if !ok {
		return s
	}
	ours := read.Revision != 0 && read.Pointer.Claim == s.owner.Claim
	switch {
	case ours && read.Pointer.Manifest == s.manifest:
		return s.committed(read.Revision, effects)
	case ours && read.Pointer.Manifest == s.current:
		s.fence++
		return Fencing{commit: s.commit, on: read.Revision}
	}
	effects.Lost = true
	return s.superseded(read, effects)
}

// Fencing is the phase of an owner whose swap has not happened but may be under way. It writes the
// pointer as it is, with a higher fence. Both writes rest on one revision: one of them happens, the
// other never will.
type Fencing struct {
	commit

	on int64 // of the pointer that is fenced
}

func (f Fencing) next() Request {
	return SwapPointer{On: f.on, Pointer: f.pointer(f.current)}
}

func (f Fencing) step(e Event, effects *Effects) Phase {
	switch e := e.(type) {
	case Swapped:
		f.revision = e.Revision
		effects.Lost = true
		return Owned{f.tenure}
	case Failed:
		return Settling{f.commit}
	}
	return f
}
