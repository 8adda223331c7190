package tiering

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// lossyBucket claims to have stored what it has not, for keys that match.
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

// What is missing in the bucket, or not whole, is not committed, and the local log keeps it.
func TestNothingIsCommittedThatIsNotThere(t *testing.T) {
	is := func(part string) func(string) bool {
		return func(key string) bool { return strings.Contains(key, part) }
	}
	for name, bucket := range map[string]*lossyBucket{
		"segment vanishes":       {match: is(".segment")},
		"segment is cut":         {match: is(".segment"), spoil: func(b []byte) []byte { return b[:len(b)-1] }},
		"segment is longer":      {match: is(".segment"), spoil: func(b []byte) []byte { return append(b, 0) }},
		"segment is another one": {match: is(".segment"), spoil: func(b []byte) []byte { b[len(b)-200] ^= 1; return b }},
		"segment is older":       {match: is(".segment"), spoil: older},
		"manifest vanishes":      {match: is("manifest/")},
		"manifest is cut":        {match: is("manifest/"), spoil: func(b []byte) []byte { return b[:len(b)/2] }},
		"manifest is longer":     {match: is("manifest/"), spoil: func(b []byte) []byte { return append(b, ' ') }},
		"page vanishes":          {match: is("page/")},
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

// older returns a segment object, sound by itself, that was made at another time.
func older(b []byte) []byte {
	size := int64(len(b))
	trailer, err := format.ParseTrailer(b[size-format.TrailerSize:], size)
	if err != nil {
		return nil
	}
	parts, err := trailer.ParseTable(b[trailer.TablePosition : size-format.TrailerSize])
	if err != nil {
		return nil
	}
	out := b[:parts[0].Position:parts[0].Position]
	layout := format.NewLayout(parts[0].Position)
	for _, p := range parts {
		content := bytes.Clone(b[p.Position:p.End()])
		if at := bytes.Index(content, []byte(`"created_ms":1`)); at >= 0 {
			content[at+len(`"created_ms":`)] = '2'
		}
		layout.Add(p.Type, p.Flags, p.Bytes, format.Checksum(content))
		out = append(out, content...)
	}
	return append(out, layout.End()...)
}

// No two manifests have one name: a deletion of the first one that arrives late must not
// hit the second.
func TestNoManifestNameIsUsedTwice(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	names := map[string]bool{}
	for i := range 3 { // at one leader epoch, each of them as the first manifest
		b := w.start(log.restarted(), 1)
		b.mustAttach()
		late := &lateStore{Store: w.store}
		if b.m.store = late; i == 0 {
			late.passed = 1 // the write that creates the pointer
		}
		if err := b.drain(); err == nil {
			t.Fatal("the commit was confirmed")
		}
		for _, name := range w.objects() {
			if n, _ := format.ParseName(name); n.Kind == format.KindManifest && n.Sequence == 1 {
				names[name] = true
			}
		}
	}
	if len(names) != 3 {
		t.Errorf("manifests of the same sequence are %v, want 3", names)
	}
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
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
