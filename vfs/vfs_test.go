package vfs_test

import (
	"testing"

	"github.com/varvelog/varve/vfs"
	"github.com/varvelog/varve/vfs/vfstest"
)

func TestConformance(t *testing.T) {
	t.Run("OS", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { t.Helper(); return vfs.OS{}, t.TempDir() })
	})
	t.Run("Mem", func(t *testing.T) {
		vfstest.Run(t, func(*testing.T) (vfs.FS, string) { return vfs.NewMem(), "/" })
	})
	t.Run("Watched", func(t *testing.T) {
		vfstest.Run(t, func(*testing.T) (vfs.FS, string) {
			var w vfs.Watch
			return vfs.NewWatched(vfs.NewMem(), func(string) *vfs.Watch { return &w }), "/"
		})
	})
	t.Run("Faulty", func(t *testing.T) {
		vfstest.Run(t, func(*testing.T) (vfs.FS, string) { return vfs.NewFaulty(vfs.NewMem()), "/" })
	})
}

func TestSpaceIsReported(t *testing.T) {
	total, free, err := vfs.OS{}.Space(t.TempDir())
	if err != nil || total <= 0 || free <= 0 || free > total {
		t.Fatalf("total %d, free %d, error %v", total, free, err)
	}
}
