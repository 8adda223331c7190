package metadata

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata/kv"
)

// Campaign tries to become the controller under the registration of that broker epoch. It reports
// whether this broker has won, and returns the controller epoch. The controller's key is under the
// registration's lease. The broker has not won if another one is the controller, or if its
// registration is gone; the image will show which.
func (r *Registration) Campaign(ctx context.Context, brokerEpoch int64) (epoch int64, elected bool, err error) {
	value := encode(controllerValue{V: valueVersion, Broker: r.self.ID, BrokerEpoch: brokerEpoch})
	epoch, err = r.store.Txn(ctx, []kv.Comparison{kv.Absent(controllerKey), kv.CreatedAt(brokerKey(r.self.ID), brokerEpoch)},
		kv.PutLeased(controllerKey, value, r.lease()))
	switch {
	case errors.Is(err, kv.ErrConflict), errors.Is(err, kv.ErrLeaseNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("stand for election: %w", err)
	}
	return epoch, true, nil
}

// Resign gives up the controllership of that epoch. It returns nil if that is over already.
func (r *Registration) Resign(ctx context.Context, epoch int64) error {
	_, err := r.store.Txn(ctx, []kv.Comparison{ControlledAt(epoch)}, kv.Delete(controllerKey))
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	return err
}

// ControlledAt compares that the controller elected at that epoch still is the controller.
func ControlledAt(epoch int64) kv.Comparison { return kv.CreatedAt(controllerKey, epoch) }
