package simulation

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
)

// process is a running broker: the real registration, metadata loader, controller and
// administrator, and a Node.
type process struct {
	host    *host
	name    string
	dead    bool
	leaving bool // a controlled shutdown was requested
	// lostAll is set after the death: all logs of the host may have lost something since.
	lostAll bool
	// lostSome lists the directories that have lost something since the death.
	lostSome   []metadata.DirectoryID
	ctx        context.Context //nolint:containedctx // of all its coroutines
	cancel     context.CancelFunc
	coroutines int
	begun      []*coroutine
	waits      []*wait

	store        *storeClient
	loader       *metadata.Loader
	registration *metadata.Registration
	controller   *controller.Controller
	admin        *metadata.Admin
	node         Node
	lapse        context.CancelFunc // ends the renewals of the registration
}

// MinISR returns a topic's min.insync.replicas under an image.
func MinISR(image *metadata.Image, topic string) int {
	n, err := strconv.Atoi(image.TopicConfigs(topic)[minISRKey])
	if err != nil {
		return 1
	}
	return n
}

const minISRKey = "min.insync.replicas"

// MaxLag is replica.lag.time.max.ms of all brokers.
const MaxLag = 10 * time.Second

// make builds the parts of a process.
func (p *process) make() (err error) {
	h := p.host
	w := h.w
	p.store = &storeClient{w: w, process: p, seen: h.seen}
	p.loader = metadata.NewLoader(metadata.LoaderOptions{Store: p.store, Logger: w.o.Logger})
	p.admin = metadata.NewAdmin(metadata.AdminOptions{
		Store: p.store, Loader: p.loader, Now: h.now, MinISR: MinISR, Logger: w.o.Logger, LogEnds: p.logEnds,
	})
	o := NodeOptions{
		BrokerID: h.id, Loader: p.loader, MinISR: MinISR,
		Epoch: func() int64 { return p.registration.BrokerEpoch() },
		AlterISR: func(ctx context.Context, changes []metadata.ISRChange) []error {
			return p.admin.AlterISR(ctx, metadata.Member{Broker: h.id, Epoch: p.registration.BrokerEpoch()}, changes)
		},
	}
	if w.o.Bucket {
		o.Bucket, o.Store = &bucketClient{w: w, process: p}, p.store
	}
	if p.node, err = h.machine.Start(o); err != nil {
		return err
	}
	working := h.machine.Directories()
	p.registration = metadata.NewRegistration(metadata.RegistrationOptions{
		Store: p.store, BrokerID: h.id, DirectoryID: h.name, Now: h.now, Logger: w.o.Logger,
		Directories: working, Past: h.begin(working, h.machine.Distrusted()), Registered: func(epoch int64) {
			if !p.dead {
				w.trace("%s is registered at %d", p.name, epoch)
				h.registered(epoch, working)
			}
		},
	})
	p.controller = controller.New(controller.Options{
		Store: p.store, Loader: p.loader, Registration: p.registration, Now: h.now, Logger: w.o.Logger, MinISR: MinISR,
		Rebalance: func(*metadata.Image) controller.Rebalancing {
			return controller.Rebalancing{Enable: true, Interval: 20 * time.Second, ImbalancePercent: 10}
		},
		Probe: p.probe,
	})
	return nil
}

// errSilent says that a broker does not answer a request.
var errSilent = errors.New("no answer")

// probe checks whether a broker is alive. A machine without the process refuses the connection.
func (p *process) probe(ctx context.Context, broker metadata.Broker) error {
	w := p.host.w
	there, back := link{p.host.id, broker.ID}, link{broker.ID, p.host.id}
	err, arrived := errSilent, false
	answer := func(with error) func() {
		return func() { w.net.send(back, p, func() { err, arrived = with, true }) }
	}
	if to := w.process(broker.ID); to != nil {
		w.net.send(there, to, answer(nil))
	} else {
		w.net.send(there, nil, answer(controller.ErrBrokerGone))
	}
	runner(ctx).Wait(ctx, fetchTimeout, func() bool { return arrived })
	return err
}

