package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/vfs"
)

// newJBOD returns a kit with two directories and a log of ten batches in each: t-0 in /a, t-1 in
// /b.
func newJBOD(t *testing.T) (*kit, *vfs.Faulty) {
	t.Helper()
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, nil)
	k.shut()
	k.options.Dirs = []string{"/a", "/b"}
	k.open()
	for p := range int32(2) {
		l, err := k.m.Create("t", p, testID)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 10)
		if want := k.options.Dirs[p]; l.dir().path != want {
			t.Fatalf("t-%d is in %s", p, l.dir().path)
		}
	}
	return k, fsys
}

func (k *kit) shut() {
	k.t.Helper()
	if err := k.m.Close(); err != nil {
		k.t.Fatalf("close: %v", err)
	}
}

func (k *kit) refuses(says string) {
	k.t.Helper()
	m, err := OpenManager(k.t.Context(), k.options)
	if err == nil {
		k.t.Cleanup(func() { _ = m.Close() })
		k.t.Fatal("it has started")
	}
	if !errors.Is(err, ErrDirInvalid) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
		k.t.Fatalf("error %v", err)
	}
}

// reopened opens a log as replication does for a partition that it knows.
func (k *kit) reopened(partition int32) *Log {
	k.t.Helper()
	l, err := k.m.Reopen("t", partition, testID)
	if err != nil {
		k.t.Fatal(err)
	}
	return l
}

