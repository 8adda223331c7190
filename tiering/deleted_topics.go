package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/tiering/format"
)

// deletedEpoch is the leader epoch of a pointer whose topic is deleted: no leader has a higher one,
// so none claims it.
const deletedEpoch = math.MaxInt32

// keepClean cleans up after deleted topics, at intervals, until ctx ends.
func (m *Manager) keepClean(ctx context.Context) {
	if m.o.Live == nil {
		return
	}
	m.everyCleanInterval(ctx, func(ctx context.Context) {
		if err := m.CleanDeleted(ctx, m.o.Live); err != nil && ctx.Err() == nil {
			m.warnings.log(m.o.Logger, "remote tier of deleted topics is not removed yet", err)
		}
	})
}

// everyCleanInterval repeats work until ctx ends.
func (m *Manager) everyCleanInterval(ctx context.Context, work func(context.Context)) {
	for stepped.Pause(ctx, m.o.CleanInterval) {
		work(ctx)
	}
}

// CleanDeleted deletes what topics that no longer exist have left in the remote tier. live reports
// whether a topic exists. It must return true unless it knows the cluster's state as of that
// revision of the metadata store or later: a topic that it has not seen yet is not a deleted one.
//
// It works in two steps, each of which can be repeated after a crash. First the pointer is marked,
// so that no leader can swap it any more. After a grace period, when no reader and no upload is
// left, the objects are deleted, and then the pointer. A partition that fails delays no other, and
// is retried after longer and longer pauses.
func (m *Manager) CleanDeleted(ctx context.Context, live func(id metadata.TopicID, revision int64) bool) error {
	kvs, _, err := m.pointers(ctx, metadata.TierPrefix)
	if err != nil {
		return err
	}
	m.cleaning.keep(kvs)
	var errs []error
	for _, pair := range kvs {
		id, number, ok := parseTierKey(pair.Key)
		if !ok || live(id, pair.CreateRevision) || m.attached(id) {
			continue
		}
		if !m.cleaning.due(pair.Key, m.o.Now()) {
			continue
		}
		err = m.cleanPartition(ctx, pair, id, number)
		if err != nil {
			err = fmt.Errorf("clean deleted topic %s, partition %d: %w", id, number, err)
			errs = append(errs, err)
		}
		if ctx.Err() == nil {
			m.cleaning.ended(ctx, pair.Key, err, m.o.Now(), m.newRefusal(m.o.Now()))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func parseTierKey(key string) (metadata.TopicID, int32, bool) {
	topic, number, found := strings.Cut(strings.TrimPrefix(key, metadata.TierPrefix), "/")
	id, err := metadata.ParseTopicID(topic)
	n, numberErr := strconv.ParseInt(number, 10, 32)
	return id, int32(n), found && err == nil && numberErr == nil && metadata.TierKey(id, int32(n)) == key
}

func (m *Manager) cleanPartition(ctx context.Context, pair kv.Pair, id metadata.TopicID, number int32) error {
	ptr, err := format.ParsePointer(pair.Value)
	if beyond(err) {
		return err
	}
	if err != nil { // damaged: listing finds the objects
		ptr = &format.Pointer{LastEpoch: -1}
	}
	if err = ptr.Writable(); err != nil {
		return err
	}
	now := m.o.Now()
	if ptr.DeletedMs == 0 {
		ptr.DeletedMs, ptr.LeaderEpoch, ptr.Claim, ptr.BrokerID = now.UnixMilli(), deletedEpoch, newAttempt(ctx), m.o.BrokerID
		swapCtx, cancel := context.WithTimeout(ctx, m.o.RequestTimeout)
		defer cancel()
		_, err = swapPointer(swapCtx, m.store, pair.Key, pair.ModRevision, ptr)
		return err
	}
	// An upload that was under way ends within its time, with an object or without.
	if now.Sub(time.UnixMilli(ptr.DeletedMs)) < max(m.o.DeleteDelay, m.o.UploadTimeout) {
		return nil
	}
	prefix := format.PartitionPrefix(m.o.Prefix, id, number)
	// The order: what the manifest names, what no manifest names, and then the manifest. While
	// anything is left, so is what leads to it.
	var named error
	if !m.cleaning.triedAll(pair.Key) {
		var all bool
		if all, named = m.deleteNamed(ctx, prefix, ptr); all {
			m.cleaning.setTriedAll(pair.Key) // a listing finds what is left of it
		}
		if beyond(named) {
			return named
		}
	}
	if err = errors.Join(named, m.deleteListed(ctx, prefix, prefix+ptr.Manifest)); err != nil {
		return err
	}
	if ptr.Manifest != "" {
		if err = firstOf(m.objects.removeAll(ctx, []string{prefix + ptr.Manifest})); err != nil {
			return err
		}
	}
	if err = m.forgetTopic(ctx, id); err != nil {
		return err
	}
	txnCtx, cancel := context.WithTimeout(ctx, m.o.RequestTimeout)
	defer cancel()
	_, err = m.store.Txn(txnCtx, []kv.Comparison{kv.ModifiedAt(pair.Key, pair.ModRevision)}, kv.Delete(pair.Key))
	if err != nil && !errors.Is(err, kv.ErrConflict) { // another broker was as fast
		return fmt.Errorf("%w: delete tier pointer: %w", ErrUnavailable, err)
	}
	m.o.Logger.Info("remote tier of a deleted topic is removed", slog.String("topic_id", id.String()), slog.Int("partition", int(number)))
	return nil
}

// deleteNamed deletes what the manifest names, which does not depend on how current the object
// store's listings are. all is true once everything was tried. If the manifest cannot be read,
// everything is left to the listing. Nothing that this build does not know well enough is deleted.
func (m *Manager) deleteNamed(ctx context.Context, prefix string, ptr *format.Pointer) (all bool, err error) {
	if ptr.Manifest == "" {
		return true, nil
	}
	b, err := m.objects.readDocument(ctx, "manifest", prefix+ptr.Manifest, ptr.Size)
	if errors.Is(err, ErrUnavailable) {
		return false, err
	}
	if err != nil {
		return true, nil //nolint:nilerr // gone or damaged: what is left is found by listing
	}
	current, err := format.ParseManifest(b)
	if err == nil {
		err = current.Writable()
	}
	if beyond(err) {
		return false, err
	}
	if err != nil {
		return true, nil //nolint:nilerr // damaged: what is left is found by listing
	}
	// What a damaged page named is found by the listing.
	r := m.objects.removal(prefix, func(string, error) {})
	trash := doomedEntries(current.Recent, current.Pages)
	for i := range current.Trash {
		trash = append(trash, doomedTrash(&current.Trash[i]))
	}
	errs := r.remove(ctx, trash)
	if i := slices.IndexFunc(errs, beyond); i >= 0 {
		return false, errs[i]
	}
	return r.away == nil && ctx.Err() == nil, firstOf(errs)
}

// deleteListed deletes all objects under the prefix except one, as many as it can.
func (m *Manager) deleteListed(ctx context.Context, prefix, except string) error {
	var keys []string
	var failed error
	remove := func() bool {
		errs := m.objects.removeAll(ctx, keys)
		failed = errors.Join(failed, firstOf(errs))
		ok := len(keys) == 0 || slices.Contains(errs, nil)
		keys = keys[:0]
		return ok
	}
	for info, err := range m.objects.bucket.List(ctx, prefix) {
		if err != nil {
			return errors.Join(failed, classify("list", prefix, err))
		}
		if info.Key == except {
			continue
		}
		if keys = append(keys, info.Key); len(keys) == deleteBatch && !remove() {
			return failed // perhaps the store deletes nothing
		}
	}
	remove()
	return failed
}

// cleaning is the state of the cleanup of deleted topics. Its maps are by the partitions' keys in
// the metadata store.
type cleaning struct {
	mu struct {
		sync.Mutex
		failed map[string]*failure // when to retry a partition that could not be cleaned
		tried  map[string]bool     // everything that the manifest names was tried
	}
}

func (c *cleaning) triedAll(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.tried[key]
}

func (c *cleaning) setTriedAll(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	put(&c.mu.tried, key, true)
}

func (c *cleaning) due(key string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.mu.failed[key]
	return f == nil || f.due(now)
}

func (c *cleaning) ended(ctx context.Context, key string, err error, now time.Time, first func() *failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.mu.failed, key)
		return
	}
	refuse(ctx, &c.mu.failed, key, err, now, first)
}

// keep forgets all keys except those that still exist.
func (c *cleaning) keep(pairs []kv.Pair) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.failed)+len(c.mu.tried) == 0 {
		return
	}
	there := make(map[string]bool, len(pairs))
	for i := range pairs {
		there[pairs[i].Key] = true
	}
	maps.DeleteFunc(c.mu.failed, func(key string, _ *failure) bool { return !there[key] })
	maps.DeleteFunc(c.mu.tried, func(key string, _ bool) bool { return !there[key] })
}

// since returns when the first of them failed, zero if none has.
func (c *cleaning) since() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var since time.Time
	for _, f := range c.mu.failed { // any order
		if since.IsZero() || f.since.Before(since) {
			since = f.since
		}
	}
	return since
}
