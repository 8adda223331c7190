package tiering

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// later is a member that this build does not know.
const later = "later"

// same changes nothing.
func same(map[string]any) {}

// byNewerBroker commits a manifest and a pointer in which a newer build has changed the JSON.
func (w *world) byNewerBroker(manifest, pointer func(v map[string]any)) {
	w.t.Helper()
	ptr, revision := w.pointer()
	name, _ := ptr.Name()
	name.Sequence++
	name.Attempt = "newer"
	body, err := format.DocumentManifest.Unwrap(w.object(ptr.Manifest))
	if err != nil {
		w.t.Fatal(err)
	}
	content, err := format.DocumentManifest.Wrap(w.changed(body, func(v map[string]any) {
		v["sequence"], v["attempt"] = name.Sequence, name.Attempt
		manifest(v)
	}))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx := context.Background()
	if err = w.bucket.Put(ctx, w.prefix()+name.String(), bytes.NewReader(content), objstorePut{}); err != nil {
		w.t.Fatal(err)
	}
	key := metadata.TierKey(w.id, w.tp.Partition)
	pair, err := w.store.Get(ctx, key)
	if err != nil {
		w.t.Fatal(err)
	}
	value := w.changed(pair.Value, func(v map[string]any) {
		v["manifest"], v["size"], v["crc32c"] = name.String(), len(content), format.Checksum(content)
		pointer(v)
	})
	if _, err = w.store.Txn(ctx, []kv.Comparison{kv.ModifiedAt(key, revision)}, kv.Put(key, value)); err != nil {
		w.t.Fatal(err)
	}
}

// changed returns JSON with a change.
func (w *world) changed(body []byte, change func(v map[string]any)) []byte {
	w.t.Helper()
	v := w.decoded(body)
	change(v)
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) decoded(body []byte) (v map[string]any) {
	w.t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		w.t.Fatal(err)
	}
	return v
}

// entries calls f for each entry of a manifest or a page.
func entries(v map[string]any, f func(list string, entry map[string]any)) {
	for _, list := range []string{"recent", "segments", "pages", "trash", "trash_pages"} {
		entries, _ := v[list].([]any)
		for _, e := range entries {
			f(list, e.(map[string]any))
		}
	}
}

// An older broker that takes over a partition adds segments, and seals pages and pages of pages. It
// drops no field of a newer broker.
func TestOlderBrokerKeepsWhatANewerOneHasStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 40)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	marked := map[string]bool{}
	mark := func(v map[string]any) { v[later] = map[string]any{"a": []any{"}", 1}} }
	w.byNewerBroker(func(v map[string]any) {
		mark(v)
		entries(v, func(list string, e map[string]any) {
			mark(e)
			marked[e["name"].(string)] = true
			marked[list] = true
		})
	}, mark)
	for _, list := range []string{"recent", "pages", "trash", "trash_pages"} {
		if !marked[list] {
			t.Fatalf("there is nothing to keep in %s", list)
		}
		delete(marked, list)
	}
	fill(log, 60)
	b = w.start(log.restarted(), 2)
	b.mustAttach()
	b.mustDrain()
	kept, lost := w.kept(marked)
	if len(lost) > 0 || len(kept) != len(marked) || !strings.Contains(string(w.object(w.committed().Name())), `"later":{"a":["}",1]}}`) {
		t.Errorf("%d of %d entries have the field, these have lost it: %q", len(kept), len(marked), lost)
	}
	m := w.committed()
	if m.Segments != 100 || len(m.Pages) == 0 || m.Pages[0].Level == 0 {
		t.Errorf("no page of pages was made: %d segments, %+v", m.Segments, m.Pages)
	}
	w.checkPointer("after uploads")

	// Neither does a broker that fences a swap whose answer was lost, or cleans up.
	fill(b.log, 1)
	b.m.store = &lateStore{Store: w.store}
	if err := b.drain(); !errors.Is(err, errLost) {
		t.Errorf("a swap that never was: %v, want errLost", err)
	}
	w.checkPointer("after a fence")
	b.m.Detach(t.Context(), w.tp)
	gone := func(metadata.TopicID, int64) bool { return false }
	w.now.advance(time.Hour)
	if err := b.m.CleanDeleted(context.WithoutCancel(t.Context()), gone); err != nil {
		t.Fatal(err)
	}
	w.checkPointer("after the topic was deleted")
}

