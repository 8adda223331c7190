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

// bucket is the modelled object store. It answers at once, and what it has it keeps; what is late,
// lost or said twice on the way to it is bucketClient's.
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

// flaky is a store that loses some of 100 requests or answers for a while, and delays the others.
type flaky struct {
	until   time.Duration
	percent int64
}

func newBucket(w *world) *bucket { return &bucket{w: w, objects: map[string]object{}} }

// put stores an object unless there is one of its key.
func (b *bucket) put(key string, content []byte) error {
	if _, exists := b.objects[key]; exists {
		return fmt.Errorf("put %s: %w", key, objstore.ErrExists)
	}
	b.objects[key] = object{content: content, at: b.w.sched.now}
	return nil
}

// get is what a range of an object has, and io.ErrUnexpectedEOF if the object ends before.
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

// list are the objects below a prefix in order.
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

// content is all of an object.
func (b *bucket) content(key string) ([]byte, error) {
	o, exists := b.objects[key]
	if !exists {
		return nil, fmt.Errorf("%s: %w", key, objstore.ErrNotFound)
	}
	return bytes.Clone(o.content), nil
}

// errStoreAway is an answer that does not come.
var errStoreAway = errors.New("the store does not answer")

// named is a key without what was drawn of it, for the trace: the partition's prefix.
func named(key string) string {
	parts := strings.SplitN(key, "/", 3)
	return parts[len(parts)-1]
}
