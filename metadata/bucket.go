package metadata

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata/kv"
)

// bucketKey is the key that names the bucket of the cluster's history.
const bucketKey = "bucket"

// Bucket names the bucket that has a cluster's history. The zero value means none yet.
type Bucket struct {
	ID        string // the id in the bucket's marker
	URL       string // where the bucket was first used; informational, it may have moved
	CreatedMs int64  // when the marker was written, in Unix ms
}

type bucketValue struct {
	kept
	V         version `json:"v"`
	ID        string  `json:"id"`
	URL       string  `json:"url,omitempty"`
	CreatedMs int64   `json:"created_ms"`
}

// ReadBucket returns the bucket that has the cluster's history, the zero Bucket if none was noted.
func ReadBucket(ctx context.Context, store kv.Store) (Bucket, error) {
	pair, err := store.Get(ctx, bucketKey)
	if err != nil {
		return Bucket{}, fmt.Errorf("read which bucket the cluster has: %w", err)
	}
	if !pair.Exists() {
		return Bucket{}, nil
	}
	v, err := decode[bucketValue](pair)
	if err != nil {
		return Bucket{}, err
	}
	if v.ID == "" {
		return Bucket{}, fmt.Errorf("decode %s at revision %d: it names no bucket", pair.Key, pair.ModRevision)
	}
	return Bucket{ID: v.ID, URL: v.URL, CreatedMs: v.CreatedMs}, nil
}

// NoteBucket writes the bucket unless one is noted already, and returns the noted one. The key is
// written once and never changes.
func NoteBucket(ctx context.Context, store kv.Store, b Bucket) (Bucket, error) {
	value := encode(bucketValue{V: valueVersion, ID: b.ID, URL: b.URL, CreatedMs: b.CreatedMs})
	_, err := store.Txn(ctx, []kv.Comparison{kv.Absent(bucketKey)}, kv.Put(bucketKey, value))
	if err != nil && !errors.Is(err, kv.ErrConflict) {
		return Bucket{}, fmt.Errorf("note which bucket the cluster has: %w", err)
	}
	return ReadBucket(ctx, store)
}

// ReadClusterID returns the cluster's id, "" if no cluster has been founded.
func ReadClusterID(ctx context.Context, store kv.Store) (string, error) {
	pair, err := store.Get(ctx, clusterIDKey)
	if err != nil {
		return "", fmt.Errorf("read the cluster id: %w", err)
	}
	if !pair.Exists() {
		return "", nil
	}
	v, err := decode[clusterIDValue](pair)
	return v.ID, err
}