// kept returns which of the marked entries still have the field, and which do not. It goes through
// the manifest and everything that it names.
func (w *world) kept(marked map[string]bool) (kept map[string]bool, lost []string) {
	kept = map[string]bool{}
	documents := []string{w.committed().Name()}
	for len(documents) > 0 {
		b := w.object(documents[0])
		documents = documents[1:]
		d, _ := format.DocumentOf(b)
		body, err := d.Unwrap(b)
		if err != nil {
			w.t.Fatal(err)
		}
		entries(w.decoded(body), func(list string, e map[string]any) {
			name := e["name"].(string)
			_, has := e[later]
			switch {
			case has:
				kept[name] = true
			case marked[name]:
				lost = append(lost, name)
			}
			if strings.HasSuffix(list, "pages") {
				documents = append(documents, name)
			}
		})
	}
	return kept, lost
}

// checkPointer looks for the field in the pointer.
func (w *world) checkPointer(when string) {
	w.t.Helper()
	pair, err := w.store.Get(context.Background(), metadata.TierKey(w.id, w.tp.Partition))
	if err != nil || !bytes.Contains(pair.Value, []byte(`"later":{"a":["}",1]}`)) {
		w.t.Errorf("%s the pointer is %s, %v", when, pair.Value, err)
	}
}

func warp(v map[string]any) { v["write"] = []any{"warp"} }

// A leader that must not write what a newer build has written reads it, and changes nothing.
func TestUnknownWriteFeatureIsReadOnly(t *testing.T) {
	for what, change := range map[string]struct{ manifest, pointer func(v map[string]any) }{
		"manifest": {warp, same},
		"pointer":  {same, warp},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			fill(log, 12)
			b := w.start(log, 1)
			b.mustAttach()
			b.mustDrain()
			end := log.end
			w.byNewerBroker(change.manifest, change.pointer)
			w.put(b.p.prefix + format.Name{Kind: format.KindSegment, StartOffset: 3, LeaderEpoch: 1, Attempt: "dead"}.String())
			objects, name := w.objects(), w.committed().Name()
			_, revision := w.pointer()

			next := log.restarted()
			b = w.start(next, 2)
			check := func(when string, err error) {
				t.Helper()
				if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), `"warp"`) {
					t.Errorf("%s: %v, want ErrReadOnly that names the feature", when, err)
				}
				if s, _ := b.m.Status(w.tp); s.State != StateReadOnly || !errors.Is(s.Err, ErrReadOnly) || s.EndOffset != end {
					t.Errorf("%s the status is %+v", when, s)
				}
				if _, now := w.pointer(); now != revision || w.committed().Name() != name || !slices.Equal(w.objects(), objects) {
					t.Errorf("%s the pointer or the bucket has changed", when)
				}
			}
			check("attached", b.attach())
			fill(next, 3)
			if err := next.AdvanceStartOffset(next.segments[2].end); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				w.now.advance(100 * time.Hour) // retention, deletions and sweeps are due
				b.p.chores.nextSweep = time.Time{}
				check("at work", b.drain())
			}
			if s, _ := b.m.Status(w.tp); s.LagSegments != 3 {
				t.Errorf("%d segments wait, want 3", s.LagSegments)
			}
			if next.remoteEnd != end {
				t.Errorf("the log may delete up to %d, the tier ends at %d", next.remoteEnd, end)
			}
			if got := b.readAll(0); !bytes.Equal(got, log.want(0, end)) {
				t.Error("the tier reads as other bytes")
			}
			if !b.p.commitRefused() {
				t.Error("it commits")
			}

			// A newer build that leads the partition commits, and this broker reads what it
			// commits.
			w.byNewerBroker(change.manifest, change.pointer)
			_, revision = w.pointer()
			objects, name = w.objects(), w.committed().Name()
			check("after another commit", b.drain())
			if got := b.p.all().Name(); got != name {
				t.Errorf("it reads by %s, committed is %s", got, name)
			}
			// A broker that does not know what the tier has does not clean up after the topic.
			b.m.Detach(t.Context(), w.tp)
			for range 2 {
				if err := b.m.CleanDeleted(t.Context(), func(metadata.TopicID, int64) bool { return false }); what == "pointer" && !errors.Is(err, ErrReadOnly) {
					t.Errorf("clean: %v, want ErrReadOnly", err)
				}
				w.now.advance(time.Hour)
			}
			if got := w.objects(); !slices.Equal(got, objects) {
				t.Error("objects of a deleted topic are gone")
			}
		})
	}
}