// logEnds asks a broker for the ends of its logs.
func (p *process) logEnds(ctx context.Context, broker metadata.Broker, tps []metadata.TopicPartition) (map[metadata.TopicPartition]metadata.LogEnd, error) {
	w := p.host.w
	ends, arrived := map[metadata.TopicPartition]metadata.LogEnd{}, false
	if to := w.process(broker.ID); to != nil {
		w.net.send(link{p.host.id, broker.ID}, to, func() {
			for _, v := range to.node.Views() {
				if slices.Contains(tps, v.Partition) {
					ends[v.Partition] = metadata.LogEnd{LeaderEpoch: v.LastEpoch, Offset: v.End}
				}
			}
			w.net.send(link{broker.ID, p.host.id}, p, func() { arrived = true })
		})
	}
	if runner(ctx).Wait(ctx, fetchTimeout, func() bool { return arrived }); !arrived {
		return nil, errSilent
	}
	return ends, nil
}

// suspect sends every controller a hint that a broker may be dead; the hint may get lost.
func (p *process) suspect(leader metadata.Member) {
	w := p.host.w
	for _, other := range w.live() {
		if w.sched.draw("hint", 4) > 0 {
			w.net.send(link{p.host.id, other.host.id}, other, func() {
				other.controller.Hint(other.ctx, leader)
			})
		}
	}
}

// now returns the host's clock.
func (h *host) now() time.Time { return h.w.sched.began.Add(h.w.sched.now + h.skew) }

// run runs the process.
func (p *process) run(ctx context.Context) {
	s := p.host.w.sched
	p.until(ctx, func() error {
		_, err := metadata.EnsureClusterID(ctx, p.store, nil)
		return err
	})
	s.spawn(ctx, p, func(ctx context.Context) { p.ends(ctx, p.loader.Run(ctx)) })
	p.until(ctx, func() error {
		_, err := p.registration.Register(ctx)
		return err
	})
	if ended(ctx) {
		return
	}
	renewals, lapse := context.WithCancel(ctx)
	p.lapse = lapse
	s.spawn(renewals, p, func(ctx context.Context) { p.ends(ctx, p.registration.Run(ctx)) })
	s.spawn(ctx, p, func(ctx context.Context) { p.ends(ctx, p.controller.Run(ctx)) })
	s.spawn(ctx, p, p.apply)
	s.spawn(ctx, p, p.propose)
	if p.host.w.o.Bucket {
		s.spawn(ctx, p, p.node.Run)
	}
	for _, h := range p.host.w.hosts {
		if h != p.host {
			s.spawn(ctx, p, func(ctx context.Context) { p.fetch(ctx, h.id) })
		}
	}
	s.spawn(ctx, p, p.directories)
	p.every(ctx, MaxLag/2, MaxLag/2, p.node.Tick)
	p.every(ctx, 50*time.Millisecond, 300*time.Millisecond, func(context.Context) { p.node.Place() })
	p.every(ctx, 300*time.Millisecond, 5*time.Second, func(context.Context) { p.node.Flush() })
}

// directories reports failed disks to the cluster.
func (p *process) directories(ctx context.Context) {
	machine := p.host.machine
	for known := len(machine.Directories()); ; known = len(machine.Directories()) {
		runner(ctx).Wait(ctx, -1, func() bool { return len(machine.Directories()) < known })
		if ended(ctx) {
			return
		}
		working := machine.Directories()
		p.host.w.trace("%s has %d directories left", p.name, len(working))
		p.host.mark.lose(working, nil)
		p.node.Place()
		_ = p.registration.SetDirectories(ctx, working) // retries until ctx ends
	}
}

// until retries until success or the end of ctx.
func (p *process) until(ctx context.Context, try func() error) {
	wait := backoff.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for !ended(ctx) {
		switch err := try(); {
		case err == nil:
			return
		case errors.Is(err, kv.ErrWentBack):
			p.ends(ctx, err)
		}
		wait.Sleep(ctx)
	}
}

// ends restarts the process after an error of a part that it cannot run without.
func (p *process) ends(ctx context.Context, err error) {
	if err == nil || ended(ctx) {
		return
	}
	w := p.host.w
	w.trace("%s gives up: %v", p.name, short(err))
	w.sched.after(0, nil, func() {
		if p.host.process == p {
			p.host.stop(Killed)
		}
	})
	w.sched.after(time.Second, nil, p.host.start)
}

