package metadata

import (
	"context"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// epochStep is how old the epoch of the features has to be for a registration to
// advance it: of many that come at once one does.
const epochStep = time.Second

// joining is what the transaction that registers a broker compares and writes
// besides the broker's own key.
//
// It compares the value of the features key, so that a broker registers only under
// levels that it supports. It writes the same levels again, which moves the key's
// revision: an update of the features compares that, and so rests on every
// registration there is.
//
// An epoch that is old is advanced by the way. After etcd has been restored from a
// backup every broker registers again before it serves clients, and they see no
// epoch that is lower than one before. As long as the epoch is young all write the
// same value, so that registrations do not get in each other's way.
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
		return []kv.Comparison{unchanged, kv.Absent(featuresKey)}, []kv.Op{put}, nil // not founded by EnsureClusterID
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

// nextKnown is what stays of this broker when it is gone.
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
