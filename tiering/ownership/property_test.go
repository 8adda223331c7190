package ownership

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestProtocol checks the invariants of the package. Two brokers take a partition's leadership
// from each other against a model of the pointer and the bucket, in any order. Answers are late
// or lost, writes happen long after they were given up, a broker crashes between any two
// requests or restarts at the same leader epoch, and a leader may not learn that it is deposed.
// One broker is of a newer build, and may write what the other one can only read. The invariants
// are checked after every change of the pointer and of the bucket. When all faults are healed,
// the newest leader owns the manifest within a few requests, and the bucket has what that names
// and nothing else.
func TestProtocol(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		actions := map[string]func(*rapid.T){
			"elect":  w.elect,
			"crash":  w.crash,
			"resign": w.resign,
			"stray":  w.stray,
			"land":   w.land,
			"land 2": w.land,
			"delete": w.delete,
		}
		for i := range 12 { // several times, so that it is drawn more often
			actions[fmt.Sprint("act ", i)] = w.act
		}
		for range 3 {
			rt.Repeat(actions)
		}
		w.heal()
	})
}

// world is everything that the brokers share.
type world struct {
	rt *rapid.T

	pointer   Pointer
	revision  int64
	newer     bool            // the pointer has members that the older build does not know
	committed []Manifest      // every manifest that the pointer has named, in order
	lost      map[string]bool // manifests that may never be committed
	fenced    map[string]bool // claims that were in the pointer and were replaced
	claims    map[string]bool // claims that are in the pointer, or were
	suspects  map[string]bool // claims of suspect leaders
	ownerOf   map[int32]int32 // the broker that has written the pointer with a leader epoch

	objects map[string]object
	late    []*attempt // writes that may still happen
	time    int64      // grows with each change
	names   int        // number of names drawn for claims and segments

	epoch   int32 // the newest leader's
	leader  *broker
	brokers []*broker
}

// object is an object in the bucket.
type object struct {
	epoch   int32
	created int64
	content *content // of a manifest; nil: another object
}

// content is the content of a manifest.
type content struct {
	base      Manifest // the manifest that it follows
	segments  []string
	deletions []string
	newer     bool // it has members that the older build does not know
}

// olderBuild is the id of the broker with the older build.
const olderBuild = 2

// broker is one of the two brokers, with the shell around its state machine.
type broker struct {
	id    int32
	s     State
	owner Owner
	leads bool // as far as it knows

	current   *content // adopted
	adopted   int      // index in world.committed
	candidate *content // loaded, or its commit is under way
	answer    Event    // on its way to the broker
	sweptFrom int64    // when the sweep began
	requests  int
}

// attempt is a write that its broker has given up.
type attempt struct {
	owner   Owner
	request Request // nil: the deletion of what the content lists
	content *content
}

func newWorld(rt *rapid.T) *world {
	w := &world{
		rt: rt, lost: map[string]bool{}, fenced: map[string]bool{}, claims: map[string]bool{}, suspects: map[string]bool{}, ownerOf: map[int32]int32{}, objects: map[string]object{},
		committed: []Manifest{{}}, brokers: []*broker{{id: 1}, {id: 2}},
	}
	w.elect(rt)
	return w
}

func (m Manifest) key() string {
	return fmt.Sprintf("manifest/%d-%d-%s", m.LeaderEpoch, m.Sequence, m.Attempt)
}

func (w *world) name(kind string) string {
	w.names++
	return fmt.Sprintf("%s/%d", kind, w.names)
}

func (w *world) broker(rt *rapid.T) *broker {
	return w.brokers[rapid.IntRange(0, 1).Draw(rt, "broker")]
}

