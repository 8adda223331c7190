package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
)

// LoaderOptions are the options of a Loader.
type LoaderOptions struct {
	Store      kv.Store
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
	// Features are the levels that this broker supports; nil means Supported.
	Features map[string]FeatureRange
}

// Loader keeps the newest image of the cluster. Run is its only publisher. All other methods may be
// called from any goroutine, also before Run.
type Loader struct {
	store    kv.Store
	logger   *slog.Logger
	metrics  *metrics
	features map[string]FeatureRange
	image    atomic.Pointer[Image]
	changed  stepped.Broadcast // an image shows something new
	moved    stepped.Broadcast // an image has a newer revision

	mu struct {
		sync.Mutex
		subscribers map[*Subscription]struct{}
	}
}

// Pauses between attempts to reach a store that does not answer.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
)

// NewLoader returns a loader whose image is empty (revision 0) until Run has read the store.
func NewLoader(o LoaderOptions) *Loader {
	if o.Features == nil {
		o.Features = Supported()
	}
	l := &Loader{store: o.Store, logger: o.Logger, metrics: newMetrics(o.Registerer), features: o.Features}
	l.image.Store(newImage())
	l.mu.subscribers = map[*Subscription]struct{}{}
	return l
}

// Run follows the store until ctx ends, and then returns nil. While the store does not answer, the
// image stays and Run retries. Run returns an error if it cannot continue: the store was closed, or
// restored to an older state, or the cluster has finalized a feature level that this broker does
// not support. It publishes no image with such a level.
//
// Run lists all keys at the start. It lists them again only if the changes since its image have
// been compacted: after an outage, brokers continue from their images.
func (l *Loader) Run(ctx context.Context) error {
	wait := backoff.Backoff{Min: retryMin, Max: retryMax}
	listed := false
	for {
		var err error
		if !listed {
			err = l.list(ctx)
			listed = err == nil
		}
		if listed {
			err = l.watch(ctx, &wait)
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end of ctx is how Run is asked to end
		case errors.Is(err, kv.ErrClosed), errors.Is(err, kv.ErrWentBack), errors.Is(err, ErrUnsupportedFeature):
			return fmt.Errorf("follow the metadata: %w", err)
		case errors.Is(err, kv.ErrCompacted):
			listed = false
			l.logger.Info("listing the metadata again: the events since the last revision are compacted",
				slog.Int64("revision", l.Image().Revision))
			l.metrics.relists.Inc()
			continue
		}
		l.logger.Warn("the metadata cannot be followed; the last known state stays in use",
			slog.Int64("revision", l.Image().Revision), slog.Any("error", err))
		if !wait.Sleep(ctx) {
			return nil
		}
	}
}

// list reads all keys and publishes the image. It returns ErrWentBack if the store or one of its
// keys is older than the present image.
func (l *Loader) list(ctx context.Context) error {
	kvs, revision, err := l.store.List(ctx, "")
	if err != nil {
		return err
	}
	before := l.Image()
	if revision < before.Revision {
		return fmt.Errorf("%w (from revision %d to %d)", kv.ErrWentBack, before.Revision, revision)
	}
	events := make([]kv.Event, len(kvs))
	for i, pair := range kvs {
		events[i] = kv.Event{Pair: pair}
	}
	image := l.apply(newImage(), kv.Batch{Revision: revision, Events: events})
	if what := image.older(before); what != "" {
		return fmt.Errorf("%w (at revision %d, the state of %s is older than at %d)", kv.ErrWentBack, revision, what, before.Revision)
	}
	if err = checkSupported(l.features, image.Features.Levels); err != nil {
		return err
	}
	image = image.recall(before)
	image.noteMissing(before)
	l.publish(image)
	return nil
}

// watch publishes the changes since the present image.
func (l *Loader) watch(ctx context.Context, wait *backoff.Backoff) error {
	image := l.Image()
	began := time.Now()
	for batch, err := range gathered(ctx, l.store, image.Revision+1) {
		if err != nil {
			if time.Since(began) > retryMax {
				wait.Reset() // the watch has worked
			}
			return err
		}
		next := l.apply(image, batch)
		if err = checkSupported(l.features, next.Features.Levels); err != nil {
			return err
		}
		l.advance(image, next)
		image = next
	}
	return ctx.Err()
}

// advance publishes an image that follows from the one before. If only the revision has changed, it
// wakes WaitRevision and nothing else.
func (l *Loader) advance(image, next *Image) {
	if next.ContentRevision != image.ContentRevision {
		l.publish(next)
		return
	}
	l.metrics.revision.Set(float64(next.Revision))
	l.image.Store(next)
	l.moved.Signal()
}

