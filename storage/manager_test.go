package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/vfs"
)

func TestDirectoriesThatCannotBeUsed(t *testing.T) {
	for _, tc := range []struct {
		name string
		prep func(t *testing.T, f *vfs.Faulty, o *Options)
		want error
		says string
	}{
		{"in use", func(t *testing.T, f *vfs.Faulty, _ *Options) {
			t.Helper()
			if _, err := f.Lock("/data/.lock"); err != nil {
				t.Fatal(err)
			}
		}, ErrDirLocked, "used by another process: stop that broker"},
		{"read-only", func(_ *testing.T, f *vfs.Faulty, _ *Options) {
			f.Inject(vfs.Fault{Op: vfs.OpLock, Err: syscall.EROFS})
		}, ErrDirInvalid, "cannot be written"},
		{"not allowed", func(_ *testing.T, f *vfs.Faulty, _ *Options) {
			f.Inject(vfs.Fault{Op: vfs.OpMkdir, Err: fs.ErrPermission})
		}, ErrDirInvalid, "change its owner or mode"},
		{"full", func(_ *testing.T, f *vfs.Faulty, _ *Options) {
			f.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC})
		}, ErrDiskFull, "full disk"},
		{"of another cluster", func(_ *testing.T, _ *vfs.Faulty, o *Options) { o.ClusterID = "other" }, ErrDirInvalid, `belongs to cluster "test"`},
		{"of another broker", func(_ *testing.T, _ *vfs.Faulty, o *Options) { o.NodeID = 2 }, ErrDirInvalid, "belongs to broker 1"},
		{"damaged meta.properties", func(t *testing.T, f *vfs.Faulty, _ *Options) {
			t.Helper()
			if err := vfs.WriteFile(f, "/data/meta.properties", []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, ErrDirInvalid, "meta.properties is damaged"},
		{"no directory", func(_ *testing.T, _ *vfs.Faulty, o *Options) { o.Dirs = nil }, ErrDirInvalid, "none is configured"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := vfs.NewFaulty(vfs.NewMem())
			k := newKit(t, f, nil)
			if err := k.m.Close(); err != nil {
				t.Fatal(err)
			}
			if tc.name == "full" {
				if err := f.Remove("/data/meta.properties"); err != nil {
					t.Fatal(err)
				}
			}
			o := k.options
			tc.prep(t, f, &o)
			_, err := OpenManager(t.Context(), o)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestFailedOpenLetsGoOfTheDirectory(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	bad := k.options
	bad.NodeID = 7
	if _, err := OpenManager(t.Context(), bad); err == nil {
		t.Fatal("opened")
	}
	k.open()
}

func TestClusterIDIsFoundedOrFound(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.ClusterID = ""
	k.open()
	if k.m.ClusterID() != "test" {
		t.Fatal(k.m.ClusterID())
	}
	o := k.options
	o.FS = vfs.NewMem()
	m, err := OpenManager(t.Context(), o)
	if err != nil || len(m.ClusterID()) != 22 {
		t.Fatalf("%q, %v", m.ClusterID(), err)
	}
	if err = m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCreateIsIdempotentAndKnowsTopicIDs(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	if again := k.log(); again != l {
		t.Fatal("another log")
	}
	other := [16]byte{9}
	if _, err := k.m.Create("t", 0, other); !errors.Is(err, ErrTopicIDMismatch) {
		t.Fatal(err)
	}
	fill(t, l, 1) // a log without any append is not on the disk
	k.reopen()
	if got, ok := k.m.Log("t", 0); !ok || got.TopicID() != testID {
		t.Fatalf("%v", ok)
	}
	if err := k.m.Delete("t", 0); err != nil {
		t.Fatal(err)
	}
	if l, err := k.m.Create("t", 0, other); err != nil || l.TopicID() != other {
		t.Fatal(err)
	}
}

func TestDeleteTakesTheLogOutOfService(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.FileDeleteDelayMs = 1000 })
	l := k.log()
	fill(t, l, 5)
	held, err := l.Read(0, 1000, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	if err = errors.Join(k.m.Delete("t", 0), k.m.Delete("t", 0)); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.m.Log("t", 0); ok {
		t.Fatal("still found")
	}
	_, readErr := l.Read(0, 100, 5, true)
	_, appendErr := l.Append(batchOf(1, 5, epoch0.UnixMilli()), 0)
	_, retainErr := l.EnforceRetention(epoch0)
	for _, err := range []error{readErr, appendErr, retainErr, l.Flush(t.Context(), 5), l.Truncate(2), l.TruncateFully(2), l.Roll(), l.AdvanceStartOffset(0), l.AssignEpoch(3, 5)} {
		if !errors.Is(err, ErrLogClosed) {
			t.Fatalf("error %v", err)
		}
	}
	if b, err := held.AppendTo(nil); err != nil || len(b) != held.Len() {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	held.Release()
	dirs := func() (n []string) {
		entries, err := k.fs.ReadDir("/data")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				n = append(n, e.Name())
			}
		}
		return n
	}
	if d := dirs(); len(d) != 1 || !strings.HasPrefix(d[0], "t-0.") || !strings.HasSuffix(d[0], "-delete") {
		t.Fatalf("directories %v", d)
	}
	k.clock.advance(2 * time.Second)
	k.m.env.emptyTrash(k.clock.Now())
	if d := dirs(); len(d) != 0 {
		t.Fatalf("directories %v", d)
	}
}

func TestRestartRemovesDeletedLogs(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 5)
	if err := k.m.Delete("t", 0); err != nil {
		t.Fatal(err)
	}
	k = k.killed()
	if len(slices.Collect(k.m.Logs())) != 0 {
		t.Fatal("the log is back")
	}
	k.m.env.emptyTrash(k.clock.Now())
	entries, err := k.fs.ReadDir("/data")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Fatalf("%s is still there", e.Name())
		}
	}
}

