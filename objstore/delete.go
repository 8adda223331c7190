package objstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// deletesAtATime is the number of concurrent deletions of a DeleteAll, in a store that deletes one
// object per request.
const deletesAtATime = 8

// DeleteError lists the keys that DeleteAll could not delete. It wraps the error of each.
type DeleteError struct {
	Failed map[string]error // errors by key; not empty
}

// Error returns the number of objects that remain, and the error of the first one.
func (e *DeleteError) Error() string {
	first := e.keys()[0]
	if len(e.Failed) == 1 {
		return e.Failed[first].Error()
	}
	return fmt.Sprintf("%d objects are not deleted, the first because of: %s", len(e.Failed), e.Failed[first].Error())
}

// Unwrap returns the errors, sorted by key.
func (e *DeleteError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed))
	for _, key := range e.keys() {
		errs = append(errs, e.Failed[key])
	}
	return errs
}

func (e *DeleteError) keys() []string { return slices.Sorted(maps.Keys(e.Failed)) }

// notDeleted returns the error of a DeleteAll that deleted none of the keys, all for the same
// reason.
func notDeleted(keys []string, why error) error {
	if len(keys) == 0 {
		return nil
	}
	e := &DeleteError{Failed: make(map[string]error, len(keys))}
	for _, key := range keys {
		e.Failed[key] = why
	}
	return e
}

// Delete implements [Bucket].
func (b *blobBucket) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := b.wrap(ctx, "delete", key, b.remove(ctx, b.prefix+key))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DeleteAll implements [Bucket].
func (b *blobBucket) DeleteAll(ctx context.Context, keys []string) error {
	failed := map[string]error{}
	full := make([]string, 0, len(keys))
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			failed[key] = err
			continue
		}
		full = append(full, b.prefix+key)
	}
	// One request about the bucket is enough, however many objects are missing.
	once := sync.OnceValue(func() error { return b.exists(ctx) })
	exists := func(context.Context) error { return once() }
	for name, err := range b.removeAll(ctx, full) {
		key := strings.TrimPrefix(name, b.prefix)
		if err = wrap(ctx, "delete", key, err, exists); err != nil && !errors.Is(err, ErrNotFound) {
			failed[key] = err
		}
	}
	if len(failed) > 0 {
		return &DeleteError{Failed: failed}
	}
	return nil
}

// removeEach is removeAll for stores that delete one object per request.
func removeEach(remove func(ctx context.Context, key string) error) func(context.Context, []string) map[string]error {
	return func(ctx context.Context, keys []string) map[string]error {
		var mu sync.Mutex
		failed := map[string]error{}
		var g errgroup.Group
		g.SetLimit(deletesAtATime)
		for _, key := range keys {
			g.Go(func() error {
				err := ctx.Err()
				if err == nil {
					err = remove(ctx, key)
				}
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed[key] = err
				}
				return nil
			})
		}
		_ = g.Wait() // the errors are in the map
		return failed
	}
}
