package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/tiering/format"
)

// deletedEpoch is the leader epoch of a pointer whose topic is gone: no leader
// has a higher one, so that nobody claims it.
const deletedEpoch = math.MaxInt32

// deleteConcurrency is how many objects of deleted topics are deleted at a time.
const deleteConcurrency = 8

// CleanDeleted removes what topics that do not exist any more have left in the
// remote tier. live tells whether a topic exists; it must answer true unless it
// knows the cluster's state as of that revision of the metadata store or later,
// for a topic that it has not heard of yet is not a deleted one.
//
// It goes in two steps, each of which can be repeated after a crash: the pointer
// is marked, so that no leader can swap it any more; a grace later, when no
// reader and no upload is left, the objects go, and the pointer as the last.
func (m *Manager) CleanDeleted(ctx context.Context, live func(id metadata.TopicID, revision int64) bool) error {
	listCtx, cancel := context.WithTimeout(ctx, m.o.RequestTimeout)
	defer cancel()
	kvs, _, err := m.store.List(listCtx, metadata.TierPrefix)
	if err != nil {
		return fmt.Errorf("%w: list tier pointers: %w", ErrUnavailable, err)
	}
	var errs []error
	for _, pair := range kvs {
		id, number, ok := parseTierKey(pair.Key)
		if !ok || live(id, pair.CreateRevision) || m.attached(id) {
			continue
		}
		if err = m.cleanPartition(ctx, pair, id, number); err != nil {
			errs = append(errs, fmt.Errorf("clean deleted topic %s, partition %d: %w", id, number, err))
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
	if err != nil { // damaged: what there is is found by listing
		ptr = &format.Pointer{LastEpoch: -1}
	}
	if err = ptr.Writable(); err != nil {
		return err
	}
	now := m.o.Now()
	if ptr.DeletedMs == 0 {
		ptr.DeletedMs, ptr.LeaderEpoch, ptr.Claim, ptr.BrokerID = now.UnixMilli(), deletedEpoch, newAttempt(), m.o.BrokerID
		swapCtx, cancel := context.WithTimeout(ctx, m.o.RequestTimeout)
		defer cancel()
		_, err = swapPointer(swapCtx, m.store, pair.Key, pair.ModRevision, ptr)
		return err
	}
	if now.Sub(time.UnixMilli(ptr.DeletedMs)) < m.o.DeleteDelay {
		return nil
	}
	prefix := format.PartitionPrefix(m.o.Prefix, id, number)
	if err = m.deleteNamed(ctx, prefix, ptr); err != nil {
		return err
	}
	// What no manifest named, and the manifest as the last.
	if err = m.deleteListed(ctx, prefix, prefix+ptr.Manifest); err != nil {
		return err
	}
	if ptr.Manifest != "" {
		if err = m.objects.remove(ctx, prefix+ptr.Manifest); err != nil {
			return err
		}
	}
	txnCtx, cancel := context.WithTimeout(ctx, m.o.RequestTimeout)
	defer cancel()
	_, err = m.store.Txn(txnCtx, []kv.Comparison{kv.ModifiedAt(pair.Key, pair.ModRevision)}, kv.Delete(pair.Key))
	if err != nil && !errors.Is(err, kv.ErrConflict) { // another broker was as quick
		return fmt.Errorf("%w: delete tier pointer: %w", ErrUnavailable, err)
	}
	m.o.Logger.Info("remote tier of a deleted topic is removed", slog.String("topic_id", id.String()), slog.Int("partition", int(number)))
	return nil
}

// deleteNamed deletes what the manifest names, which does not depend on how
// fresh the object store's listings are. A manifest that cannot be read leaves
// it all to the listing. Nothing that this build does not know well enough is deleted.
func (m *Manager) deleteNamed(ctx context.Context, prefix string, ptr *format.Pointer) error {
	if ptr.Manifest == "" {
		return nil
	}
	b, err := m.objects.readDocument(ctx, "manifest", prefix+ptr.Manifest, ptr.Size)
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // gone or damaged: what is left is found by listing
	}
	current, err := format.ParseManifest(b)
	if err == nil {
		err = current.Writable()
	}
	if beyond(err) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // damaged: what is left is found by listing
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(deleteConcurrency)
	remove := func(work func() (int, error)) {
		group.Go(func() error {
			_, removeErr := work()
			if errors.Is(removeErr, ErrCorrupt) {
				return nil // a damaged page: what it named is found by listing
			}
			return removeErr
		})
	}
	for i := range current.Pages {
		remove(func() (int, error) {
			return m.objects.removeTree(ctx, prefix, format.Tree{Pages: current.Pages[i : i+1]})
		})
	}
	for i := range current.Recent {
		remove(func() (int, error) {
			return m.objects.removeTree(ctx, prefix, format.Tree{Segments: current.Recent[i : i+1]})
		})
	}
	for i := range current.Trash {
		remove(func() (int, error) { return m.objects.removeTrash(ctx, prefix, &current.Trash[i]) })
	}
	return group.Wait()
}

// deleteListed deletes all objects under the prefix but one.
func (m *Manager) deleteListed(ctx context.Context, prefix, except string) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(deleteConcurrency)
	for info, err := range m.objects.bucket.List(groupCtx, prefix) {
		if err != nil {
			return errors.Join(classify("list", prefix, err), group.Wait())
		}
		if info.Key != except {
			group.Go(func() error { return m.objects.remove(groupCtx, info.Key) })
		}
	}
	return group.Wait()
}