// TestNewLogDoesNotInheritCheckpoints: after a crash, checkpoint lines left by a deleted log of the
// same name would make recovery trust the new log's bytes unread, or drop them.
func TestNewLogDoesNotInheritCheckpoints(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 50)
	commit(k.log())
	if err := errors.Join(k.log().Flush(t.Context(), 50), k.log().AdvanceStartOffset(40), k.m.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Delete("t", 0); err != nil {
		t.Fatal(err)
	}
	fill(t, k.log(), 10)
	dead := k.dead()
	dead.edit(seg0+extLog, func(b []byte) []byte { b[len(b)-1]++; return b })
	dead.open()
	if l := dead.log(); l.StartOffset() != 0 || l.EndOffset() != 9 || l.HighWatermark() != 0 {
		t.Fatalf("log from %d to %d, high watermark %d", l.StartOffset(), l.EndOffset(), l.HighWatermark())
	}
}

func TestLogsSpreadOverDirectories(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.Dirs = []string{"/data", "/more/deep"}
	k.open()
	for p := range int32(10) {
		l, err := k.m.Create("t", p, testID)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 1)
	}
	k.reopen()
	usage := k.m.DirUsage()
	if len(usage) != 2 || len(usage[0].Logs) != 5 || len(usage[1].Logs) != 5 || usage[0].DirectoryID == usage[1].DirectoryID {
		t.Fatalf("%+v", usage)
	}
	if n := len(slices.Collect(k.m.Logs())); n != 10 {
		t.Fatalf("%d logs", n)
	}
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := k.fs.MkdirAll("/data/t-1", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenManager(t.Context(), k.options); !errors.Is(err, ErrDirInvalid) || !strings.Contains(err.Error(), "t-1 is in") {
		t.Fatal(err)
	}
}