// step performs a step of the state machine, and checks what it did.
func (w *world) step(b *broker, e Event) Effects {
	before := b.s
	again, _ := Step(before, e)
	next, effects := Step(before, e)
	if next != again {
		w.rt.Fatalf("%#v leads from %#v to %#v and to %#v", e, before, next, again)
	}
	b.s = next
	if effects.Lost {
		w.lost[fmt.Sprint(b.owner.Claim, b.candidateOf(before))] = true
		b.candidate = nil
	}
	if effects.Adopt != nil {
		if _, reads := next.Phase().(Reading); !reads && w.suspects[b.owner.Claim] && !w.claims[b.owner.Claim] {
			w.rt.Fatalf("suspect, %#v adopts %v and others may commit", b.owner, *effects.Adopt)
		}
		w.adopt(b, *effects.Adopt)
	}
	switch phase := next.Phase().(type) {
	case Deposed:
		if b == w.leader && b.owner.LeaderEpoch == w.epoch {
			w.rt.Fatalf("the newest leader %#v is deposed by %#v", b.owner, phase.By)
		}
		if next.Next() != nil {
			w.rt.Fatalf("deposed, it asks for %#v", next.Next())
		}
	case Following:
		if next != (State{}) || next.Next() != nil || effects != (Effects{}) {
			w.rt.Fatalf("%#v leads to %#v, %#v", e, next, effects)
		}
	case Owned:
		w.checkStaged(b, phase)
	case Uploading, Confirming:
		_, owned := before.Phase().(Owned)
		_, founding := before.Phase().(Founding)
		if !owned && !founding && before != next {
			w.rt.Fatalf("%#v leads from %#v to %#v", e, before, next)
		}
	case Reading:
		if next.Next() != nil || b.id != olderBuild {
			w.rt.Fatalf("broker %d only reads, and asks for %#v", b.id, next.Next())
		}
	}
	return effects
}

// candidateOf returns the manifest whose commit is under way in a state.
func (b *broker) candidateOf(s State) Manifest {
	switch phase := s.Phase().(type) {
	case Writing:
		return phase.manifest
	case Swapping:
		return phase.manifest
	case Settling:
		return phase.manifest
	case Fencing:
		return phase.manifest
	}
	return Manifest{}
}

// adopt checks what readers and the local log see: only committed manifests, and none older than
// they have seen.
func (w *world) adopt(b *broker, m Manifest) {
	at := slices.Index(w.committed, m)
	switch {
	case at < 0:
		w.rt.Fatalf("%#v adopts %v, committed were %v", b.owner, m, w.committed)
	case at < b.adopted:
		w.rt.Fatalf("%#v adopts %v after %v", b.owner, m, w.committed[b.adopted])
	}
	b.adopted, b.current, b.candidate = at, b.candidate, nil
	if m == (Manifest{}) {
		b.current = &content{}
	}
}

// elect makes a broker the leader at the next leader epoch. The other one may learn of it later.
func (w *world) elect(rt *rapid.T) {
	b := w.broker(rt)
	w.epoch++
	w.leader = b
	w.attach(b, w.epoch)
}

func (w *world) attach(b *broker, epoch int32) {
	*b = broker{id: b.id, owner: Owner{LeaderEpoch: epoch, BrokerID: b.id, Claim: w.name("claim")}, leads: true}
	w.suspects[b.owner.Claim] = w.names%3 == 0
	w.step(b, BecameLeader{b.owner, w.suspects[b.owner.Claim]})
}

// crash ends a broker's process. Often a leader starts again at the same leader epoch.
func (w *world) crash(rt *rapid.T) {
	b := w.broker(rt)
	epoch := b.owner.LeaderEpoch
	*b = broker{id: b.id}
	if b == w.leader && epoch == w.epoch && rapid.IntRange(0, 3).Draw(rt, "stays away") > 0 {
		w.attach(b, epoch)
	}
}

// resign informs a broker that it no longer leads.
func (w *world) resign(rt *rapid.T) {
	b := w.broker(rt)
	if b != w.leader {
		w.step(b, Resigned{})
		b.answer, b.leads = nil, false
	}
}

// stray passes in events that a state does not wait for.
func (w *world) stray(rt *rapid.T) {
	b := w.broker(rt)
	if _, owned := b.s.Phase().(Owned); owned {
		return
	}
	before := b.s
	for _, e := range []Event{
		UploadDue{Objects: "stray"},
		CommitDue{},
		SweepDue{},
		Uploaded{Upload{"stray"}, "stray"},
		Done{WriteManifest{Manifest{1, 1 << 40, "stray"}}},
		Swapped{SwapPointer{On: -1}, 7},
		Failed{SwapPointer{On: -1}},
		Done{Sweep{LeaderEpoch: -1}},
		Loaded{Load: LoadManifest{Manifest{1, 1 << 40, "stray"}}},
	} {
		if next, effects := Step(before, e); next != before || effects != (Effects{}) {
			rt.Fatalf("%#v leads from %#v to %#v, %#v", e, before, next, effects)
		}
	}
}

