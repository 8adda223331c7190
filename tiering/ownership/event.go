package ownership

// Event is something that [Step] answers to: one of the types of this file.
type Event interface{ event() }

// BecameLeader says that this broker leads the partition from now on, and that its tier is to be
// attached. What was known before is forgotten.
type BecameLeader struct {
	Owner Owner
	// Suspect says that the log may lack records that the tier has. What the tier has must not grow
	// any more when the two are compared: a suspect leader claims the pointer before it loads the
	// manifest, and makes a pointer if there is none.
	Suspect bool
}

// Resigned says that this broker does not lead the partition any more. What is under way may
// happen yet: its answer changes nothing.
type Resigned struct{}

// UploadDue says that closed segments wait for their upload to objects of these names, which no
// other upload has. Keep are the staged objects that a manifest is to name yet: those that are not
// among them are orphans from then on.
type UploadDue struct{ Objects, Keep Objects }

// CommitDue says that a manifest waits that is to take the place of the current one.
type CommitDue struct {
	Attempt string  // of its name: no other commit has it
	Names   Objects // the staged objects that it names
}

// SweepDue says that it is time to look for orphans.
type SweepDue struct{}

// RefreshDue says that it is time to look whether a tier that is only read has changed.
type RefreshDue struct{}

// PointerRead answers ReadPointer.
type PointerRead struct {
	Pointer  Pointer
	Revision int64 // 0: the pointer does not exist
	ReadOnly bool  // this build must not write it
}

// Loaded answers LoadManifest.
type Loaded struct {
	Load     LoadManifest
	ReadOnly bool // this build must not replace the manifest
}

// Swapped answers SwapPointer: the pointer is written, at that revision.
type Swapped struct {
	Swap     SwapPointer
	Revision int64
}

// Uploaded answers Upload: these are written and verified. What became of the others that were
// asked for is not known.
type Uploaded struct {
	Upload  Upload
	Objects Objects
}

// Done answers every other request: all of it has happened.
type Done struct{ Request Request }

// Failed answers any request: it is not known to have happened, as a whole or in part, and it may
// happen later. A compare-and-swap that was refused counts as failed too: the refusal may be that
// of a repetition, whose first attempt was written.
type Failed struct{ Request Request }

func (BecameLeader) event() {}
func (Resigned) event()     {}
func (UploadDue) event()    {}
func (CommitDue) event()    {}
func (SweepDue) event()     {}
func (RefreshDue) event()   {}
func (PointerRead) event()  {}
func (Loaded) event()       {}
func (Swapped) event()      {}
func (Uploaded) event()     {}
func (Done) event()         {}
func (Failed) event()       {}

// answer is an event that answers a request.
type answer interface{ answers() Request }

func (PointerRead) answers() Request { return ReadPointer{} }
func (e Loaded) answers() Request    { return e.Load }
func (e Swapped) answers() Request   { return e.Swap }
func (e Uploaded) answers() Request  { return e.Upload }
func (e Done) answers() Request      { return e.Request }
func (e Failed) answers() Request    { return e.Request }

// Request is what a state waits for: one of the types below, which are comparable. It may be
// performed many times, until an answer leads to a state that waits for another one or for none.
type Request interface{ request() }

// ReadPointer asks for the pointer and its revision.
type ReadPointer struct{}

// LoadManifest asks for a manifest that the pointer named.
type LoadManifest struct{ Manifest Manifest }

// Upload asks for the objects of segments to be written and verified, in any order and side by side.
type Upload struct{ Objects Objects }

// WriteManifest asks for a manifest to be written, after the pages that it names, and for all of them
// to be read back.
type WriteManifest struct{ Manifest Manifest }

// SwapPointer asks for the pointer to be written if it is still the one of a revision.
type SwapPointer struct {
	On      int64 // the revision; 0: the pointer does not exist
	Pointer Pointer
}

// Sweep asks for orphans to be deleted: objects of a leader epoch up to LeaderEpoch that are older
// than the sweep by more than an upload can take, if neither the current manifest nor its trash names
// them, and they are not Current or among Staged.
type Sweep struct {
	LeaderEpoch int32
	Current     Manifest
	Staged      Objects
}

func (ReadPointer) request()   {}
func (LoadManifest) request()  {}
func (Upload) request()        {}
func (WriteManifest) request() {}
func (SwapPointer) request()   {}
func (Sweep) request()         {}

// Effects are what has to happen after an event, before the next one. None of it waits.
type Effects struct {
	// Adopt is the manifest that is the committed one, as far as this broker knows: readers see it
	// from now on, and the local log may be told of it. It was loaded, or was to be committed. Nil:
	// none; a zero Manifest: the partition has none.
	Adopt *Manifest
	// Lost says that the manifest that was to be committed is not, and never will be.
	Lost bool
	// Conflict is a pointer that this owner has not written. It has to be reported. The state is
	// Deposed then, and uploads end, or Unclaimed. Nil: none.
	Conflict *Pointer
}
