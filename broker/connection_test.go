package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// answer is a response that names its request.
func answer(req kmsg.Request, text string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.ClusterID = text
	return resp
}

func answered(t *testing.T, resp kmsg.Response, want string) {
	t.Helper()
	if got := resp.(*kmsg.DescribeClusterResponse).ClusterID; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
}

func TestResponsesComeInRequestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		var accepted []int32
		first := make(chan struct{})
		b.override(servePipelined(0, 2, func(_ *Broker, _ context.Context, r *Request, req *kmsg.DescribeClusterRequest) stage2 {
			accepted = append(accepted, r.CorrelationID)
			return stage2{respond: func(context.Context) kmsg.Response {
				if r.CorrelationID == 1 {
					<-first
				}
				return answer(req, r.ClientID)
			}}
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		for i := range int32(3) {
			c.send(i+1, clusterRequest(0))
		}
		synctest.Wait()
		if len(accepted) != 3 || accepted[0] != 1 || accepted[2] != 3 {
			t.Errorf("accepted %v while the first response is outstanding", accepted)
		}
		close(first)
		for i := range int32(3) {
			answered(t, c.expect(i+1, clusterRequest(0)), "test")
		}
		r.finish(t, b)
	})
}

// TestReadyAnswersKeepTheirTurn: a response that is ready still waits for the earlier ones.
func TestReadyAnswersKeepTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		first := make(chan struct{})
		b.override(servePipelined(0, 2, func(_ *Broker, _ context.Context, r *Request, req *kmsg.DescribeClusterRequest) stage2 {
			slow := r.CorrelationID == 2
			return stage2{ready: !slow, respond: func(context.Context) kmsg.Response {
				if slow {
					<-first
				}
				return answer(req, r.ClientID)
			}}
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		answered(t, c.call(1, clusterRequest(0)), "test")
		for i := range int32(3) {
			c.send(i+2, clusterRequest(0))
		}
		synctest.Wait()
		close(first)
		for i := range int32(3) {
			answered(t, c.expect(i+2, clusterRequest(0)), "test")
		}
		answered(t, c.call(5, clusterRequest(0)), "test")
		r.finish(t, b)
	})
}

// TestRequestsInFlightAreBounded: a client with one slow handler cannot pile up requests in memory.
func TestRequestsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, func(c *Config) { c.MaxInFlight = 3 })
		var accepted int
		release := make(chan struct{})
		b.override(servePipelined(0, 2, func(_ *Broker, _ context.Context, _ *Request, req *kmsg.DescribeClusterRequest) stage2 {
			accepted++
			return stage2{respond: func(context.Context) kmsg.Response {
				<-release
				return answer(req, "")
			}}
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		go func() {
			for i := range int32(10) {
				c.send(i, clusterRequest(0))
			}
		}()
		synctest.Wait()
		if accepted != 4 { // one is being answered, two are in the queue, one waits for the queue
			t.Errorf("%d requests accepted", accepted)
		}
		close(release)
		for i := range int32(10) {
			c.expect(i, clusterRequest(0))
		}
		r.finish(t, b)
	})
}

func TestNoResponseWhereNoneIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		b.override(serve(0, 2, func(_ *Broker, _ context.Context, r *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			if r.CorrelationID == 1 {
				return nil
			}
			return answer(req, "second")
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		c.send(1, clusterRequest(0))
		answered(t, c.call(2, clusterRequest(0)), "second")
		r.finish(t, b)
	})
}

func TestHandlerClosesConnectionAfterEarlierResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		b.override(servePipelined(0, 2, func(_ *Broker, _ context.Context, r *Request, req *kmsg.DescribeClusterRequest) stage2 {
			if r.CorrelationID == 2 {
				r.CloseConnection("because")
			}
			return stage2{respond: func(context.Context) kmsg.Response {
				if r.CorrelationID == 1 {
					return answer(req, "first")
				}
				return nil
			}}
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		c.send(1, clusterRequest(0))
		c.send(2, clusterRequest(0))
		answered(t, c.expect(1, clusterRequest(0)), "first")
		c.expectEnd()
		r.finish(t, b)
	})
}