// act moves a broker one request forward: its answer arrives, or it makes the next request, or it
// begins to work.
func (w *world) act(rt *rapid.T) {
	b := w.broker(rt)
	if b.answer != nil {
		e := b.answer
		b.answer = nil
		w.step(b, e)
		return
	}
	if r := b.s.Next(); r != nil {
		w.perform(b, r, rapid.SampledFrom([]string{"done", "done", "done", "done", "slow", "slow", "answer lost", "never", "late"}).Draw(rt, "fate"))
		return
	}
	if _, reads := b.s.Phase().(Reading); reads {
		w.step(b, RefreshDue{})
		return
	}
	if owned, ok := b.s.Phase().(Owned); ok {
		w.begin(b, owned, rapid.SampledFrom([]string{"upload", "commit", "commit", "expire", "sweep"}).Draw(rt, "work"))
	}
}

// begin makes an owner begin a kind of work.
func (w *world) begin(b *broker, owned Owned, work string) {
	switch work {
	case "upload":
		w.upload(b, owned)
	case "commit":
		w.commit(b, owned, w.some(owned.Staged()), 0)
	case "commit all":
		w.commit(b, owned, owned.Staged(), 0)
	case "expire":
		w.commit(b, owned, "", min(1, len(b.current.segments)))
	case "sweep":
		b.sweptFrom = w.time
		w.step(b, SweepDue{})
	}
}

// some returns some of the objects, in any order.
func (w *world) some(objects Objects) Objects {
	names := rapid.Permutation(objects.Names()).Draw(w.rt, "order")
	return ObjectsOf(names[:rapid.IntRange(0, len(names)).Draw(w.rt, "some")]...)
}

// upload begins some uploads. Usually all staged objects are kept.
func (w *world) upload(b *broker, owned Owned) {
	names := make([]string, rapid.IntRange(1, 3).Draw(w.rt, "streams"))
	for i := range names {
		names[i] = w.name("segment")
	}
	keep := owned.Staged()
	if rapid.IntRange(0, 3).Draw(w.rt, "keeps") == 0 {
		keep = w.some(keep)
	}
	w.step(b, UploadDue{Objects: ObjectsOf(names...), Keep: keep})
}

// checkStaged checks that staged objects exist and are not named, if the owner really owns the
// pointer.
func (w *world) checkStaged(b *broker, owned Owned) {
	if w.pointer.Claim != b.owner.Claim {
		return
	}
	for _, name := range owned.Staged().Names() {
		if _, there := w.objects[name]; !there {
			w.rt.Fatalf("%s is staged, and not there", name)
		}
		if b.current != nil && slices.Contains(b.current.segments, name) {
			w.rt.Fatalf("%s is staged, and named by %v", name, owned.current)
		}
	}
}

// commit begins the commit of a successor of the current manifest, with some staged segments and
// without the oldest ones.
func (w *world) commit(b *broker, owned Owned, names Objects, expired int) {
	n := &content{base: owned.current, segments: slices.Clone(b.current.segments[expired:]), newer: b.current.newer}
	if b.id != olderBuild && len(w.committed)%7 == 0 {
		n.newer = !n.newer // members unknown to the older build appear and disappear
	}
	n.deletions = slices.Concat(b.current.deletions, b.current.segments[:expired])
	n.deletions = slices.DeleteFunc(n.deletions, func(name string) bool { _, there := w.objects[name]; return !there })
	if owned.current != (Manifest{}) {
		n.deletions = append(n.deletions, owned.current.key())
	}
	n.segments = append(n.segments, names.Names()...)
	b.candidate = n
	w.step(b, CommitDue{Names: names, Attempt: w.name("attempt")})
	switch b.s.Phase().(type) {
	case Writing, Founding:
	default:
		w.rt.Fatalf("an owner does not commit: %#v", b.s)
	}
}

// perform performs a request and answers it: at once, later, or as failed. A failed request has
// happened, has not, or happens later.
func (w *world) perform(b *broker, r Request, fate string) {
	b.requests++
	c := b.candidate
	switch fate {
	case "done":
		w.step(b, w.do(b.owner, r, b, c))
	case "slow":
		b.answer = w.do(b.owner, r, b, c)
	case "answer lost":
		w.do(b.owner, r, b, c)
		w.step(b, Failed{r})
	case "late":
		w.late = append(w.late, &attempt{b.owner, r, c})
		w.step(b, Failed{r})
	default:
		w.step(b, Failed{r})
	}
}

// delete makes a broker delete what its adopted manifest lists, now or later, whatever else it does
// and even if it no longer leads.
func (w *world) delete(rt *rapid.T) {
	b := w.broker(rt)
	switch {
	case b.current == nil:
	case rapid.Bool().Draw(rt, "deletes later"):
		w.late = append(w.late, &attempt{owner: b.owner, content: b.current})
	default:
		w.remove(slices.Values(b.current.deletions))
	}
}

