package metadata

import (
	"errors"
	"strings"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// TestBucketIsNotedOnce: whichever broker is first, all brokers get its bucket. The key is not part
// of the image, and is not written again.
func TestBucketIsNotedOnce(t *testing.T) {
	s := kvtest.Open(t)
	if b, err := ReadBucket(t.Context(), s); err != nil || b != (Bucket{}) {
		t.Errorf("%+v, %v", b, err)
	}
	first := Bucket{ID: "one", URL: "s3://bucket", CreatedMs: 7}
	for _, b := range []Bucket{first, {ID: "two"}} {
		if got, err := NoteBucket(t.Context(), s, b); err != nil || got != first {
			t.Errorf("%+v, %v", got, err)
		}
	}
	pair, err := s.Get(t.Context(), bucketKey)
	if err != nil || string(pair.Value) != `{"v":1,"id":"one","url":"s3://bucket","created_ms":7}` {
		t.Errorf("%s, %v", pair.Value, err)
	}
	image, err := newImage().Apply(kv.Batch{Revision: 9, Events: []kv.Event{{Pair: pair}}})
	if err != nil || image.Incomplete() || image.ContentRevision != 0 {
		t.Errorf("%+v, %v", image, err)
	}
}

func TestBucketThatCannotBeReadIsNoBucket(t *testing.T) {
	for value, want := range map[string]string{
		`{"v":2,"id":"x"}`: "upgrade this broker",
		`{"v":1}`:          "names no bucket",
		`nonsense`:         "decode bucket",
	} {
		s := kvtest.Open(t)
		if _, err := s.Txn(t.Context(), nil, kv.Put(bucketKey, []byte(value))); err != nil {
			t.Fatal(err)
		}
		if b, err := ReadBucket(t.Context(), s); err == nil || !strings.Contains(err.Error(), want) || b != (Bucket{}) {
			t.Errorf("%s: %+v, %v", value, b, err)
		}
	}
	failing := &kvtest.HookedStore{Store: kvtest.Open(t), BeforeTxn: func(int) error { return kv.ErrUnavailable }}
	if _, err := NoteBucket(t.Context(), failing, Bucket{ID: "x"}); !errors.Is(err, kv.ErrUnavailable) {
		t.Error(err)
	}
}

func TestClusterIDIsReadWithoutFounding(t *testing.T) {
	s := kvtest.Open(t)
	if id, err := ReadClusterID(t.Context(), s); err != nil || id != "" || len(kvtest.Keys(t, s, "")) != 0 {
		t.Errorf("%s, %v", id, err)
	}
	want, err := EnsureClusterID(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ReadClusterID(t.Context(), s); err != nil || id != want {
		t.Errorf("%s, %v", id, err)
	}
}
