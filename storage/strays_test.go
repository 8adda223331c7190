package storage

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// setAside sets the kit's log aside and returns the stray.
func setAside(t *testing.T, k *kit) Stray {
	t.Helper()
	if err := k.m.SetAside("t", 0, "the cluster does not know it"); err != nil {
		t.Fatal(err)
	}
	all := k.m.Strays()
	if _, ok := k.m.Log("t", 0); ok || len(all) != 1 {
		t.Fatalf("log there: %t, strays %+v", ok, all)
	}
	return all[0]
}

func TestStrayIsKeptAndRestored(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 50)
	commit(k.log())
	if err := errors.Join(k.log().Flush(t.Context(), 50), k.log().AdvanceStartOffset(7)); err != nil {
		t.Fatal(err)
	}
	want := readAll(t, k.log(), 7)
	s := setAside(t, k)
	if s.Topic != "t" || s.Partition != 0 || s.TopicID != testID || !s.Since.Equal(epoch0) || s.Reason != "the cluster does not know it" ||
		s.Bytes < 50*100 || !strings.HasPrefix(s.Path, "/data/t-0.") || !strings.HasSuffix(s.Path, "-stray") {
		t.Fatalf("stray %+v", s)
	}
	if _, err := RestoreStray(k.fs, s.Path); !errors.Is(err, ErrDirLocked) {
		t.Fatalf("restored under a running broker: %v", err)
	}
	fill(t, k.log(), 1) // a new log of the same name
	k.reopen()
	if again := k.m.Strays(); len(again) != 1 || again[0] != s {
		t.Fatalf("after a start: %+v, want %+v", again, s)
	}
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreStray(k.fs, s.Path); !errors.Is(err, ErrDirInvalid) || !strings.Contains(err.Error(), "has a log already, /data/t-0") {
		t.Fatalf("restored over another log: %v", err)
	}
	if err := vfs.RemoveAll(k.fs, "/data/t-0"); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreStray(k.fs, s.Path); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(k.files(), strayFile) {
		t.Error("the note of why it was set aside is still there")
	}
	k.open()
	l, ok := k.m.Log("t", 0)
	if !ok || len(k.m.Strays()) != 0 {
		t.Fatalf("log there: %t, strays %+v", ok, k.m.Strays())
	}
	got := readAll(t, l, 7)
	if l.StartOffset() != 7 || l.HighWatermark() != 50 || l.TopicID() != testID || !slices.EqualFunc(got, want, func(a, b record.Batch) bool { return bytes.Equal(a, b) }) {
		t.Errorf("log from %d to %d, high watermark %d, %d batches of %d", l.StartOffset(), l.EndOffset(), l.HighWatermark(), len(got), len(want))
	}
}

// TestRestoredLogIsRecovered: a log that was set aside without a sync may have lost records. The
// start after its restoration must scan it, although the broker was stopped cleanly since.
func TestRestoredLogIsRecovered(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 10)
	s := setAside(t, k)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreStray(k.fs, s.Path); err != nil {
		t.Fatal(err)
	}
	k.edit(seg0+extLog, func(b []byte) []byte { b[len(b)-1]++; return b })
	k.open()
	if end := k.log().EndOffset(); end != 9 {
		t.Errorf("the log ends at %d behind a damaged batch", end)
	}
}

