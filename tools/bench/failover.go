package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	failoverBrokers   = 3
	failoverMinInSync = 2
	failoverTopic     = "failover"
	failoverLimit     = 2 * time.Minute // from the signal
	steadyLimit       = 2 * time.Minute
	leaderPoll        = 20 * time.Millisecond
	// recordPause is the time from an acknowledgement to the partition's next record.
	recordPause = 250 * time.Millisecond
	// steadyRecords of each partition are acknowledged before the steady time begins.
	steadyRecords = 3
)

// failover starts three brokers, ends the leader of all partitions while every partition is written
// to, and records two results: the time until records are acknowledged, and the time until clients
// are told the new leaders.
func (r *runner) failover(ctx context.Context, round int, s system, l leg) (err error) {
	c, err := r.start(ctx, s, failoverBrokers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	written := result{Round: round + 1, Leg: l.name, System: s.name, Unit: l.unit}
	f := &failover{cluster: c, partitions: r.opts.partitions, steady: r.opts.seconds, signal: l.signal}
	legErr := f.measure(ctx, &written)
	led := written
	led.Leg += ".leaders"
	written.Value, led.Value = f.written.Seconds(), f.led.Seconds()
	if err = r.record(ctx, written, legErr); err != nil {
		return err
	}
	return r.record(ctx, led, legErr)
}

// failover is one run of a failover leg.
type failover struct {
	cluster    *cluster
	partitions int
	steady     time.Duration // load before the signal
	signal     syscall.Signal

	written time.Duration // from the signal to the last partition's acknowledgement
	led     time.Duration // from the signal to the last survivor's metadata with leaders that live
}

func (f *failover) measure(ctx context.Context, res *result) (err error) {
	if res.Load, err = loadAverage(); err != nil {
		return err
	}
	victim, err := f.create(ctx)
	if err != nil {
		return err
	}
	client, err := failoverClient(f.cluster.addresses)
	if err != nil {
		return err
	}
	defer client.Close()
	p := newProbes(client, f.partitions)
	g, ctx := newGroup(ctx)
	defer func() {
		g.cancel(nil) // the probes write until they are told to end
		err = errors.Join(err, g.wait(ctx))
	}()
	for partition := range f.partitions {
		g.run(ctx, func(ctx context.Context) error { return p.write(ctx, int32(partition)) })
	}
	if err = await(ctx, steadyLimit, p.steady); err != nil {
		return fmt.Errorf("wait until every partition acknowledges records: %w", err)
	}
	before, err := takeSample(f.cluster.nodes)
	if err != nil {
		return err
	}
	res.Time = before.at
	if err = resetPeaks(f.cluster.nodes); err != nil {
		return err
	}
	timer := time.NewTimer(f.steady)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err = f.strike(ctx, g, p, victim); err != nil {
		return err
	}
	after, err := takeSample(f.cluster.nodes)
	if err != nil {
		return err
	}
	peak, err := peakMemory(f.cluster.nodes)
	res.used(before.until(after), peak)
	return err
}

// create creates the topic, led by a broker that is not the controller, and returns that broker.
// All replicas are in sync then.
func (f *failover) create(ctx context.Context) (victim int32, err error) {
	a, err := newAdmin(f.cluster.addresses)
	if err != nil {
		return 0, err
	}
	defer a.close()
	controller, err := controllerOf(ctx, f.cluster.addresses[0])
	if err != nil {
		return 0, err
	}
	replicas := []int32{1, 2, 3}
	if controller == replicas[0] {
		replicas = []int32{2, 3, 1}
	}
	if err = a.create(ctx, failoverTopic, f.partitions, replicas, failoverConfigs()); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, topicLimit)
	defer cancel()
	ready := 0
	err = poll(ctx, readyPoll, func() (bool, error) {
		seen, askErr := metadataOf(ctx, f.cluster.addresses[0], failoverTopic)
		if askErr != nil {
			return false, askErr
		}
		ready = countPartitions(seen, func(p kmsg.MetadataResponseTopicPartition) bool {
			return p.Leader == replicas[0] && len(p.ISR) == failoverBrokers
		})
		return ready == f.partitions, nil
	})
	if err != nil {
		return 0, fmt.Errorf("wait until %d partitions have all replicas in sync, %d have: %w",
			f.partitions, ready, err)
	}
	return replicas[0], nil
}

