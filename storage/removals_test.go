package storage

import (
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/vfs"
)

// gatedSync is a disk whose first SyncDir waits until the gate is closed.
type gatedSync struct {
	vfs.FS
	gate    chan struct{}
	entered bool
}

func (g *gatedSync) SyncDir(name string) error {
	if !g.entered {
		g.entered = true
		<-g.gate
	}
	return g.FS.SyncDir(name)
}

// TestRemovalIsPendingWhileItIsSynced: the creation of a partition's next log must not take a sync
// that is under way for one that has succeeded.
func TestRemovalIsPendingWhileItIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			r     removals
			disk  = &gatedSync{FS: vfs.NewMem(), gate: make(chan struct{})}
			d     = &dataDir{path: "/data"}
			first = partitionKey{topic: "t"}
			other = partitionKey{topic: "t", partition: 1}
		)
		if err := disk.MkdirAll(d.path, 0o755); err != nil {
			t.Fatal(err)
		}
		r.add(first)
		done := make(chan error, 1)
		go func() { done <- r.settle(disk, d) }()
		synctest.Wait()
		r.add(other)
		if !r.has(first) || !r.has(other) {
			t.Errorf("during the sync: %t, %t, want both pending", r.has(first), r.has(other))
		}
		close(disk.gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if r.has(first) || !r.has(other) {
			t.Errorf("after it: %t, %t, want the one that came meanwhile pending", r.has(first), r.has(other))
		}
	})
}
