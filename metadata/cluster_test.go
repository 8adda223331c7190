package metadata

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/runtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a store with the loader and the admin of one broker. It is metadatatest.Cluster for
// the tests within this package, which cannot import that package.
type cluster struct {
	store  kv.Store
	loader *Loader
	admin  *Admin
	now    func() time.Time
}

// newCluster returns a cluster whose loader runs until the test ends.
func newCluster(t *testing.T, store kv.Store) *cluster {
	t.Helper()
	return newClusterOf(t, store, nil)
}

// newClusterOf is newCluster for a build that supports these features.
func newClusterOf(t *testing.T, store kv.Store, features map[string]FeatureRange) *cluster {
	t.Helper()
	c := &cluster{store: store, now: time.Now}
	c.loader = NewLoader(LoaderOptions{Store: store, Logger: runtest.Logger(t), Features: features})
	c.admin = NewAdmin(AdminOptions{Store: store, Loader: c.loader, Now: func() time.Time { return c.now() }})
	runtest.Background(t, c.loader.Run)
	c.wait(t, func(m *Image) bool { return m.Revision > 0 })
	return c
}

// topic returns the present state of a topic, nil if it does not exist.
func (c *cluster) topic(name string) *Topic {
	t, _ := c.loader.Image().TopicByName(name)
	return t
}

func (c *cluster) wait(t *testing.T, ok func(*Image) bool) *Image {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	image, err := c.loader.Wait(ctx, ok)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func (c *cluster) registration(t *testing.T, id int32, directory, rack string) *Registration {
	t.Helper()
	return NewRegistration(RegistrationOptions{
		Store: c.store, BrokerID: id, DirectoryID: directory, Rack: rack, Now: time.Now, Logger: runtest.Logger(t),
		Listeners: []Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092 + id, Protocol: "PLAINTEXT"}},
	})
}

// register registers brokers once and does not renew their leases.
func (c *cluster) register(t *testing.T, ids ...int32) []*Registration {
	t.Helper()
	registrations := make([]*Registration, len(ids))
	for i, id := range ids {
		registrations[i] = c.registration(t, id, NewTopicID().String(), "")
		epoch, err := registrations[i].Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.wait(t, func(m *Image) bool { return m.Brokers[id].Epoch == epoch })
	}
	return registrations
}

// create creates one topic that must not fail.
func (c *cluster) create(t *testing.T, spec TopicSpec) *Topic {
	t.Helper()
	if err := c.admin.CreateTopics(t.Context(), []TopicSpec{spec}, false)[0].Err; err != nil {
		t.Fatal(err)
	}
	topic, ok := c.loader.Image().TopicByName(spec.Name)
	if !ok {
		t.Fatalf("topic %s is not in the image after its creation", spec.Name)
	}
	return topic
}
