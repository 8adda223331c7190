package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// client is the node number of every connection that does not come from one of the brokers.
const client = 0

// The services on which a broker listens, each behind a proxy of its own.
const (
	kafkaService = iota
	etcdPeers
	etcdClients
	natsRoutes
	services
)

// link is the path between two nodes (client or the numbers of brokers) for one service of node to.
type link struct{ from, to, service int }

// joins reports whether the link connects the node with another broker.
func (l link) joins(node int) bool {
	return l.from != client && l.from != l.to && (l.from == node || l.to == node)
}

// network connects brokers and their clients: a TCP proxy for each service of each broker, which
// identifies the connecting process in /proc. A cut link passes nothing in either direction, as if
// all packets were dropped. Connections stay open, new ones are accepted and hang, and bytes in
// flight arrive after the link has been healed.
type network struct {
	brokers []*process
	ctx     context.Context //nolint:containedctx // that of the test, which all goroutines end with
	running sync.WaitGroup

	mu struct {
		sync.Mutex
		cut     func(link) bool // nil: none
		without int             // a service that is cut permanently; 0: none
		changed chan struct{}   // closed when cut is replaced
	}
}

// startNetwork starts the proxies of the brokers. real and public are the brokers' addresses by
// service.
func startNetwork(t *testing.T, brokers []*process, real, public [][services]string) *network {
	t.Helper()
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		t.Skip("who connects to a proxy is told by /proc, which this system has not")
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	n := &network{brokers: brokers, ctx: ctx}
	n.mu.changed = make(chan struct{})
	t.Cleanup(func() { cancel(); n.running.Wait() })
	var lc net.ListenConfig
	for i := range brokers {
		for service := range services {
			listener, err := lc.Listen(ctx, "tcp", public[i][service])
			if err != nil {
				t.Fatal(err)
			}
			context.AfterFunc(ctx, func() { _ = listener.Close() })
			n.running.Go(func() { n.serve(listener, link{to: i + 1, service: service}, real[i][service]) })
		}
	}
	return n
}

// cut makes the links for which the function returns true pass nothing, and all others everything.
func (n *network) cut(which func(link) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.cut = which
	close(n.mu.changed)
	n.mu.changed = make(chan struct{})
}

// heal makes all links pass everything.
func (n *network) heal() { n.cut(nil) }

// doWithout cuts a service permanently, whatever else is cut or healed.
func (n *network) doWithout(service int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.without = service
}

// pass waits until the link is not cut. It returns false if the test or the connection has ended.
func (n *network) pass(ctx context.Context, l link) bool {
	for {
		n.mu.Lock()
		cut := n.mu.cut != nil && n.mu.cut(l) || n.mu.without != 0 && n.mu.without == l.service
		changed := n.mu.changed
		n.mu.Unlock()
		if !cut {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (n *network) serve(listener net.Listener, l link, target string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed at the end
		}
		n.running.Go(func() { n.connect(conn.(*net.TCPConn), l, target) })
	}
}

// connect joins an accepted connection to the service.
func (n *network) connect(accepted *net.TCPConn, l link, target string) {
	defer accepted.Close()
	l.from = n.owner(accepted)
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	if !n.pass(ctx, l) {
		return
	}
	onward, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", target)
	if err != nil {
		// Nothing listens. A reset is the closest equivalent of a refusal.
		_ = accepted.SetLinger(0)
		return
	}
	defer onward.Close()
	context.AfterFunc(ctx, func() { _, _ = accepted.Close(), onward.Close() })
	var both sync.WaitGroup
	both.Go(func() { n.copy(ctx, onward.(*net.TCPConn), accepted, l) })
	both.Go(func() { n.copy(ctx, accepted, onward.(*net.TCPConn), l) })
	both.Wait()
}

// copy forwards bytes in one direction, and then the end of the connection: a close, or a reset
// like that of a killed process.
func (n *network) copy(ctx context.Context, to, from *net.TCPConn, l link) {
	buf := make([]byte, 64<<10)
	for {
		got, readErr := from.Read(buf)
		if !n.pass(ctx, l) {
			return
		}
		if got > 0 {
			if _, err := to.Write(buf[:got]); err != nil {
				_ = from.SetLinger(0)
				_ = from.Close()
				return
			}
		}
		if errors.Is(readErr, io.EOF) {
			_ = to.CloseWrite()
			return
		}
		if readErr != nil {
			_ = to.SetLinger(0)
			_ = to.Close()
			return
		}
	}
}

// owner returns the broker whose process has the other end of the connection, or client.
func (n *network) owner(accepted net.Conn) int {
	inode := socketInode(accepted.RemoteAddr().(*net.TCPAddr), accepted.LocalAddr().(*net.TCPAddr))
	if inode == "" {
		return client // already closed
	}
	for i, p := range n.brokers {
		fds := filepath.Join("/proc", strconv.FormatInt(p.pid.Load(), 10), "fd")
		entries, err := os.ReadDir(fds)
		if err != nil {
			continue // the process has ended
		}
		for _, e := range entries {
			if target, linkErr := os.Readlink(filepath.Join(fds, e.Name())); linkErr == nil && target == "socket:["+inode+"]" {
				return i + 1
			}
		}
	}
	return client
}

// socketInode returns the inode of the socket between these ends, both IPv4, or "" if there is
// none.
func socketInode(local, remote *net.TCPAddr) string {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}
	ends := hexAddress(local) + " " + hexAddress(remote) + " "
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, ends) {
			if fields := strings.Fields(line); len(fields) > 9 {
				return fields[9]
			}
		}
	}
	return ""
}