// commitRefused tries to commit, and returns true if that fails.
func (p *partition) commitRefused() bool {
	n, _, err := p.nextManifest(context.Background())
	if err != nil {
		panic(err)
	}
	return p.commit(context.Background(), n, "") != nil
}

// A newer leader takes over from one that only reads.
func TestReaderOfTheFutureIsDeposed(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 2)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	w.byNewerBroker(warp, same)
	b = w.start(log.restarted(), 2)
	if err := b.attach(); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("attach: %v, want ErrReadOnly", err)
	}
	w.byNewerBroker(same, func(v map[string]any) { v["leader_epoch"] = 3 })
	if err := b.drain(); !errors.Is(err, ErrDeposed) {
		t.Errorf("step: %v, want ErrDeposed", err)
	}
}

// unknownEntries make an entry one that this build does not know, in each possible way.
var unknownEntries = map[string]func(e map[string]any){
	"a feature":      func(e map[string]any) { e["read"] = []any{"warp"} },
	"a location":     func(e map[string]any) { e["loc"] = 1 },
	"a kind of name": func(e map[string]any) { e["name"] = "stream/7" },
}

// An entry that this build does not know is unsupported by itself: the rest of the partition
// is not affected.
func TestUnknownEntryIsUnsupportedByItself(t *testing.T) {
	for what, change := range unknownEntries {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			fill(log, 6)
			b := w.start(log, 1)
			b.mustAttach()
			b.mustDrain()
			var name string
			w.byNewerBroker(func(v map[string]any) {
				e := v["recent"].([]any)[2].(map[string]any)
				name = e["name"].(string)
				change(e)
			}, same)
			b = w.start(log.restarted(), 2)
			b.mustAttach()
			for i, s := range log.segments[:6] {
				_, _, err := b.m.read(t.Context(), w.tp, s.base, 100, 1<<60)
				if i == 2 && !errors.Is(err, ErrUnsupportedFormat) || i != 2 && err != nil {
					t.Errorf("read of segment %d: %v", i, err)
				}
			}
			if found, end, err := b.m.EndOffsetForEpoch(t.Context(), w.tp, 0); err != nil || found != 0 || end != log.end {
				t.Errorf("epoch 0 ends at (%d, %d), %v", found, end, err)
			}
			if _, ok, err := b.m.OffsetForTimestamp(t.Context(), w.tp, 1000+log.segments[4].base, 1<<60); err != nil || !ok {
				t.Errorf("a time behind it: %t, %v", ok, err)
			}
			if _, _, err := b.m.OffsetForTimestamp(t.Context(), w.tp, 1000+log.segments[2].base, 1<<60); !errors.Is(err, ErrUnsupportedFormat) {
				t.Errorf("a time in it: %v, want ErrUnsupportedFormat", err)
			}

			// Uploads continue, and move the entry into a page. Expiry ends before it.
			fill(b.log, 8)
			if err := b.log.AdvanceStartOffset(b.log.segments[4].end); err != nil {
				t.Fatal(err)
			}
			w.now.advance(time.Hour)
			b.mustDrain()
			m := w.committed()
			if m.StartOffset != b.log.segments[1].end || m.EndOffset != b.log.end || len(m.Pages) == 0 {
				t.Errorf("the tier is [%d, %d) with %d pages", m.StartOffset, m.EndOffset, len(m.Pages))
			}
			if m.LogStart != b.log.segments[4].end {
				t.Errorf("the log start is %d", m.LogStart)
			}
			w.put(b.p.prefix + format.Name{Kind: format.KindSegment, StartOffset: b.log.segments[2].base, LeaderEpoch: 1, Attempt: "dead"}.String())
			w.put(b.p.prefix + format.Name{Kind: format.KindSegment, StartOffset: b.log.segments[5].base, LeaderEpoch: 1, Attempt: "dead"}.String())
			w.now.advance(48 * time.Hour)
			b.p.chores.nextSweep = time.Time{}
			b.mustDrain()
			dead := slices.DeleteFunc(w.objects(), func(name string) bool { return !strings.Contains(name, "-dead") })
			if len(dead) != 1 || !strings.HasPrefix(dead[0], format.Name{Kind: format.KindSegment, StartOffset: b.log.segments[2].base}.String()[:20]) {
				t.Errorf("of the orphans %q are left, want the one in the range of the entry", dead)
			}
			if !slices.Contains(w.objects(), name) {
				t.Error("the entry's object is gone")
			}

			// It is not deleted with the topic either.
			b.m.Detach(t.Context(), w.tp)
			gone := func(metadata.TopicID, int64) bool { return false }
			for range 3 {
				_ = b.m.CleanDeleted(context.WithoutCancel(t.Context()), gone)
				w.now.advance(time.Hour)
			}
			if !slices.Contains(w.objects(), name) {
				t.Error("the entry's object is gone with the topic")
			}
		})
	}
}

