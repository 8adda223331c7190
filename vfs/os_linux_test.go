package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"github.com/varvelog/varve/vfs"
)

// The reserved blocks must belong to the file before anything is written, and must be released by
// Truncate.
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

// cached is how many of a file's first size bytes are in memory.
func cached(t *testing.T, name string, size int) int {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(b) }()
	page := os.Getpagesize()
	resident := make([]byte, (size+page-1)/page)
	_, _, errno := syscall.Syscall(syscall.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(size), uintptr(unsafe.Pointer(&resident[0])))
	if errno != 0 {
		t.Skipf("mincore: %v", errno)
	}
	n := 0
	for _, r := range resident {
		n += int(r & 1)
	}
	return n * page
}

// Pages that were read in sequence must leave the memory after DropCache.
func TestDroppedPagesAreNotInMemory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	f := open(t, vfs.OS{}, name)
	defer f.Close()
	const size = 4 << 20
	write(t, f, 0, string(make([]byte, size)))
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	vfs.AdviseSequential(f)
	if _, err := f.ReadAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	if n := cached(t, name, size); n < size {
		t.Skipf("%d of %d bytes are in memory after a read", n, size)
	}
	vfs.DropCache(f, 0, size/2)
	switch n := cached(t, name, size); {
	case n == size:
		t.Skip("the file system of the test's directory keeps its pages")
	case n > size/2+256<<10 || n < size/2-256<<10:
		t.Errorf("%d bytes are in memory, want the half of %d", n, size)
	}
}
