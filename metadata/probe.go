package metadata

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// dialTimeout bounds each connection that ProbeTCP attempts.
const dialTimeout = 300 * time.Millisecond

// ProbeTCP connects to every listener of a broker. It returns nil as soon as one
// accepts, ErrBrokerGone if all refuse, which only a machine without that
// process does, and another error if any does not answer: then nothing is known.
func ProbeTCP(ctx context.Context, broker Broker) error {
	if len(broker.Listeners) == 0 {
		return fmt.Errorf("probe broker %d: it has no listeners", broker.ID)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	var unknown error
	for _, l := range broker.Listeners {
		conn, err := dialer.DialContext(ctx, "tcp", l.Address())
		switch {
		case err == nil:
			_ = conn.Close() // nothing was written
			return nil
		case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET):
			unknown = fmt.Errorf("probe broker %d: %w", broker.ID, err)
		}
	}
	if unknown != nil {
		return unknown
	}
	return fmt.Errorf("probe broker %d: %w", broker.ID, ErrBrokerGone)
}
