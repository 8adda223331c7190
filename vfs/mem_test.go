package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/varvelog/varve/vfs"
)

func write(t *testing.T, f vfs.File, off int64, s string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(s), off); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := vfs.NewMem()
	f := open(t, m, "/a")
	write(t, f, 0, "durable")
	if err := errors.Join(f.Sync(), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	write(t, f, 7, " maybe")
	seen := map[string]bool{}
	for seed := range uint64(64) {
		b, err := vfs.ReadFile(m.CrashClone(seed), "/a", 100)
		if err != nil || string(b[:7]) != "durable" {
			t.Fatalf("seed %d: %q, %v", seed, b, err)
		}
		seen[string(b)] = true
	}
	if !seen["durable"] || !seen["durable maybe"] || len(seen) < 3 {
		t.Fatalf("crashes left only %v: want the write kept, lost and torn", seen)
	}
	if b, err := vfs.ReadFile(m, "/a", 100); err != nil || string(b) != "durable maybe" {
		t.Fatalf("the original changed: %q, %v", b, err)
	}
}

func TestCrashMayLoseUnsyncedNames(t *testing.T) {
	m := vfs.NewMem()
	f := open(t, m, "/a")
	write(t, f, 0, "x")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for seed := range uint64(32) {
		if _, err := m.CrashClone(seed).Stat("/a"); errors.Is(err, fs.ErrNotExist) {
			lost++
		}
	}
	if lost == 0 || lost == 32 {
		t.Fatalf("name lost in %d of 32 crashes", lost)
	}
}

func TestCrashKeepsRenamesAtomic(t *testing.T) {
	m := vfs.NewMem()
	f := open(t, m, "/a")
	write(t, f, 0, "new")
	write(t, open(t, m, "/b"), 0, "old")
	if err := errors.Join(f.Sync(), m.SyncDir("/"), m.Rename("/a", "/b")); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(32) {
		c := m.CrashClone(seed)
		_, errA := c.Stat("/a")
		_, errB := c.Stat("/b")
		if errB != nil {
			t.Fatalf("seed %d: the target of a rename is gone: %v (source: %v)", seed, errB, errA)
		}
	}
}

func TestCrashIsReplayable(t *testing.T) {
	m := vfs.NewMem()
	for _, name := range []string{"/a", "/b", "/c", "/d"} {
		write(t, open(t, m, name), 0, name)
	}
	for seed := range uint64(16) {
		list := func() (names []string) {
			entries, err := m.CrashClone(seed).ReadDir("/")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				info, err := e.Info()
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, e.Name()+string(rune('0'+info.Size())))
			}
			return names
		}
		a, b := list(), list()
		if len(a) != len(b) {
			t.Fatalf("seed %d: %v and %v", seed, a, b)
		}
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("seed %d: %v and %v", seed, a, b)
			}
		}
	}
}

// After a failed sync the kernel takes the pages that it could not write for clean. They can be
// read, the next sync succeeds, and only a crash shows that they are lost. Mem must reproduce this.
func TestFailedSyncMayDropWhatWasWritten(t *testing.T) {
	m := vfs.NewMem()
	faulty := vfs.NewFaulty(m)
	f := open(t, faulty, "/a")
	write(t, f, 0, "durable")
	if err := errors.Join(f.Sync(), faulty.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	write(t, f, 7, " dropped")
	faulty.Inject(vfs.Fault{Op: vfs.OpSync, Times: 1, Drop: true})
	if err := f.Sync(); !errors.Is(err, vfs.ErrInjected) {
		t.Fatal(err)
	}
	write(t, f, 15, " later")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for _, fsys := range []vfs.FS{faulty, m.Clone()} {
		if b, err := vfs.ReadFile(fsys, "/a", 100); err != nil || string(b) != "durable dropped later" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	want := "durable" + string(make([]byte, 8)) + " later"
	reloaded := m.Clone()
	if err := vfs.Reload(open(t, reloaded, "/a")); err != nil {
		t.Fatal(err)
	}
	if b, err := vfs.ReadFile(reloaded, "/a", 100); err != nil || string(b) != want {
		t.Fatalf("reloaded: %q, %v", b, err)
	}
	for seed := range uint64(16) {
		if b, err := vfs.ReadFile(m.Clone().CrashClone(seed), "/a", 100); err != nil || string(b) != want {
			t.Fatalf("seed %d: %q, %v", seed, b, err)
		}
	}
}

// The durable content must not depend on how often the file was synced in between.
func TestSyncKeepsTheOrderOfChanges(t *testing.T) {
	m := vfs.NewMem()
	f := open(t, m, "/a")
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func() error{
		func() error { write(t, f, 0, "0123456789"); return nil },
		func() error { return f.Truncate(4) },
		func() error { write(t, f, 6, "x"); return nil },
		f.Sync,
		func() error { return f.Truncate(5) },
		func() error { write(t, f, 2, "yyyyyy"); return nil },
		f.Sync,
	} {
		if err := change(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if b, err := vfs.ReadFile(m.CrashClone(1), "/a", 100); err != nil || string(b) != "01yyyyyy" {
		t.Fatalf("%q, %v", b, err)
	}
}