// every calls do repeatedly, with random pauses.
func (p *process) every(ctx context.Context, least, most time.Duration, do func(context.Context)) {
	w := p.host.w
	w.sched.spawn(ctx, p, func(ctx context.Context) {
		for stepped.Pause(ctx, w.sched.between("pause "+p.host.name, least, most)) {
			do(ctx)
			w.check.replicas(p)
		}
	})
}

// apply gives the node the images, each after a delay, and sometimes one of them twice.
func (p *process) apply(ctx context.Context) {
	w := p.host.w
	var applied *metadata.Image
	var epoch int64
	for {
		runner(ctx).Wait(ctx, -1, func() bool { return p.loader.Image() != applied || p.registration.BrokerEpoch() != epoch })
		image := p.loader.Image()
		epoch = p.registration.BrokerEpoch()
		name := "apply " + p.host.name
		delay := w.sched.between(name, 0, 2*time.Millisecond)
		if w.sched.draw(name, 8) == 0 {
			delay = w.sched.between(name, 0, 200*time.Millisecond)
		}
		delay = max(delay, p.host.busy-w.sched.now)
		for range 1 + w.sched.draw(name, 5)/4 {
			if !stepped.Pause(ctx, delay) {
				return
			}
			p.node.Apply(ctx, image)
			w.check.replicas(p)
		}
		applied = image
	}
}

// propose writes the ISR changes that the node proposes.
func (p *process) propose(ctx context.Context) {
	wait := backoff.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second}
	for {
		runner(ctx).Wait(ctx, -1, p.node.Proposes)
		if ended(ctx) {
			return
		}
		answered := p.node.WriteISR(ctx)
		if ended(ctx) {
			return
		}
		p.host.w.check.replicas(p)
		if answered {
			wait.Reset()
		} else {
			wait.Sleep(ctx)
		}
	}
}

// fetchTimeout is how long a follower waits for its leader.
const fetchTimeout = time.Second

// fetch fetches the partitions that another broker leads.
func (p *process) fetch(ctx context.Context, from int32) {
	w := p.host.w
	name := "fetch " + p.host.name + strconv.Itoa(int(from))
	for !ended(ctx) {
		leader := metadata.Member{Broker: from, Epoch: p.loader.Image().Brokers[from].Epoch}
		asked := p.node.Ask(leader)
		if asked == nil {
			stepped.Pause(ctx, w.sched.between(name, 20*time.Millisecond, 120*time.Millisecond))
			continue
		}
		var answer any
		arrived, news := false, false
		self := metadata.Member{Broker: p.host.id, Epoch: p.registration.BrokerEpoch()}
		there := link{p.host.id, from}
		reply := func(got any, some bool) {
			w.net.send(link{from, p.host.id}, p, func() { answer, news, arrived = got, some, true })
		}
		if to := w.process(from); to != nil {
			w.net.send(there, to, func() { reply(to.serve(self, asked)) })
		} else {
			// The machine refuses the connection.
			w.net.send(there, nil, func() { reply(nil, false) })
		}
		runner(ctx).Wait(ctx, fetchTimeout, func() bool { return arrived })
		if ended(ctx) {
			return
		}
		if answer == nil {
			p.suspect(leader)
		}
		if arrived && answer != nil {
			if err := p.node.Take(ctx, asked, answer); err != nil {
				w.fail("%s follows broker %d: %w", p.name, from, err)
			}
			w.check.replicas(p)
		}
		if !news {
			stepped.Pause(ctx, w.sched.between(name, 5*time.Millisecond, 150*time.Millisecond))
		}
	}
}

// serve answers a follower whose registration this process knows.
func (p *process) serve(from metadata.Member, asked any) (answer any, news bool) {
	if p.loader.Image().Brokers[from.Broker].Epoch != from.Epoch || from.Epoch == 0 {
		return nil, false
	}
	answer, news = p.node.Serve(from, asked)
	p.host.w.check.replicas(p)
	return answer, news
}
