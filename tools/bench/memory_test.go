package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestPageCacheIsFilled: the file has the size of the memory, and reading ends when little is free.
func TestPageCacheIsFilled(t *testing.T) {
	dir := t.TempDir()
	const total, plenty = 4 * checkEvery * fillPiece, 2 * enoughFree
	for _, c := range []struct {
		free  []int64 // what is free each time that it is asked for
		asked int
	}{
		{[]int64{enoughFree}, 1},
		{[]int64{plenty, plenty, enoughFree}, 3},
		{[]int64{plenty, plenty, plenty, plenty, plenty, plenty}, 5}, // never: all of the file is read
	} {
		asked := 0
		err := fillPageCache(t.Context(), dir, func() (int64, int64, error) {
			asked++
			return total, c.free[asked-1], nil
		})
		if err != nil || asked != c.asked {
			t.Errorf("%v: asked %d times, want %d; %v", c.free, asked, c.asked, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "page-cache")); err != nil || info.Size() != total {
		t.Errorf("the file is %v, %v", info, err)
	}
}

func TestPageCacheIsLeftWhenTheRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := fillPageCache(ctx, t.TempDir(), func() (int64, int64, error) {
		cancel()
		return 1 << 40, 1 << 40, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
