package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
)

// Options are the options of a Controller.
type Options struct {
	Store        kv.Store
	Loader       *metadata.Loader
	Registration *metadata.Registration
	Now          func() time.Time
	Logger       *slog.Logger

	// MinISR and UncleanElection are as in PlanOptions.
	MinISR          func(image *metadata.Image, topic string) int
	UncleanElection func(image *metadata.Image, topic string) bool
	// Rebalance returns the settings for the balance of preferred leaders; nil means
	// DefaultRebalancing.
	Rebalance func(image *metadata.Image) Rebalancing
	// LogEnds asks a broker for log ends, for unclean elections.
	LogEnds metadata.AskLogEnds
	// Probe returns ErrBrokerGone if a broker's process is gone, see ProbeTCP. nil: brokers are not
	// probed, and registrations end with their leases.
	Probe func(ctx context.Context, broker metadata.Broker) error
	// Listener is the name of the listener that brokers use among themselves. A broker that has it
	// is probed only there.
	Listener string
	// Publish sends all brokers the hint that a broker seems dead; they pass it to Hint. It must
	// not block. nil: no hints are sent.
	Publish func(suspect metadata.Member, err error)
	// BeforeFence is called when a broker's process is certain to be gone, before its registration
	// is ended. It prepares the store for that write; may be nil.
	BeforeFence func(ctx context.Context, broker int32)
}

// Controller runs on every broker and acts on one: the broker that has written the key
// "controller". That key is under the lease of the broker's registration, so a fenced broker is not
// the controller. Each write compares the key's create revision, the controller epoch: a controller
// that was paused and deposed changes nothing.
type Controller struct {
	store        kv.Store
	loader       *metadata.Loader
	registration *metadata.Registration
	now          func() time.Time
	logger       *slog.Logger
	epoch        atomic.Int64 // of this broker's own key; 0: not the controller

	plan       PlanOptions // without the fields that depend on the time
	planner    planner     // of this term; owned by step
	looked     time.Time   // when the planner last started from scratch
	rebalance  func(image *metadata.Image) Rebalancing
	rebalanced time.Time // when a balance of leaders was last due; owned by step
	seen       sightings // markers of changes in progress; owned by step
	suspects   *suspects
	publish    func(suspect metadata.Member, err error)
	before     func(ctx context.Context, broker int32) // BeforeFence
	doubts     doubts
	recovery   recovery
	logEnds    metadata.AskLogEnds
	work       sync.WaitGroup         // probes and questions; Run waits for them
	images     *metadata.Subscription // read by Run; an answer delivers the image again
}

// controllerTick is how often the controller plans without a new image, for work that becomes due
// by time alone.
const controllerTick = 15 * time.Second

// lookInterval is how often the controller plans all partitions, whatever has changed.
const lookInterval = 5 * time.Minute

// Pauses between attempts to act on a store that does not answer.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
)

// New returns a controller. Run runs it.
func New(o Options) *Controller {
	if o.Rebalance == nil {
		o.Rebalance = func(*metadata.Image) Rebalancing { return DefaultRebalancing }
	}
	if o.Publish == nil {
		o.Publish = func(metadata.Member, error) {}
	}
	if o.BeforeFence == nil {
		o.BeforeFence = func(context.Context, int32) {}
	}
	return &Controller{
		store: o.Store, loader: o.Loader, registration: o.Registration,
		now: o.Now, logger: o.Logger.With(slog.Int("broker_id", int(o.Registration.BrokerID()))),
		plan:      PlanOptions{MinISR: o.MinISR, UncleanElection: o.UncleanElection},
		rebalance: o.Rebalance,
		seen:      sightings{},
		suspects:  newSuspects(o.Probe, o.Listener),
		publish:   o.Publish,
		before:    o.BeforeFence,
		logEnds:   o.LogEnds,
	}
}

// Epoch returns the controller epoch while this broker believes that it is the controller, and 0
// otherwise.
func (c *Controller) Epoch() int64 { return c.epoch.Load() }

// Run stands for election whenever there is no controller, and acts while this broker is the
// controller. When ctx ends it resigns and returns nil.
func (c *Controller) Run(ctx context.Context) error {
	c.images = c.loader.Subscribe()
	defer c.images.Close()
	defer c.resign(ctx)
	defer c.work.Wait()
	defer c.probing(ctx)()
	wait := backoff.Backoff{Min: retryMin, Max: retryMax}
	for pause := controllerTick; c.rest(ctx, pause); {
		err := c.step(ctx, c.loader.Image())
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kv.ErrClosed):
			return fmt.Errorf("run the controller: %w", err)
		case err != nil:
			c.logger.Warn("the controller cannot act; trying again", slog.Any("error", err))
			pause = wait.NextFor(ctx)
		default:
			wait.Reset()
			pause = c.pause(c.loader.Image())
		}
	}
	return nil
}

// rest waits for an image, or until pause has passed. It returns false if ctx has ended.
func (c *Controller) rest(ctx context.Context, pause time.Duration) bool {
	_, _ = stepped.Receive(ctx, pause, c.images.Images()) // step uses the newest image
	return ctx.Err() == nil
}

