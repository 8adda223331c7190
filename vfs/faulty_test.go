package vfs_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/varvelog/varve/vfs"
)

func TestFaultHitsTheNthMatch(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	f := open(t, fsys, "/x.log")
	g := open(t, fsys, "/x.index")
	fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Name: ".log", After: 1, Times: 2, Err: syscall.ENOSPC, Short: 2})
	write(t, f, 0, "one")
	write(t, g, 0, "one")
	for range 2 {
		if n, err := f.WriteAt([]byte("two"), 3); !errors.Is(err, syscall.ENOSPC) || n != 2 {
			t.Fatalf("wrote %d, error %v", n, err)
		}
	}
	write(t, f, 3, "3")
	b, err := vfs.ReadFile(fsys, "/x.log", 100)
	if err != nil || string(b) != "one3w" {
		t.Fatalf("%q, %v", b, err)
	}
	if fsys.Count(vfs.OpWrite) != 5 {
		t.Fatalf("%d writes counted", fsys.Count(vfs.OpWrite))
	}
}

func TestHealEndsFaults(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	fsys.Inject(vfs.Fault{Op: vfs.OpSync})
	f := open(t, fsys, "/x")
	if err := f.Sync(); !errors.Is(err, vfs.ErrInjected) {
		t.Fatal(err)
	}
	fsys.Heal()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
