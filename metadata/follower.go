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
)

// FollowerOptions are what a Follower needs.
type FollowerOptions struct {
	Store      Store
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
	// Features are what this broker supports; nil means Supported.
	Features map[string]FeatureRange
}

// Follower keeps the newest image of the cluster. Run is its only publisher;
// everything else may be called from anywhere, before Run as well.
type Follower struct {
	store    Store
	logger   *slog.Logger
	metrics  *metrics
	features map[string]FeatureRange
	image    atomic.Pointer[Image]

	mu struct {
		sync.Mutex
		changed     chan struct{} // closed and replaced by publish
		subscribers map[*Subscription]struct{}
	}
}

// The pauses between attempts to reach a store that does not answer.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
)

// NewFollower makes a follower whose image is empty (revision 0) until Run has
// read the store.
func NewFollower(o FollowerOptions) *Follower {
	if o.Features == nil {
		o.Features = Supported()
	}
	f := &Follower{store: o.Store, logger: o.Logger, metrics: newMetrics(o.Registerer), features: o.Features}
	f.image.Store(newImage())
	f.mu.changed = make(chan struct{})
	f.mu.subscribers = map[*Subscription]struct{}{}
	return f
}

// Run follows the store until ctx ends, and returns nil then. A store that does
// not answer leaves the image as it is and is tried again. The error is that of
// a store that cannot be followed any more: it was closed, or restored to an
// older state, or the cluster has finalized a feature at a level that this broker
// does not support. No image of such a level is ever published.
//
// It lists everything at the start, and again only if the changes since its image
// are compacted: after an outage all brokers go on where they were.
func (f *Follower) Run(ctx context.Context) error {
	wait := backoff.Backoff{Min: retryMin, Max: retryMax}
	listed := false
	for {
		var err error
		if !listed {
			err = f.list(ctx)
			listed = err == nil
		}
		if listed {
			err = f.watch(ctx, &wait)
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end of ctx is how Run is asked to end
		case errors.Is(err, ErrClosed), errors.Is(err, ErrWentBack), errors.Is(err, ErrUnsupportedFeature):
			return fmt.Errorf("follow the metadata: %w", err)
		case errors.Is(err, ErrCompacted):
			listed = false
			f.logger.Info("listing the metadata again: the events since the last revision are compacted",
				slog.Int64("revision", f.Image().Revision))
			f.metrics.relists.Inc()
			continue
		}
		f.logger.Warn("the metadata cannot be followed; the last known state stays in use",
			slog.Int64("revision", f.Image().Revision), slog.Any("error", err))
		if !wait.Sleep(ctx) {
			return nil
		}
	}
}

// list reads everything and publishes it.
func (f *Follower) list(ctx context.Context) error {
	kvs, revision, err := f.store.List(ctx, "")
	if err != nil {
		return err
	}
	known := f.Image()
	if revision < known.Revision {
		return fmt.Errorf("%w (from revision %d to %d)", ErrWentBack, known.Revision, revision)
	}
	events := make([]Event, len(kvs))
	for i, kv := range kvs {
		events[i] = Event{KV: kv}
	}
	image := f.apply(newImage(), Batch{Revision: revision, Events: events})
	if what := image.older(known); what != "" {
		return fmt.Errorf("%w (at revision %d, the state of %s is older than at %d)", ErrWentBack, revision, what, known.Revision)
	}
	if err = holds(f.features, image.Features.Levels); err != nil {
		return err
	}
	image = image.recall(known)
	image.noteMissing(known)
	f.publish(image)
	return nil
}

// watch publishes the changes since the image.
func (f *Follower) watch(ctx context.Context, wait *backoff.Backoff) error {
	image := f.Image()
	began := time.Now()
	for batch, err := range f.store.Watch(ctx, "", image.Revision+1) {
		if err != nil {
			if time.Since(began) > retryMax {
				wait.Reset() // it has worked
			}
			return err
		}
		image = f.apply(image, batch)
		if err = holds(f.features, image.Features.Levels); err != nil {
			return err
		}
		f.publish(image)
	}
	return ctx.Err()
}

// older names something of which an image that was listed has an older state than
// one from before, "" if there is none. A key's revisions never go back, however
// the store's own was raised when it was restored.
func (m *Image) older(known *Image) string {
	if m.ControllerID != NoBroker && m.ControllerEpoch < known.ControllerEpoch {
		return "the controller"
	}
	for id, b := range known.Brokers {
		if now, ok := m.Brokers[id]; ok && now.Epoch < b.Epoch {
			return fmt.Sprintf("broker %d", id)
		}
	}
	for id, t := range known.byID.all() {
		now, ok := m.byID.get(id)
		for i := range t.all {
			if ok && i < len(now.all) && now.all[i].Revision != 0 && now.all[i].Revision < t.all[i].Revision {
				return fmt.Sprintf("partition %d of topic %s", i, id)
			}
		}
	}
	return ""
}

func (f *Follower) apply(image *Image, batch Batch) *Image {
	next, err := image.Apply(batch)
	if err != nil {
		f.metrics.badValues.Inc()
		f.logger.Error("metadata that cannot be read is left out of the image: nothing is deleted until it is read or deleted itself",
			slog.String("keys", next.UnreadableNames()), slog.Any("error", err))
	}
	return next
}

func (f *Follower) publish(image *Image) {
	f.metrics.revision.Set(float64(image.Revision))
	f.metrics.unreadable.Set(float64(len(image.unread)))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.image.Store(image)
	close(f.mu.changed)
	f.mu.changed = make(chan struct{})
	for s := range f.mu.subscribers {
		s.offer(image)
	}
}

// Image is the newest image. It is never nil.
func (f *Follower) Image() *Image { return f.image.Load() }

// Wait returns the first image, from the current one on, for which ok holds. A
// slow caller may be shown only the newer of two images.
func (f *Follower) Wait(ctx context.Context, ok func(*Image) bool) (*Image, error) {
	for {
		f.mu.Lock()
		image, changed := f.image.Load(), f.mu.changed
		f.mu.Unlock()
		if ok(image) {
			return image, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return image, fmt.Errorf("wait for the metadata at revision %d: %w", image.Revision, context.Cause(ctx))
		}
	}
}

// WaitRevision returns the first image that has all changes up to a revision,
// which one of this cluster's keys must have.
func (f *Follower) WaitRevision(ctx context.Context, revision int64) (*Image, error) {
	return f.Wait(ctx, func(m *Image) bool { return m.Revision >= revision })
}

// Subscription delivers images to one reader.
type Subscription struct {
	follower *Follower
	images   chan *Image
}

// Subscribe starts a subscription. Its first image is the current one.
func (f *Follower) Subscribe() *Subscription {
	s := &Subscription{follower: f, images: make(chan *Image, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.subscribers[s] = struct{}{}
	s.offer(f.image.Load())
	return s
}

// Images is the channel of newest images: one that nobody took is replaced by
// the next one, so that a slow reader skips images and never holds anyone up.
// The channel is never closed.
func (s *Subscription) Images() <-chan *Image { return s.images }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.follower.mu.Lock()
	defer s.follower.mu.Unlock()
	delete(s.follower.mu.subscribers, s)
}

// offer runs under the follower's lock, so that it is the only sender.
func (s *Subscription) offer(image *Image) {
	select {
	case <-s.images:
	default:
	}
	s.images <- image
}
