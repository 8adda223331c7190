package simulation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// requestTimeout is how long a client waits for etcd before it reports etcd as unavailable.
const requestTimeout = 3 * time.Second

// storeClient is a process's kv.Store. A call suspends its coroutine until the answer arrives. A
// write whose answer was lost may have been executed.
type storeClient struct {
	w       *world
	process *process
	seen    int64 // the highest revision in an answer so far
	back    bool  // a later answer had a lower one
}

var _ kv.Store = (*storeClient)(nil)

// answer is an answer of etcd.
type answer[T any] struct {
	value    T
	err      error
	revision int64
}

// call sends a request and waits for the answer.
func call[T any](ctx context.Context, c *storeClient, what string, do func(e *etcd) (T, error)) (T, error) {
	var got answer[T]
	if err := c.fails(ctx); err != nil {
		return got.value, fmt.Errorf("%s: %w", what, err)
	}
	arrived, known := false, c.seen
	there := link{c.process.host.id, etcdHost}
	c.w.net.send(there, nil, func() {
		if c.w.etcd.down {
			return
		}
		var is answer[T]
		is.value, is.err = do(c.w.etcd)
		is.revision = c.w.etcd.state.revision
		c.w.trace("etcd %s for %s: %v", what, c.process.name, short(is.err))
		c.w.net.send(link{etcdHost, there.from}, c.process, func() { got, arrived = is, true })
	})
	runner(ctx).Wait(ctx, requestTimeout, func() bool { return arrived })
	switch {
	case c.process.dead:
		return got.value, fmt.Errorf("%s: %w", what, kv.ErrClosed)
	case !arrived && ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return got.value, fmt.Errorf("%s: %w", what, ctx.Err())
	case !arrived:
		return got.value, fmt.Errorf("%s: %w", what, kv.ErrUnavailable)
	case got.revision < known:
		c.back = true
		return got.value, fmt.Errorf("%s: %w", what, kv.ErrWentBack)
	}
	c.see(got.revision)
	return got.value, got.err
}

// see records a revision, for later processes too: package server keeps it in a file.
func (c *storeClient) see(revision int64) {
	c.seen = max(c.seen, revision)
	c.process.host.seen = c.seen
}

func (c *storeClient) fails(ctx context.Context) error {
	switch {
	case c.process.dead:
		return kv.ErrClosed
	case c.back:
		return kv.ErrWentBack
	}
	return ctx.Err()
}

// Get implements kv.Store.
func (c *storeClient) Get(ctx context.Context, key string) (kv.Pair, error) {
	return call(ctx, c, "get", func(e *etcd) (kv.Pair, error) { return e.get(key), nil })
}

// List implements kv.Store.
func (c *storeClient) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	var revision int64
	kvs, err := call(ctx, c, "list", func(e *etcd) ([]kv.Pair, error) {
		revision = e.state.revision
		return e.list(prefix), nil
	})
	return kvs, revision, err
}

// Txn implements kv.Store.
func (c *storeClient) Txn(ctx context.Context, comparisons []kv.Comparison, ops ...kv.Op) (int64, error) {
	comparisons, ops = slices.Clone(comparisons), slices.Clone(ops)
	return call(ctx, c, "write"+kinds(ops), func(e *etcd) (int64, error) {
		if c.process.dead && !e.mistaken && registers(ops) && e.holds(comparisons) == nil {
			c.process.host.arrives(c.process, e.state.revision+1)
		}
		if err := e.txn(comparisons, ops); err != nil {
			return 0, err
		}
		return e.state.revision, nil
	})
}

// registers reports whether a transaction registers a broker.
func registers(ops []kv.Op) bool {
	return slices.ContainsFunc(ops, func(op kv.Op) bool {
		return op.Kind == kv.OpPut && strings.HasPrefix(op.Key, "brokers/")
	})
}

// kinds returns the first parts of the keys; the parts after them may contain a random id.
func kinds(ops []kv.Op) string {
	var all string
	for _, op := range ops {
		kind, _, _ := strings.Cut(op.Key, "/")
		if !strings.HasSuffix(all, " "+kind) {
			all += " " + kind
		}
	}
	return all
}

