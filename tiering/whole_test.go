package tiering

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore/objstoretest"
)

// forgotten returns a broker whose manifest is no longer in memory, and has pages.
func forgotten(t *testing.T) *broker {
	t.Helper()
	log := newFakeLog(t)
	small(log, 30)
	b := newWorld(t).start(log, 1)
	b.mustAttach()
	b.mustDrain()
	if _, outlined := b.p.manifest.Load().Outlined(); !outlined {
		t.Fatal("a manifest that was written stays in memory")
	}
	b.m.manifests.forget()
	return b
}

// TestForgottenManifestIsReadAgain: by the first work or reader that needs it, once.
func TestForgottenManifestIsReadAgain(t *testing.T) {
	for name, work := range map[string]func(b *broker){
		"read":   func(b *broker) { b.check() },
		"upload": func(b *broker) { small(b.log, 20); b.mustDrain(); b.check() },
		"expire": func(b *broker) {
			if err := b.log.AdvanceStartOffset(17); err != nil {
				t.Fatal(err)
			}
			b.mustDrain()
			b.check()
		},
		"sweep": func(b *broker) { b.sweepAll() },
	} {
		t.Run(name, func(t *testing.T) {
			b := forgotten(t)
			b.t = t
			want := counter(t, b.m.metrics.fetches.WithLabelValues("manifest")) + 1
			work(b)
			if got := counter(t, b.m.metrics.fetches.WithLabelValues("manifest")); got != want {
				t.Errorf("manifests were read %v times, want %v", got, want)
			}
		})
	}
}

// TestStatusNeedsNoManifest: the status of all partitions is read without a manifest in memory.
func TestStatusNeedsNoManifest(t *testing.T) {
	b := forgotten(t)
	whole := b.p.all()
	b.m.manifests.forget()
	gets := b.faults.Calls(objstoretest.GetOp)
	s, ok := b.m.Status(b.tp)
	if !ok || s.Segments != 30 || s.EndOffset != 30 || s.Bytes != whole.Bytes || s.Manifest != whole.Name() || s.LastUpload.IsZero() {
		t.Errorf("status is %+v", s)
	}
	if n := b.faults.Calls(objstoretest.GetOp) - gets; n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestManifestIsReplacedBeforeItIsRead: a reader knows the outline of a manifest that is
// deleted by then.
func TestManifestIsReplacedBeforeItIsRead(t *testing.T) {
	b := forgotten(t)
	old := b.p.manifest.Load()
	small(b.log, 3)
	b.mustDrain()
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.mustDrain()
	current := b.p.manifest.Load()
	if current.Name() == old.Name() {
		t.Fatal("it was not replaced")
	}
	b.m.manifests.forget()
	b.p.manifest.Store(old)
	b.m.objects.bucket = &swappingBucket{objstoreBucket: b.faults, swap: func() { b.p.manifest.Store(current) }}
	got, _, err := b.m.read(t.Context(), b.tp, 31, 100, 1<<60)
	if err != nil || !bytes.Equal(got, b.log.want(31, 32)) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// TestForgottenManifestIsDamaged: the damage is reported, nothing is written over it, and work
// continues when the manifest is whole again.
func TestForgottenManifestIsDamaged(t *testing.T) {
	b := forgotten(t)
	name := b.p.manifest.Load().Name()
	content := b.object(name)
	b.log.onRemoteEnd = nil // which would read the committed manifest
	b.damage(b.p.prefix + name)
	if _, _, err := b.m.read(t.Context(), b.tp, 3, 100, 1<<60); !errors.Is(err, ErrCorrupt) {
		t.Errorf("read: %v", err)
	}
	small(b.log, 2)
	if err := b.drain(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("drain: %v", err)
	}
	if s, _ := b.m.Status(b.tp); len(s.Problems) == 0 || s.Problems[0].Kind != ProblemDamage || s.EndOffset != 30 {
		t.Errorf("status is %+v", s)
	}
	if err := b.bucket.Put(t.Context(), b.p.prefix+name, bytes.NewReader(content), objstorePut{}); err != nil {
		t.Fatal(err)
	}
	b.m.manifests.forget()
	b.mustDrain()
	b.check()
	if s, _ := b.m.Status(b.tp); len(s.Problems) != 0 || s.EndOffset != 32 {
		t.Errorf("status is %+v", s)
	}
	b.now.advance(time.Hour)
	b.sweepAll()
}
