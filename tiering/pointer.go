package tiering

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/tiering/ownership"
)

// pointerVersion is the format of the value of a tier key.
const pointerVersion = 1

// store is what this package needs of kv.Store.
type store interface {
	Get(ctx context.Context, key string) (kv.Pair, error)
	List(ctx context.Context, prefix string) ([]kv.Pair, int64, error)
	Txn(ctx context.Context, comparisons []kv.Comparison, ops ...kv.Op) (int64, error)
}

// pointer is the value of tier/<topic id>/<partition>: which manifest is the
// current one, and who may replace it. Whoever wrote it last owns it; every
// write is a compare-and-swap on the revision of the one before.
type pointer struct {
	Version int `json:"version"`
	// Manifest is the object name of the current manifest, "" for none yet.
	Manifest    string `json:"manifest"`
	LeaderEpoch int32  `json:"leader_epoch"`
	BrokerID    int32  `json:"broker_id"`
	// Claim is drawn by every attachment, so that two of the same epoch (a leader
	// that restarts, a write that was reported as failed) are told apart.
	Claim string `json:"claim"`
	// Fence grows when a swap may still be under way that must not happen any
	// more: the write changes the revision that the swap was made on.
	Fence int64 `json:"fence,omitempty"`
	// DeletedMs says since when the topic is gone. Nobody claims the key any more.
	DeletedMs int64 `json:"deleted_ms,omitempty"`

	unknown document.Unknown // what a newer broker has stored besides
}

// newPointer is the form that is stored.
func newPointer(p ownership.Pointer, unknown document.Unknown) pointer {
	return pointer{
		Manifest: manifestName(p.Manifest), LeaderEpoch: p.LeaderEpoch, BrokerID: p.BrokerID,
		Claim: p.Claim, Fence: p.Fence, unknown: unknown,
	}
}

// ownership is what the pointer says of that.
func (p pointer) ownership() ownership.Pointer {
	n, _ := parseName(p.Manifest) // or none
	return ownership.Pointer{
		Owner:    ownership.Owner{LeaderEpoch: p.LeaderEpoch, BrokerID: p.BrokerID, Claim: p.Claim},
		Manifest: ownership.Manifest{LeaderEpoch: n.epoch, Sequence: n.sequence},
		Fence:    p.Fence, Deleted: p.DeletedMs != 0,
	}
}

// manifestName is the object name of a manifest, "" for none.
func manifestName(m ownership.Manifest) string {
	if m == (ownership.Manifest{}) {
		return ""
	}
	return objectName{kind: kindManifest, epoch: m.LeaderEpoch, sequence: m.Sequence}.String()
}

// readPointer reads the pointer and the revision to swap it on; a key that does
// not exist is a zero pointer at revision 0.
func readPointer(ctx context.Context, s store, key string) (pointer, int64, error) {
	pair, err := s.Get(ctx, key)
	if err != nil {
		return pointer{}, 0, fmt.Errorf("%w: read tier pointer: %w", ErrUnavailable, err)
	}
	if !pair.Exists() {
		return pointer{}, 0, nil
	}
	p, err := parsePointer(pair.Value)
	if err != nil {
		return pointer{}, 0, fmt.Errorf("read tier pointer %s: %w", key, err)
	}
	return p, pair.ModRevision, nil
}

func parsePointer(b []byte) (pointer, error) {
	var p pointer
	if err := json.Unmarshal(b, &p); err != nil {
		return pointer{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if p.Version > pointerVersion {
		return pointer{}, fmt.Errorf("%w: pointer version %d, this build reads %d: upgrade this broker", ErrUnsupportedFormat, p.Version, pointerVersion)
	}
	if p.Version != pointerVersion {
		return pointer{}, fmt.Errorf("%w: pointer version %d", ErrCorrupt, p.Version)
	}
	if p.Manifest != "" {
		if n, ok := parseName(p.Manifest); !ok || n.kind != kindManifest || n.sequence == 0 {
			return pointer{}, fmt.Errorf("%w: manifest %q", ErrCorrupt, p.Manifest)
		}
	}
	return p, nil
}

// swapPointer replaces the pointer that was read at revision (0: none) and
// returns the new revision. metadata.ErrConflict says that it is another one by
// now; after any other error the write may or may not have happened.
func swapPointer(ctx context.Context, s store, key string, revision int64, p pointer) (int64, error) {
	p.Version = pointerVersion
	value, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("encode tier pointer: %w", err)
	}
	revision, err = s.Txn(ctx, []kv.Comparison{kv.ModifiedAt(key, revision)}, kv.Put(key, value))
	switch {
	case errors.Is(err, kv.ErrConflict):
		return 0, fmt.Errorf("swap tier pointer: %w", err)
	case err != nil:
		return 0, fmt.Errorf("%w: swap tier pointer: %w", ErrUnavailable, err)
	}
	return revision, nil
}
