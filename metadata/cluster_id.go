package metadata

import (
	"context"
	"errors"
	"fmt"
)

// EnsureClusterID returns the cluster's id, and draws it if this is the first
// broker ever.
func EnsureClusterID(ctx context.Context, store Store) (string, error) {
	kv, err := store.Get(ctx, clusterIDKey)
	if err == nil && !kv.Exists() {
		value := encode(clusterIDValue{V: valueVersion, ID: NewTopicID().String()})
		if _, err = store.Txn(ctx, []Comparison{Absent(clusterIDKey)}, Put(clusterIDKey, value)); err == nil || errors.Is(err, ErrConflict) {
			kv, err = store.Get(ctx, clusterIDKey)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read the cluster id: %w", err)
	}
	value, err := decode[clusterIDValue](kv)
	return value.ID, err
}
