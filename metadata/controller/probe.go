package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/varvelog/varve/metadata"
)

// ErrBrokerGone is returned by a probe of a broker whose process is certain to be dead: its machine
// answers and refuses the connection at every address.
var ErrBrokerGone = errors.New("the broker's process is gone")

const (
	// dialTimeout bounds each connection that ProbeTCP attempts.
	dialTimeout = 300 * time.Millisecond
	// stayTime is how long a connection has to stay open. Right after a process is killed, the
	// kernel still accepts connections until it has closed the listener.
	stayTime = 300 * time.Millisecond
	// probeAttempts bounds the connections to one listener. A living broker that has too many
	// connections closes new ones at once.
	probeAttempts = 4
)

// ProbeTCP connects to every listener of a broker. It returns nil as soon as one accepts and keeps
// the connection. It returns ErrBrokerGone if all refuse or reset the connection: a kernel refuses
// only if no process listens on the port. It returns another error if any does not answer: then
// nothing is known.
func ProbeTCP(ctx context.Context, broker metadata.Broker) error {
	if len(broker.Listeners) == 0 {
		return fmt.Errorf("probe broker %d: it has no listeners", broker.ID)
	}
	var unknown error
	for _, l := range broker.Listeners {
		err := probeListener(ctx, l.Address())
		switch {
		case err == nil:
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

// probeListener returns nil if a process listens at an address, and the error of the connection
// otherwise.
func probeListener(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	for range probeAttempts {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		if stays(conn) {
			break
		}
	}
	return nil
}

// stays reports whether the other side keeps a connection open, and closes it. It writes nothing: a
// broker does not send first.
func stays(conn net.Conn) bool {
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(stayTime)); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}