// Grant implements kv.Store.
func (c *storeClient) Grant(ctx context.Context, ttl time.Duration) (kv.LeaseID, error) {
	return call(ctx, c, "grant", func(e *etcd) (kv.LeaseID, error) { return e.grant(ttl), nil })
}

// KeepAlive implements kv.Store.
func (c *storeClient) KeepAlive(ctx context.Context, id kv.LeaseID) error {
	_, err := call(ctx, c, "keep alive", func(e *etcd) (struct{}, error) { return struct{}{}, e.keepAlive(id) })
	return err
}

// Revoke implements kv.Store.
func (c *storeClient) Revoke(ctx context.Context, id kv.LeaseID) error {
	_, err := call(ctx, c, "revoke", func(e *etcd) (struct{}, error) {
		e.revoke(id)
		return struct{}{}, nil
	})
	return err
}

// Close implements kv.Store.
func (c *storeClient) Close() error { return nil }

// watcher is an open watch. Its messages arrive in order, and may arrive late.
type watcher struct {
	c       *storeClient
	next    int64
	last    time.Duration // when the newest message arrives
	batches []kv.Batch
	err     error
}

// watchDelays is how many times the delay of other messages a watch's message may take on a lossy
// link.
const watchDelays = 3

// tell sends the changes up to a revision.
func (w *watcher) tell(upTo int64) {
	s := w.c.w.sched
	name := "watch " + w.c.process.name
	delay := s.between(name, 100*time.Microsecond, 3*time.Millisecond)
	switch s.draw(name, 200) {
	case 0:
		delay += s.between(name, 0, 3*time.Second)
	case 1, 2, 3, 4, 5, 6:
		delay += s.between(name, 0, 200*time.Millisecond)
	}
	if bad := w.c.w.net.lost[link{etcdHost, w.c.process.host.id}]; bad.until > s.now {
		delay += s.between(name, 0, watchDelays*bad.delay) // lost packets are sent again
	}
	w.last = max(w.last, s.now+delay)
	s.after(w.last-s.now, w.c.process, func() { w.arrive(upTo) })
}

// arrive delivers the changes up to a revision, once the network lets them through.
func (w *watcher) arrive(upTo int64) {
	e := w.c.w.etcd
	switch {
	case w.err != nil || upTo < w.next && !e.mistaken:
		return
	case e.down || w.c.w.net.isCut(link{etcdHost, w.c.process.host.id}):
		again := w.c.w.sched.between("watch "+w.c.process.name, 20*time.Millisecond, time.Second)
		w.c.w.sched.after(again, w.c.process, func() { w.arrive(upTo) })
		return
	case e.mistaken && e.state.revision < w.c.seen:
		w.c.back = true
		w.err = kv.ErrWentBack
		return
	}
	batch, err := e.since(w.next, upTo)
	if err != nil {
		w.err = err
		return
	}
	if len(batch.Events) > 0 {
		w.next = batch.Revision + 1
		w.c.see(batch.Revision)
		w.batches = append(w.batches, batch)
	}
}

// Watch implements kv.Store.
func (c *storeClient) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		if err := c.fails(ctx); err != nil {
			yield(kv.Batch{}, fmt.Errorf("watch: %w", err))
			return
		}
		w := &watcher{c: c, next: from}
		c.w.etcd.watchers = append(c.w.etcd.watchers, w)
		defer func() {
			c.w.etcd.watchers = slices.DeleteFunc(c.w.etcd.watchers, func(o *watcher) bool { return o == w })
		}()
		w.tell(c.w.etcd.state.revision)
		for {
			runner(ctx).Wait(ctx, -1, func() bool { return len(w.batches) > 0 || w.err != nil })
			switch {
			case ctx.Err() != nil || c.process.dead:
				yield(kv.Batch{}, fmt.Errorf("watch: %w", context.Canceled))
				return
			case len(w.batches) == 0:
				yield(kv.Batch{}, fmt.Errorf("watch from %d: %w", w.next, w.err))
				return
			}
			batch := w.batches[0]
			w.batches = w.batches[1:]
			batch.Events = slices.DeleteFunc(slices.Clone(batch.Events), func(ev kv.Event) bool {
				return !strings.HasPrefix(ev.Key, prefix)
			})
			if len(batch.Events) > 0 && !yield(batch, nil) {
				return
			}
		}
	}
}
