package server

import (
	"os"
	"path/filepath"
	"testing"
)

// A mark counts once, and only as it was written.
func TestCleanStopCountsOnce(t *testing.T) {
	dir := t.TempDir()
	take := func(want int64) {
		t.Helper()
		if got, err := takeCleanStop(dir); err != nil || got != want {
			t.Errorf("epoch %d, want %d; %v", got, want, err)
		}
	}
	take(0)
	for _, epoch := range []int64{0, 7, 12} {
		if err := markCleanStop(dir, epoch); err != nil {
			t.Fatal(err)
		}
		take(epoch)
		take(0)
	}
	if err := os.WriteFile(filepath.Join(dir, cleanStopFile), []byte("12\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	take(0)
	take(0)
}
