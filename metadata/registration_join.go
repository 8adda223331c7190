package metadata

import (
	"context"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// epochStep is the age at which a registration advances the epoch of the features. If many brokers
// register at once, one of them advances it.
const epochStep = time.Second

// joining returns what the transaction that registers a broker compares and writes besides the
// broker's own key.
//
// It compares the value of the features key, so that a broker registers only if it supports the
// levels. It writes the same levels again, which changes the key's revision. An update of the
// features compares that revision: it conflicts with each registration that it has not seen.
//
// It advances the epoch of the features if that is old. After a restore of etcd from a backup each
// broker registers again before it serves clients, so clients never see an epoch lower than one
// before. While the epoch is young all registrations write the same value, so they do not conflict
// with each other.
func (r *Registration) joining(ctx context.Context) ([]kv.Comparison, []kv.Op, error) {
	features, err := r.store.Get(ctx, featuresKey)
	if err != nil {
		return nil, nil, err
	}
	known, err := r.store.Get(ctx, knownKey(r.self.ID))
	if err != nil {
		return nil, nil, err
	}
	next, err := r.nextKnown(known)
	if err != nil {
		return nil, nil, err
	}
	unchanged, put := kv.ModifiedAt(known.Key, known.ModRevision), kv.Put(known.Key, next)
	if !features.Exists() {
		// EnsureClusterID has not run.
		return []kv.Comparison{unchanged, kv.Absent(featuresKey)}, []kv.Op{put}, nil
	}
	finalized, err := decode[featuresValue](features)
	if err != nil {
		return nil, nil, err
	}
	if err = checkSupported(r.self.Features, finalized.Levels); err != nil {
		return nil, nil, err
	}
	value := features.Value
	if now := r.now(); now.Sub(time.UnixMilli(finalized.Epoch)) >= epochStep {
		finalized.advance(now)
		value = encode(finalized)
	}
	return []kv.Comparison{unchanged, kv.ValueIs(featuresKey, features.Value)}, []kv.Op{put, kv.Put(featuresKey, value)}, nil
}

// nextKnown returns the value of this broker's known key, which stays when the broker is fenced.
func (r *Registration) nextKnown(present kv.Pair) ([]byte, error) {
	var value knownValue
	if present.Exists() {
		var err error
		if value, err = decode[knownValue](present); err != nil {
			return nil, err
		}
	}
	value.V, value.Rack, value.Listeners, value.Features = valueVersion, r.self.Rack, r.self.Listeners, r.self.Features
	return encode(value), nil
}
