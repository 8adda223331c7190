package main

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// TestStraysAreListedAndRestored sets a log aside as a broker does, and finds it with the commands.
func TestStraysAreListedAndRestored(t *testing.T) {
	dir := t.TempDir()
	open := func() *storage.Manager {
		t.Helper()
		m, err := storage.OpenManager(t.Context(), storage.Options{Dirs: []string{dir}, ClusterID: "c", NodeID: 1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	m := open()
	log, err := m.Create("orders", 3, [16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	var b record.Builder
	b.Append(time.Now().UnixMilli(), nil, []byte("v"))
	batch, err := b.Build()
	if err == nil {
		_, err = log.Append(batch, 0)
	}
	if err == nil {
		err = m.SetAside("orders", 3, "nobody knows it")
	}
	if err != nil {
		t.Fatal(err)
	}

	out, _, err := run(t, "", "log", "strays", dir)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 2 || !strings.HasPrefix(lines[0], "TOPIC ") || !strings.HasPrefix(lines[1], "orders ") ||
		!strings.Contains(lines[1], "AQAAAAAAAAAAAAAAAAAAAA") || !strings.Contains(lines[1], "nobody knows it") {
		t.Fatalf("%v\n%s", err, out)
	}
	out, _, err = run(t, "", "log", "strays", "--output", "json", dir)
	var rows []strayRow
	if err != nil || json.Unmarshal([]byte(out), &rows) != nil || len(rows) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	r := rows[0]
	if r.Topic != "orders" || r.Partition != 3 || r.Bytes == 0 || r.SinceMs == nil || filepath.Dir(r.Path) != dir {
		t.Errorf("row %+v", r)
	}

	if _, _, err = run(t, "", "log", "strays", "restore", r.Path); err == nil || !strings.Contains(err.Error(), "stop that broker first") {
		t.Errorf("while the broker runs: %v", err)
	}
	if err = m.Close(); err != nil {
		t.Fatal(err)
	}
	if out, _, err = run(t, "", "log", "strays", "restore", r.Path); err != nil || !strings.Contains(out, filepath.Join(dir, "orders-3")) {
		t.Errorf("%v\n%s", err, out)
	}
	if log, ok := open().Log("orders", 3); !ok || log.EndOffset() != 1 {
		t.Error("the next start does not find the log")
	}
}
