package ownership

// Event is an input of [Step]: one of the types of this file.
type Event interface{ event() }

// BecameLeader says that this broker leads the partition from now on, and that its tier is to be
// attached. The state that was there before is discarded.
type BecameLeader struct {
	Owner Owner
	// Suspect says that the log may be missing records that the tier has. The tier must not grow
	// any more when the two are compared: a suspect leader claims the pointer before it loads the
	// manifest, and creates a pointer if there is none.
	Suspect bool
}

// Resigned says that this broker no longer leads the partition. A request under way may still
// happen; its answer changes nothing.
type Resigned struct{}

// UploadDue says that closed segments are to be uploaded to objects of these names, which no
// other upload has. Keep lists the staged objects that a manifest is still to name: the others
// become orphans.
type UploadDue struct{ Objects, Keep Objects }

// CommitDue says that a manifest is ready to replace the current one.
type CommitDue struct {
	Attempt string  // of its name; no other commit has it
	Names   Objects // the staged objects that it names
}

// SweepDue says that it is time to look for orphans.
type SweepDue struct{}

// RefreshDue says that it is time to check whether a tier that is only read has changed.
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

// Uploaded answers Upload: these objects are written and verified. The fate of the others that were
// requested is unknown.
type Uploaded struct {
	Upload  Upload
	Objects Objects
}

// Done answers every other request: all of it has happened.
type Done struct{ Request Request }

// Failed answers any request: it is not known to have happened, as a whole or in part, and it may
// happen later. A refused compare-and-swap counts as failed too: the refusal may answer a
// repetition whose first attempt was written.
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
// performed many times, until an answer leads to a state that waits for another request or for
// none.
type Request interface{ request() }

// ReadPointer asks for the pointer and its revision.
type ReadPointer struct{}

// LoadManifest asks for a manifest that the pointer named.
type LoadManifest struct{ Manifest Manifest }

// Upload asks for segment objects to be written and verified, in any order and side by side.
type Upload struct{ Objects Objects }

// WriteManifest asks for a manifest to be written, after the pages that it names, and for all of
// them to be read back.
type WriteManifest struct{ Manifest Manifest }

// SwapPointer asks for the pointer to be written if it is still at the given revision.
type SwapPointer struct {
	On      int64 // the revision; 0: the pointer does not exist
	Pointer Pointer
}

// Sweep asks for orphans to be deleted. An orphan is an object of a leader epoch up to LeaderEpoch
// that is older than the sweep by more than the longest upload. Neither the current manifest nor
// its trash names it, and it is neither Current nor among Staged.
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

// Effects are what has to happen after an event, before the next one. None of them waits.
type Effects struct {
	// Adopt is the committed manifest, as far as this broker knows: readers see it from now on, and
	// the local log may be informed of it. It was loaded, or it is the one whose commit was under
	// way. Nil: no change; a zero Manifest: the partition has none.
	Adopt *Manifest
	// Lost says that the manifest whose commit was under way is not committed, and never will be.
	Lost bool
	// Conflict is a pointer that this owner has not written. It has to be reported. The state is
	// then Deposed, which ends uploads, or Unclaimed. Nil: none.
	Conflict *Pointer
}
