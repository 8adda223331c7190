package metadata

import (
	"context"
	"time"
)

// EnsureClusterID returns the cluster's id. The first broker ever founds the
// cluster: it draws the id and finalizes the features at the levels that a new
// cluster has. A broker that does not support the finalized levels must not go on:
// ErrUnsupportedFeature; nor may one that finds the keys of a build from before
// the formats were fixed: ErrUnreleasedFormat.
func EnsureClusterID(ctx context.Context, store Store) (string, error) {
	return ensureCluster(ctx, store, featureTable(), time.Now())
}
