package containers

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// patience bounds every wait, for a busy machine.
const patience = 2 * time.Minute

// node is a container on the test's network.
type node struct {
	*testcontainers.DockerContainer
	name    string
	network string
	engine  *testcontainers.DockerClient
}

// published is a port of a container, and the port of 127.0.0.1 on which the host sees it.
type published struct{ port, host string }

// startNode starts a container under its name, waits until path answers at the first of its ports,
// and removes it when the test ends.
func startNode(t *testing.T, net *testcontainers.DockerNetwork, name, image, path string, ports []published, more ...testcontainers.ContainerCustomizer) *node {
	t.Helper()
	engine, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var exposed []string
	for _, p := range ports {
		exposed = append(exposed, p.port+"/tcp")
	}
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithExposedPorts(exposed...),
		testcontainers.WithHostConfigModifier(onLoopback(t, ports)),
		testcontainers.WithWaitStrategy(wait.ForHTTP(path).WithPort(ports[0].port + "/tcp").WithStartupTimeout(patience).WithPollInterval(50 * time.Millisecond)),
	}
	if net != nil {
		options = append(options, tcnetwork.WithNetwork([]string{name}, net))
	}
	c, err := testcontainers.Run(t.Context(), image, append(options, more...)...)
	n := &node{DockerContainer: c, name: name, engine: engine}
	if net != nil {
		n.network = net.ID
	}
	t.Cleanup(func() {
		if c != nil {
			if t.Failed() {
				n.printLog(t)
			}
			if endErr := testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0)); endErr != nil {
				t.Errorf("remove %s: %v", name, endErr)
			}
		}
		if closeErr := engine.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	})
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return n
}

func onLoopback(t *testing.T, ports []published) func(*container.HostConfig) {
	t.Helper()
	bindings := network.PortMap{}
	for _, p := range ports {
		port, err := network.ParsePort(p.port + "/tcp")
		if err != nil {
			t.Fatal(err)
		}
		bindings[port] = []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: p.host}}
	}
	return func(h *container.HostConfig) { h.PortBindings = bindings }
}

func (n *node) printLog(t *testing.T) {
	t.Helper()
	const most = 8 << 10
	logs, err := n.Logs(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Logf("log of %s: %v", n.name, err)
		return
	}
	text, _ := io.ReadAll(logs) // as much as there is
	_ = logs.Close()
	t.Logf("log of %s:\n%s", n.name, text[max(0, len(text)-most):])
}

// The faults. Each has taken effect when the call returns.

func (n *node) pause(t *testing.T) {
	t.Helper()
	_, err := n.engine.ContainerPause(t.Context(), n.GetContainerID(), client.ContainerPauseOptions{})
	n.check(t, "pause", err)
}

func (n *node) unpause(t *testing.T) {
	t.Helper()
	_, err := n.engine.ContainerUnpause(t.Context(), n.GetContainerID(), client.ContainerUnpauseOptions{})
	n.check(t, "unpause", err)
}

// kill sends SIGKILL to the process, which ends the container.
func (n *node) kill(t *testing.T) {
	t.Helper()
	_, err := n.engine.ContainerKill(t.Context(), n.GetContainerID(), client.ContainerKillOptions{Signal: "SIGKILL"})
	n.check(t, "kill", err)
	if code := n.exitCode(t); code != 137 {
		t.Fatalf("%s was killed and ended with %d", n.name, code)
	}
}

// stop sends SIGTERM. The process must end by itself.
func (n *node) stop(t *testing.T) {
	t.Helper()
	grace := 30 // seconds
	_, err := n.engine.ContainerStop(t.Context(), n.GetContainerID(), client.ContainerStopOptions{Timeout: &grace})
	n.check(t, "stop", err)
	if code := n.exitCode(t); code != 0 {
		t.Fatalf("%s was stopped and ended with %d", n.name, code)
	}
}

// restart starts the same container again.
func (n *node) restart(t *testing.T) {
	t.Helper()
	_, err := n.engine.ContainerStart(t.Context(), n.GetContainerID(), client.ContainerStartOptions{})
	n.check(t, "start", err)
}

func (n *node) disconnect(t *testing.T) {
	t.Helper()
	_, err := n.engine.NetworkDisconnect(t.Context(), n.network, client.NetworkDisconnectOptions{Container: n.GetContainerID()})
	n.check(t, "disconnect", err)
}

func (n *node) reconnect(t *testing.T) {
	t.Helper()
	_, err := n.engine.NetworkConnect(t.Context(), n.network, client.NetworkConnectOptions{
		Container: n.GetContainerID(), EndpointConfig: &network.EndpointSettings{Aliases: []string{n.name}},
	})
	n.check(t, "connect", err)
}

func (n *node) check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s %s: %v", what, n.name, err)
	}
	t.Logf("%s %s", what, n.name)
}

// exitCode waits until the process has ended.
func (n *node) exitCode(t *testing.T) int {
	t.Helper()
	code := 0
	eventually(t, n.name+" has ended", func() error {
		state, err := n.State(t.Context())
		if err == nil && state.Running {
			err = fmt.Errorf("it runs")
		}
		if err == nil {
			code = state.ExitCode
		}
		return err
	})
	return code
}

// eventually waits until f returns no error.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}

// freePort returns a port of 127.0.0.1 on which nothing listens. It is outside the range that the
// system uses for outgoing connections, so it stays free while a container is down.
func freePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	for range 100 {
		port := strconv.Itoa(10000 + rand.IntN(22000))
		if l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
			if err = l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}
