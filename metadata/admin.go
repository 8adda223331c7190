package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
)

// parallelTxns bounds the concurrent transactions of one administrative call. More do not make etcd
// faster.
const parallelTxns = 8

// casAttempts bounds how often a call reads and retries after another writer has changed the same
// key. More conflicts in a row mean that some writer loops: the call reports that.
const casAttempts = 16

// AdminOptions are the options of an Admin.
type AdminOptions struct {
	Store kv.Store
	// Loader has this broker's image. Calls are checked against it, and return when it shows what
	// they have changed.
	Loader *Loader
	Now    func() time.Time
	// MinISR returns min.insync.replicas of a topic; nil means 1 for every topic.
	MinISR func(image *Image, topic string) int
	// LogEnds asks a broker for log ends; see AskLogEnds.
	LogEnds AskLogEnds
	Logger  *slog.Logger // nil: nothing is logged
}

// Admin changes topics and settings on behalf of users and of partition leaders. Every broker has
// one: the store's comparisons, not a single writer, keep calls apart.
type Admin struct {
	store    kv.Store
	loader   *Loader
	now      func() time.Time
	minISR   func(image *Image, topic string) int
	features []feature
	logEnds  AskLogEnds
	logger   *slog.Logger
}

// NewAdmin returns an Admin.
func NewAdmin(o AdminOptions) *Admin {
	if o.MinISR == nil {
		o.MinISR = oneReplica
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Admin{
		store: o.Store, loader: o.Loader, now: o.Now, minISR: o.MinISR, features: featureTable(), logEnds: o.LogEnds, logger: o.Logger,
	}
}

// oneReplica is Kafka's default of min.insync.replicas.
func oneReplica(*Image, string) int { return 1 }

// TopicResult is the outcome of a call for one topic.
type TopicResult struct {
	Name string
	ID   TopicID
	// Partitions and ReplicationFactor are those that the topic has, or would have.
	Partitions        int32
	ReplicationFactor int16
	Err               error
}

// inParallel calls work for each i below n, parallelTxns of them at a time.
func inParallel(ctx context.Context, n int, work func(ctx context.Context, i int)) {
	stepped.InParallel(ctx, n, parallelTxns, work)
}

// swap repeats attempt while it returns ErrConflict, casAttempts times at most. Each attempt reads
// again what it compares.
func swap(ctx context.Context, what string, attempt func(context.Context) error) error {
	wait := backoff.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}
	for range casAttempts {
		err := attempt(ctx)
		if !errors.Is(err, kv.ErrConflict) {
			return err
		}
		if !wait.Sleep(ctx) {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
	// Other writers succeed and this call does not: the caller may retry.
	return fmt.Errorf("%s: %w: %w", what, kv.ErrUnavailable, kv.ErrConflict)
}
