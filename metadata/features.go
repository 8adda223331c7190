package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// VarveVersion is the feature whose level selects which of Varve's own formats may be written: in
// etcd, in the bucket and between brokers. It corresponds to Kafka's metadata.version.
const VarveVersion = "varve.version"

// FeatureRange is the range of levels of a feature that a broker supports, both ends included.
// Level 0 means without the feature.
type FeatureRange struct {
	Min int16 `json:"min"`
	Max int16 `json:"max"`
}

// feature is one row of the table of features.
type feature struct {
	name string
	FeatureRange
	// founding is the level in a new cluster.
	founding int16
	// lossy are the levels whose values lower levels ignore: only an unsafe downgrade may cross one
	// of them.
	lossy []int16
}

// featureTable returns the table of features. A change of a format is a new level here. Code that
// writes the new format must check Image.Feature first.
//
//	varve.version  1  the first formats that later versions read
//
// A build with the tag varve_next, which is for tests only, has one more level.
func featureTable() []feature {
	return []feature{
		{name: VarveVersion, FeatureRange: FeatureRange{Min: 1, Max: 1 + laterLevels}, founding: 1},
	}
}

// Supported returns the features that this build supports.
func Supported() map[string]FeatureRange { return supportedOf(featureTable()) }

func supportedOf(table []feature) map[string]FeatureRange {
	supported := make(map[string]FeatureRange, len(table))
	for _, f := range table {
		supported[f.name] = f.FeatureRange
	}
	return supported
}

// FinalizedFeatures are the feature levels that all brokers work under.
type FinalizedFeatures struct {
	// Epoch grows with every change, and with some registrations. It must never go back: clients
	// keep the answer with the highest epoch. Zero: nothing is finalized yet.
	Epoch int64
	// Levels are by name: read only. A feature that is missing has level 0.
	Levels map[string]int16

	revision int64 // of the features key
}

// Feature returns the finalized level of a feature, 0 for none. A writer uses a format only when
// its level is finalized.
func (m *Image) Feature(name string) int16 { return m.Features.Levels[name] }

// featuresValue is the value of the key "features".
type featuresValue struct {
	kept
	V      version          `json:"v"`
	Epoch  int64            `json:"epoch"`
	Levels map[string]int16 `json:"levels"`
}

// advance sets the next epoch: the time in Unix ms, or one more than the last epoch if that is
// higher. After etcd is restored from a backup its epoch is old. The next change or registration
// then raises the epoch above all those that clients have seen.
func (v *featuresValue) advance(now time.Time) { v.Epoch = max(v.Epoch+1, now.UnixMilli()) }

func (b *imageBuilder) features(e kv.Event) error {
	if e.Deleted {
		return nil // a cluster never loses its features
	}
	v, err := decode[featuresValue](e.Pair)
	if err != nil {
		return err
	}
	b.image.Features = FinalizedFeatures{Epoch: v.Epoch, Levels: v.Levels, revision: e.ModRevision}
	return nil
}

// checkSupported returns ErrUnsupportedFeature unless a broker supports all finalized levels.
func checkSupported(supported map[string]FeatureRange, levels map[string]int16) error {
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		r, known := supported[name]
		switch level := levels[name]; {
		case known && r.Min <= level && level <= r.Max, !known && level == 0:
		case !known:
			return fmt.Errorf("%w: %s has level %d, this version of Varve does not know the feature; start the version that the other brokers run",
				ErrUnsupportedFeature, name, level)
		default:
			return fmt.Errorf("%w: %s has level %d, this version of Varve supports %d to %d; start the version that the other brokers run",
				ErrUnsupportedFeature, name, level, r.Min, r.Max)
		}
	}
	return nil
}

// founding returns the writes that found a cluster. They fit into one transaction.
func founding(table []feature, configs map[string]string, now time.Time) []kv.Op {
	value := featuresValue{V: valueVersion, Levels: map[string]int16{}}
	value.advance(now)
	for _, f := range table {
		if f.founding > 0 {
			value.Levels[f.name] = f.founding
		}
	}
	ops := []kv.Op{
		kv.Put(clusterIDKey, encode(clusterIDValue{V: valueVersion, ID: NewTopicID().String()})),
		kv.Put(featuresKey, encode(value)),
	}
	if len(configs) > 0 {
		ops = append(ops, kv.Put(brokerConfigsPrefix+defaultBroker, encode(configsValue{V: valueVersion, Configs: configs})))
	}
	return ops
}

// ensureCluster founds the cluster if there is none, and checks that a broker with this table may
// run in it.
func ensureCluster(ctx context.Context, store kv.Store, founding []kv.Op, table []feature) (string, error) {
	id, err := store.Get(ctx, clusterIDKey)
	if err == nil && !id.Exists() {
		_, err = store.Txn(ctx, []kv.Comparison{kv.Absent(clusterIDKey), kv.Absent(featuresKey)}, founding...)
		if err == nil || errors.Is(err, kv.ErrConflict) {
			id, err = store.Get(ctx, clusterIDKey)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read the cluster id: %w", err)
	}
	value, err := decode[clusterIDValue](id)
	if err != nil {
		return "", err
	}
	// Both keys are written in one transaction: once the first one has been read, the second one
	// exists.
	levels, err := store.Get(ctx, featuresKey)
	if err != nil {
		return "", fmt.Errorf("read the cluster's features: %w", err)
	}
	if !levels.Exists() {
		return "", fmt.Errorf("the metadata of cluster %s was %w", value.ID, ErrUnreleasedFormat)
	}
	finalized, err := decode[featuresValue](levels)
	if err != nil {
		return "", err
	}
	if err = checkSupported(supportedOf(table), finalized.Levels); err != nil {
		return "", fmt.Errorf("join cluster %s: %w", value.ID, err)
	}
	return value.ID, nil
}