// older names a key whose state in a listed image is older than in the image before, "" if there is
// none. A restore can raise the store's revision, but not the revisions of the keys that it brings
// back.
func (m *Image) older(before *Image) string {
	if m.ControllerID != NoBroker && m.ControllerEpoch < before.ControllerEpoch {
		return "the controller"
	}
	for id, b := range before.Brokers {
		if now, ok := m.Brokers[id]; ok && now.Epoch < b.Epoch {
			return fmt.Sprintf("broker %d", id)
		}
	}
	for id, t := range before.byID.all() {
		now, ok := m.byID.get(id)
		for i := range t.all {
			if ok && i < len(now.all) && now.all[i].Revision != 0 && now.all[i].Revision < t.all[i].Revision {
				return fmt.Sprintf("partition %d of topic %s", i, id)
			}
		}
	}
	return ""
}

func (l *Loader) apply(image *Image, batch kv.Batch) *Image {
	next, err := image.apply(batch)
	if err != nil {
		l.metrics.badValues.Inc()
		l.logger.Error("metadata that cannot be read is left out of the image: nothing is deleted until it is read or deleted itself",
			slog.String("keys", next.UnreadableNames()), slog.Any("error", err))
	}
	return next
}

func (l *Loader) publish(image *Image) {
	l.metrics.revision.Set(float64(image.Revision))
	l.metrics.unreadable.Set(float64(len(image.unread)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.image.Store(image)
	l.moved.Signal()
	l.changed.Signal()
	for s := range l.mu.subscribers {
		s.offer(image)
	}
}

// Image returns the newest image. It is never nil.
func (l *Loader) Image() *Image { return l.image.Load() }

// Wait returns the first image, from the current one on, for which ok returns true. A slow
// caller may miss images. ok must not depend on the image's Revision: use WaitRevision.
func (l *Loader) Wait(ctx context.Context, ok func(*Image) bool) (*Image, error) {
	return l.wait(ctx, &l.changed, ok)
}

// wait evaluates ok again after each signal.
func (l *Loader) wait(ctx context.Context, news *stepped.Broadcast, ok func(*Image) bool) (*Image, error) {
	var image *Image
	held := news.Wait(ctx, func() bool {
		image = l.image.Load()
		return ok(image)
	})
	if !held {
		return image, fmt.Errorf("wait for the metadata at revision %d: %w", image.Revision, context.Cause(ctx))
	}
	return image, nil
}

// WaitRevision returns the first image that has all changes up to a revision. A key of this cluster
// must have that revision or a later one: changes of other clusters in the same store move no
// image.
func (l *Loader) WaitRevision(ctx context.Context, revision int64) (*Image, error) {
	return l.wait(ctx, &l.moved, func(m *Image) bool { return m.Revision >= revision })
}

// Subscription delivers images to one reader.
type Subscription struct {
	loader *Loader
	images chan *Image
}

// Subscribe starts a subscription. The first image that it delivers is the current one.
func (l *Loader) Subscribe() *Subscription {
	s := &Subscription{loader: l, images: make(chan *Image, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.subscribers[s] = struct{}{}
	s.offer(l.image.Load())
	return s
}

// Images returns the channel of new images. It holds one image: the next one replaces an image that
// was not taken, so a slow reader skips images and delays no other. An image that differs from the
// one before in Revision alone is not delivered. The channel is never closed.
func (s *Subscription) Images() <-chan *Image { return s.images }

// Again delivers the newest image once more. The reader calls it when something other than the
// image has changed what it would do.
func (s *Subscription) Again() {
	s.loader.mu.Lock()
	defer s.loader.mu.Unlock()
	s.offer(s.loader.image.Load())
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.loader.mu.Lock()
	defer s.loader.mu.Unlock()
	delete(s.loader.mu.subscribers, s)
}

// offer replaces the waiting image. The caller holds the loader's lock and so is the only sender.
func (s *Subscription) offer(image *Image) {
	select {
	case <-s.images:
	default:
	}
	s.images <- image
}

// ReportUnclean counts and logs an unclean election that has been written.
func (l *Loader) ReportUnclean(logger *slog.Logger, tp TopicPartition, reason string) {
	l.metrics.unclean.Inc()
	logger.Error("unclean election: records that were acknowledged may be lost",
		slog.String("partition", tp.String()), slog.String("reason", reason))
}
