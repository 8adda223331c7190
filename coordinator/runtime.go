package coordinator

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a Runtime is made of. Log and New are required.
type Options[M Machine[M]] struct {
	// Name tells this runtime's metrics and log lines from another's.
	Name string
	Log  Log
	// New makes the empty machine of a partition.
	New func(partition int32) M
	// Now is the clock; time.Now if nil. Timers run on the time package's clock.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// QueueSize bounds the operations of one shard that are not finished; 4096 if 0.
	QueueSize int
	// MaxBatchBytes bounds a batch, unless one record is larger; 1,000,000 if 0,
	// which is below the default max.message.bytes.
	MaxBatchBytes int
	// RetryBackoff is the pause before a timer's operation that was refused, or a
	// load that failed, is tried again; 500 ms if 0.
	RetryBackoff time.Duration
	// LoadConcurrency bounds how many partitions are read at a time; 4 if 0.
	LoadConcurrency int
}

// Runtime hosts the shards of one internal topic. Elected and Resigned say which;
// they are called by one goroutine at a time, in the order things happened.
type Runtime[M Machine[M]] struct {
	opts    Options[M]
	metrics *metrics
	loads   chan struct{} // a slot per concurrent load
	wg      sync.WaitGroup

	mu struct {
		sync.RWMutex
		shards map[int32]*shard[M]
		closed bool
	}
}

// NewRuntime returns a runtime that coordinates nothing yet. Close ends it.
func NewRuntime[M Machine[M]](opts Options[M]) *Runtime[M] {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	orElse(&opts.QueueSize, 4096)
	orElse(&opts.MaxBatchBytes, 1_000_000)
	orElse(&opts.RetryBackoff, 500*time.Millisecond)
	orElse(&opts.LoadConcurrency, 4)
	opts.Logger = opts.Logger.With(slog.String("coordinator", opts.Name))
	var reg prometheus.Registerer
	if opts.Registerer != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"coordinator": opts.Name}, opts.Registerer)
	}
	r := &Runtime[M]{opts: opts, metrics: newMetrics(reg), loads: make(chan struct{}, opts.LoadConcurrency)}
	r.mu.shards = map[int32]*shard[M]{}
	return r
}

func orElse[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}

// Elected starts to coordinate a partition, in the given leader epoch: it reads
// the log, and answers ErrLoading until that is done. An epoch that is not above
// the present one changes nothing.
func (r *Runtime[M]) Elected(partition, epoch int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.mu.shards[partition]
	if r.mu.closed || (old != nil && old.epoch >= epoch) {
		return
	}
	// The context lives as long as the shard, not as long as this call.
	ctx, cancel := context.WithCancelCause(context.Background())
	s := newShard(r, partition, epoch, cancel)
	if old != nil {
		old.stop(ErrNotCoordinator)
		s.after = old.stopped
	}
	r.mu.shards[partition] = s
	r.wg.Go(func() { s.run(ctx) })
}

// Resigned stops coordinating a partition: whoever waits gets ErrNotCoordinator,
// before Resigned returns.
func (r *Runtime[M]) Resigned(partition int32) {
	r.mu.Lock()
	s := r.mu.shards[partition]
	delete(r.mu.shards, partition)
	r.mu.Unlock()
	if s != nil {
		s.stop(ErrNotCoordinator)
	}
}

// Submit hands an operation to a partition's shard. The error is
// ErrNotCoordinator, ErrLoading, ErrOverloaded or ErrClosed, and then nothing
// will happen.
func (r *Runtime[M]) Submit(partition int32, op Op[M]) (*Waiter, error) {
	r.mu.RLock()
	s, closed := r.mu.shards[partition], r.mu.closed
	r.mu.RUnlock()
	switch {
	case closed:
		return nil, ErrClosed
	case s == nil:
		return nil, ErrNotCoordinator
	}
	return s.submit(op)
}

// Post hands over an operation that nobody waits for; one that comes while the
// partition is loading is done afterwards. It is lost when the partition is not
// coordinated here, or resigned before its turn. If records of its own were
// refused they would be lost too: let it set a timer that writes them.
func (r *Runtime[M]) Post(partition int32, op Op[M]) {
	r.mu.RLock()
	s := r.mu.shards[partition]
	r.mu.RUnlock()
	if s != nil {
		s.post(op)
	}
}

// Partitions lists what is coordinated (or being loaded) here, ascending.
func (r *Runtime[M]) Partitions() []int32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]int32, 0, len(r.mu.shards))
	for p := range r.mu.shards {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// Close resigns everything and returns when all goroutines have ended.
func (r *Runtime[M]) Close() {
	r.mu.Lock()
	r.mu.closed = true
	shards := r.mu.shards
	r.mu.shards = nil
	r.mu.Unlock()
	for _, s := range shards {
		s.stop(ErrClosed)
	}
	r.wg.Wait()
}
