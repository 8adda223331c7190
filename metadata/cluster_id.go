package metadata

import (
	"context"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// EnsureClusterID returns the cluster's id. The first broker ever founds the cluster: it draws
// the id, finalizes the features at the levels of a new cluster, and writes configs as the
// dynamic default configuration of all brokers; nil writes none. The caller must stop after
// ErrUnsupportedFeature, which says that this broker does not support the finalized levels,
// and after ErrUnreleasedFormat, which says that the keys are those of a build from before
// the formats were fixed.
func EnsureClusterID(ctx context.Context, store kv.Store, configs map[string]string) (string, error) {
	return ensureCluster(ctx, store, founding(featureTable(), configs, time.Now()), featureTable())
}
