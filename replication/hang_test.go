package replication

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// stuckFS is a file system on which writes to some files do not return until it is freed.
type stuckFS struct {
	vfs.FS
	name  string        // part of the files' names
	began chan struct{} // receives a token for each write that does not return
	free  chan struct{}
}

func newStuckFS(name string) *stuckFS {
	return &stuckFS{FS: vfs.NewMem(), name: name, began: make(chan struct{}, 1000), free: make(chan struct{})}
}

func (s *stuckFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.Contains(name, s.name) {
		return f, err
	}
	return &stuckFile{f, s}, nil
}

type stuckFile struct {
	vfs.File
	fs *stuckFS
}

func (f *stuckFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.began <- struct{}{}
	<-f.fs.free
	return f.File.WriteAt(p, off)
}

// hangTest has broker 1, which leads everything, and broker 2, which is only registered. Broker 1
// will have to resign.
type hangTest struct {
	*cluster
	registration *metadata.Registration
	second       metadata.Member // broker 2
	ids          map[string]metadata.TopicID
}

func newHangTest(t *testing.T, fsys vfs.FS) *hangTest {
	t.Helper()
	c := &hangTest{cluster: newClusterTest(t, fsys), ids: map[string]metadata.TopicID{}}
	second := metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.store, BrokerID: 2, DirectoryID: "e", Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	epoch, err := second.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.second = metadata.Member{Broker: 2, Epoch: epoch}
	c.registration = c.register()
	background(t, controller.New(controller.Options{
		Store: c.store, Loader: c.follower, Registration: c.registration, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}).Run)
	c.start(nil)
	return c
}

// make creates a topic that broker 1 leads, with broker 2 in sync.
func (c *hangTest) make(name string, partitions int) {
	c.t.Helper()
	spec := metadata.TopicSpec{Name: name, Assignments: map[int32][]int32{}}
	for n := range int32(partitions) {
		spec.Assignments[n] = []int32{1, 2}
	}
	r := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{spec}, false)[0]
	if r.Err != nil {
		c.t.Fatal(r.Err)
	}
	c.ids[name] = r.ID
	c.served(name)
}

// served waits until a topic's partitions are what the image says now.
func (c *hangTest) served(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if err := c.m.AwaitServed(ctx, []metadata.TopicID{c.ids[name]}); err != nil {
		c.t.Fatalf("%s does not become what it has to: %v", name, err)
	}
}

