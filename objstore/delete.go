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

// deletesAtATime is how many deletions a DeleteAll has under way in a store that
// takes one object a request.
const deletesAtATime = 8

// DeleteError is what DeleteAll could not delete. It wraps the error of each
// key.
type DeleteError struct {
	Failed map[string]error // why, by key; not empty
}

// Error tells how many objects are left, and of the first one why.
func (e *DeleteError) Error() string {
	first := e.keys()[0]
	if len(e.Failed) == 1 {
		return e.Failed[first].Error()
	}
	return fmt.Sprintf("%d objects are not deleted, the first because of: %s", len(e.Failed), e.Failed[first].Error())
}

// Unwrap returns the errors in the order of their keys.
func (e *DeleteError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed))
	for _, key := range e.keys() {
		errs = append(errs, e.Failed[key])
	}
	return errs
}

func (e *DeleteError) keys() []string { return slices.Sorted(maps.Keys(e.Failed)) }

// notDeleted is the error of a DeleteAll that has not deleted any of the keys,
// all for the same reason.
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
	// One question about the bucket is enough, however many objects are not there.
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

// removeEach is removeAll for stores that take one object a request.
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
		_ = g.Wait() // what failed is in the map
		return failed
	}
}
