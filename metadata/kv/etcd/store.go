package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata/kv"
)

// Store is a kv.Store on etcd.
type Store struct {
	client  *clientv3.Client
	root    string // prefix of the cluster's keys, with a slash at the end
	timeout time.Duration
	closed  atomic.Bool
	// stop ends the embedded server, or the liveness probes of an external one.
	stop    func() error
	member  *etcdserver.EtcdServer // the embedded one of several; nil otherwise
	quorum  quorum
	tls     func(host string) *tls.Config // for connections to members; nil: none
	health  health
	history history
}

// defaultTimeout bounds a request whose context has no nearer deadline.
const defaultTimeout = 5 * time.Second

// pageSize is the number of keys that one request reads.
const pageSize = 2000

// listAttempts bounds how often List starts over after its revision was compacted between two
// pages.
const listAttempts = 3

func newStore(client *clientv3.Client, cluster string, timeout time.Duration) *Store {
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return &Store{
		client: client, root: "/varve/" + cluster + "/", timeout: timeout,
		history: history{gone: make(chan struct{})},
	}
}

// checkCluster rejects names that would mix the keys of two clusters.
func checkCluster(cluster string) error {
	if cluster == "" || strings.Contains(cluster, "/") {
		return fmt.Errorf("the cluster name %q must not be empty or contain a slash", cluster)
	}
	return nil
}

// begin bounds a request. If the store is closed, the request ends at once: etcd's client would
// retry for seconds. If etcd went back, nothing is sent.
func (s *Store) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	if s.closed.Load() || s.history.err() != nil {
		cancel()
	}
	return ctx, cancel
}

// Get implements kv.Store.
func (s *Store) Get(ctx context.Context, key string) (kv.Pair, error) {
	ctx, cancel := s.begin(ctx)
	defer cancel()
	since := s.history.newest()
	r, err := s.client.Get(ctx, s.root+key)
	if err == nil {
		err = s.answered(r.Header, since)
	}
	if err != nil {
		return kv.Pair{}, s.wrap(ctx, err, "get "+key)
	}
	if len(r.Kvs) == 0 {
		return kv.Pair{Key: key}, nil
	}
	return s.kv(r.Kvs[0]), nil
}

// List implements kv.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	for attempt := 1; ; attempt++ {
		kvs, revision, err := s.list(ctx, prefix)
		if err == nil {
			return kvs, revision, nil
		}
		if attempt == listAttempts || !errors.Is(err, kv.ErrCompacted) {
			return nil, 0, err
		}
	}
}

// list reads all pages as of the revision of the first one.
func (s *Store) list(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	from, end := s.root+prefix, clientv3.GetPrefixRangeEnd(s.root+prefix)
	var kvs []kv.Pair
	var revision int64
	for {
		r, err := s.page(ctx, from, end, revision)
		if err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
		}
		if revision == 0 {
			revision = r.Header.Revision
			kvs = make([]kv.Pair, 0, r.Count)
		}
		for _, pair := range r.Kvs {
			kvs = append(kvs, s.kv(pair))
		}
		if !r.More {
			return kvs, revision, nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := s.begin(ctx)
	defer cancel()
	since := s.history.newest()
	if revision != 0 {
		since = revision // the answer is as of this revision
	}
	r, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
	if err == nil {
		err = s.answered(r.Header, since)
	}
	if err != nil {
		return nil, s.wrap(ctx, err, "read a page")
	}
	return r, nil
}

// Txn implements kv.Store.
func (s *Store) Txn(ctx context.Context, comparisons []kv.Comparison, ops ...kv.Op) (int64, error) {
	cmps := make([]clientv3.Cmp, len(comparisons))
	for i, c := range comparisons {
		key := s.root + c.Key
		switch c.Target {
		case kv.TargetCreateRevision:
			cmps[i] = clientv3.Compare(clientv3.CreateRevision(key), "=", c.Revision)
		case kv.TargetModRevision:
			cmps[i] = clientv3.Compare(clientv3.ModRevision(key), "=", c.Revision)
		case kv.TargetValue:
			cmps[i] = clientv3.Compare(clientv3.Value(key), "=", c.Value)
		default:
			return 0, fmt.Errorf("write under the condition on %s: %w", c.Key, kv.ErrConflict)
		}
	}
	then := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		key := s.root + op.Key
		switch {
		case op.Key == "":
			return 0, errors.New("write: a key is empty")
		case op.Kind == kv.OpPut:
			then[i] = clientv3.OpPut(key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
		case op.Kind == kv.OpDelete:
			then[i] = clientv3.OpDelete(key)
		case op.Kind == kv.OpDeletePrefix:
			then[i] = clientv3.OpDelete(key, clientv3.WithPrefix())
		default:
			return 0, fmt.Errorf("write %s: unknown operation %d", op.Key, op.Kind)
		}
	}
	ctx, cancel := s.begin(ctx)
	defer cancel()
	since := s.history.newest()
	r, err := s.client.Txn(ctx).If(cmps...).Then(then...).Commit()
	if err == nil {
		err = s.answered(r.Header, since)
	}
	if err != nil {
		return 0, s.wrap(ctx, err, "write "+about(comparisons, ops))
	}
	if !r.Succeeded {
		return 0, fmt.Errorf("write %s: %w", about(comparisons, ops), kv.ErrConflict)
	}
	return r.Header.Revision, nil
}

// about returns the first key of a transaction, as its name in errors.
func about(comparisons []kv.Comparison, ops []kv.Op) string {
	switch {
	case len(ops) > 0:
		return ops[0].Key
	case len(comparisons) > 0:
		return comparisons[0].Key
	default:
		return "nothing"
	}
}

// Watch implements kv.Store. A member that has lost its leader ends the watches of its clients.
// Watch then starts them again from their position, perhaps on another member. It gives up when
// that has failed for the timeout of a request.
func (s *Store) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		w := watch{prefix: prefix, from: from, alive: time.Now()}
		pause := backoff.Backoff{Min: watchPause, Max: watchPause}
		for {
			err := s.watch(ctx, &w, yield)
			if err == nil {
				return // the caller has left the loop
			}
			if !errors.Is(err, kv.ErrUnavailable) || s.closed.Load() || time.Since(w.alive) > s.timeout {
				yield(kv.Batch{}, err)
				return
			}
			pause.Sleep(ctx) // if ctx has ended, the next attempt reports it
		}
	}
}

