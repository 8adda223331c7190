package tiering

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata"
)

const newerField document.Unknown = `"later":{"a":["}",1]}`

// byNewerBroker commits a manifest in which a newer broker has added a field to
// everything. It returns the names of the entries that have it.
func (w *world) byNewerBroker(b *broker) map[string]bool {
	w.t.Helper()
	m := w.committed()
	marked := map[string]bool{}
	m.Sequence++
	m.unknown = newerField
	for i := range m.Recent {
		m.Recent[i].unknown, marked[m.Recent[i].Name] = newerField, true
	}
	for i := range m.Pages {
		m.Pages[i].unknown, marked[m.Pages[i].Name] = newerField, true
	}
	for i := range m.Deletions {
		m.Deletions[i].unknown, marked[m.Deletions[i].Name] = newerField, true
	}
	content, err := m.encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if err = b.m.objects.create(w.t.Context(), b.p.prefix+m.name(), content); err != nil {
		w.t.Fatal(err)
	}
	ptr, revision, err := readPointer(w.t.Context(), w.store, b.p.key)
	if err != nil {
		w.t.Fatal(err)
	}
	ptr.unknown, ptr.Manifest = newerField, m.name()
	if _, err = swapPointer(w.t.Context(), w.store, b.p.key, revision, ptr); err != nil {
		w.t.Fatal(err)
	}
	return marked
}

// unmarked counts the entries that had the field and have it no more, and those
// that have it, in a manifest and all its pages.
func (b *broker) unmarked(m *manifest, marked map[string]bool) (lost, kept int) {
	b.t.Helper()
	look := func(name string, unknown document.Unknown) {
		switch {
		case marked[name] && unknown != newerField:
			lost++
		case marked[name]:
			kept++
		}
	}
	segments := m.Recent
	for refs := m.Pages; len(refs) > 0; refs = refs[1:] {
		look(refs[0].Name, refs[0].unknown)
		pg, err := b.p.loadPage(b.t.Context(), refs[0])
		if err != nil {
			b.t.Fatal(err)
		}
		refs, segments = append(refs, pg.Pages...), append(segments, pg.Segments...)
	}
	for _, s := range segments {
		look(s.Name, s.unknown)
	}
	for _, d := range m.Deletions {
		look(d.Name, d.unknown)
	}
	return lost, kept
}

// An older broker that takes a partition over adds segments, seals pages and pages
// of pages, and drops no field of a newer one.
func TestOlderBrokerKeepsWhatANewerOneHasStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 40)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	marked := w.byNewerBroker(b)
	if m := w.committed(); len(m.Recent) == 0 || len(m.Pages) == 0 || len(m.Deletions) == 0 {
		t.Fatalf("there is nothing to keep: %+v", m)
	}
	fill(log, 60)
	b = w.start(log.restarted(), 2)
	b.mustAttach()
	b.mustDrain()
	m := w.committed()
	if lost, kept := b.unmarked(m, marked); m.unknown != newerField || lost > 0 || kept < len(marked) {
		t.Errorf("%d of %d entries have lost the field, %d have it; the manifest has %q", lost, len(marked), kept, m.unknown)
	}
	if m.Segments != 100 || len(m.Pages) == 0 || m.Pages[0].Level == 0 {
		t.Errorf("no page of pages was made: %d segments, %+v", m.Segments, m.Pages)
	}
	w.checkPointer("after uploads")

	// Nor does one that fences a swap whose reply was lost, or cleans up.
	fill(b.log, 1)
	b.m.store = &lateStore{Store: w.store}
	if err := b.drain(); !errors.Is(err, errLost) {
		t.Errorf("a swap that never was: %v, want errLost", err)
	}
	w.checkPointer("after a fence")
	b.m.Detach(w.tp)
	gone := func(metadata.TopicID, int64) bool { return false }
	w.now.advance(time.Hour)
	if err := b.m.CleanDeleted(context.WithoutCancel(t.Context()), gone); err != nil {
		t.Fatal(err)
	}
	w.checkPointer("after the topic was deleted")
}

// checkPointer looks for the field in the pointer.
func (w *world) checkPointer(when string) {
	w.t.Helper()
	ptr, _, err := readPointer(w.t.Context(), w.store, metadata.TierKey(w.id, w.tp.Partition))
	if err != nil || ptr.unknown != newerField {
		w.t.Errorf("%s the pointer has %q, %v", when, ptr.unknown, err)
	}
}
