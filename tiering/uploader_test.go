package tiering

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/varvelog/varve/objstore"
)

// lossyBucket says that it has stored what it has not, for keys that match.
type lossyBucket struct {
	objstoreBucket
	match func(key string) bool
	spoil func(b []byte) []byte // nil: nothing is stored at all
}

func (b *lossyBucket) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstorePut) error {
	if !b.match(key) {
		return b.objstoreBucket.Put(ctx, key, body, opts)
	}
	all, err := io.ReadAll(body)
	if err != nil || b.spoil == nil {
		return err
	}
	return b.objstoreBucket.Put(ctx, key, bytes.NewReader(b.spoil(all)), opts)
}

// What is not in the bucket, or not whole, is not committed, and the local log
// keeps it.
func TestNothingIsCommittedThatIsNotThere(t *testing.T) {
	is := func(part string) func(string) bool {
		return func(key string) bool { return strings.Contains(key, part) }
	}
	for name, bucket := range map[string]*lossyBucket{
		"segment vanishes":       {match: is(".segment")},
		"segment is cut":         {match: is(".segment"), spoil: func(b []byte) []byte { return b[:len(b)-1] }},
		"segment is longer":      {match: is(".segment"), spoil: func(b []byte) []byte { return append(b, 0) }},
		"segment is another one": {match: is(".segment"), spoil: func(b []byte) []byte { b[len(b)-footerSize] ^= 1; return b }},
		"segment is older": {match: is(".segment"), spoil: func(b []byte) []byte {
			f, err := parseFooter(b[len(b)-footerSize:])
			if err != nil {
				return nil
			}
			f.createdMs--
			return f.append(b[:len(b)-footerSize])
		}},
		"manifest vanishes":  {match: is("manifest/")},
		"manifest is cut":    {match: is("manifest/"), spoil: func(b []byte) []byte { return b[:len(b)/2] }},
		"manifest is longer": {match: is("manifest/"), spoil: func(b []byte) []byte { return append(b, ' ') }},
		"page vanishes":      {match: is("page/")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			b := w.start(log, 1)
			b.mustAttach()
			fill(log, 8) // the next one seals a page
			b.mustDrain()
			end := log.end
			fill(log, 1)
			good := b.m.objects.bucket
			bucket.objstoreBucket = good
			b.m.objects.bucket = bucket
			if err := b.drain(); !errors.Is(err, ErrCorrupt) {
				t.Errorf("step: %v, want ErrCorrupt", err)
			}
			if got := w.committed().EndOffset; got != end || log.remoteEnd != end {
				t.Errorf("committed is %d and the log was told %d, want %d", got, log.remoteEnd, end)
			}
			b.m.objects.bucket = good
			b.mustDrain()
			b.check()
			b.sweepAll()
		})
	}
}

// Two brokers may write a manifest of the same name only if it is the same one.
func TestManifestNameThatIsTakenIsNotUsed(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	w.put(b.p.prefix + objectName{kind: kindManifest, epoch: 1, sequence: 1}.String())
	b.mustDrain()
	if got := w.committed(); got.Sequence != 2 || got.EndOffset != log.end {
		t.Errorf("committed is sequence %d up to %d", got.Sequence, got.EndOffset)
	}
	key := b.p.prefix + "page/x"
	if err := b.m.objects.create(t.Context(), key, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := b.m.objects.create(t.Context(), key, []byte("one")); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := b.m.objects.create(t.Context(), key, []byte("two")); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("another under the same name: %v, want ErrExists", err)
	}
}
