package replication

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata"
)

// isrWriter writes proposed ISR changes to the metadata store, in batches (Kafka's
// AlterPartitionManager). The goroutines of Manager.Run call run and place.
type isrWriter struct {
	o          *Followers                  // AlterISR and MaxLag
	partitions func() iter.Seq[*Partition] // all that are here
	logger     *slog.Logger
	metrics    *metrics

	wake chan struct{} // one token: there is something to write
	mu   sync.Mutex
	due  map[*Partition]bool

	wakeUnplaced chan struct{}       // one token: there are directories to report
	unplaced     map[*Partition]bool // guarded by mu
}

// The pauses while the metadata store does not answer.
const (
	isrRetryMin = 50 * time.Millisecond
	isrRetryMax = 2 * time.Second
)

func newISRWriter(
	o *Followers, partitions func() iter.Seq[*Partition], logger *slog.Logger, metrics *metrics,
) *isrWriter {
	return &isrWriter{
		o: o, partitions: partitions, logger: logger, metrics: metrics,
		wake: make(chan struct{}, 1), due: map[*Partition]bool{},
		wakeUnplaced: make(chan struct{}, 1), unplaced: map[*Partition]bool{},
	}
}

func (w *isrWriter) push(p *Partition) {
	w.mu.Lock()
	w.due[p] = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns the due partitions, sorted by name.
func (w *isrWriter) take() []*Partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	due := slices.SortedFunc(maps.Keys(w.due), func(a, b *Partition) int {
		return a.tp.Compare(b.tp)
	})
	clear(w.due)
	return due
}

// run writes ISR changes until ctx ends, and periodically looks for followers that are behind.
func (w *isrWriter) run(ctx context.Context) {
	lag := w.o.MaxLag
	tick := time.NewTicker(lag / 2)
	defer tick.Stop()
	pause := backoff.Backoff{Min: isrRetryMin, Max: isrRetryMax}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for p := range w.partitions() {
				p.tellDirectory()
				p.maybeShrinkISR(lag)
			}
			continue
		case <-w.wake:
		}
		if w.write(ctx, w.take()) {
			pause.Reset()
			continue
		}
		if !pause.Sleep(ctx) {
			return
		}
	}
}

// write writes what the partitions have proposed. If the store did not answer it puts the undecided
// proposals back and returns false.
func (w *isrWriter) write(ctx context.Context, taken []*Partition) bool {
	changes := make([]metadata.ISRChange, 0, len(taken))
	partitions := make([]*Partition, 0, len(taken))
	for _, p := range taken {
		if c, ok := p.pendingISR(); ok {
			changes, partitions = append(changes, c), append(partitions, p)
		}
	}
	if len(changes) == 0 {
		return true
	}
	ok := true
	for i, err := range w.o.AlterISR(ctx, changes) {
		refused := errors.Is(err, metadata.ErrConflict) || errors.Is(err, metadata.ErrInvalidRequest)
		partitions[i].proposed(changes[i], refused, err)
		outcome := "written"
		switch {
		case refused:
			outcome = "refused"
		case err != nil:
			outcome = "failed"
			ok = false
			w.push(partitions[i])
			w.logger.Warn("the in-sync set cannot be written, trying again",
				slog.String("partition", partitions[i].tp.String()), slog.Any("error", err))
		}
		w.metrics.isrChanges.WithLabelValues(outcome).Inc()
	}
	return ok
}