// A page that this build does not know is unsupported as a whole, and spared as a whole.
func TestUnknownPageIsUnsupportedByItself(t *testing.T) {
	for what, change := range unknownEntries {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			fill(log, 14)
			b := w.start(log, 1)
			b.mustAttach()
			b.mustDrain()
			w.byNewerBroker(func(v map[string]any) { change(v["pages"].([]any)[1].(map[string]any)) }, same)
			from := w.committed().Pages[1].StartOffset
			b = w.start(log.restarted(), 2)
			b.mustAttach()
			if _, _, err := b.m.read(t.Context(), w.tp, from, 100, 1<<60); !errors.Is(err, ErrUnsupportedFormat) {
				t.Errorf("read: %v, want ErrUnsupportedFormat", err)
			}
			if _, _, err := b.m.read(t.Context(), w.tp, from-1, 100, 1<<60); err != nil {
				t.Errorf("read before it: %v", err)
			}
			before := w.objects()
			if err := b.log.AdvanceStartOffset(b.log.end); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				w.now.advance(48 * time.Hour)
				b.p.chores.nextSweep = time.Time{}
				b.mustDrain()
			}
			if m := w.committed(); m.StartOffset != from {
				t.Errorf("the tier starts at %d, want %d", m.StartOffset, from)
			}
			for _, name := range before {
				if n, _ := format.ParseName(name); n.Kind == format.KindSegment && n.StartOffset >= from && !slices.Contains(w.objects(), name) {
					t.Errorf("%s is gone", name)
				}
			}
		})
	}
}

// A follower that cannot read the manifest does not make a request for each reader.
func TestFollowerOfALaterManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := newFakeLog(t)
		fill(log, 1)
		b := w.start(log, 1)
		b.mustAttach()
		b.mustDrain()
		w.byNewerBroker(func(v map[string]any) { v["read"] = []any{"warp"} }, same)
		follower := w.follow(newFakeLog(t))
		calls := w.faults.Calls(objstoretest.AnyOp)
		for range 100 {
			if _, err := follower.m.Read(t.Context(), w.tp, 0, 100, 1<<60); !errors.Is(err, ErrUnsupportedFormat) {
				t.Fatalf("read: %v, want ErrUnsupportedFormat", err)
			}
		}
		if n := w.faults.Calls(objstoretest.AnyOp) - calls; n > 2 {
			t.Errorf("%d requests for 100 reads", n)
		}
	})
}
