package metadata

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata/kv"
)

// Campaign stands for election as the controller, as the registration of that broker
// epoch, and reports whether this broker has won and with which controller epoch. The
// key hangs on the registration's lease. A broker that has lost against another one, or
// has lost its registration, has not won; the image will show why.
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

// Resign gives the controllership of that epoch up. One that is over is no error.
func (r *Registration) Resign(ctx context.Context, epoch int64) error {
	_, err := r.store.Txn(ctx, []kv.Comparison{ControlledAt(epoch)}, kv.Delete(controllerKey))
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	return err
}

// ControlledAt holds while the controller of that epoch is the controller.
func ControlledAt(epoch int64) kv.Comparison { return kv.CreatedAt(controllerKey, epoch) }
