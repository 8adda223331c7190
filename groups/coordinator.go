package groups

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/coordinator"
)

// Options are what a Coordinator is made of. Log is required.
type Options struct {
	// Log is __consumer_offsets.
	Log    coordinator.Log
	Config Config
	// Now is the clock; time.Now if nil. Timers run on the time package's clock.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// NewUUID makes the unique part of member ids; random if nil.
	NewUUID func() string
}

// Coordinator coordinates the groups whose partitions of __consumer_offsets are
// led by this broker. Its methods take requests of any served version and return
// the response in that version; requests must not be changed afterwards, and
// their strings must be their own (bytes are copied). All of them are safe for
// use by many goroutines.
type Coordinator struct {
	config  Config
	logger  *slog.Logger
	newUUID func() string
	runtime *coordinator.Runtime[*shard]
}

// New returns a coordinator that coordinates nothing yet: see OnElected. Close
// ends it.
func New(opts Options) *Coordinator {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.NewUUID == nil {
		opts.NewUUID = randomUUID
	}
	m := newMetrics(opts.Registerer)
	return &Coordinator{
		config: opts.Config, logger: opts.Logger, newUUID: opts.NewUUID,
		runtime: coordinator.NewRuntime(coordinator.Options[*shard]{
			Name: "groups", Log: opts.Log, Now: opts.Now, Logger: opts.Logger, Registerer: opts.Registerer,
			New: func(int32) *shard { return newShard(opts.Config, m, opts.Logger) },
		}),
	}
}

// Close answers whoever waits with COORDINATOR_NOT_AVAILABLE and returns when
// all goroutines have ended.
func (c *Coordinator) Close() { c.runtime.Close() }

// PartitionFor is the partition of __consumer_offsets whose leader coordinates
// the group.
func (c *Coordinator) PartitionFor(groupID string) int32 {
	return partitionFor(groupID, c.config.Partitions)
}

// OnElected starts to coordinate the groups of a partition. The calls of
// OnElected and OnResigned come one after the other, in the order in which
// leadership changed.
func (c *Coordinator) OnElected(partition, epoch int32) { c.runtime.Elected(partition, epoch) }

// OnResigned stops coordinating the groups of a partition. Whoever waits is told
// NOT_COORDINATOR before it returns.
func (c *Coordinator) OnResigned(partition int32) { c.runtime.Resigned(partition) }

// OnTopicsDeleted deletes the offsets that groups have in these topics, in the
// background.
func (c *Coordinator) OnTopicsDeleted(names []string) {
	if len(names) == 0 {
		return
	}
	for _, p := range c.runtime.Partitions() {
		c.runtime.Post(p, read(func(s *shard, _ time.Time, _ *waiter) decision { return s.topicsDeleted(names) }))
	}
}

// call has an operation done by the shard of a group and waits for the answer,
// whose type is R.
func call[R any](ctx context.Context, c *Coordinator, groupID string, o op) (R, error) {
	var zero R
	w, err := c.runtime.Submit(c.PartitionFor(groupID), o)
	if err != nil {
		return zero, err
	}
	return await[R](ctx, w)
}

func await[R any](ctx context.Context, w *waiter) (R, error) {
	var zero R
	value, err := w.Wait(ctx)
	if err != nil {
		return zero, err
	}
	return value.(R), nil
}

// randomUUID is a version 4 UUID as Java prints it.
func randomUUID() string {
	var b [16]byte
	// crypto/rand.Read never fails: it ends the process instead.
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
