package metadata

import (
	"context"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// EnsureClusterID returns the cluster's id. The first broker ever founds the
// cluster: it draws the id, finalizes the features at the levels that a new
// cluster has, and makes configs the dynamic default configuration of its brokers,
// nil for none. A broker that does not support the finalized levels must not go on:
// ErrUnsupportedFeature; nor may one that finds the keys of a build from before
// the formats were fixed: ErrUnreleasedFormat.
func EnsureClusterID(ctx context.Context, store kv.Store, configs map[string]string) (string, error) {
	return ensureCluster(ctx, store, founding(featureTable(), configs, time.Now()), featureTable())
}
