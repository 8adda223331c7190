package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	fillLimit = 10 * time.Minute
	// legLimit is the time that a leg has beside its load and its warm-up.
	legLimit = time.Minute
	// windowPoll is how often a load is asked whether it has reached its bound.
	windowPoll = 10 * time.Millisecond
)

var errIdle = fmt.Errorf("no request was answered in the time of the leg and %s more", legLimit)

// bench measures the legs that load one broker.
type bench struct {
	opts    options
	cluster *cluster
	admin   *admin
	topics  int    // made so far, which name them
	filled  target // the topic of the consuming legs; without a name: not made yet
}

// warm loads a broker that has just started.
func (b *bench) warm(ctx context.Context) error {
	if b.opts.startup == 0 {
		return nil
	}
	t, err := b.create(ctx)
	if err != nil {
		return err
	}
	var count counters
	end := time.Now().Add(b.opts.startup)
	loading := startLoad(ctx, t, &count, func(ctx context.Context, t target, count *counters) error {
		return smallLoad().run(ctx, t.addresses[0], t.topic, count)
	})
	err = loading.wait(ctx, func() bool { return !time.Now().Before(end) })
	err = errors.Join(err, loading.stop(), b.admin.remove(context.WithoutCancel(ctx), t.topic))
	if err != nil {
		return fmt.Errorf("warm a broker: %w", err)
	}
	return nil
}

// measure runs one leg and sets the result.
func (b *bench) measure(ctx context.Context, l leg, res *result) error {
	t, remove, err := b.target(ctx, l)
	if err != nil {
		return err
	}
	err = b.window(ctx, l, t, res)
	return errors.Join(err, remove(context.WithoutCancel(ctx)))
}

// target returns the topic of a leg and what removes it afterwards.
func (b *bench) target(ctx context.Context, l leg) (target, func(context.Context) error, error) {
	if l.filled {
		err := b.fill(ctx)
		return b.filled, func(context.Context) error { return nil }, err
	}
	t, err := b.create(ctx)
	return t, func(ctx context.Context) error { return b.admin.remove(ctx, t.topic) }, err
}

func (b *bench) create(ctx context.Context) (target, error) {
	b.topics++
	t := target{addresses: b.cluster.addresses, topic: fmt.Sprintf("bench-%d", b.topics)}
	return t, b.admin.create(ctx, t.topic, topicPartitions, []int32{1}, benchConfigs())
}

// fill writes the topic of the consuming legs, once.
func (b *bench) fill(ctx context.Context) error {
	if b.filled.topic != "" {
		return nil
	}
	t, err := b.create(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	var count counters
	loading := startLoad(ctx, t, &count, func(ctx context.Context, t target, count *counters) error {
		return fillLoad().run(ctx, t.addresses[0], t.topic, count)
	})
	err = loading.wait(ctx, func() bool { return count.bytes.Load() >= b.opts.fillBytes })
	if err = errors.Join(err, loading.stop()); err != nil {
		return fmt.Errorf("fill a topic: %w", err)
	}
	ends, err := b.admin.kadm.ListEndOffsets(ctx, t.topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return fmt.Errorf("count the records of a topic: %w", err)
	}
	for _, partition := range ends[t.topic] {
		t.records += partition.Offset
	}
	b.filled = t
	return nil
}

// window loads the broker, and samples it between the end of the warm-up and the end of the leg.
func (b *bench) window(ctx context.Context, l leg, t target, res *result) error {
	syncDisks() // what earlier legs wrote is not this one's to wait for
	var err error
	if res.Load, err = loadAverage(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.opts.warmup+b.opts.seconds+legLimit)
	defer cancel()
	var count counters
	loading := startLoad(ctx, t, &count, l.load)
	err = b.sampled(ctx, loading, &count, res)
	return errors.Join(err, loading.stop())
}

// sampled waits for the warm-up and for the leg, and sets what was used in the latter. On a machine
// that is overloaded a leg is longer than it should be: it has at least one answer.
func (b *bench) sampled(ctx context.Context, loading *loading, count *counters, res *result) error {
	warm := time.Now().Add(b.opts.warmup)
	if err := loading.wait(ctx, func() bool { return !time.Now().Before(warm) }); err != nil {
		return err
	}
	if err := resetPeaks(b.cluster.nodes); err != nil {
		return err
	}
	before, err := takeSample(b.cluster.nodes)
	if err != nil {
		return err
	}
	begun := count.now()
	end := before.at.Add(b.opts.seconds)
	err = loading.wait(ctx, func() bool {
		done := count.bytes.Load() - begun.bytes
		return done >= b.opts.maxBytes || done > 0 && !time.Now().Before(end)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return errIdle
	}
	if err != nil {
		return err
	}
	done := count.now().minus(begun)
	after, err := takeSample(b.cluster.nodes)
	if err != nil {
		return err
	}
	peak, err := peakMemory(b.cluster.nodes)
	if err != nil {
		return err
	}
	res.Time = before.at
	res.used(before.until(after), peak)
	res.payload(done)
	return nil
}

// loading is a load that runs.
type loading struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed after the load returned err
	err    error
}

func startLoad(ctx context.Context, t target, count *counters, load loadFunc) *loading {
	ctx, cancel := context.WithCancel(ctx)
	l := &loading{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		l.err = load(ctx, t, count)
	}()
	return l
}

// wait returns when reached reports true, and with an error if the load ends before.
func (l *loading) wait(ctx context.Context, reached func() bool) error {
	return poll(ctx, windowPoll, func() (bool, error) {
		select {
		case <-l.ended:
			return false, errors.New("the load ended by itself")
		default:
			return reached(), nil
		}
	})
}

// stop ends the load and returns its error.
func (l *loading) stop() error {
	l.cancel()
	<-l.ended
	return l.err
}
