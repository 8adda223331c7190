package broker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// The server passes these to a broker.
var (
	_ cluster          = (*metadata.Loader)(nil)
	_ admin            = (*metadata.Admin)(nil)
	_ groupCoordinator = (*groups.Coordinator)(nil)
)

// testCluster is a broker with real metadata in memory, and handlers that are called without a
// connection.
type testCluster struct {
	*Broker
	t        testing.TB
	store    *kvtest.MemStore
	loader   *metadata.Loader
	replicas *servedReplicas
	groups   *heardGroups
	logs     *logBuffer
}

// servedReplicas serves every partition at once, or fails with err.
type servedReplicas struct {
	err    error
	waited []metadata.TopicID
}

func (s *servedReplicas) AwaitServed(_ context.Context, topics []metadata.TopicID) error {
	s.waited = append(s.waited, topics...)
	return s.err
}

// newTestCluster starts a cluster of live brokers 1 to n. Broker 1 answers.
func newTestCluster(t testing.TB, n int, static map[string]string) *testCluster {
	t.Helper()
	store := kvtest.NewMemStore()
	loader := metadata.NewLoader(metadata.LoaderOptions{Store: store, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // ends after the test itself
	done := make(chan error, 1)
	go func() { done <- loader.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = store.Close()
	})
	if _, err := metadata.EnsureClusterID(t.Context(), store, nil); err != nil {
		t.Fatal(err)
	}
	c := &testCluster{t: t, store: store, loader: loader, replicas: new(servedReplicas), groups: new(heardGroups), logs: new(logBuffer)}
	for id := range int32(n) {
		c.register(id + 1)
	}
	cfg := DefaultConfig()
	cfg.NodeID, cfg.InterBrokerListener = 1, "PLAINTEXT"
	c.Broker = New(Options{
		Config: cfg, Logger: c.logs.logger(), Cluster: loader, Static: static, Replicas: c.replicas, Groups: c.groups,
		Admin: metadata.NewAdmin(metadata.AdminOptions{Store: store, Loader: loader, Now: time.Now}),
	})
	return c
}

// register makes a broker live. Its rack is "r", and it listens on PLAINTEXT at broker<id>:9092,
// broker 1 on INTERNAL as well.
func (c *testCluster) register(id int32) *metadata.Registration {
	c.t.Helper()
	host := "broker" + string('0'+id)
	listeners := []metadata.Listener{{Name: "PLAINTEXT", Host: host, Port: 9092, Protocol: "PLAINTEXT"}}
	if id == 1 {
		listeners = append(listeners, metadata.Listener{Name: "INTERNAL", Host: host, Port: 9093, Protocol: "PLAINTEXT"})
	}
	return c.registerAt(id, listeners...)
}

func (c *testCluster) registerAt(id int32, listeners ...metadata.Listener) *metadata.Registration {
	c.t.Helper()
	r := metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.store, BrokerID: id, DirectoryID: "directory of " + listeners[0].Host, Rack: "r", Listeners: listeners, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	epoch, err := r.Register(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.loader.WaitRevision(c.t.Context(), epoch); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// stop ends a broker's registration.
func (c *testCluster) stop(r *metadata.Registration) {
	c.t.Helper()
	if err := r.Deregister(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.loader.Wait(c.t.Context(), gone(r.BrokerID())); err != nil {
		c.t.Fatal(err)
	}
}

// call lets a handler answer a request and passes both through their encodings, as a connection
// would.
func (c *testCluster) call(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	return c.callFrom(&Request{Listener: "PLAINTEXT", Host: "10.0.0.9"}, req)
}

func (c *testCluster) callFrom(r *Request, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	a, ok := c.apis[req.Key()]
	if !ok || !a.serves(req.GetVersion()) {
		c.t.Fatalf("%T v%d is not served", req, req.GetVersion())
	}
	r.Key, r.Version, r.ClientID = req.Key(), req.GetVersion(), "client"
	sent := a.newRequest()
	sent.SetVersion(req.GetVersion())
	if err := sent.ReadFrom(req.AppendTo(nil)); err != nil {
		c.t.Fatalf("decode request: %v", err)
	}
	resp := a.handle(c.Broker, c.t.Context(), r, sent)
	resp.SetVersion(req.GetVersion())
	got := req.ResponseKind()
	if err := got.ReadFrom(resp.AppendTo(nil)); err != nil {
		c.t.Fatalf("decode response: %v", err)
	}
	return got
}

// topic creates a topic and returns it from the image.
func (c *testCluster) topic(name string, partitions int32, replicationFactor int16) *metadata.Topic {
	c.t.Helper()
	results := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{{Name: name, Partitions: partitions, ReplicationFactor: replicationFactor}}, false)
	if results[0].Err != nil {
		c.t.Fatal(results[0].Err)
	}
	topic, ok := c.loader.Image().TopicByName(name)
	if !ok {
		c.t.Fatalf("topic %s is not there", name)
	}
	return topic
}

// shown makes a nullable string printable.
func shown(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}
