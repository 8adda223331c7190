package simulation

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// etcd models the store: keys with revisions, comparisons, leases and a history. It answers at
// once; the network and storeClient add what is late or lost between it and its clients.
type etcd struct {
	s        *scheduler
	state    etcdState
	leases   map[kv.LeaseID]*lease
	granted  kv.LeaseID
	down     bool
	mistaken bool       // it is not the etcd that the brokers have followed
	saved    *etcdState // the newest backup
	truth    etcdState  // the true state while it is mistaken
	watchers []*watcher
	// changed is called for every revision of the truth, in order.
	changed func(kv.Batch)
}

// etcdState is what a backup contains.
type etcdState struct {
	revision  int64
	keys      map[string]kv.Pair
	history   []kv.Batch // one batch per revision
	compacted int64
}

type lease struct {
	ttl      time.Duration
	due      time.Duration
	mistaken bool // granted by the mistaken etcd: the true one does not know it
}

func newEtcd(s *scheduler) *etcd {
	return &etcd{
		s: s, leases: map[kv.LeaseID]*lease{}, changed: func(kv.Batch) {},
		state: etcdState{revision: 1, keys: map[string]kv.Pair{}},
	}
}

func (e *etcd) get(key string) kv.Pair {
	if pair, ok := e.state.keys[key]; ok {
		return pair
	}
	return kv.Pair{Key: key}
}

// list returns the keys below a prefix, in order.
func (e *etcd) list(prefix string) []kv.Pair {
	var kvs []kv.Pair
	for _, key := range slices.Sorted(maps.Keys(e.state.keys)) {
		if strings.HasPrefix(key, prefix) {
			kvs = append(kvs, e.state.keys[key])
		}
	}
	return kvs
}

func (e *etcd) txn(comparisons []kv.Comparison, ops []kv.Op) error {
	if err := kv.CheckTxn(comparisons, ops); err != nil {
		return err
	}
	if err := e.holds(comparisons); err != nil {
		return err
	}
	for _, op := range ops {
		if op.Lease != 0 && e.leases[op.Lease] == nil {
			return fmt.Errorf("write %s: %w", op.Key, kv.ErrLeaseNotFound)
		}
	}
	var changes []kv.Event
	for _, op := range ops {
		switch op.Kind {
		case kv.OpPut:
			changes = append(changes, e.put(op))
		case kv.OpDelete:
			changes = append(changes, e.remove(func(key string) bool { return key == op.Key })...)
		case kv.OpDeletePrefix:
			changes = append(changes, e.remove(func(key string) bool { return strings.HasPrefix(key, op.Key) })...)
		}
	}
	e.commit(changes)
	return nil
}

func (e *etcd) holds(comparisons []kv.Comparison) error {
	for _, c := range comparisons {
		if !c.Holds(e.state.keys[c.Key]) {
			return fmt.Errorf("write under the condition on %s: %w", c.Key, kv.ErrConflict)
		}
	}
	return nil
}

func (e *etcd) put(op kv.Op) kv.Event {
	revision := e.state.revision + 1
	created := revision
	if old, ok := e.state.keys[op.Key]; ok {
		created = old.CreateRevision
	}
	pair := kv.Pair{Key: op.Key, Value: bytes.Clone(op.Value), CreateRevision: created, ModRevision: revision, Lease: op.Lease}
	e.state.keys[op.Key] = pair
	return kv.Event{Pair: pair}
}

func (e *etcd) remove(goes func(key string) bool) []kv.Event {
	var changes []kv.Event
	for _, key := range slices.Sorted(maps.Keys(e.state.keys)) {
		if goes(key) {
			delete(e.state.keys, key)
			changes = append(changes, kv.Event{Pair: kv.Pair{Key: key, ModRevision: e.state.revision + 1}, Deleted: true})
		}
	}
	return changes
}

// commit makes changes the next revision.
func (e *etcd) commit(changes []kv.Event) {
	if len(changes) == 0 {
		return
	}
	e.state.revision++
	batch := kv.Batch{Revision: e.state.revision, Events: changes}
	e.state.history = append(e.state.history, batch)
	if !e.mistaken {
		e.changed(batch)
	}
	for _, w := range e.watchers {
		w.tell(e.state.revision)
	}
}

