package objstore

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBodyIsWhatIsLeftOfTheReader(t *testing.T) {
	r := strings.NewReader("0123456789")
	if _, err := r.Seek(3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, err := newBody(r)
	if err != nil {
		t.Fatal(err)
	}
	if b.size != 7 {
		t.Errorf("size %d", b.size)
	}
	if err = iotest.TestReader(b, []byte("3456789")); err != nil { // reads and seeks in all ways
		t.Error(err)
	}
}

// A transport may still read after its request is over. It must then neither see nor move the
// reader, which the caller may use again.
func TestSealedBodyLeavesTheReaderAlone(t *testing.T) {
	r := strings.NewReader("0123456789")
	b, err := newBody(r)
	if err != nil {
		t.Fatal(err)
	}
	b.seal()
	if n, err := b.Read(make([]byte, 4)); n != 0 || !errors.Is(err, errSealed) {
		t.Errorf("Read: %d, %v", n, err)
	}
	if _, err := b.Seek(2, io.SeekStart); !errors.Is(err, errSealed) {
		t.Errorf("Seek: %v", err)
	}
	if r.Len() != 10 {
		t.Errorf("the reader has moved: %d bytes left", r.Len())
	}
}

func TestPutSealsItsBody(t *testing.T) {
	var kept *body
	b := &blobBucket{put: func(_ context.Context, _ string, body *body, _ bool) error {
		kept = body
		return nil
	}}
	if err := b.Put(t.Context(), "k", strings.NewReader("0123456789"), PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if n, err := kept.Read(make([]byte, 4)); n != 0 || !errors.Is(err, errSealed) {
		t.Errorf("Read after Put: %d, %v", n, err)
	}
}
