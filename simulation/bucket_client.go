package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/varvelog/varve/objstore"
)

// bucketClient is a process's objstore.Bucket. A call suspends its coroutine until the answer
// arrives. A request whose answer was lost may have been executed, an answered request may be
// executed once more later, and a flaky store may report success for an object that it did not
// store.
type bucketClient struct {
	w       *world
	process *process
}

var _ objstore.Bucket = (*bucketClient)(nil)

// attemptTime is how long a client waits for the store.
const attemptTime = 2 * time.Second

// repeatTime is the maximum delay of a duplicated request.
const repeatTime = 5 * time.Second

// ask sends a request and waits for the answer. changes means that the request modifies the bucket.
func ask[T any](ctx context.Context, c *bucketClient, what string, changes bool, do func(b *bucket) (T, error)) (T, error) {
	var value, none T
	var err error
	if c.process.dead || ctx.Err() != nil {
		return none, fmt.Errorf("%s: %w: %w", what, objstore.ErrUnavailable, errStoreAway)
	}
	b, s, stream := c.w.bucket, c.w.sched, "store "+c.process.host.name
	arrived, trouble := false, b.trouble(stream)
	arrive := func() {
		if b.away || trouble == loses {
			return
		}
		if trouble == lies && changes {
			arrived = true // and is not executed
			return
		}
		got, gotErr := do(b)
		c.w.trace("store %s for %s: %v", what, c.process.name, short(gotErr))
		if trouble != mutes {
			s.after(b.delay(stream), c.process, func() { value, err, arrived = got, gotErr, true })
		}
	}
	s.after(b.delay(stream), nil, arrive)
	if changes && s.draw(stream, 20) == 0 {
		s.after(s.between(stream, 0, repeatTime), nil, func() {
			if !b.away {
				_, _ = do(b) // the client has the answer to the first one
			}
		})
	}
	runner(ctx).Wait(ctx, attemptTime, func() bool { return arrived })
	if !arrived || c.process.dead {
		return none, fmt.Errorf("%s: %w: %w", what, objstore.ErrUnavailable, errStoreAway)
	}
	return value, err
}

// trouble is what goes wrong with a request.
type trouble int8

const (
	none  trouble = iota
	loses         // the request is lost
	mutes         // the answer is lost
	lies          // success is reported but nothing is done
)

func (b *bucket) trouble(stream string) trouble {
	s := b.w.sched
	if b.flaky.until <= s.now || s.draw(stream, 100) >= b.flaky.percent {
		return none
	}
	return []trouble{loses, loses, loses, mutes, mutes, mutes, mutes, lies}[s.draw(stream, 8)]
}

// delay returns how long a message takes.
func (b *bucket) delay(stream string) time.Duration {
	s := b.w.sched
	d := s.between(stream, time.Millisecond, 10*time.Millisecond)
	if s.draw(stream, 50) == 0 {
		d += s.between(stream, 0, 300*time.Millisecond)
	}
	if b.flaky.until > s.now {
		d += s.between(stream, 0, attemptTime)
	}
	return d
}

// Check implements objstore.Bucket.
func (c *bucketClient) Check(context.Context) error { return nil }

// Put implements objstore.Bucket.
func (c *bucketClient) Put(ctx context.Context, key string, body io.ReadSeeker, o objstore.PutOptions) error {
	content, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if !o.IfAbsent {
		return fmt.Errorf("put %s: %w", key, errors.ErrUnsupported) // no object may be overwritten
	}
	_, err = ask(ctx, c, "put "+named(key), true, func(b *bucket) (struct{}, error) { return struct{}{}, b.put(key, content) })
	return err
}

// GetRange implements objstore.Bucket.
func (c *bucketClient) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	got, err := ask(ctx, c, "get "+named(key), false, func(b *bucket) ([]byte, error) { return b.get(key, off, len(p)) })
	return copy(p, got), err
}

// Stat implements objstore.Bucket.
func (c *bucketClient) Stat(ctx context.Context, key string) (objstore.ObjectInfo, error) {
	return ask(ctx, c, "stat "+named(key), false, func(b *bucket) (objstore.ObjectInfo, error) { return b.stat(key) })
}

// List implements objstore.Bucket.
func (c *bucketClient) List(ctx context.Context, prefix string) iter.Seq2[objstore.ObjectInfo, error] {
	return func(yield func(objstore.ObjectInfo, error) bool) {
		all, err := ask(ctx, c, "list", false, func(b *bucket) ([]objstore.ObjectInfo, error) { return b.list(prefix), nil })
		if err != nil {
			yield(objstore.ObjectInfo{}, err)
			return
		}
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// Delete implements objstore.Bucket.
func (c *bucketClient) Delete(ctx context.Context, key string) error {
	return c.DeleteAll(ctx, []string{key})
}

// DeleteAll implements objstore.Bucket.
func (c *bucketClient) DeleteAll(ctx context.Context, keys []string) error {
	_, err := ask(ctx, c, fmt.Sprintf("delete %d", len(keys)), true, func(b *bucket) (struct{}, error) {
		b.remove(c.process.name, keys)
		return struct{}{}, nil
	})
	return err
}

// Close implements objstore.Bucket.
func (c *bucketClient) Close() error { return nil }
