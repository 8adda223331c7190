package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// ControllerOptions are what a Controller needs.
type ControllerOptions struct {
	Store        Store
	Follower     *Follower
	Registration *Registration
	Now          func() time.Time
	Logger       *slog.Logger
}

// Controller runs on every broker and acts on one: the broker whose key
// "controller" it is. That key hangs on the lease of the broker's registration,
// so that a broker that dies, or is fenced, is not the controller either. Every
// write compares the key's create revision, the controller epoch: a controller
// that was paused and deposed changes nothing.
type Controller struct {
	store        Store
	follower     *Follower
	registration *Registration
	now          func() time.Time
	logger       *slog.Logger
	epoch        atomic.Int64 // of the own key; 0: not the controller
}

// controllerTick is how often the controller plans without a new image: only
// the passing of time can have made something due.
const controllerTick = 15 * time.Second

// NewController makes a controller; Run runs it.
func NewController(o ControllerOptions) *Controller {
	return &Controller{
		store: o.Store, follower: o.Follower, registration: o.Registration,
		now: o.Now, logger: o.Logger.With(slog.Int("broker_id", int(o.Registration.BrokerID()))),
	}
}

// Epoch is the controller epoch while this broker is the controller as far as
// it knows, and 0 otherwise.
func (c *Controller) Epoch() int64 { return c.epoch.Load() }

// Run stands for election whenever there is no controller, and acts while this
// broker is it. It returns nil when ctx ends, having resigned.
func (c *Controller) Run(ctx context.Context) error {
	images := c.follower.Subscribe()
	defer images.Close()
	defer c.resign(ctx)
	wait := backoff{min: retryMin, max: retryMax}
	timer := time.NewTimer(controllerTick)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-images.Images():
		case <-timer.C:
		}
		err := c.step(ctx, c.follower.Image())
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClosed):
			return fmt.Errorf("run the controller: %w", err)
		case err != nil:
			c.logger.Warn("the controller cannot act; trying again", slog.Any("error", err))
			timer.Reset(wait.next())
		default:
			wait.reset()
			timer.Reset(controllerTick)
		}
	}
}

// step does what one image calls for.
func (c *Controller) step(ctx context.Context, image *Image) error {
	if image.Revision < c.epoch.Load() || image.Revision == 0 {
		return nil // older than the election: a newer one is on its way
	}
	if epoch := c.epoch.Load(); epoch != 0 && image.ControllerEpoch != epoch {
		c.epoch.Store(0)
		c.logger.Warn("this broker is not the controller any more",
			slog.Int64("controller_epoch", epoch), slog.Int("controller_id", int(image.ControllerID)))
	}
	switch {
	case image.ControllerID == NoBroker:
		return c.campaign(ctx, image)
	case c.epoch.Load() != 0:
	case image.ControllerID == c.registration.BrokerID() && image.controllerBroker == c.registration.Epoch():
		c.elected(image.ControllerEpoch) // the reply to campaign was lost
	default:
		return nil
	}
	return c.apply(ctx, Plan(image, c.now()))
}

func (c *Controller) campaign(ctx context.Context, image *Image) error {
	self, ok := image.Brokers[c.registration.BrokerID()]
	if !ok || self.Epoch != c.registration.Epoch() {
		return nil // not registered as far as the image goes: it will show
	}
	value := encode(controllerValue{V: valueVersion, Broker: self.ID, BrokerEpoch: self.Epoch})
	epoch, err := c.store.Txn(ctx, []Comparison{Absent(controllerKey), CreatedAt(brokerKey(self.ID), self.Epoch)},
		PutLeased(controllerKey, value, c.registration.Lease()))
	switch {
	case errors.Is(err, ErrConflict), errors.Is(err, ErrLeaseNotFound):
		return nil // somebody else won, or this broker just lost its registration: the image will show
	case err != nil:
		return fmt.Errorf("stand for election: %w", err)
	}
	c.elected(epoch)
	return nil
}

func (c *Controller) elected(epoch int64) {
	c.epoch.Store(epoch)
	c.logger.Info("this broker is the controller", slog.Int64("controller_epoch", epoch))
}

// apply writes changes, many to a transaction, and returns when the image shows
// them, so that nothing is planned twice. A transaction that loses against
// another writer is taken apart: the changes that still hold are made, the rest
// is planned again on the image that shows why.
func (c *Controller) apply(ctx context.Context, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	groups := group(changes)
	failures := make([]error, len(groups))
	var newest atomic.Int64
	write := func(ctx context.Context, changes []Change) error {
		revision, err := c.write(ctx, changes)
		for old := newest.Load(); revision > old && !newest.CompareAndSwap(old, revision); {
			old = newest.Load()
		}
		return err
	}
	inParallel(ctx, len(groups), func(ctx context.Context, i int) {
		err := write(ctx, groups[i])
		if !errors.Is(err, ErrConflict) {
			failures[i] = err
			return
		}
		for _, change := range groups[i] {
			if err = write(ctx, []Change{change}); err != nil && !errors.Is(err, ErrConflict) {
				failures[i] = err
				return
			}
		}
	})
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("apply the controller's changes: %w", err)
	}
	c.logger.Info("the controller changed the cluster", slog.Int("changes", len(changes)),
		slog.String("first", changes[0].Partition.String()), slog.String("reason", changes[0].Reason))
	_, err := c.follower.WaitRevision(ctx, newest.Load())
	return err
}

func (c *Controller) write(ctx context.Context, changes []Change) (int64, error) {
	guards := []Comparison{CreatedAt(controllerKey, c.epoch.Load())}
	ops := make([]Op, 0, len(changes))
	for _, change := range changes {
		guards = append(guards, change.Guards...)
		ops = append(ops, change.Ops...)
	}
	return c.store.Txn(ctx, guards, ops...)
}

// group packs changes into transactions. One comparison is the controller's own.
func group(changes []Change) [][]Change {
	var groups [][]Change
	guards, ops := 0, 0
	for _, change := range changes {
		guards += len(change.Guards)
		ops += len(change.Ops)
		if len(groups) == 0 || guards+1 > MaxTxnOps || ops > MaxTxnOps {
			groups = append(groups, nil)
			guards, ops = len(change.Guards), len(change.Ops)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], change)
	}
	return groups
}

// resignTimeout bounds what a stopping broker spends on handing over.
const resignTimeout = time.Second

// resign gives the controllership up, so that the next broker need not wait
// for the lease to expire.
func (c *Controller) resign(ctx context.Context) {
	epoch := c.epoch.Swap(0)
	if epoch == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	if _, err := c.store.Txn(ctx, []Comparison{CreatedAt(controllerKey, epoch)}, Delete(controllerKey)); err != nil && !errors.Is(err, ErrConflict) {
		c.logger.Warn("the controllership could not be handed over; it ends with the lease", slog.Any("error", err))
	}
}
