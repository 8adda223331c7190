package tiering

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// store is the part of kv.Store that this package uses.
type store interface {
	Get(ctx context.Context, key string) (kv.Pair, error)
	List(ctx context.Context, prefix string) ([]kv.Pair, int64, error)
	Txn(ctx context.Context, comparisons []kv.Comparison, ops ...kv.Op) (int64, error)
}

// ownedAs returns a pointer as package ownership sees it.
func ownedAs(p *format.Pointer) ownership.Pointer {
	return ownership.Pointer{
		Owner:    ownership.Owner{LeaderEpoch: p.LeaderEpoch, BrokerID: p.BrokerID, Claim: p.Claim},
		Manifest: manifestID(p.Manifest), Fence: p.Fence, Deleted: p.DeletedMs != 0,
	}
}

// manifestID returns the manifest of an object name, zero for "".
func manifestID(name string) ownership.Manifest {
	n, _ := format.ParseName(name) // a name that is no manifest's parses as zero
	return ownership.Manifest{LeaderEpoch: n.LeaderEpoch, Sequence: n.Sequence, Attempt: n.Attempt}
}

// manifestName returns the object name of a manifest, "" for zero.
func manifestName(m ownership.Manifest) string {
	if m == (ownership.Manifest{}) {
		return ""
	}
	return format.Name{Kind: format.KindManifest, LeaderEpoch: m.LeaderEpoch, Sequence: m.Sequence, Attempt: m.Attempt}.String()
}

// readPointer reads the pointer and the revision to swap it on. A key that does not exist is a zero
// pointer at revision 0.
func readPointer(ctx context.Context, s store, key string) (*format.Pointer, int64, error) {
	pair, err := s.Get(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: read tier pointer: %w", ErrUnavailable, err)
	}
	if !pair.Exists() {
		return &format.Pointer{LastEpoch: -1}, 0, nil
	}
	p, err := format.ParsePointer(pair.Value)
	if err != nil {
		return nil, 0, fmt.Errorf("read tier pointer %s: %w", key, err)
	}
	return p, pair.ModRevision, nil
}

// swapPointer replaces the pointer that was read at revision (0: none) and returns the new
// revision. It returns kv.ErrConflict if the key has another revision by then. After any other
// error the write may or may not have happened.
func swapPointer(ctx context.Context, s store, key string, revision int64, p *format.Pointer) (int64, error) {
	value, err := p.Encode()
	if err != nil {
		return 0, fmt.Errorf("swap tier pointer: %w", err)
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
