package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/varvelog/varve/objstore"
)

// bucket models the object store. It answers at once and keeps what it has; bucketClient adds what
// is late, lost or duplicated between the store and its clients.
type bucket struct {
	w       *world
	objects map[string]object
	away    bool
	flaky   flaky
}

type object struct {
	content []byte
	at      time.Duration
}

// flaky makes the store lose percent of the requests or answers for a while, and delay the others.
type flaky struct {
	until   time.Duration
	percent int64
}

func newBucket(w *world) *bucket { return &bucket{w: w, objects: map[string]object{}} }

// put stores an object unless the key exists.
func (b *bucket) put(key string, content []byte) error {
	if _, exists := b.objects[key]; exists {
		return fmt.Errorf("put %s: %w", key, objstore.ErrExists)
	}
	b.objects[key] = object{content: content, at: b.w.sched.now}
	return nil
}

// get returns a range of an object, and io.ErrUnexpectedEOF if the object ends before the range
// does.
func (b *bucket) get(key string, off int64, n int) ([]byte, error) {
	o, exists := b.objects[key]
	if !exists {
		return nil, fmt.Errorf("get %s: %w", key, objstore.ErrNotFound)
	}
	size := int64(len(o.content))
	got := o.content[min(off, size):min(off+int64(n), size)]
	if len(got) < n {
		return got, fmt.Errorf("get %s: %w", key, io.ErrUnexpectedEOF)
	}
	return got, nil
}

func (b *bucket) stat(key string) (objstore.ObjectInfo, error) {
	o, exists := b.objects[key]
	if !exists {
		return objstore.ObjectInfo{}, fmt.Errorf("stat %s: %w", key, objstore.ErrNotFound)
	}
	return b.info(key, o), nil
}

func (b *bucket) info(key string, o object) objstore.ObjectInfo {
	return objstore.ObjectInfo{Key: key, Size: int64(len(o.content)), ModTime: b.w.sched.began.Add(o.at)}
}

// list returns the objects below a prefix, in order.
func (b *bucket) list(prefix string) []objstore.ObjectInfo {
	var all []objstore.ObjectInfo
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if strings.HasPrefix(key, prefix) {
			all = append(all, b.info(key, b.objects[key]))
		}
	}
	return all
}

func (b *bucket) remove(by string, keys []string) {
	for _, key := range keys {
		if _, exists := b.objects[key]; exists {
			b.w.check.removed(by, key)
			delete(b.objects, key)
		}
	}
}

// content returns a whole object.
func (b *bucket) content(key string) ([]byte, error) {
	o, exists := b.objects[key]
	if !exists {
		return nil, fmt.Errorf("%s: %w", key, objstore.ErrNotFound)
	}
	return bytes.Clone(o.content), nil
}

// errStoreAway stands for an answer that does not arrive.
var errStoreAway = errors.New("the store does not answer")

// named returns a key without its random part, the partition's prefix, for the trace.
func named(key string) string {
	parts := strings.SplitN(key, "/", 3)
	return parts[len(parts)-1]
}