// watchPause is the longest pause before a watch that has ended starts again.
const watchPause = 20 * time.Millisecond

// watch is the position of a Watch.
type watch struct {
	prefix string
	from   int64     // the first revision that was not yielded yet
	alive  time.Time // when etcd last had this watch
}

// watch yields changes until the stream ends. It returns the reason, or nil after yield has
// returned false.
func (s *Store) watch(ctx context.Context, w *watch, yield func(kv.Batch, error) bool) error {
	// The inner context ends the watch when the caller leaves the loop. WithRequireLeader: a member
	// that has lost its leader must not keep its watchers waiting.
	inner, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	if s.closed.Load() || s.history.err() != nil {
		cancel()
	}
	what := "watch " + w.prefix
	created := false
	defer func() {
		if created {
			w.alive = time.Now()
		}
	}()
	changes := s.client.Watch(inner, s.root+w.prefix, clientv3.WithPrefix(), clientv3.WithRev(w.from), clientv3.WithCreatedNotify())
	for {
		select {
		case <-s.history.gone:
			return s.wrap(ctx, s.history.err(), what)
		case r, open := <-changes:
			if !open {
				return s.ended(ctx, what)
			}
			if err := r.Err(); err != nil {
				return s.wrap(ctx, err, what)
			}
			created = true
			if len(r.Events) == 0 {
				continue
			}
			batch := s.batch(r.Events)
			s.history.saw(batch.Revision)
			w.from = batch.Revision + 1
			if !yield(batch, nil) {
				return nil
			}
		}
	}
}

// ended returns the reason why the stream of a watch has ended.
func (s *Store) ended(ctx context.Context, what string) error {
	err := ctx.Err()
	if err == nil {
		err = errStreamEnded
	}
	return s.wrap(ctx, err, what)
}

func (s *Store) batch(events []*clientv3.Event) kv.Batch {
	b := kv.Batch{Events: make([]kv.Event, len(events))}
	for i, e := range events {
		b.Events[i] = kv.Event{Pair: s.kv(e.Kv), Deleted: e.Type == mvccpb.Event_DELETE}
	}
	b.Revision = b.Events[len(events)-1].ModRevision
	return b
}

// Grant implements kv.Store.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (kv.LeaseID, error) {
	ctx, cancel := s.begin(ctx)
	defer cancel()
	seconds := (ttl + time.Second - 1) / time.Second
	since := s.history.newest()
	r, err := s.client.Grant(ctx, int64(max(seconds, 1)))
	if err == nil {
		err = s.answered(r.ResponseHeader, since)
	}
	if err != nil {
		return 0, s.wrap(ctx, err, "grant a lease")
	}
	return kv.LeaseID(r.ID), nil
}

// KeepAlive implements kv.Store. A broker calls it every few seconds, so every broker notices
// within that time that etcd went back.
func (s *Store) KeepAlive(ctx context.Context, lease kv.LeaseID) error {
	ctx, cancel := s.begin(ctx)
	defer cancel()
	r, err := s.client.KeepAliveOnce(ctx, clientv3.LeaseID(lease))
	if err == nil {
		err = s.renewed(ctx, r.ResponseHeader)
	}
	if err != nil {
		return s.wrap(ctx, err, "keep a lease alive")
	}
	return nil
}

// Revoke implements kv.Store.
func (s *Store) Revoke(ctx context.Context, lease kv.LeaseID) error {
	ctx, cancel := s.begin(ctx)
	defer cancel()
	if _, err := s.client.Revoke(ctx, clientv3.LeaseID(lease)); err != nil {
		if err = s.wrap(ctx, err, "revoke a lease"); !errors.Is(err, kv.ErrLeaseNotFound) {
			return err
		}
	}
	s.health.heard()
	return nil
}

// Close implements kv.Store. It stops an embedded server.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // the client reports its own context
	}
	if s.stop != nil {
		err = errors.Join(err, s.stop())
	}
	if err != nil {
		return fmt.Errorf("close the metadata store: %w", err)
	}
	return nil
}

func (s *Store) kv(pair *mvccpb.KeyValue) kv.Pair {
	return kv.Pair{
		Key: strings.TrimPrefix(string(pair.Key), s.root), Value: pair.Value,
		CreateRevision: pair.CreateRevision, ModRevision: pair.ModRevision, Lease: kv.LeaseID(pair.Lease),
	}
}