func TestWhatIsNotServedEndsTheConnection(t *testing.T) {
	tooNew := clusterRequest(2)
	tooNew.Version = 3
	unserved := kmsg.NewPtrVoteRequest()
	header := []byte{0, 60, 0, 0, 0, 0, 0, 2, 0, 0, 0}
	cases := map[string][]byte{
		"unknown version":   kmsg.NewRequestFormatter().AppendRequest(nil, tooNew, 2),
		"unserved API":      kmsg.NewRequestFormatter().AppendRequest(nil, unserved, 2),
		"unknown API":       {0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 2, 0xff, 0xff},
		"negative version":  {0, 0, 0, 10, 0, 60, 0xff, 0xff, 0, 0, 0, 2, 0xff, 0xff},
		"short header":      {0, 0, 0, 3, 0, 60, 0},
		"body missing":      append([]byte{0, 0, 0, byte(len(header))}, header...),
		"endless tags":      append(append([]byte{0, 0, 0, byte(len(header) + 6)}, header...), 0, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"frame of 2 GiB":    {0x7f, 0xff, 0xff, 0xff},
		"frame of 0 bytes":  {0, 0, 0, 0},
		"frame of -1 bytes": {0xff, 0xff, 0xff, 0xff},
		"HTTP":              []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, logs := newPlainBroker(t, nil)
				release := make(chan struct{})
				b.override(serve(0, 2, func(_ *Broker, _ context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
					<-release
					return answer(req, "before")
				}))
				r := serveOn(t, b)
				c := r.dial(t, "client:1")
				c.send(1, clusterRequest(0))
				go func() { _, _ = c.Write(bad) }()
				synctest.Wait()
				close(release)
				// earlier requests are still answered
				answered(t, c.expect(1, clusterRequest(0)), "before")
				c.expectEnd()
				synctest.Wait()
				if got := value(t, b.metrics.badRequests); got != 1 {
					t.Errorf("%v bad requests counted", got)
				}
				expectLogged(t, logs, "level", 0)
				r.finish(t, b)
			})
		})
	}
}

func TestUnknownAPIVersionsVersionIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		for _, rest := range [][]byte{nil, {0xff, 0xff}, {0, 200, 1}, bytes.Repeat([]byte{0xff}, 40)} {
			frame := append([]byte{0, 18, 0, 99, 0, 0, 0, 7}, rest...)
			go func() { _, _ = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)) }()
			v0 := kmsg.NewPtrApiVersionsRequest()
			resp := c.expect(7, v0).(*kmsg.ApiVersionsResponse)
			if resp.ErrorCode != int16(protocol.UnsupportedVersion) || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion != 4 {
				t.Errorf("answer %+v", resp)
			}
		}
		if got := c.call(8, kmsg.NewPtrApiVersionsRequest()).(*kmsg.ApiVersionsResponse); got.ErrorCode != 0 {
			t.Errorf("then: %+v", got)
		}
		r.finish(t, b)
	})
}

func TestPanicEndsOneConnection(t *testing.T) {
	for _, where := range []string{"accept", "handle"} {
		synctest.Test(t, func(t *testing.T) {
			b, logs := newPlainBroker(t, nil)
			b.override(servePipelined(0, 2, func(_ *Broker, _ context.Context, r *Request, req *kmsg.DescribeClusterRequest) stage2 {
				if r.CorrelationID == 666 && where == "accept" {
					panic("ouch")
				}
				return stage2{respond: func(context.Context) kmsg.Response {
					if r.CorrelationID == 666 {
						panic("ouch")
					}
					return answer(req, "fine")
				}}
			}))
			r := serveOn(t, b)
			c, other := r.dial(t, "client:1"), r.dial(t, "client:2")
			c.send(666, clusterRequest(0))
			c.expectEnd()
			answered(t, other.call(1, clusterRequest(0)), "fine")
			expectLogged(t, logs, "request handler panicked", 1)
			expectLogged(t, logs, "connection_test.go", 1)
			if got := value(t, b.metrics.panics); got != 1 {
				t.Errorf("%v panics counted", got)
			}
			r.finish(t, b)
		})
	}
}

func TestIdleConnectionsEndUnlessWeAreTheSlowOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, func(c *Config) { c.IdleTimeout = time.Minute })
		b.override(serve(0, 2, func(_ *Broker, ctx context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			_ = pause(ctx, 150*time.Second)
			return answer(req, "late")
		}))
		r := serveOn(t, b)
		start := time.Now()
		c := r.dial(t, "client:1")
		answered(t, c.call(1, clusterRequest(0)), "late")
		answered(t, c.call(2, clusterRequest(0)), "late")
		c.expectEnd()
		if d := time.Since(start); d < 5*time.Minute || d > 7*time.Minute {
			t.Errorf("ended after %s", d)
		}
		r.finish(t, b)
	})
}

func TestHandlersLearnThatTheClientLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		var cause error
		b.override(serve(0, 2, func(_ *Broker, ctx context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return answer(req, "")
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		c.send(1, clusterRequest(0))
		c.send(2, clusterRequest(0))
		_ = c.Close()
		synctest.Wait()
		if cause == nil {
			t.Error("the handler still waits")
		}
		r.finish(t, b)
	})
}

func TestSlowReadersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, func(c *Config) { c.WriteTimeout = time.Minute })
		b.override(serve(0, 2, func(_ *Broker, _ context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			return answer(req, string(make([]byte, 1<<20)))
		}))
		r := serveOn(t, b)
		start := time.Now()
		c := r.dial(t, "client:1")
		c.send(1, clusterRequest(0))
		if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
			t.Error(err)
		}
		<-time.After(2 * time.Minute) // does not read
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 2*time.Minute {
			t.Errorf("the connection lived for %s", d)
		}
		r.finish(t, b)
	})
}

func TestSoftwareIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		var seen Software
		b.override(serve(0, 2, func(_ *Broker, _ context.Context, r *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			seen = r.Software()
			return answer(req, r.Host)
		}))
		r := serveOn(t, b)
		c := r.dial(t, "10.1.2.3:999")
		hello := kmsg.NewPtrApiVersionsRequest()
		hello.Version, hello.ClientSoftwareName, hello.ClientSoftwareVersion = 3, "apache-kafka-java", "4.3.1"
		c.call(1, hello)
		answered(t, c.call(2, clusterRequest(0)), "10.1.2.3")
		if seen != (Software{Name: "apache-kafka-java", Version: "4.3.1"}) {
			t.Errorf("software %+v", seen)
		}
		r.finish(t, b)
	})
}

// TestFollowersThatBreakOffAreSuspect: the end of a follower's connection is reported. That of a
// consumer, that by the listener's stop, and that after a follower's last fetch are not.
func TestFollowersThatBreakOffAreSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		b.override(serve(4, 18, func(_ *Broker, _ context.Context, r *Request, req *kmsg.FetchRequest) kmsg.Response {
			if m := (&metadata.Member{Broker: req.ReplicaState.ID, Epoch: req.ReplicaState.Epoch}); m.Broker >= 0 {
				r.setFollower(m)
			} else {
				r.setFollower(nil)
			}
			return req.ResponseKind()
		}))
		suspects := make(chan metadata.Member, 3)
		b.suspect = func(m metadata.Member, err error) {
			if !errors.Is(err, io.EOF) {
				t.Errorf("it ended by %v", err)
			}
			suspects <- m
		}
		r := serveOn(t, b)
		fetch := func(remote string, replica int32, epoch int64) *client {
			c := r.dial(t, remote)
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.ReplicaState.ID, req.ReplicaState.Epoch = 17, replica, epoch
			c.call(1, req)
			return c
		}
		stays := fetch("client:1", 3, 8)
		leaves := fetch("client:4", 4, 9)
		last := kmsg.NewPtrFetchRequest()
		last.Version, last.ReplicaState.ID, last.ReplicaState.Epoch = 17, -1, -1
		leaves.call(2, last)
		for _, c := range []*client{fetch("client:2", 2, 7), fetch("client:3", -1, -1), leaves} {
			_ = c.Close()
		}
		synctest.Wait()
		if len(suspects) != 1 || <-suspects != (metadata.Member{Broker: 2, Epoch: 7}) {
			t.Error("it was not told that broker 2 has broken off, or more")
		}
		r.finish(t, b)
		if _, err := stays.Read(make([]byte, 1)); err == nil || len(suspects) > 0 {
			t.Errorf("after the listener's end: %v, %d suspects", err, len(suspects))
		}
	})
}

// FuzzConnection: any bytes end in an answer or a closed connection, never in a panic or a leak of
// the budget.
func FuzzConnection(f *testing.F) {
	f.Add([]byte{0, 0, 0, 10, 0, 60, 0, 0, 0, 0, 0, 2, 0xff, 0xff})
	f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1))
	f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, clusterRequest(2), 1))
	f.Fuzz(func(t *testing.T, stream []byte) {
		b, logs := newPlainBroker(t, nil)
		// The connection is fuzzed: the parts behind other handlers do not exist.
		maps.DeleteFunc(b.apis, func(key int16, _ *api) bool { return key != apiVersionsKey && key != 60 })
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		go func() {
			_, _ = c.Write(stream)
			_ = c.Close()
		}()
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		r.finish(t, b)
		expectLogged(t, logs, "panicked", 0)
	})
}
