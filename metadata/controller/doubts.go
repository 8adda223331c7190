package controller

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/stepped"
)

// doubts are the doubts of one controller since its election.
type doubts struct {
	mu    sync.Mutex
	self  int32
	epoch int64     // of the controller: registrations that are not newer are in doubt
	until time.Time // by then each lease that was not renewed has ended
	stage map[metadata.Member]metadata.Doubt
}

// raise starts the doubts of a controller's term.
func (d *doubts) raise(self int32, epoch int64, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.self, d.epoch, d.until, d.stage = self, epoch, until, map[metadata.Member]metadata.Doubt{}
}

// begin reports whether a member has to be probed. If so, the caller must probe it and call settle.
func (d *doubts) begin(m metadata.Member) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.stage[m]; known {
		return false
	}
	d.stage[m] = metadata.Unknown
	return true
}

// settle records the result of a probe that began under a controller epoch.
func (d *doubts) settle(m metadata.Member, epoch int64, stage metadata.Doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epoch == epoch {
		d.stage[m] = stage
	}
}

// at returns the doubts at a time, for PlanOptions, and how long they will last. It returns nil if
// they are over.
func (d *doubts) at(now time.Time) (of func(metadata.Member) metadata.Doubt, left time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epoch == 0 || !now.Before(d.until) {
		return nil, 0
	}
	self, epoch, stage := d.self, d.epoch, maps.Clone(d.stage)
	return func(m metadata.Member) metadata.Doubt {
		if m.Broker == self || m.Epoch > epoch {
			return metadata.NoDoubt
		}
		if s, known := stage[registrationOf(m)]; known {
			return s
		}
		return metadata.Unknown
	}, d.until.Sub(now)
}

// doubt starts the doubts of this term. Without a probe there are none.
func (c *Controller) doubt(epoch int64) {
	if c.suspects.probe != nil {
		leases := c.registration.TTL() + c.registration.TTL()/2 // the store may end leases late
		c.doubts.raise(c.registration.BrokerID(), epoch, c.now().Add(leases))
	}
}

// resolve probes the members that must be probed before a decision. A member that answers is no
// longer in doubt. If its process is gone, its registration is ended. If it is silent, it stays in
// doubt until its lease must have ended.
func (c *Controller) resolve(ctx context.Context, image *metadata.Image, members []metadata.Member) {
	epoch := c.epoch.Load()
	for _, m := range members {
		m = registrationOf(m)
		if !c.doubts.begin(m) {
			continue
		}
		broker := image.Brokers[m.Broker]
		stepped.Go(ctx, &c.work, func(ctx context.Context) {
			c.doubts.settle(m, epoch, c.examine(ctx, broker))
			c.images.Again()
		})
	}
}

// examine probes a doubted broker.
func (c *Controller) examine(ctx context.Context, broker metadata.Broker) metadata.Doubt {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := c.suspects.ask(ctx, broker)
	if err == nil {
		return metadata.NoDoubt
	}
	if errors.Is(err, ErrBrokerGone) {
		log := c.logger.With(slog.Int("suspect", int(broker.ID)), slog.Int64("broker_epoch", broker.Epoch))
		c.end(ctx, broker, log)
	}
	// This is also right after its registration was ended, until an image shows that.
	return metadata.Silent
}

// registrationOf returns a member without its directory.
func registrationOf(m metadata.Member) metadata.Member {
	return metadata.Member{Broker: m.Broker, Epoch: m.Epoch}
}