func (e *etcd) grant(ttl time.Duration) kv.LeaseID {
	e.granted++
	e.leases[e.granted] = &lease{ttl: ttl, mistaken: e.mistaken}
	e.renew(e.granted)
	return e.granted
}

func (e *etcd) keepAlive(id kv.LeaseID) error {
	if e.leases[id] == nil {
		return fmt.Errorf("keep lease %d alive: %w", id, kv.ErrLeaseNotFound)
	}
	e.renew(id)
	return nil
}

func (e *etcd) renew(id kv.LeaseID) {
	l := e.leases[id]
	l.due = e.s.now + l.ttl
	e.s.after(l.ttl, nil, func() {
		if e.leases[id] == l && l.due <= e.s.now && !e.down {
			e.revoke(id)
		}
	})
}

func (e *etcd) revoke(id kv.LeaseID) {
	delete(e.leases, id)
	e.commit(e.remove(func(key string) bool { return e.state.keys[key].Lease == id && id != 0 }))
}

// serve begins or ends an outage. After an outage every lease has its full time again, as after an
// election of etcd's leader.
func (e *etcd) serve(up bool) {
	e.down = !up
	if up {
		for _, id := range slices.Sorted(maps.Keys(e.leases)) {
			e.renew(id)
		}
	}
}

// backup saves the present state.
func (e *etcd) backup() { e.saved = new(e.state.clone()) }

func (s etcdState) clone() etcdState {
	s.keys, s.history = maps.Clone(s.keys), slices.Clone(s.history)
	return s
}

// A client detects a mistaken etcd by a revision that is lower than one that it has seen. If the
// backup is so recent that the first writes, or leases that end, raise its revision past the seen
// one, it cannot be distinguished from the truth. The same holds for a broker that has had no
// answer since the backup. A real etcd that was restored also has another cluster id, which is not
// modelled.
const (
	mistakeRevisions = 25
	mistakeTime      = 5 * time.Second // no lease ends sooner
)

// mistake makes the brokers reach another etcd for a while, which has the state of the backup. What
// they write there is not part of the truth. seen is the lowest of the revisions that the brokers
// have seen: it does nothing if one of them could not detect it.
func (e *etcd) mistake(d time.Duration, seen int64) {
	if e.saved == nil || e.mistaken || e.saved.revision+mistakeRevisions > min(seen, e.state.revision) {
		return
	}
	d = min(d, mistakeTime)
	e.truth = e.state
	e.swap(e.saved.clone(), true)
	e.s.after(d, nil, func() {
		if e.mistaken {
			e.swap(e.truth, false)
		}
	})
}

// trueRevision returns the revision of the truth.
func (e *etcd) trueRevision() int64 {
	if e.mistaken {
		return e.truth.revision
	}
	return e.state.revision
}

// swap replaces the etcd that the brokers reach. Every lease that the new one knows has its full
// time.
func (e *etcd) swap(state etcdState, mistaken bool) {
	e.state, e.mistaken = state, mistaken
	maps.DeleteFunc(e.leases, func(_ kv.LeaseID, l *lease) bool { return l.mistaken })
	e.serve(!e.down)
	for _, w := range e.watchers {
		w.tell(e.state.revision)
	}
}

// since returns the changes from one revision up to another.
func (e *etcd) since(from, upTo int64) (kv.Batch, error) {
	if from <= e.state.compacted {
		return kv.Batch{}, fmt.Errorf("%w: the oldest is %d", kv.ErrCompacted, e.state.compacted+1)
	}
	var all kv.Batch
	for _, b := range e.state.history {
		if b.Revision >= from && b.Revision <= upTo {
			all.Revision = b.Revision
			all.Events = append(all.Events, b.Events...)
		}
	}
	return all, nil
}

// compact drops the history up to a revision.
func (e *etcd) compact(upTo int64) {
	e.state.compacted = max(e.state.compacted, min(upTo, e.state.revision))
	e.state.history = slices.DeleteFunc(e.state.history, func(b kv.Batch) bool { return b.Revision <= e.state.compacted })
}