func TestForeignDirectoriesAreLeftAlone(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	for _, name := range []string{"etcd", "x-y", "t-", "-1", "t-+1", "t-01", "t-99999999999", "t-1.abc-future"} {
		if err := k.fs.MkdirAll("/data/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	k.reopen()
	if logs := slices.Collect(k.m.Logs()); len(logs) != 0 {
		t.Fatalf("%s", logs[0].key)
	}
}

func TestRunLooksAfterTheLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewMem()
		k := newKit(t, fsys, func(c *Config) {
			c.SegmentBytes, c.RetentionMs, c.FlushMs, c.FileDeleteDelayMs = 400, 3600_000, 2000, 60_000
		})
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
		k.options.Now = nil
		k.options.Registerer = prometheus.NewRegistry()
		k.open()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.m.Run(ctx) }()
		l := k.log()
		add := func(n int) {
			for range n {
				mustAppend(t, l, batchOf(1, 50, time.Now().UnixMilli()))
			}
			commit(l)
			synctest.Wait()
		}
		add(7)
		if l.FlushedOffset() < 6 {
			t.Fatalf("flushed %d: closed segments are not made durable", l.FlushedOffset())
		}
		add(1)
		time.Sleep(4 * time.Second)
		if l.FlushedOffset() != 8 {
			t.Fatalf("flushed %d: flush.ms is not honored", l.FlushedOffset())
		}
		time.Sleep(10 * time.Second)
		if got := string(content(t, fsys, "/data/recovery-point-offset-checkpoint")); got != "0\n1\nt 0 8\n" {
			t.Fatalf("recovery point %q", got)
		}
		if got := string(content(t, fsys, "/data/replication-offset-checkpoint")); got != "0\n1\nt 0 8\n" {
			t.Fatalf("high watermark %q", got)
		}
		if err := l.AdvanceStartOffset(2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := string(content(t, fsys, "/data/log-start-offset-checkpoint")); got != "0\n1\nt 0 2\n" {
			t.Fatalf("log start %q: it has to be saved at once", got)
		}
		time.Sleep(2 * time.Hour)
		if l.StartOffset() != 8 || l.Size() != 0 {
			t.Fatalf("start %d: retention does not work", l.StartOffset())
		}
		time.Sleep(2 * time.Minute)
		if slices.ContainsFunc(k.files(), func(s string) bool { return strings.HasSuffix(s, ".deleted") }) {
			t.Fatalf("files %v", k.files())
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRunEndsWhenAllDirectoriesFailed(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, f, nil)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.Dirs = []string{"/data", "/more"}
	k.open()
	done := make(chan error, 1)
	go func() { done <- k.m.Run(t.Context()) }()
	for p := range int32(2) {
		l, err := k.m.Create("t", p, testID)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 1)
		f.Inject(vfs.Fault{Op: vfs.OpSync, Name: fmt.Sprintf("t-%d", p), Times: 1})
		if err = l.Flush(t.Context(), 1); !errors.Is(err, ErrStorage) {
			t.Fatal(err)
		}
	}
	if err := <-done; !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if err := k.m.Close(); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400; c.IndexIntervalBytes = 0 })
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.MaxOpenFiles = 7
	k.open()
	for p := range int32(20) {
		l, err := k.m.Create("t", p, testID)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 10)
	}
	for l := range k.m.Logs() {
		if n := len(readAll(t, l, 0)); n != 10 {
			t.Fatalf("%d batches", n)
		}
		if n := k.m.env.files.count(); n > 7 {
			t.Fatalf("%d files are open", n)
		}
	}
	var held []Slice
	for l := range k.m.Logs() { // files in use may exceed the limit; no others may
		s, err := l.Read(0, 100, 10, true)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, s)
	}
	for _, s := range held {
		if b, err := s.AppendTo(nil); err != nil || len(b) != s.Len() || s.File() == nil {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		s.Release()
	}
	if l, _ := k.m.Log("t", 0); len(readAll(t, l, 0)) != 10 || k.m.env.files.count() > 7 {
		t.Fatalf("%d files are open at last", k.m.env.files.count())
	}
}

// TestScrapeWhileLogsAreOpened: a scrape of the metrics may arrive while the logs are being opened.
func TestScrapeWhileLogsAreOpened(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	for i := range 300 {
		l, err := k.m.Create("scraped", int32(i), testID)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 1)
	}
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	var scrape sync.WaitGroup
	var once sync.Once
	config := k.options.Config
	k.options.Registerer = reg
	k.options.Config = func(topic string) Config { // called just before each log enters the map
		once.Do(func() {
			scrape.Go(func() {
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
			})
		})
		return config(topic)
	}
	k.open()
	scrape.Wait()
	if n := len(k.m.all()); n != 300 {
		t.Fatalf("%d logs", n)
	}
}

// TestDeletedLogDoesNotReadItsSuccessor: a reader that still holds a segment of a deleted log gets
// that log's bytes, not those of the new log with the same name.
func TestDeletedLogDoesNotReadItsSuccessor(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	old := batchOf(1, 50, epoch0.UnixMilli())
	mustAppend(t, k.log(), old)
	s := k.log().list()[0]
	if !s.acquire() {
		t.Fatal("the segment is gone")
	}
	defer s.release()
	s.closeFiles()
	if err := k.m.Delete("t", 0); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, k.log(), batchOf(1, 50, epoch0.UnixMilli()+1000))
	got, err := s.readBatch(0, int64(len(old)))
	if err != nil || got.MaxTimestamp() != old.MaxTimestamp() {
		t.Fatalf("batch of %d, want %d, %v", got.MaxTimestamp(), old.MaxTimestamp(), err)
	}
}