// hexAddress returns the address in the form of /proc/net/tcp on a little-endian machine.
func hexAddress(a *net.TCPAddr) string {
	ip := a.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
}

// startProxied starts three brokers like startCluster, which communicate with each other and with
// clients only over the returned network. prepare is called on each of them before the start.
func startProxied(t *testing.T, prepare func(*process)) ([]*process, *network) {
	t.Helper()
	real, public := make([][services]string, 3), make([][services]string, 3)
	var seeds []string
	for i := range real {
		real[i], public[i] = addresses(t), addresses(t)
		seeds = append(seeds, fmt.Sprintf("%d=%s", i+1, public[i][etcdPeers]))
	}
	dir := t.TempDir()
	brokers := make([]*process, len(real))
	for i := range brokers {
		// Clients and the helpers of the tests get the proxy's address.
		brokers[i] = &process{bootstrap: public[i][kafkaService], dataDir: filepath.Join(dir, strconv.Itoa(i+1)), log: &syncBuffer{}}
		brokers[i].args = []string{
			"broker", "start", "--node-id", strconv.Itoa(i + 1), "--seeds", strings.Join(seeds, ","), "--control", real[i][etcdPeers],
			"--data-dir", brokers[i].dataDir, "--listen", real[i][kafkaService], "--advertise", public[i][kafkaService], "--http", "127.0.0.1:0",
			"--object-store", "file://" + filepath.Join(dir, "bucket"), "--set", "group.initial.rebalance.delay.ms=0",
		}
		prepare(brokers[i])
	}
	n := startNetwork(t, brokers, real, public)
	startTogether(t, brokers)
	return brokers, n
}

// addresses returns free addresses for the services of a broker, the three of the control plane
// with consecutive ports.
func addresses(t *testing.T) (a [services]string) {
	t.Helper()
	a[kafkaService] = freeAddress(t)
	control := freeControl(t)
	host, port, err := net.SplitHostPort(control)
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for i, service := range []int{etcdPeers, etcdClients, natsRoutes} {
		a[service] = net.JoinHostPort(host, strconv.Itoa(first+i))
	}
	return a
}

// TestNetworkCuts checks a property of the proxy on which the tests rely. Bytes written over a cut
// link arrive after it is healed, not before, on open connections and on new ones.
func TestNetworkCuts(t *testing.T) {
	var lc net.ListenConfig
	echo, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var echoing sync.WaitGroup
	t.Cleanup(func() { _ = echo.Close(); echoing.Wait() })
	echoing.Go(func() {
		for {
			conn, acceptErr := echo.Accept()
			if acceptErr != nil {
				return
			}
			echoing.Go(func() { defer conn.Close(); _, _ = io.Copy(conn, conn) })
		}
	})
	real := [services]string{echo.Addr().String(), echo.Addr().String(), echo.Addr().String(), echo.Addr().String()}
	public := addresses(t)
	self := &process{}
	n := startNetwork(t, []*process{self}, [][services]string{real}, [][services]string{public})
	for _, from := range []int{client, 1} { // this process acts as a client, then as the broker
		if from == 1 {
			self.pid.Store(int64(os.Getpid()))
		}
		open := echoes(t, public[kafkaService])
		if !open("before", time.Minute) {
			t.Fatal("nothing passes")
		}
		n.cut(func(l link) bool { return l == link{from: 1 - from, to: 1, service: kafkaService} })
		if !open("other", time.Minute) {
			t.Fatal("another link was cut, and this one too")
		}
		n.cut(func(l link) bool { return l == link{from: from, to: 1, service: kafkaService} })
		fresh := echoes(t, public[kafkaService])
		if open("x", 200*time.Millisecond) || fresh("x", 200*time.Millisecond) {
			t.Fatal("the link is cut, and something passes")
		}
		n.heal()
		if !open("", time.Minute) || !fresh("", time.Minute) {
			t.Fatal("what was on its way did not arrive")
		}
	}
}

// echoes connects to an echo server. The returned function writes, and reports whether as many
// bytes return within the time, including those that are outstanding from earlier calls.
func echoes(t *testing.T, address string) func(text string, within time.Duration) bool {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	missing := 0
	return func(text string, within time.Duration) bool {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		missing += len(text)
		_ = conn.SetReadDeadline(time.Now().Add(within))
		got, err := io.ReadFull(conn, make([]byte, missing))
		missing -= got
		return err == nil
	}
}
