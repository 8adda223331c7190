// Package metadatatest has what tests above package metadata need of a cluster: a loader and an
// admin on a store, registered brokers, and topics. No product code imports it. Tests within
// package metadata cannot import it either, because it imports metadata: they have a test cluster
// of their own (cluster_test.go), which must stay the smaller one.
package metadatatest

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/runtest"
)

// waitTimeout bounds each wait for an image.
const waitTimeout = 30 * time.Second

// Cluster is a store with the loader and the admin of one broker.
type Cluster struct {
	Store    kv.Store
	Loader   *metadata.Loader
	Admin    *metadata.Admin
	Registry *prometheus.Registry // of the loader's metrics
	// Now is the admin's clock: time.Now until a test replaces it.
	Now func() time.Time
}

// New returns a cluster on a store. Its loader runs until the test ends.
func New(t testing.TB, store kv.Store) *Cluster {
	t.Helper()
	c := &Cluster{Store: store, Registry: prometheus.NewRegistry(), Now: time.Now}
	c.Loader = metadata.NewLoader(metadata.LoaderOptions{Store: store, Logger: runtest.Logger(t), Registerer: c.Registry})
	c.Admin = metadata.NewAdmin(metadata.AdminOptions{Store: store, Loader: c.Loader, Now: func() time.Time { return c.Now() }})
	runtest.Background(t, c.Loader.Run)
	c.Wait(t, func(m *metadata.Image) bool { return m.Revision > 0 })
	return c
}

// Wait returns the first image for which ok returns true: see Loader.Wait.
func (c *Cluster) Wait(t testing.TB, ok func(*metadata.Image) bool) *metadata.Image {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	image, err := c.Loader.Wait(ctx, ok)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Registration returns a registration of a broker with one listener, PLAINTEXT at port 9092 + id.
func (c *Cluster) Registration(t testing.TB, id int32, directory, rack string) *metadata.Registration {
	t.Helper()
	return metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.Store, BrokerID: id, DirectoryID: directory, Rack: rack, Now: time.Now, Logger: runtest.Logger(t),
		Listeners: []metadata.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092 + id, Protocol: "PLAINTEXT"}},
	})
}

// Register registers brokers, each with a data directory of its own. It does not renew their
// leases: run the registrations for that.
func (c *Cluster) Register(t testing.TB, ids ...int32) []*metadata.Registration {
	t.Helper()
	registrations := make([]*metadata.Registration, len(ids))
	for i, id := range ids {
		registrations[i] = c.Registration(t, id, metadata.NewTopicID().String(), "")
		epoch, err := registrations[i].Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.Wait(t, func(m *metadata.Image) bool { return m.Brokers[id].Epoch == epoch })
	}
	return registrations
}

// Create creates a topic.
func (c *Cluster) Create(t testing.TB, spec metadata.TopicSpec) *metadata.Topic {
	t.Helper()
	if err := c.Admin.CreateTopics(t.Context(), []metadata.TopicSpec{spec}, false)[0].Err; err != nil {
		t.Fatal(err)
	}
	topic, ok := c.Loader.Image().TopicByName(spec.Name)
	if !ok {
		t.Fatalf("topic %s is not in the image after its creation", spec.Name)
	}
	return topic
}
