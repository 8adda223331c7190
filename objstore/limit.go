package objstore

import (
	"context"
	"fmt"
	"io"
	"iter"

	"golang.org/x/sync/semaphore"
)

// Limit returns a Bucket with at most n requests in progress. Further requests wait for a turn.
func Limit(b Bucket, n int) Bucket { return &limitBucket{b, semaphore.NewWeighted(int64(n))} }

type limitBucket struct {
	Bucket
	turns *semaphore.Weighted
}

func (l *limitBucket) acquire(ctx context.Context, op, key string) error {
	if err := l.turns.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%s %s: wait for a turn: %w", op, key, err)
	}
	return nil
}

// Put implements [Bucket].
func (l *limitBucket) Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) error {
	if err := l.acquire(ctx, "put", key); err != nil {
		return err
	}
	defer l.turns.Release(1)
	return l.Bucket.Put(ctx, key, body, opts)
}

// GetRange implements [Bucket].
func (l *limitBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if err := l.acquire(ctx, "get", key); err != nil {
		return 0, err
	}
	defer l.turns.Release(1)
	return l.Bucket.GetRange(ctx, key, off, p)
}

// Stat implements [Bucket].
func (l *limitBucket) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	if err := l.acquire(ctx, "stat", key); err != nil {
		return ObjectInfo{}, err
	}
	defer l.turns.Release(1)
	return l.Bucket.Stat(ctx, key)
}

// List implements [Bucket]. It releases its turn while the caller handles an object, because
// callers delete what they list.
func (l *limitBucket) List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		if err := l.acquire(ctx, "list", prefix); err != nil {
			yield(ObjectInfo{}, err)
			return
		}
		held := true
		defer func() {
			if held {
				l.turns.Release(1)
			}
		}()
		for info, err := range l.Bucket.List(ctx, prefix) {
			l.turns.Release(1)
			held = false
			if !yield(info, err) || err != nil {
				return
			}
			if err = l.acquire(ctx, "list", prefix); err != nil {
				yield(ObjectInfo{}, err)
				return
			}
			held = true
		}
	}
}

// Delete implements [Bucket].
func (l *limitBucket) Delete(ctx context.Context, key string) error {
	if err := l.acquire(ctx, "delete", key); err != nil {
		return err
	}
	defer l.turns.Release(1)
	return l.Bucket.Delete(ctx, key)
}

// DeleteAll implements [Bucket]. It takes one turn for all keys.
func (l *limitBucket) DeleteAll(ctx context.Context, keys []string) error {
	if err := l.turns.Acquire(ctx, 1); err != nil {
		return notDeleted(keys, fmt.Errorf("delete: wait for a turn: %w", err))
	}
	defer l.turns.Release(1)
	return l.Bucket.DeleteAll(ctx, keys)
}
