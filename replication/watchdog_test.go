package replication

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
)

// looks makes the watchdog look n times, and returns what Healthy reports then.
func (c *cluster) looks(n int) error {
	for range n {
		c.m.watchdog.look()
	}
	return c.m.Healthy()
}

// The watchdog notices an append that does not return, a role change that waits for it, and the end
// of both.
func TestHangIsNoticed(t *testing.T) {
	disk := newStuckFS("/bad-")
	c := newHangTest(t, disk)
	c.maxHang = 24 * time.Hour // the test calls look itself
	c.restart()
	c.make("bad", 2)
	c.make("good", 2)
	p := c.partition("bad", 0)
	var appends sync.WaitGroup
	appends.Go(func() { _, _ = p.Append(batch(t, 1000, "v"), AcksAll) })
	free := sync.OnceFunc(func() { close(disk.free); appends.Wait() })
	t.Cleanup(free)
	<-disk.began
	if err := c.looks(hangLooks); err != nil {
		t.Errorf("before MaxHang: %v", err)
	}
	if err := c.looks(1); !errors.Is(err, ErrHangs) {
		t.Errorf("after MaxHang: %v", err)
	}
	c.handOver()
	c.until(func() bool { // its role change is late
		late := false
		c.m.applier.pool.waiting(func(*job) { late = true })
		return late
	})
	if err := c.looks(hangLooks + 1); !errors.Is(err, ErrHangs) {
		t.Errorf("with a role change that waits: %v", err)
	}
	if err := c.m.AwaitServed(t.Context(), []metadata.TopicID{c.ids["bad"]}); !errors.Is(err, ErrHangs) {
		t.Errorf("the wait for the topic ends with %v", err)
	}
	if err := c.m.AwaitServed(t.Context(), nil); err != nil {
		t.Errorf("the wait for all partitions ends with %v", err)
	}
	free()
	c.settle()
	if err := c.looks(1); err != nil {
		t.Errorf("after the append has returned: %v", err)
	}
	c.served("bad")
}

// A slow disk moves, so it does not hang, even if each of many appends takes nearly as long as a
// hang.
func TestSlowDiskDoesNotHang(t *testing.T) {
	disk := newStuckFS("/bad-")
	c := newHangTest(t, disk)
	c.maxHang = 24 * time.Hour
	c.restart()
	c.make("bad", 1)
	p := c.partition("bad", 0)
	const appends = 10
	var producers sync.WaitGroup
	t.Cleanup(func() { close(disk.free); producers.Wait() })
	for range appends {
		producers.Go(func() { _, _ = p.Append(batch(t, 1000, "v"), AcksAll) })
	}
	done := make(chan struct{})
	go func() { defer close(done); producers.Wait() }()
	for writes := 0; ; writes++ {
		select {
		case <-disk.began:
			if err := c.looks(hangLooks / 3); err != nil {
				t.Fatalf("write %d at offset %d: %v", writes, p.log.EndOffset(), err)
			}
			disk.free <- struct{}{}
		case <-done:
			if p.log.EndOffset() != appends || writes < appends {
				t.Errorf("the log ends at %d after %d writes", p.log.EndOffset(), writes)
			}
			return
		}
	}
}
