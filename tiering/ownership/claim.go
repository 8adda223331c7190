package ownership

// Unclaimed is the phase of a leader that has not read the pointer yet, or must read it again.
type Unclaimed struct{ attachment }

func (Unclaimed) next() Request { return ReadPointer{} }

func (u Unclaimed) step(e Event, effects *Effects) Phase {
	read, ok := e.(PointerRead)
	if !ok {
		return u
	}
	p := read.Pointer
	switch {
	case p.Deleted || p.LeaderEpoch > u.owner.LeaderEpoch:
		effects.Conflict = &p
		return Deposed{By: p}
	case u.suspect && read.Revision == 0:
		return Founding{tenure: tenure{attachment: u.attachment}}
	case u.suspect && !read.ReadOnly && p.Claim != u.owner.Claim:
		return Claiming{u.attachment, read}
	case p.Manifest != Manifest{}:
		// The manifest is loaded before the claim. Otherwise every attempt would write a
		// claim while the bucket is down. If another owner replaces the manifest in between,
		// the claim fails.
		return Loading{u.attachment, read}
	case read.ReadOnly:
		return u.read(p.Manifest, effects)
	}
	return u.claim(read, effects)
}

// Loading is the phase of a leader that has read the pointer and needs the manifest that it names.
type Loading struct {
	attachment

	pointer PointerRead
}

func (l Loading) next() Request { return LoadManifest{l.pointer.Pointer.Manifest} }

func (l Loading) step(e Event, effects *Effects) Phase {
	switch e := e.(type) {
	case Loaded:
		if l.pointer.ReadOnly || e.ReadOnly {
			return l.read(l.pointer.Pointer.Manifest, effects)
		}
		return l.claim(l.pointer, effects)
	case Failed: // the manifest may have been replaced and deleted
		return Unclaimed{l.attachment}
	}
	return l
}

// claim writes the pointer, unless there is none yet, or the claim is already in it because
// the answer to an earlier attempt was lost. A pointer that does not exist is created before
// the first object.
func (a attachment) claim(read PointerRead, effects *Effects) Phase {
	if read.Revision != 0 && read.Pointer.Claim != a.owner.Claim {
		return Claiming{a, read}
	}
	return a.own(read.Pointer.Manifest, read.Revision, effects)
}

// own makes this broker the owner of the current manifest.
func (a attachment) own(current Manifest, revision int64, effects *Effects) Phase {
	effects.Adopt = &current
	return Owned{tenure{attachment: a, current: current, revision: revision}}
}

// read shows readers a manifest that this build must not replace.
func (a attachment) read(current Manifest, effects *Effects) Phase {
	effects.Adopt = &current
	return Reading{a}
}

// Claiming is the phase of a leader that takes over the pointer, with the manifest that it names.
type Claiming struct {
	attachment

	pointer PointerRead
}

func (c Claiming) next() Request {
	claimed := Pointer{Owner: c.owner, Manifest: c.pointer.Pointer.Manifest}
	return SwapPointer{On: c.pointer.Revision, Pointer: claimed}
}

func (c Claiming) step(e Event, effects *Effects) Phase {
	switch e := e.(type) {
	case Swapped:
		m := c.pointer.Pointer.Manifest
		if c.suspect && m != (Manifest{}) {
			return Loading{c.attachment, PointerRead{Pointer: Pointer{Owner: c.owner, Manifest: m}, Revision: e.Revision}}
		}
		return c.own(m, e.Revision, effects)
	case Failed: // the pointer has this claim, or another one, or neither yet
		return Unclaimed{c.attachment}
	}
	return c
}

// Reading is the phase of a leader that may read the tier but must not change it: a newer build has
// written the pointer or the manifest in a way that this build cannot preserve. The leader does not
// claim, unless it is suspect and may write the pointer. Without a claim the previous owner, if it
// is alive, may commit until it learns of this leader.
type Reading struct{ attachment }

func (Reading) next() Request { return nil }

func (r Reading) step(e Event, _ *Effects) Phase {
	if _, due := e.(RefreshDue); due {
		return Unclaimed(r)
	}
	return r
}
