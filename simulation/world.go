package simulation

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"hash/fnv"
	"log/slog"
	"strconv"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
)

// Options are a history, and what it is played with.
type Options struct {
	History
	Clock Clock
	// Machine makes the machine of a broker.
	Machine func(broker int32) Machine
	// Trace keeps what happens as text.
	Trace bool
	// Logger hears what the stepped code says; nil: nobody does.
	Logger *slog.Logger
}

// Outcome is what became of a history.
type Outcome struct {
	Err     error  // how an invariant was broken, or nil
	Broken  string // which one
	Trace   []byte // if it was asked for
	Sum     uint64 // of the trace, whether it was asked for or not
	Virtual time.Duration
	Steps   int
	Counts  map[string]int // of what happened
}

// world is everything: the brokers, what is between them, and etcd.
type world struct {
	o      Options
	sched  *scheduler
	net    *network
	etcd   *etcd
	bucket *bucket
	hosts  []*host // by id - 1
	truth  *metadata.Image
	check  *checker
	client *client
	text   bytes.Buffer
	sum    hash.Hash64
	err    error
	broken string
	counts map[string]int
}

// Run plays a history.
func Run(o Options) Outcome {
	w := &world{o: o, sched: newScheduler(o.Seed, o.Clock), sum: fnv.New64a(), counts: map[string]int{}}
	if w.o.Logger == nil {
		w.o.Logger = slog.New(slog.DiscardHandler)
	}
	w.net, w.etcd, w.bucket = newNetwork(w.sched), newEtcd(w.sched), newBucket(w)
	w.truth = metadata.NewLoader(metadata.LoaderOptions{}).Image()
	w.check, w.client = newChecker(w), newClient(w)
	w.etcd.changed = w.wrote
	w.sched.stopped = func() bool { return w.err != nil }
	for id := range int32(o.Brokers) {
		h := &host{w: w, id: id + 1, name: "broker " + strconv.Itoa(int(id)+1), machine: o.Machine(id + 1)}
		h.mark.lostEpoch = noEpoch
		w.hosts = append(w.hosts, h)
		h.start()
	}
	w.sched.run(settleTime)
	for _, a := range o.Actions {
		if a.At > o.Length {
			continue
		}
		w.sched.after(a.At, nil, func() {
			w.trace("action %s", a)
			w.counts[a.Verb]++
			w.play(a)
		})
	}
	w.sched.run(settleTime + o.Length)
	w.heal()
	for _, h := range w.hosts {
		h.stop(Killed)
	}
	return Outcome{
		Err: w.err, Broken: w.broken, Trace: w.text.Bytes(), Sum: w.sum.Sum64(),
		Virtual: w.sched.now, Steps: w.sched.steps, Counts: w.counts,
	}
}

// settleTime is what a new cluster gets before anything happens to it.
const settleTime = 2 * time.Second

// trace notes what happens.
func (w *world) trace(format string, args ...any) {
	line := fmt.Appendf(nil, "%11.6f ", w.sched.now.Seconds())
	line = fmt.Appendf(line, format, args...)
	line = append(line, '\n')
	_, _ = w.sum.Write(line)
	if w.o.Trace {
		w.text.Write(line)
	}
}

// fail ends the history: an invariant is broken.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.broken = format
		w.err = fmt.Errorf("at %v: %w", w.sched.now, fmt.Errorf(format, args...))
		w.trace("broken: %v", w.err)
	}
}

// wrote takes a change of the truth.
func (w *world) wrote(b kv.Batch) {
	next, err := w.truth.Apply(b)
	if err != nil {
		w.fail("the truth cannot be read: %v", err)
		return
	}
	w.truth = next
	if w.o.Bucket {
		for _, p := range w.live() {
			w.check.replicas(p) // the tier has logs begin again, whenever it has the bucket's answer
		}
	}
	w.check.truth(next)
	w.check.tiers(b.Events)
}

// runner is the coroutine that ctx is stepped by.
func runner(ctx context.Context) stepped.Runner { return stepped.By(ctx) }

// process is the host's process that runs, nil if none does.
func (w *world) process(id int32) *process { return w.hosts[id-1].process }

// live are the processes that run, in order.
func (w *world) live() []*process {
	var all []*process
	for _, h := range w.hosts {
		if h.process != nil {
			all = append(all, h.process)
		}
	}
	return all
}
