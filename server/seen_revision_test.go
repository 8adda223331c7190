package server

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata/kv"
)

// TestOlderEtcdIsRefused starts a broker, and starts it again with an etcd from before its
// registration.
func TestOlderEtcdIsRefused(t *testing.T) {
	dir, backup := filepath.Join(t.TempDir(), "data"), t.TempDir()
	t.Run("its first start", func(t *testing.T) {
		s := controlOnly(t, config.Broker{NodeID: 1, DataDir: dir}, slog.New(slog.DiscardHandler))
		if err := errors.Join(s.openControl(t.Context()), s.parts.stop(), os.CopyFS(backup, os.DirFS(filepath.Join(dir, "etcd")))); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("it registers", func(t *testing.T) {
		startBroker(t, "--data-dir", dir)
	})
	seen, err := readSeenRevision(dir)
	if err != nil || seen < 2 {
		t.Fatalf("seen: %d, %v", seen, err)
	}
	if err = errors.Join(os.RemoveAll(filepath.Join(dir, "etcd")), os.CopyFS(filepath.Join(dir, "etcd"), os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	s := controlOnly(t, config.Broker{NodeID: 1, DataDir: dir}, slog.New(slog.DiscardHandler))
	if err = s.openControl(t.Context()); !errors.Is(err, kv.ErrWentBack) || !strings.Contains(err.Error(), "docs/operations/backup-and-restore-etcd.md") {
		t.Errorf("it starts: %v", err)
	}
	if err = s.parts.stop(); err != nil {
		t.Error(err)
	}
	if again, _ := readSeenRevision(dir); again != seen {
		t.Errorf("seen: %d, then %d", seen, again)
	}
}

func TestSeenRevisionThatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	if revision, err := readSeenRevision(dir); revision != 0 || err != nil {
		t.Errorf("none: %d, %v", revision, err)
	}
	if err := os.WriteFile(filepath.Join(dir, seenRevisionFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readSeenRevision(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("damaged: %v", err)
	}
}