// land makes a write happen that was given up.
func (w *world) land(rt *rapid.T) {
	if len(w.late) > 0 {
		w.arrive(rapid.IntRange(0, len(w.late)-1).Draw(rt, "late"))
	}
}

func (w *world) arrive(i int) {
	a := w.late[i]
	w.late = slices.Delete(w.late, i, i+1)
	switch a.request.(type) {
	case nil:
		w.remove(slices.Values(a.content.deletions))
	case ReadPointer, LoadManifest, Sweep:
	default:
		w.do(a.owner, a.request, nil, a.content)
	}
}

// do applies a request to the pointer or the bucket. The broker is nil if it no longer waits.
func (w *world) do(owner Owner, r Request, b *broker, c *content) Event {
	switch r := r.(type) {
	case ReadPointer:
		return PointerRead{w.pointer, w.revision, w.newer && b.id == olderBuild}
	case LoadManifest:
		o, there := w.objects[r.Manifest.key()]
		if !there {
			return Failed{r}
		}
		b.candidate = o.content
		return Loaded{r, o.content.newer && b.id == olderBuild}
	case Upload:
		done := w.some(r.Objects)
		for _, name := range done.Names() {
			w.put(name, object{epoch: owner.LeaderEpoch})
		}
		return Uploaded{r, done}
	case WriteManifest:
		if o, there := w.objects[r.Manifest.key()]; there && o.content != c {
			w.rt.Fatalf("%#v has a name that is taken", r)
		}
		w.put(r.Manifest.key(), object{epoch: owner.LeaderEpoch, content: c})
		return Done{r}
	case SwapPointer:
		return w.swap(owner, r, c)
	case Sweep:
		w.remove(maps.Keys(w.orphans(b, r)))
		return Done{r}
	}
	w.rt.Fatalf("unknown request %#v", r)
	return nil
}

func (w *world) put(name string, o object) {
	w.time++
	if w.revision == 0 {
		w.rt.Fatalf("%s is there before there is a pointer", name)
	}
	if _, there := w.objects[name]; !there {
		o.created = w.time
		w.objects[name] = o
	}
}

// orphans returns the objects that a sweep deletes.
func (w *world) orphans(b *broker, r Sweep) map[string]object {
	found := map[string]object{}
	for name, o := range w.objects {
		named := slices.Contains(b.current.segments, name) || slices.Contains(b.current.deletions, name)
		if o.epoch <= r.LeaderEpoch && o.created < b.sweptFrom && !named && name != r.Current.key() && !r.Staged.Has(name) {
			found[name] = o
		}
	}
	return found
}

func (w *world) remove(names func(yield func(string) bool)) {
	for _, name := range slices.Sorted(names) {
		w.time++
		delete(w.objects, name)
		w.checkBucket("without " + name)
	}
}

// swap writes the pointer if it still has the revision.
func (w *world) swap(owner Owner, r SwapPointer, c *content) Event {
	if r.On != w.revision {
		return Failed{r}
	}
	old, next := w.pointer, r.Pointer
	switch {
	case next.Owner != owner:
		w.rt.Fatalf("%#v writes %#v", owner, next)
	case next.LeaderEpoch < old.LeaderEpoch:
		w.rt.Fatalf("%#v replaces %#v", next, old)
	case w.fenced[next.Claim]:
		w.rt.Fatalf("%#v was fenced and replaces %#v", next, old)
	case w.ownerOf[next.LeaderEpoch] != 0 && w.ownerOf[next.LeaderEpoch] != next.BrokerID:
		w.rt.Fatalf("%#v is of a leader epoch that broker %d has", next, w.ownerOf[next.LeaderEpoch])
	// A suspect leader has to fence the pointer.
	case w.suspects[next.Claim] && next.Claim != old.Claim && next.Manifest == old.Manifest && !w.newer:
	case next.BrokerID == olderBuild && w.readOnly():
		w.rt.Fatalf("%#v replaces %#v, which its build must not write", next, old)
	}
	w.time++
	w.revision++
	w.pointer, w.claims[next.Claim] = next, true
	if next.BrokerID != olderBuild && w.revision%9 == 0 {
		w.newer = !w.newer
	}
	w.ownerOf[next.LeaderEpoch] = next.BrokerID
	if old.Claim != next.Claim {
		w.fenced[old.Claim] = old.Claim != ""
	}
	if next.Manifest != old.Manifest {
		if c == nil || c.base != old.Manifest || next.Manifest.LeaderEpoch != next.LeaderEpoch {
			w.rt.Fatalf("%#v takes the place of %#v, it follows %#v", next, old, c)
		}
		if w.lost[fmt.Sprint(next.Claim, next.Manifest)] {
			w.rt.Fatalf("%#v was said to be lost", next)
		}
		if slices.Contains(w.committed, next.Manifest) {
			w.rt.Fatalf("%v is committed again, after %v", next.Manifest, w.committed)
		}
		w.committed = append(w.committed, next.Manifest)
	}
	w.checkBucket("after a swap")
	return Swapped{r, w.revision}
}

