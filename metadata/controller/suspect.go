package controller

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/stepped"
)

const (
	// suspectQueue bounds the hints that wait. probers is the number of brokers that are probed at
	// the same time.
	suspectQueue = 64
	probers      = 4
	// probePause is the shortest time between two probes of a broker.
	probePause = 50 * time.Millisecond
	// probeTimeout bounds a probe and the fencing that follows.
	probeTimeout = 5 * time.Second
	// fenceMemory is how long a process that was fenced after a probe, and has registered again, is
	// left to its lease: it lives although its address refuses connections.
	fenceMemory = time.Minute
)

// suspects are the brokers that seem dead.
type suspects struct {
	probe    func(ctx context.Context, broker metadata.Broker) error // nil: brokers are not probed
	listener string
	queue    chan metadata.Member // never closed

	mu struct {
		sync.Mutex
		// admitted has a suspect that waits or is being probed with the zero time. A suspect that
		// was probed is in it with the time until which it is not probed again.
		admitted map[metadata.Member]time.Time
		// fenced are the processes whose registrations were ended after a probe, by broker.
		fenced map[int32]fencing
	}
}

// fencing records that a process's registration was ended after a probe.
type fencing struct {
	incarnation string
	at          time.Time
	told        bool // lives has returned first
}

func newSuspects(probe func(context.Context, metadata.Broker) error, listener string) *suspects {
	s := &suspects{probe: probe, listener: listener, queue: make(chan metadata.Member, suspectQueue)}
	s.mu.admitted = map[metadata.Member]time.Time{}
	s.mu.fenced = map[int32]fencing{}
	return s
}

// Suspect reports the error that has ended a connection to a broker, under the broker's
// registration of that broker epoch. If the process may have ended, all brokers get the hint. A
// broker that is only silent is left to its lease. Suspect does not wait.
func (c *Controller) Suspect(ctx context.Context, broker metadata.Member, err error) {
	if !saysDead(err) {
		return
	}
	c.publish(broker, err)
	c.Hint(ctx, broker) // the published hint may not reach this broker
}

// saysDead reports whether an error of a connection may be due to the end of the other process: the
// connection was reset or closed, or a new one was refused.
func saysDead(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Hint passes on the hint that a broker seems dead, under its registration of that broker epoch. It
// does not wait. One broker acts on a hint: the controller or, if that is the suspect, the live
// broker with the lowest id. It probes the suspect. If the process is certain to be gone, it
// revokes the suspect's lease. That ends the registration, and the controllership if the suspect
// has it.
//
// A suspect that does not answer is left to its lease. So is, for fenceMemory, a process that has
// registered again after such an end: it lives, and something else refuses the connections. A hint
// may get lost: the lease then ends by itself.
func (c *Controller) Hint(ctx context.Context, suspect metadata.Member) {
	suspect = registrationOf(suspect)
	if ctx.Err() != nil || c.suspects.probe == nil || !c.judges(c.loader.Image(), suspect) {
		return
	}
	if s := c.suspects; s.admit(suspect, c.now()) {
		select {
		case s.queue <- suspect:
		default: // the queue is full: drop the hint
			s.release(suspect, c.now())
		}
	}
}

// judges reports whether this broker has to act on a suspicion.
func (c *Controller) judges(image *metadata.Image, suspect metadata.Member) bool {
	self := c.registration.BrokerID()
	if !image.Live(suspect) || suspect.Broker == self {
		return false
	}
	if image.ControllerID != metadata.NoBroker && image.ControllerID != suspect.Broker {
		return image.ControllerID == self
	}
	for id := range image.Brokers {
		if id < self && id != suspect.Broker {
			return false
		}
	}
	_, registered := image.Brokers[self]
	return registered
}

// probing starts the probers, which end with ctx. It returns the function that waits for their end.
func (c *Controller) probing(ctx context.Context) (wait func()) {
	var wg sync.WaitGroup
	if c.suspects.probe != nil {
		for range probers {
			stepped.Go(ctx, &wg, func(ctx context.Context) {
				for {
					suspect, ok := stepped.Receive(ctx, -1, c.suspects.queue)
					if !ok {
						return
					}
					c.judge(ctx, suspect)
					c.suspects.release(suspect, c.now())
				}
			})
		}
	}
	return wg.Wait
}

// judge probes a suspect and ends its registration if it is dead.
func (c *Controller) judge(ctx context.Context, suspect metadata.Member) {
	image := c.loader.Image()
	if !c.judges(image, suspect) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	broker := image.Brokers[suspect.Broker]
	log := c.logger.With(slog.Int("suspect", int(broker.ID)), slog.Int64("broker_epoch", broker.Epoch))
	if lives, first := c.suspects.lives(broker, c.now()); lives {
		if first {
			log.Warn("a broker was taken for dead as its address refuses connections, and lives: it is left to its lease for a while; look at what is between the brokers")
		}
		return
	}
	if err := c.suspects.ask(ctx, broker); !errors.Is(err, ErrBrokerGone) {
		log.Debug("a broker under suspicion is not known to be dead", slog.Any("error", err))
		return
	}
	c.end(ctx, broker, log)
}

// ask probes a broker, at the listener that brokers use among themselves if the broker has it.
// Other listeners prove nothing: a load balancer may accept in place of a dead process, or this
// broker may have no route to them.
func (s *suspects) ask(ctx context.Context, broker metadata.Broker) error {
	if l, ok := broker.Listener(s.listener); ok {
		broker.Listeners = []metadata.Listener{l}
	}
	return s.probe(ctx, broker)
}

// end ends the registration of a broker whose process is gone.
func (c *Controller) end(ctx context.Context, broker metadata.Broker, log *slog.Logger) {
	c.before(ctx, broker.ID)
	if broker.Lease == 0 {
		return // the registration has no lease that could be revoked
	}
	// A broker that has registered again in the meantime has another lease.
	if err := c.store.Revoke(ctx, broker.Lease); err != nil {
		log.Warn("a dead broker's registration could not be ended; it ends with the lease", slog.Any("error", err))
		return
	}
	c.suspects.fence(broker, c.now())
	log.Warn("a broker's process is gone; its registration has been ended")
}

// fence records that a process's registration was ended after a probe.
func (s *suspects) fence(broker metadata.Broker, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.fenced[broker.ID] = fencing{incarnation: broker.Incarnation, at: now}
}

// lives reports whether a process was fenced less than fenceMemory ago and has registered again.
// first is true for the first such report.
func (s *suspects) lives(broker metadata.Broker, now time.Time) (lives, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, fenced := s.mu.fenced[broker.ID]
	if !fenced {
		return false, false
	}
	if f.incarnation != broker.Incarnation || now.Sub(f.at) >= fenceMemory {
		delete(s.mu.fenced, broker.ID)
		return false, false
	}
	first = !f.told
	f.told = true
	s.mu.fenced[broker.ID] = f
	return true, first
}

// admit reports whether a suspect has to be probed, and marks it as waiting.
func (s *suspects) admit(suspect metadata.Member, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m, until := range s.mu.admitted {
		if !until.IsZero() && !now.Before(until) {
			delete(s.mu.admitted, m)
		}
	}
	if _, already := s.mu.admitted[suspect]; already {
		return false
	}
	s.mu.admitted[suspect] = time.Time{} // until release
	return true
}

// release allows another probe of a suspect after a pause.
func (s *suspects) release(suspect metadata.Member, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.admitted[suspect] = now.Add(probePause)
}
