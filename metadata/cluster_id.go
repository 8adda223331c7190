package metadata

import (
	"context"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// EnsureClusterID returns the cluster's id. The first broker ever founds the cluster: it draws the
// id, finalizes the features at the levels of a new cluster, and writes configs as the dynamic
// default settings of all brokers (nil: none). The caller must stop after ErrUnsupportedFeature:
// this broker does not support the finalized levels. It must also stop after ErrUnreleasedFormat:
// the keys were written by a build from before the formats were fixed.
func EnsureClusterID(ctx context.Context, store kv.Store, configs map[string]string) (string, error) {
	return ensureCluster(ctx, store, founding(featureTable(), configs, time.Now()), featureTable())
}