// readOnly returns true if the older build must not change the tier.
func (w *world) readOnly() bool {
	o, there := w.objects[w.pointer.Manifest.key()]
	return w.newer || there && o.content.newer
}

// checkBucket checks that everything that the committed manifest names exists.
func (w *world) checkBucket(when string) {
	if w.pointer.Manifest == (Manifest{}) {
		return
	}
	o, there := w.objects[w.pointer.Manifest.key()]
	if !there {
		w.rt.Fatalf("%s: the committed manifest %v is not there", when, w.pointer.Manifest)
	}
	for _, name := range o.content.segments {
		if _, there = w.objects[name]; !there {
			w.rt.Fatalf("%s: %v names %s, which is not there", when, w.pointer.Manifest, name)
		}
	}
}

// heal ends all faults. Within a few requests the newest leader owns the manifest and commits, and
// the other broker can commit nothing. Then the bucket has what the manifest names.
func (w *world) heal() {
	for len(w.late) > 0 {
		w.arrive(0)
	}
	if !w.leader.leads {
		w.attach(w.leader, w.epoch)
	}
	w.rest(w.leader)
	if _, reads := w.leader.s.Phase().(Reading); reads {
		if !w.readOnly() || w.leader.current != w.objects[w.pointer.Manifest.key()].content && w.pointer.Manifest != (Manifest{}) {
			w.rt.Fatalf("the newest leader only reads, %#v", w.leader.current)
		}
		w.epoch++
		w.leader = w.brokers[0] // of the newer build
		w.attach(w.leader, w.epoch)
		w.rest(w.leader)
	}
	w.work(w.leader, "upload")
	w.work(w.leader, "commit all")
	for _, other := range w.brokers {
		if other == w.leader {
			continue
		}
		w.rest(other)
		revision := w.revision
		if owned, ok := other.s.Phase().(Owned); ok { // it does not know of the newer leader
			w.begin(other, owned, "commit")
			w.rest(other)
		}
		if _, owns := other.s.Phase().(Owned); owns || w.revision != revision {
			w.rt.Fatalf("a newer leader owns the manifest, and this one is %#v", other.s)
		}
	}
	before := len(w.committed)
	w.work(w.leader, "commit all")
	w.remove(slices.Values(w.leader.current.deletions))
	w.time++
	w.work(w.leader, "sweep")
	w.remove(slices.Values(w.leader.current.deletions))
	if len(w.committed) != before+1 || w.pointer.Owner != w.leader.owner {
		w.rt.Fatalf("%#v has not committed: the pointer is %#v", w.leader.owner, w.pointer)
	}
	want := map[string]bool{w.pointer.Manifest.key(): true}
	for _, name := range w.leader.current.segments {
		want[name] = true
	}
	for name := range w.objects {
		if !want[name] {
			w.rt.Fatalf("%s is left, which %v does not name", name, w.pointer.Manifest)
		}
	}
	if w.checkBucket("healed"); w.leader.current != w.objects[w.pointer.Manifest.key()].content {
		w.rt.Fatalf("the owner has not adopted %v", w.pointer.Manifest)
	}
}

// work makes the newest leader do a kind of work.
func (w *world) work(b *broker, what string) {
	owned, ok := b.s.Phase().(Owned)
	if !ok {
		w.rt.Fatalf("healed, the newest leader is %#v", b.s)
	}
	w.begin(b, owned, what)
	w.rest(b)
}

// rest performs requests until there are no more, which has to take only a few.
func (w *world) rest(b *broker) {
	if b.answer != nil {
		w.step(b, b.answer)
		b.answer = nil
	}
	b.requests = 0
	for b.s.Next() != nil {
		if w.perform(b, b.s.Next(), "done"); b.requests > 20 {
			w.rt.Fatalf("%#v does not come to rest: %#v", b.owner, b.s)
		}
	}
}
