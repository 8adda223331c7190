package storage

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/vfs"
)

// A directory that fails is reported once, with its id, as soon as the manager runs. The list of
// directories that work does not have it from the failure on.
func TestFailedDirIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.NewFaulty(vfs.NewMem())
		k := newKit(t, faulty, nil)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
		type report struct {
			id  [16]byte
			err error
		}
		var reports []report
		k.options.Dirs = []string{"/a", "/b"}
		k.options.OnDirFailed = func(id [16]byte, err error) { reports = append(reports, report{id, err}) }
		k.open()
		all := k.m.OnlineDirs()
		if len(all) != 2 || all[0] == all[1] || all[0] != k.m.DirUsage()[0].DirectoryID {
			t.Fatalf("online: %v", all)
		}
		stop := k.running()
		l := k.log() // in /a
		fill(t, l, 1)
		faulty.Inject(vfs.Fault{Op: vfs.OpSync, Name: "/a/t-0/"})
		for range 2 {
			if err := l.Flush(t.Context(), 1); !errors.Is(err, ErrStorage) {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		stop()
		if len(reports) != 1 || reports[0].id != all[0] || !errors.Is(reports[0].err, ErrStorage) {
			t.Fatalf("reports: %v", reports)
		}
		if got := k.m.OnlineDirs(); !slices.Equal(got, all[1:]) {
			t.Fatalf("online: %v, want %v", got, all[1:])
		}
		for path, works := range map[string]bool{"/a": false, "/a/": false, "/b": true, "/elsewhere": true} {
			if k.m.Works(path) != works {
				t.Errorf("%s works: %v", path, !works)
			}
		}
	})
}

// The process after one that gave up a directory knows which one it was, even when its recovery has
// removed the marker.
func TestDistrustedDirsAreThoseThatTheLastProcessGaveUp(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFaulty(mem)
	k := newKit(t, fsys, nil)
	if got := k.m.DistrustedDirs(); len(got) != 0 {
		t.Fatalf("distrusted: %v", got)
	}
	fill(t, k.log(), 1)
	fsys.Inject(vfs.Fault{Op: vfs.OpSync, Name: ".log", Times: 1})
	if err := k.log().Flush(t.Context(), 1); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	next := k.on(mem.Clone())
	next.open()
	if got := next.m.DistrustedDirs(); !slices.Equal(got, next.m.OnlineDirs()) {
		t.Fatalf("distrusted: %v", got)
	}
	next.reopen()
	if got := next.m.DistrustedDirs(); len(got) != 0 {
		t.Fatalf("distrusted after a clean shutdown: %v", got)
	}
}