// handOver makes the controller elect broker 2 for all partitions.
func (c *hangTest) handOver() {
	c.t.Helper()
	if err := c.registration.BeginControlledShutdown(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.follower.Wait(c.t.Context(), func(m *metadata.Image) bool { return m.ShouldShutDown(1) }); err != nil {
		c.t.Fatal(err)
	}
}

// R13: a partition whose append does not return cannot change its role. All others can: leaders
// resign, and new partitions are created.
func TestHangingAppendHoldsUpNoOtherPartition(t *testing.T) {
	const hanging = 3 * 16 // more than the pool has places for jobs
	disk := newStuckFS("/bad-")
	c := newHangTest(t, disk)
	c.make("bad", hanging)
	c.make("good", 20)
	var appends sync.WaitGroup
	for n := range int32(hanging) {
		p := c.partition("bad", n)
		appends.Go(func() { _, _ = p.Append(batch(t, 1000, "v"), AcksAll) })
	}
	free := sync.OnceFunc(func() { close(disk.free); appends.Wait() })
	t.Cleanup(free)
	for range hanging {
		<-disk.began
	}
	c.handOver()
	c.served("good")
	for n := range int32(20) {
		if c.partition("good", n).IsLeader() {
			t.Errorf("good-%d still leads", n)
		}
	}
	c.make("new", 3)
	if !c.partition("bad", 0).IsLeader() {
		t.Error("a partition has resigned during an append")
	}
	free()
	c.served("bad")
	if c.partition("bad", 0).IsLeader() {
		t.Error("bad-0 still leads after its append has returned")
	}
}

// inSync waits until n replicas of a topic's only partition are in sync in the image.
func (c *hangTest) inSync(topic string, n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	_, err := c.follower.Wait(ctx, func(m *metadata.Image) bool {
		p, ok := m.Partition(metadata.TopicPartition{Topic: topic})
		return ok && len(p.ISR) == n
	})
	if err != nil {
		c.t.Fatalf("%s does not come to have %d in sync: %v", topic, n, err)
	}
}

// returns checks that do returns soon, and ends the test if it does not.
func (c *hangTest) returns(what string, do func()) {
	c.t.Helper()
	returned := make(chan struct{})
	go func() { defer close(returned); do() }()
	select {
	case <-returned:
	case <-time.After(20 * time.Second):
		c.t.Fatalf("%s does not return", what)
	}
}

// R14: while a partition's append does not return, the ISRs of other partitions change, their
// followers get their records, and queries about the partition itself are answered.
func TestHangingAppendHoldsUpNoInSyncSet(t *testing.T) {
	disk := newStuckFS("/bad-")
	c := newHangTest(t, disk)
	c.maxLag = 100 * time.Millisecond
	c.restart()
	var working []metadata.DirectoryID
	for _, id := range c.storage.OnlineDirs() {
		working = append(working, id)
	}
	if err := c.registration.SetDirectories(t.Context(), working); err != nil {
		t.Fatal(err)
	}
	c.make("bad", 1)
	bad := c.partition("bad", 0)
	var appends sync.WaitGroup
	appends.Go(func() { _, _ = bad.Append(batch(t, 1000, "v"), AcksLeader) })
	t.Cleanup(func() { close(disk.free); appends.Wait() })
	<-disk.began
	c.make("good", 1)
	good := c.partition("good", 0)
	c.inSync("good", 1) // broker 2 does not fetch
	if _, err := good.Append(batch(t, 1000, "v"), AcksLeader); err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	fetch := func() (got []string) {
		results := make([]FetchResult, 2)
		c.m.Fetch(t.Context(), FetchParams{MaxWait: time.Millisecond, MinBytes: 1, MaxBytes: 1 << 20, Isolation: ReadLogEnd, Replica: &c.second}, []FetchPartition{
			{Partition: bad, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, HighWatermark: -1},
			{Partition: good, Offset: at, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, HighWatermark: -1},
		}, results)
		for i := range results {
			if results[i].Err != nil {
				t.Errorf("fetch: %v", results[i].Err)
			}
			defer results[i].Records.Release()
		}
		return values(t, &results[1].Records, at)
	}
	c.returns("a fetch that names the partition among others", func() {
		if got := fetch(); len(got) != 1 {
			t.Errorf("the follower gets %v", got)
		}
	})
	at = 1
	ctx, cancel := context.WithCancel(t.Context())
	var fetching sync.WaitGroup
	fetching.Go(func() {
		for ctx.Err() == nil {
			fetch()
		}
	})
	defer fetching.Wait()
	defer cancel()
	c.inSync("good", 2)
	c.returns("a question about the partition", func() {
		bad.FollowerLags(func(int32, int64) {})
		bad.PreferredReplica(0, func(id int32) bool { return id == 2 })
		bad.lowWatermark()
	})
	if bad.log.EndOffset() != 0 {
		t.Error("the append has returned")
	}
}

// stuckTier is a remote tier that does not take some partitions until it is freed, like a tier that
// waits for a bucket.
type stuckTier struct {
	*fakeTier
	name  string
	began chan struct{}
	free  chan struct{}
}

func (s *stuckTier) hang(tp metadata.TopicPartition) {
	if tp.Topic == s.name {
		s.began <- struct{}{}
		<-s.free
	}
}

func (s *stuckTier) Attach(ctx context.Context, p tiering.Partition) {
	s.hang(p.TopicPartition)
	s.fakeTier.Attach(ctx, p)
}

func (s *stuckTier) Follow(ctx context.Context, p tiering.Partition) {
	s.hang(p.TopicPartition)
	s.fakeTier.Follow(ctx, p)
}

// R13: a hanging remote tier delays no role change, not even of the partitions that wait for it.
func TestHangingTierHoldsUpNoRole(t *testing.T) {
	const hanging = 3 * 16
	disk := newStuckFS("nothing")
	c := newHangTest(t, disk)
	remote := &stuckTier{fakeTier: c.tier, name: "bad", began: make(chan struct{}, 1000), free: make(chan struct{})}
	c.remote = remote
	c.restart()
	free := sync.OnceFunc(func() { close(remote.free) })
	t.Cleanup(free)
	c.make("bad", hanging)
	<-remote.began
	c.make("good", 20)
	c.handOver()
	for topic, partitions := range map[string]int32{"good": 20, "bad": hanging} {
		c.served(topic)
		for n := range partitions {
			if c.partition(topic, n).IsLeader() {
				t.Errorf("%s-%d still leads", topic, n)
			}
		}
	}
	free()
	c.settle()
	for n := range int32(hanging) {
		tp := metadata.TopicPartition{Topic: "bad", Partition: n}
		if _, attached := c.tier.epochOf(tp); attached {
			t.Errorf("the tier takes %s for led", tp)
		}
	}
}

// A topic with the name of a topic that was just deleted is created after the old one's files are
// gone, however long the tier keeps them.
func TestTopicOfTheSameNameWaitsForThePlace(t *testing.T) {
	c := newHangTest(t, vfs.NewMem())
	for i := range 20 {
		c.make("a", 3)
		for n := range int32(3) {
			if _, err := c.partition("a", n).Append(batch(t, 1000, fmt.Sprint(i)), AcksAll); err != nil {
				t.Fatal(err)
			}
			if end := c.partition("a", n).log.EndOffset(); end != 1 {
				t.Fatalf("topic %d: partition %d ends at %d", i, n, end)
			}
		}
		if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "a"}})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

// If a job still works on an older image's wish, the newest image's wish is fulfilled after that
// job, and is not lost with it.
func TestNewestWishIsFulfilled(t *testing.T) {
	disk := newStuckFS("/bad-")
	c := newClusterTest(t, disk)
	c.start(nil)
	c.create("bad", 1, nil)
	p := c.partition("bad", 0)
	var appends sync.WaitGroup
	appends.Go(func() { _, _ = p.Append(batch(t, 1000, "v"), AcksAll) })
	free := sync.OnceFunc(func() { close(disk.free); appends.Wait() })
	t.Cleanup(free)
	<-disk.began
	// testConfig uses only the value 1, whose job waits for the append.
	for _, messages := range []string{"1", "2"} {
		err := c.admin.UpdateConfigs(t.Context(), metadata.ConfigResource{Kind: metadata.TopicConfig, Topic: "bad"},
			func(map[string]string) (map[string]string, error) {
				return map[string]string{"flush.messages": messages}, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		revision := c.follower.Image().Revision
		c.until(func() bool {
			c.m.served.mu.Lock()
			defer c.m.served.mu.Unlock()
			return c.m.served.revision >= revision
		})
	}
	free()
	c.settle()
	if p.log.Config().FlushMessages == 1 {
		t.Error("the settings are those of the older image")
	}
}