func TestStraysGoWhenTheirTimeHasPassed(t *testing.T) {
	for keep, gone := range map[time.Duration]bool{0: true, 8 * 24 * time.Hour: false, -1: false} {
		k := newKit(t, vfs.NewMem(), nil)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
		registry := prometheus.NewRegistry()
		k.options.StrayRetention, k.options.Registerer = keep, registry
		k.open()
		fill(t, k.log(), 5)
		s := setAside(t, k)
		if n := gauge(t, registry, "varve_storage_stray_bytes"); n != float64(s.Bytes) || n == 0 {
			t.Errorf("%v bytes counted, %d are there", n, s.Bytes)
		}
		k.clock.advance(defaultStrayRetention - time.Second)
		k.m.expireStrays(k.clock.Now())
		if _, err := k.fs.Stat(s.Path); err != nil || len(k.m.Strays()) != 1 {
			t.Fatalf("kept for %v: gone before its time: %v", keep, err)
		}
		k.clock.advance(2 * time.Second)
		k.m.expireStrays(k.clock.Now())
		k.m.env.emptyTrash(k.clock.Now())
		entries, err := k.fs.ReadDir("/data")
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, e := range entries {
			if e.IsDir() {
				left++
			}
		}
		if gone != (left == 0) || gone != (len(k.m.Strays()) == 0) || gone != (gauge(t, registry, "varve_storage_stray_bytes") == 0) {
			t.Errorf("kept for %v: %d directories, %d strays", keep, left, len(k.m.Strays()))
		}
	}
}

// TestRunDeletesOldStrays: no caller has to ask for it.
func TestRunDeletesOldStrays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, vfs.NewMem(), nil)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
		k.options.Now = time.Now
		k.open()
		mustAppend(t, k.log(), batchOf(1, 50, time.Now().UnixMilli()))
		setAside(t, k)
		ctx, cancel := context.WithTimeout(t.Context(), defaultStrayRetention+time.Hour)
		defer cancel()
		if err := k.m.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if left := k.m.Strays(); len(left) != 0 {
			t.Errorf("strays %+v", left)
		}
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStrayWithoutItsFileIsFromToday: the disk is full when the log is set aside, and the stray
// must not be deleted early.
func TestStrayWithoutItsFileIsFromToday(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, f, nil)
	fill(t, k.log(), 5)
	f.Inject(vfs.Fault{Op: vfs.OpWrite, Name: strayFile, Err: syscall.ENOSPC})
	s := setAside(t, k)
	if s.Topic != "t" || !s.Since.Equal(epoch0) {
		t.Fatalf("stray %+v", s)
	}
	k.clock.advance(time.Hour)
	k.m.expireStrays(k.clock.Now())
	if len(k.m.Strays()) != 1 {
		t.Fatal("it went at once")
	}
	f.Heal()
	k.clock.advance(365 * 24 * time.Hour)
	k.reopen()
	for range 2 {
		if all := k.m.Strays(); len(all) != 1 || !all[0].Since.Equal(k.clock.Now()) || all[0].TopicID != testID {
			t.Fatalf("strays %+v", all)
		}
		k.reopen()
	}
}

func TestStrayOfALongName(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	topic := strings.Repeat("x", 249)
	l, err := k.m.Create(topic, 3, testID)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	if err = k.m.SetAside(topic, 3, "r"); err != nil {
		t.Fatal(err)
	}
	k.reopen()
	s := k.m.Strays()
	if len(s) != 1 || len(filepath.Base(s[0].Path)) > 255 || s[0].Topic != topic || s[0].Partition != 3 {
		t.Errorf("strays %+v", s)
	}
}

// TestNothingToSetAside: a log without any append has no files.
func TestNothingToSetAside(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	k.log()
	if err := errors.Join(k.m.SetAside("t", 0, "r"), k.m.SetAside("t", 0, "r"), k.m.SetAside("other", 0, "r")); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.m.Log("t", 0); ok || len(k.m.Strays()) != 0 {
		t.Errorf("log there: %t, strays %+v", ok, k.m.Strays())
	}
}

func TestWhatIsNoStrayIsNotRestored(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 1)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.fs.MkdirAll("/other/t-0.x-stray", 0o755), k.fs.MkdirAll("/data/nonsense-stray", 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/data/t-0", "/data/t-0.00000000000000000000000000000000-stray", "/other/t-0.x-stray", "/data/nonsense-stray"} {
		if _, err := RestoreStray(k.fs, path); err == nil {
			t.Errorf("%s was restored", path)
		}
	}
}