// wantOffline checks that a log answers ErrStorage to everything.
func wantOffline(t *testing.T, l *Log) {
	t.Helper()
	_, appendErr := l.Append(batchOf(1, 5, epoch0.UnixMilli()), 0)
	_, readErr := l.Read(0, 100, 10, true)
	_, _, timeErr := l.OffsetForTimestamp(0)
	_, retainErr := l.EnforceRetention(epoch0)
	for i, err := range []error{l.Offline(), appendErr, readErr, timeErr, retainErr, l.Truncate(-1), l.Roll(), l.AssignEpoch(3, 5)} {
		if !errors.Is(err, ErrStorage) {
			t.Errorf("answer %d: %v", i, err)
		}
	}
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// Whatever is wrong with one disk, the broker starts with the other one. The logs of the broken
// directory answer ErrStorage, and are back once it works again (S11).
func TestStartWithoutADirectoryWhoseDiskFails(t *testing.T) {
	for name, fault := range map[string]vfs.Fault{
		"cannot be made":          {Op: vfs.OpMkdir, Name: "/b", Err: syscall.EIO},
		"is a file":               {Op: vfs.OpMkdir, Name: "/b", Err: syscall.ENOTDIR},
		"cannot be locked":        {Op: vfs.OpLock, Name: "/b", Err: fs.ErrPermission},
		"meta.properties":         {Op: vfs.OpRead, Name: "/b/meta.properties", Err: syscall.EIO},
		"cannot be listed":        {Op: vfs.OpReadDir, Name: "/b", Err: syscall.EIO},
		"its record":              {Op: vfs.OpOpen, Name: "/b/log-directories", Err: syscall.EIO},
		"one of its logs":         {Op: vfs.OpReadDir, Name: "/b/t-1", Err: syscall.EIO},
		"a segment of a log":      {Op: vfs.OpOpen, Name: "/b/t-1/00000000000000000000.log", Err: syscall.EIO},
		"takes no marker away":    {Op: vfs.OpRemove, Name: "/b/.kafka_cleanshutdown", Err: syscall.EROFS},
		"is full while recovered": {Op: vfs.OpOpen, Name: "/b/t-1/leader-epoch", Err: syscall.ENOSPC},
	} {
		t.Run(name, func(t *testing.T) {
			k, fsys := newJBOD(t)
			id := k.m.DirUsage()[1].DirectoryID
			k.shut()
			fsys.Inject(fault)
			var said bytes.Buffer
			k.options.Logger = slog.New(slog.NewTextHandler(&said, nil))
			registry := prometheus.NewRegistry()
			k.options.Registerer = registry
			k.open()
			if !strings.Contains(said.String(), "data directory is offline") || strings.Count(said.String(), "level=ERROR") != 1 {
				t.Errorf("it said %s", said.String())
			}
			if logs := slices.Collect(k.m.Logs()); len(logs) != 1 || logs[0].Partition() != 0 {
				t.Fatalf("%d logs were found", len(logs))
			}
			if u := k.m.DirUsage(); u[0].Err != nil || !errors.Is(u[1].Err, ErrStorage) || u[1].DirectoryID != id {
				t.Errorf("%+v", u)
			}
			if n := gauge(t, registry, "kafka_log_logmanager_offlinelogdirectorycount"); n != 1 || gauge(t, registry, "varve_storage_failed_dirs") != 1 {
				t.Errorf("%v directories failed", n)
			}
			k.options.Registerer = nil
			fill(t, k.reopened(0), 1)
			lost := k.reopened(1)
			wantOffline(t, lost)
			if again := k.reopened(1); again != lost {
				t.Error("another log")
			}
			fresh, err := k.m.Create("new", 0, testID)
			if err != nil || fresh.dir().path != "/a" {
				t.Fatalf("a new partition: %v", err)
			}
			fill(t, fresh, 1)
			fsys.Heal()
			// A clean restart, although a directory was missing before.
			k.reopen()
			if l := k.reopened(1); l.Offline() != nil || l.EndOffset() != 10 || l.dir().path != "/b" {
				t.Errorf("end %d in %s, %v", l.EndOffset(), l.dir().path, l.Offline())
			}
		})
	}
}

func TestStartNeedsOneDirectory(t *testing.T) {
	k, fsys := newJBOD(t)
	k.shut()
	fsys.Inject(vfs.Fault{Op: vfs.OpMkdir, Err: fs.ErrPermission})
	k.refuses("/a cannot be written")
	fsys.Heal()
	k.open() // no lock is left behind
}

// Mistakes that no disk can be blamed for are errors of the start.
func TestOtherMistakesStayStartErrors(t *testing.T) {
	k, fsys := newJBOD(t)
	k.shut()
	held, err := fsys.Lock("/b/.lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = OpenManager(t.Context(), k.options); !errors.Is(err, ErrDirLocked) {
		t.Fatalf("locked: %v", err)
	}
	if err = held.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.NodeID = 2
	k.refuses("belongs to broker 1")
	k.options.NodeID = 1
	if err = fsys.MkdirAll("/b/t-0", 0o755); err != nil {
		t.Fatal(err)
	}
	k.refuses("partition t-0 is in /a and in /b")
}

// A disk that is not mounted looks like an empty directory. Nothing may be created in it.
func TestEmptyDirectoryAtAKnownPath(t *testing.T) {
	k, fsys := newJBOD(t)
	k.shut()
	if err := fsys.Rename("/b", "/elsewhere"); err != nil {
		t.Fatal(err)
	}
	k.open()
	wantOffline(t, k.reopened(1))
	if _, err := fsys.Stat("/b/" + metaFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory was taken: %v", err)
	}
	k.shut()

	// A directory is recognized by its id, wherever it is.
	k.options.Dirs = []string{"/elsewhere", "/a"}
	k.open()
	if l := k.reopened(1); l.EndOffset() != 10 {
		t.Errorf("end %d", l.EndOffset())
	}
	k.shut()

	k.options.Dirs = []string{"/a"}
	k.refuses("/elsewhere (directory ")
	k.options.Dirs = []string{"/a", "/c"}
	k.refuses("is not configured: add it to log.dirs, or tell with varve.lost.log.dirs=")
}

func TestDirectoryThatIsGivenUp(t *testing.T) {
	k, fsys := newJBOD(t)
	id := formatUUID(k.m.DirUsage()[1].DirectoryID)
	k.shut()
	if err := vfs.RemoveAll(fsys, "/b"); err != nil {
		t.Fatal(err)
	}
	k.options.LostDirs = []string{"x"}
	k.refuses("lost directory")
	k.options.LostDirs = []string{id}
	k.open()
	l := k.reopened(1)
	if l.EndOffset() != 0 {
		t.Fatalf("end %d", l.EndOffset())
	}
	fill(t, l, 3)
	k.options.LostDirs = nil // once is enough
	k.reopen()
	if l = k.reopened(1); l.EndOffset() != 3 || k.m.DirUsage()[1].Err != nil {
		t.Fatalf("end %d", l.EndOffset())
	}
}

func TestDirectoryWithoutMetaPropertiesIsAdopted(t *testing.T) {
	k, fsys := newJBOD(t)
	id := k.m.DirUsage()[1].DirectoryID
	k.shut()
	if err := fsys.Remove("/b/" + metaFile); err != nil {
		t.Fatal(err)
	}
	k.open()
	if l := k.reopened(1); l.EndOffset() != 10 || k.m.DirUsage()[1].DirectoryID != id {
		t.Errorf("end %d in directory %x", l.EndOffset(), k.m.DirUsage()[1].DirectoryID)
	}
}

// A failure while the broker runs affects only the logs of that directory.
func TestDirectoryThatFailsLater(t *testing.T) {
	k, fsys := newJBOD(t)
	good, bad := k.reopened(0), k.reopened(1)
	fsys.Inject(vfs.Fault{Op: vfs.OpSync, Name: "/b/t-1", Err: syscall.EIO, Times: 1})
	if err := bad.Flush(t.Context(), 10); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	wantOffline(t, bad)
	fill(t, good, 5)
	if err := good.Flush(t.Context(), good.EndOffset()); err != nil || k.m.failedDirs() != 1 {
		t.Errorf("%d directories failed, %v", k.m.failedDirs(), err)
	}
	for _, again := range []func(string, int32, [16]byte) (*Log, error){k.m.Create, k.m.Reopen} {
		if l, err := again("t", 1, testID); err != nil || l != bad {
			t.Errorf("the partition came back in another directory: %v", err)
		}
	}
	for p := range int32(4) {
		if l, err := k.m.Create("new", p, testID); err != nil || l.dir().path != "/a" {
			t.Errorf("a new partition: %v", err)
		}
	}
	if err := k.m.Delete("t", 1); err != nil {
		t.Errorf("a topic on a failed disk can be deleted: %v", err)
	}
	if _, err := fsys.Stat("/b/t-1"); err != nil {
		t.Errorf("a failed disk was touched: %v", err)
	}
}

// A new log gets its directory before anything is written. If the directory then refuses the first
// write, the append fails and leaves nothing behind, and the next append tries again.
func TestFirstWriteToADirectoryThatRefuses(t *testing.T) {
	k, fsys := newJBOD(t)
	l, err := k.m.Create("u", 0, testID)
	if err != nil {
		t.Fatal(err)
	}
	fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Name: "u-0/partition.metadata", Err: syscall.ENOSPC})
	if _, err = l.Append(batchOf(1, 10, 1000), 1); !errors.Is(err, ErrDiskFull) || l.EndOffset() != 0 {
		t.Errorf("end %d, %v", l.EndOffset(), err)
	}
	fsys.Heal()
	if info := mustAppend(t, l, batchOf(1, 10, 1000)); info.FirstOffset != 0 {
		t.Errorf("%+v", info)
	}
}

func TestKnownDirsFormat(t *testing.T) {
	k, _ := newJBOD(t)
	u := k.m.DirUsage()
	lines := []string{formatUUID(u[0].DirectoryID) + " /a\n", formatUUID(u[1].DirectoryID) + " /b\n"}
	slices.Sort(lines)
	for _, dir := range k.options.Dirs {
		if got := string(content(t, k.fs, dir+"/log-directories")); got != "0\n2\n"+lines[0]+lines[1] {
			t.Errorf("%s: %q", dir, got)
		}
	}
	id := formatUUID(testID)
	for _, bad := range []string{"", "0\n1\n", "1\n0\n", "0\n1\n" + id + "\n", "0\n1\nx /a\n", "0\n1\n" + id + " /a"} {
		if known, err := parseKnownDirs([]byte(bad)); err == nil {
			t.Errorf("%q gives %v", bad, known)
		}
	}
	known, err := parseKnownDirs(fmt.Appendf(nil, "0\n1\n%s /with a blank\n", id))
	if err != nil || known[testID] != "/with a blank" {
		t.Errorf("%v, %v", known, err)
	}
}
