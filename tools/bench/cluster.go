package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	readyLimit = 3 * time.Minute
	readyPoll  = 20 * time.Millisecond
)

// cluster is a running system: one broker or several, on directories that its start made.
type cluster struct {
	dir       string
	nodes     []*process // by id, from 1
	addresses []string   // for clients, in the same order
}

// startCluster starts size brokers on empty directories below dir and returns when all of them
// answer. After an error nothing is left of it.
func startCluster(ctx context.Context, sys system, size, port int, dir string) (_ *cluster, err error) {
	c := &cluster{dir: dir}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start %s: %w", sys.name, errors.Join(err, c.stop()))
		}
	}()
	spec := nodeSpec{size: size, port: port, shared: filepath.Join(dir, "shared")}
	if err = freePorts(ctx, spec); err != nil {
		return nil, err
	}
	if err = os.MkdirAll(spec.shared, 0o755); err != nil {
		return nil, err
	}
	commands := make([][]string, size)
	for i := range size { // all of them first, so that the brokers start together
		spec.id, spec.dir = i+1, filepath.Join(dir, fmt.Sprintf("broker-%d", i+1))
		if err = os.Mkdir(spec.dir, 0o755); err != nil {
			return nil, err
		}
		if commands[i], err = sys.dist.node(ctx, spec); err != nil {
			return nil, err
		}
	}
	for i, command := range commands {
		name := fmt.Sprintf("broker %d of %s", i+1, sys.name)
		node, startErr := startProcess(ctx, name, filepath.Join(dir, fmt.Sprintf("broker-%d", i+1)), command)
		if startErr != nil {
			return nil, startErr
		}
		c.nodes = append(c.nodes, node)
		c.addresses = append(c.addresses, spec.address(i+1, 0))
	}
	return c, c.awaitReady(ctx)
}

// freePorts reports an error if something listens on a port that the brokers need.
func freePorts(ctx context.Context, s nodeSpec) error {
	for id := 1; id <= s.size; id++ {
		for port := range portsPerBroker / 2 {
			address := s.address(id, port)
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
			if err != nil {
				return fmt.Errorf("a broker needs %s; give -port other free ports: %w", address, err)
			}
			if err = l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitReady waits until every broker knows all of them and a controller.
func (c *cluster) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for i, address := range c.addresses {
		last := errors.New("it does not listen")
		err := poll(ctx, readyPoll, func() (bool, error) {
			if c.nodes[i].exited() {
				return false, c.nodes[i].failure()
			}
			var seen *kmsg.MetadataResponse
			if seen, last = metadataOf(ctx, address, ""); last != nil {
				return false, nil //nolint:nilerr // it is asked again until the deadline, which reports it
			}
			last = fmt.Errorf("it knows %d of %d brokers and the controller %d",
				len(seen.Brokers), len(c.nodes), seen.ControllerID)
			return len(seen.Brokers) == len(c.nodes) && seen.ControllerID >= 0, nil
		})
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s is not ready after %s: %w", c.nodes[i].name, readyLimit, last)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stop stops the brokers, together, and removes their directory.
func (c *cluster) stop() error {
	var wg sync.WaitGroup
	for _, node := range c.nodes {
		wg.Go(func() { node.stop(stopGrace) })
	}
	wg.Wait()
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove the data of the brokers: %w", err)
	}
	return nil
}

// poll calls check at once and then at each interval until it reports true or an error, or ctx
// ends.
func poll(ctx context.Context, interval time.Duration, check func() (bool, error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		done, err := check()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