// strike sends the signal and waits until every partition has recovered.
func (f *failover) strike(ctx context.Context, g *group, p *probes, victim int32) error {
	leaders := make(chan time.Time, failoverBrokers)
	at := p.struck()
	if err := f.cluster.nodes[victim-1].cmd.Process.Signal(f.signal); err != nil {
		return fmt.Errorf("send %s to the leader: %w", f.signal, err)
	}
	for i, address := range f.cluster.addresses {
		if int32(i+1) == victim {
			continue
		}
		g.run(ctx, func(ctx context.Context) error {
			watchLeaders(ctx, address, victim, f.partitions, leaders)
			return nil
		})
	}
	deadline := time.NewTimer(failoverLimit)
	defer deadline.Stop()
	written, watching := p.recovered, failoverBrokers-1
	for written != nil || watching > 0 {
		select {
		case <-written:
			f.written, written = p.last.Sub(at), nil
		case seen := <-leaders:
			f.led = max(f.led, seen.Sub(at))
			watching--
		case <-deadline.C:
			return fmt.Errorf("%s after the signal %d of %d partitions acknowledge records, "+
				"and %d of %d survivors know all leaders", failoverLimit,
				p.after.Load(), f.partitions, failoverBrokers-1-watching, failoverBrokers-1)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// failoverClient returns a producer that notices new leaders as soon as it can.
func failoverClient(addresses []string) (*kgo.Client, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(addresses...),
		kgo.DefaultProduceTopic(failoverTopic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(50*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.RequestRetries(int(failoverLimit/(20*time.Millisecond))), kgo.DialTimeout(time.Second),
		kgo.ProduceRequestTimeout(5*time.Second), kgo.RequestTimeoutOverhead(2*time.Second),
	)
	if err != nil {
		return nil, fmt.Errorf("make a producer: %w", err)
	}
	return client, nil
}

// probes write to every partition, one record at a time.
type probes struct {
	client    *kgo.Client
	total     int64
	warm      atomic.Int64              // partitions that acknowledged steadyRecords
	steady    chan struct{}             // closed when all have
	signal    atomic.Pointer[time.Time] // nil before the signal
	after     atomic.Int64              // partitions that acknowledged a record sent after the signal
	recovered chan struct{}             // closed when all have
	last      time.Time                 // when the last one did; valid when recovered is closed
}

func newProbes(client *kgo.Client, partitions int) *probes {
	return &probes{
		client: client, total: int64(partitions),
		steady: make(chan struct{}), recovered: make(chan struct{}),
	}
}

// struck begins the time that is measured, just before the signal is sent.
func (p *probes) struck() time.Time {
	now := time.Now()
	p.signal.Store(&now)
	return now
}

// write writes to one partition until ctx ends.
func (p *probes) write(ctx context.Context, partition int32) error {
	// Partitions begin at different moments of the pause.
	timer := time.NewTimer(recordPause * time.Duration(partition) / time.Duration(p.total))
	defer timer.Stop()
	value := make([]byte, smallRecord)
	recovered := false
	for records := 1; ; records++ {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		sent := time.Now()
		err := p.client.ProduceSync(ctx, &kgo.Record{Partition: partition, Value: value}).FirstErr()
		acknowledged := time.Now()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("produce to partition %d: %w", partition, err)
		}
		if records == steadyRecords && p.warm.Add(1) == p.total {
			close(p.steady)
		}
		if signal := p.signal.Load(); signal != nil && !recovered && sent.After(*signal) {
			recovered = true
			if p.after.Add(1) == p.total {
				p.last = acknowledged
				close(p.recovered)
			}
		}
		timer.Reset(recordPause)
	}
}

// watchLeaders asks one survivor for metadata until every partition has a leader other than the
// victim, and sends the time at which it first was so.
func watchLeaders(ctx context.Context, address string, victim int32, partitions int, leaders chan<- time.Time) {
	var c *conn
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	_ = poll(ctx, leaderPoll, func() (bool, error) { // it ends when it is done, or with ctx
		if c == nil {
			var err error
			if c, err = dial(ctx, address); err != nil {
				c = nil
				return false, nil //nolint:nilerr // the next round connects again
			}
		}
		response, err := c.ask(metadataRequest(failoverTopic))
		if err != nil {
			c.close()
			c = nil
			return false, nil //nolint:nilerr // the next round connects again
		}
		led := countPartitions(response.(*kmsg.MetadataResponse), func(p kmsg.MetadataResponseTopicPartition) bool {
			return p.Leader >= 0 && p.Leader != victim
		})
		if led < partitions {
			return false, nil
		}
		leaders <- time.Now()
		return true, nil
	})
}

// countPartitions counts the partitions of a response for which ok reports true.
func countPartitions(response *kmsg.MetadataResponse, ok func(kmsg.MetadataResponseTopicPartition) bool) (n int) {
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if ok(p) {
				n++
			}
		}
	}
	return n
}

// controllerOf returns the controller: in KRaft the leader of the quorum, since metadata there
// names any broker.
func controllerOf(ctx context.Context, address string) (int32, error) {
	request := kmsg.NewPtrDescribeQuorumRequest()
	request.SetVersion(quorumVersion)
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	request.Topics = append(request.Topics, t)
	response, err := ask(ctx, address, request)
	if err != nil {
		return 0, err
	}
	quorum := response.(*kmsg.DescribeQuorumResponse)
	if err = kerr.ErrorForCode(quorum.ErrorCode); err != nil {
		return 0, fmt.Errorf("find the controller: %w", err)
	}
	if len(quorum.Topics) != 1 || len(quorum.Topics[0].Partitions) != 1 {
		return 0, errors.New("find the controller: the response names no quorum")
	}
	p := quorum.Topics[0].Partitions[0]
	if err = kerr.ErrorForCode(p.ErrorCode); err != nil {
		return 0, fmt.Errorf("find the controller: %w", err)
	}
	return p.LeaderID, nil
}

// await waits until a channel is closed, for at most limit.
func await(ctx context.Context, limit time.Duration, closed <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
