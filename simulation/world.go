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

// Options are a history, and what it is run with.
type Options struct {
	History
	Clock Clock
	// Machine returns the machine of a broker.
	Machine func(broker int32) Machine
	// Trace keeps the trace as text.
	Trace bool
	// Logger receives the log of the stepped code; nil discards it.
	Logger *slog.Logger
}

// Outcome is the result of a history.
type Outcome struct {
	Err     error  // the invariant violation, nil if there was none
	Broken  string // identifies the violated invariant: the format of Err
	Trace   []byte // only with Options.Trace
	Sum     uint64 // of the trace, with or without Options.Trace
	Virtual time.Duration
	Steps   int
	Counts  map[string]int // how often each kind of thing happened
}

// world is the whole simulated system: the brokers, the network between them, etcd and the bucket.
type world struct {
	o      Options
	sched  *scheduler
	net    *network
	etcd   *etcd
	bucket *bucket
	hosts  []*host // by broker id - 1
	truth  *metadata.Image
	check  *checker
	client *client
	text   bytes.Buffer
	sum    hash.Hash64
	err    error
	broken string
	counts map[string]int
}

// Run runs a history.
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

// settleTime is how long a new cluster runs before the first action.
const settleTime = 2 * time.Second

// trace records an event in the trace.
func (w *world) trace(format string, args ...any) {
	line := fmt.Appendf(nil, "%11.6f ", w.sched.now.Seconds())
	line = fmt.Appendf(line, format, args...)
	line = append(line, '\n')
	_, _ = w.sum.Write(line)
	if w.o.Trace {
		w.text.Write(line)
	}
}

// fail ends the history because an invariant is violated.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.broken = format
		w.err = fmt.Errorf("at %v: %w", w.sched.now, fmt.Errorf(format, args...))
		w.trace("broken: %v", w.err)
	}
}

// wrote follows a change of the truth, and checks what it may have changed.
func (w *world) wrote(b kv.Batch) {
	next, err := w.truth.Apply(b)
	if err != nil {
		w.fail("the truth cannot be read: %v", err)
		return
	}
	w.truth = next
	if w.o.Bucket {
		for _, p := range w.live() {
			// The tier restarts logs at any time after an answer of the bucket.
			w.check.replicas(p)
		}
	}
	w.check.truth(next)
	w.check.tiers(b.Events)
}

// runner returns the coroutine that steps the code with this context.
func runner(ctx context.Context) stepped.Runner { return stepped.By(ctx) }

// process returns the host's running process, nil if none runs.
func (w *world) process(id int32) *process { return w.hosts[id-1].process }

// live returns the running processes, in the order of their hosts.
func (w *world) live() []*process {
	var all []*process
	for _, h := range w.hosts {
		if h.process != nil {
			all = append(all, h.process)
		}
	}
	return all
}
