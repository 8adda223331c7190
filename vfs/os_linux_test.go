package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// The blocks are the file's before anything is written, and are given back.
func TestPreallocatedSpaceIsOnTheDisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	f := open(t, vfs.OS{}, name)
	defer f.Close()
	taken := func() int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	const size = 8 << 20
	err := vfs.Preallocate(f, size)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the volume cannot reserve space")
	}
	if err != nil || taken() < size {
		t.Fatalf("%d bytes are reserved, %v", taken(), err)
	}
	write(t, f, 0, "abc")
	if err = f.Truncate(3); err != nil || taken() >= size {
		t.Fatalf("%d bytes are still reserved, %v", taken(), err)
	}
}