// pause returns how long the controller may rest without a new image: nothing becomes due earlier.
func (c *Controller) pause(image *metadata.Image) time.Duration {
	pause := controllerTick
	if c.epoch.Load() == 0 {
		return pause
	}
	if settings := c.rebalance(image); settings.Enable {
		pause = min(pause, settings.Interval)
	}
	if _, left := c.doubts.at(c.now()); left > 0 {
		pause = min(pause, left)
	}
	if at, some := c.recovery.due(); some {
		pause = min(pause, max(at.Sub(c.now()), time.Millisecond))
	}
	return pause
}

// step does the work that one image calls for.
func (c *Controller) step(ctx context.Context, image *metadata.Image) error {
	if image.Revision < c.epoch.Load() || image.Revision == 0 {
		return nil // older than the election: a newer one will follow
	}
	if epoch := c.epoch.Load(); epoch != 0 && image.ControllerEpoch != epoch {
		c.epoch.Store(0)
		c.planner = planner{} // releases its image
		c.logger.Warn("this broker is not the controller any more",
			slog.Int64("controller_epoch", epoch), slog.Int("controller_id", int(image.ControllerID)))
	}
	switch {
	case image.ControllerID == metadata.NoBroker:
		// This image shows that the old controller is gone, so the plan is made on it. It is older
		// than this election. That is safe because each change compares the revisions on which it
		// was planned.
		if elected, err := c.campaign(ctx, image); err != nil || !elected {
			return err
		}
	case c.epoch.Load() != 0:
	case image.ControllerID == c.registration.BrokerID() && image.ControllerBrokerEpoch == c.registration.BrokerEpoch():
		c.elected(image.ControllerEpoch) // the reply to campaign was lost
	default:
		return nil
	}
	todo := c.planner.next(image, c.planOptions(image))
	c.resolve(ctx, image, todo.Doubts)
	c.recover(ctx, image, todo.Asks)
	if moreToBalance(todo.Changes) {
		// The next balance is due after balancePause instead of the interval.
		c.rebalanced = c.now().Add(min(0, balancePause-c.rebalance(image).Interval))
	}
	return c.apply(ctx, todo.Changes)
}

// planOptions returns the options of a plan that is made now.
func (c *Controller) planOptions(image *metadata.Image) PlanOptions {
	o := c.plan
	now := c.now()
	o.Abandoned = c.seen.abandoned(image, now)
	o.Doubt, _ = c.doubts.at(now)
	o.LogEnds = c.recovery.take()
	if now.Sub(c.looked) >= lookInterval {
		c.planner, c.looked = planner{}, now
	}
	settings := c.rebalance(image)
	if settings.Enable && now.Sub(c.rebalanced) >= settings.Interval {
		c.rebalanced = now
		o.Rebalance, o.ImbalancePercent = true, settings.ImbalancePercent
	}
	return o
}

// campaign stands for election and reports whether this broker has won.
func (c *Controller) campaign(ctx context.Context, image *metadata.Image) (bool, error) {
	self, ok := image.Brokers[c.registration.BrokerID()]
	if !ok || self.Epoch != c.registration.BrokerEpoch() {
		return false, nil // the image does not show this registration yet
	}
	if self.InControlledShutdown && anyActive(image) {
		return false, nil
	}
	epoch, elected, err := c.registration.Campaign(ctx, self.Epoch)
	if err != nil || !elected {
		return false, err
	}
	c.elected(epoch)
	return true, nil
}

// anyActive reports whether a live broker is not in controlled shutdown.
func anyActive(image *metadata.Image) bool {
	for _, b := range image.Brokers {
		if !b.InControlledShutdown {
			return true
		}
	}
	return false
}

func (c *Controller) elected(epoch int64) {
	c.epoch.Store(epoch)
	c.doubt(epoch)
	c.rebalanced = c.now() // no balance of leaders right after a failure
	c.planner = planner{}
	clear(c.seen) // this broker has not watched the markers since an earlier term
	c.logger.Info("this broker is the controller", slog.Int64("controller_epoch", epoch))
}

// apply writes changes and returns when the image shows them, so that no change is planned twice. A
// change that conflicts is planned again on a later image, which shows why.
func (c *Controller) apply(ctx context.Context, changes []metadata.Change) error {
	if len(changes) == 0 {
		return nil
	}
	start := time.Now()
	newest, errs := metadata.WriteAll(ctx, c.store, []kv.Comparison{metadata.ControlledAt(c.epoch.Load())}, changes)
	conflicts := 0
	for i, err := range errs {
		switch {
		case errors.Is(err, kv.ErrConflict):
			conflicts++
		case err != nil:
			return fmt.Errorf("apply the controller's changes: %w", err)
		case changes[i].Unclean:
			c.loader.ReportUnclean(c.logger, changes[i].Partition, changes[i].Reason)
		}
	}
	c.logger.Info("the controller changed the cluster", slog.Int("changes", len(changes)), slog.Int("conflicts", conflicts),
		slog.String("first", changes[0].Partition.String()), slog.String("reason", changes[0].Reason), slog.Duration("duration", time.Since(start)))
	_, err := c.loader.WaitRevision(ctx, newest)
	return err
}

// resignTimeout bounds how long a stopping broker tries to resign.
const resignTimeout = time.Second

// resign gives up the controllership, so that the next broker need not wait until the lease
// expires.
func (c *Controller) resign(ctx context.Context) {
	epoch := c.epoch.Swap(0)
	if epoch == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	if err := c.registration.Resign(ctx, epoch); err != nil {
		c.logger.Warn("the controllership could not be handed over; it ends with the lease", slog.Any("error", err))
	}
}
