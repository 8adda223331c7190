package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestStopAnswersWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, func(c *Config) { c.DrainTimeout = time.Minute })
		b.override(serve(0, 2, func(_ *Broker, ctx context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			if err := pause(ctx, 30*time.Second); err != nil {
				return answer(req, err.Error())
			}
			return answer(req, "done")
		}))
		r := serveOn(t, b)
		c, idle := r.dial(t, "client:1"), r.dial(t, "client:2")
		c.send(1, clusterRequest(0))
		synctest.Wait()
		start := time.Now()
		r.stop()
		idle.expectEnd()
		answered(t, c.expect(1, clusterRequest(0)), "done")
		c.expectEnd()
		r.finish(t, b)
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("took %s", d)
		}
	})
}

func TestStopHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, func(c *Config) { c.DrainTimeout = time.Minute })
		var cause error
		b.override(serve(0, 2, func(_ *Broker, ctx context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return answer(req, "")
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		c.send(1, clusterRequest(0))
		synctest.Wait()
		start := time.Now()
		r.finish(t, b)
		if d := time.Since(start); d != time.Minute || !errors.Is(cause, errDrainTimeout) {
			t.Errorf("took %s, cause %v", d, cause)
		}
		c.expectEnd()
	})
}

func TestConnectionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, func(c *Config) { c.MaxConnections, c.MaxConnectionsPerIP = 3, 2 })
		r := serveOn(t, b)
		one, two := r.dial(t, "10.0.0.1:1"), r.dial(t, "10.0.0.1:2")
		r.dial(t, "10.0.0.1:3").expectEnd() // per address: closed
		r.dial(t, "10.0.0.2:1")
		synctest.Wait() // a dial returns after the accept, before the connection is counted
		if got := value(t, b.metrics.connections); got != 3 {
			t.Errorf("%v connections open", got)
		}
		if got := value(t, b.metrics.rejected.WithLabelValues("per_ip")); got != 1 {
			t.Errorf("%v connections rejected", got)
		}
		fourth := r.dial(t, "10.0.0.3:1") // the total limit: waits
		served := make(chan struct{})
		go func() {
			defer close(served)
			fourth.call(1, kmsg.NewPtrApiVersionsRequest())
		}()
		synctest.Wait()
		select {
		case <-served:
			t.Error("a fourth connection was served")
		default:
		}
		_ = one.Close()
		<-served
		_ = two.Close()
		synctest.Wait()
		// its address has room again
		r.dial(t, "10.0.0.1:4").call(1, kmsg.NewPtrApiVersionsRequest())
		r.finish(t, b)
		if got := value(t, b.metrics.connections); got != 0 {
			t.Errorf("%v connections open after the end", got)
		}
	})
}

// TestListenersShareTheLimits has three listeners: the two for clients share one limit, the
// brokers' has its own.
func TestListenersShareTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, func(c *Config) { c.MaxConnections, c.MaxConnectionsPerIP, c.InterBrokerListener = 2, 3, "INTERNAL" })
		external, other, internal := serveNamed(t, b, "EXTERNAL"), serveNamed(t, b, "OTHER"), serveNamed(t, b, "INTERNAL")
		served := func(c *client) chan struct{} {
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.call(1, kmsg.NewPtrApiVersionsRequest())
			}()
			synctest.Wait()
			return done
		}
		isServed := func(done chan struct{}) bool {
			select {
			case <-done:
				return true
			default:
				return false
			}
		}
		one, two := external.dial(t, "10.0.0.1:1"), other.dial(t, "10.0.0.1:2")
		if !isServed(served(one)) || !isServed(served(two)) {
			t.Fatal("the first two are not served")
		}
		third := served(external.dial(t, "10.0.0.2:1"))
		if isServed(third) {
			t.Error("a third client is served")
		}
		if !isServed(served(internal.dial(t, "10.0.0.1:3"))) {
			t.Error("clients keep a broker from being served")
		}
		internal.dial(t, "10.0.0.1:4").expectEnd() // per address, over all listeners
		_ = two.Close()
		<-third
		for _, r := range []*running{external, other, internal} {
			r.stop()
			if err := <-r.done; err != nil {
				t.Error(err)
			}
		}
		if got := value(t, b.metrics.connections); got != 0 {
			t.Errorf("%v connections open after the end", got)
		}
	})
}

func TestFailedAcceptIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, logs := newPlainBroker(t, nil)
		r := serveOn(t, b)
		r.stop()
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
		failing := &failingListener{pipes: newPipes(), failures: 3}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.NewListener("PLAINTEXT", nil).Serve(ctx, failing) }()
		failing.dial(t, "client:1").call(1, kmsg.NewPtrApiVersionsRequest())
		expectLogged(t, logs, "accept connection", 3)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		broken := newPipes()
		_ = broken.Close() // outside of Serve
		if err := b.NewListener("PLAINTEXT", nil).Serve(t.Context(), broken); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a listener that was closed by somebody else: %v", err)
		}
	})
}

type failingListener struct {
	*pipes
	failures int
}

func (f *failingListener) Accept() (net.Conn, error) {
	if f.failures > 0 {
		f.failures--
		return nil, errors.New("too many open files")
	}
	return f.pipes.Accept()
}

// TestAnnouncingClientsCostNothing: 200 clients announce 100 MiB each over real sockets and send
// nothing, while another client is served.
func TestAnnouncingClientsCostNothing(t *testing.T) {
	b, _ := newPlainBroker(t, nil)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.NewListener("PLAINTEXT", nil).Serve(ctx, ln) }()
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 200 {
		if _, err := dial().Write(binary.BigEndian.AppendUint32(nil, 100<<20)); err != nil {
			t.Fatal(err)
		}
	}
	victim := &client{t: t, Conn: dial()}
	for i := range int32(10) {
		victim.call(i, kmsg.NewPtrApiVersionsRequest())
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc - before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if used := b.budget.Used(); used > 1<<20 {
		t.Errorf("%d bytes of the budget in use", used)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
