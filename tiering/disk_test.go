package tiering

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/tiering/diskcache"
	"github.com/varvelog/varve/vfs"
)

// What one group reads again and again is on disk after a restart, although others have replayed
// more than the disk cache holds. What they have replayed is not.
func TestDiskCacheKeepsWhatIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 16 * testChunk // of a segment
		disk := diskcache.New(diskcache.Options{FS: vfs.NewMem(), Dir: "/cache", Bytes: 3 * each})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _ = disk.Run(ctx) })
		defer group.Wait()
		defer cancel()
		synctest.Wait()
		with := func(o *Options) { o.Disk, o.CacheBytes, o.ReadAheadBytes = disk, 8<<20, -1 }
		again := func(w *modelled) (gets, bytes int64) {
			t.Helper()
			w.store.counts()
			for offset := range int64(16) {
				if _, err := w.m.Read(t.Context(), w.tp(2), offset, 1, 1<<60); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			return w.store.counts()
		}
		w, stop := newModelled(t.Context(), 3, 8, 16, testChunk, with)
		again(w)
		again(w)
		for n := range 2 {
			if _, err := w.replay(t.Context(), n, 0, w.end(), 1<<20, 0); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		restarted, stop := newModelled(t.Context(), 3, 8, 16, testChunk, with)
		defer stop()
		if gets, bytes := again(restarted); gets != 1 || bytes > 8<<10 {
			t.Errorf("%d requests for %d bytes, want one for the directory", gets, bytes)
		}
		if _, err := restarted.replay(t.Context(), 0, 0, 16, 1<<20, 0); err != nil {
			t.Fatal(err)
		}
		if _, bytes := restarted.store.counts(); bytes < each*9/10 {
			t.Errorf("only %d bytes of what was replayed come from the store", bytes)
		}
	})
}
