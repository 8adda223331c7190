package crashfs_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/varvelog/varve/integration/crashfs"
	"github.com/varvelog/varve/vfs"
	"github.com/varvelog/varve/vfs/vfstest"
)

// open returns a file system over an empty directory, with a journal in another one.
func open(t *testing.T) (fsys *crashfs.FS, journal, dir string) {
	t.Helper()
	journal, dir = filepath.Join(t.TempDir(), "journal"), filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	return reopen(t, journal), journal, dir
}

func reopen(t *testing.T, journal string) *crashfs.FS {
	t.Helper()
	fsys, err := crashfs.Open(journal)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

func TestConformance(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
		t.Helper()
		fsys, _, dir := open(t)
		return fsys, dir
	})
}

// disk is a file system of a test. Each step must succeed.
type disk struct {
	t *testing.T
	*crashfs.FS
	journal, dir string
}

func (d *disk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

// write writes to a file at an offset, and syncs the file if sync is set.
func (d *disk) write(name string, at int64, text string, sync bool) {
	d.t.Helper()
	f, err := d.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	d.must(err)
	_, err = f.WriteAt([]byte(text), at)
	d.must(err)
	if sync {
		d.must(f.Sync())
	}
	d.must(f.Close())
}

func (d *disk) syncDir() { d.t.Helper(); d.must(d.SyncDir(d.dir)) }

func TestPowerLoss(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(d *disk)
		left map[string]string
	}{
		"synced":             {func(d *disk) { d.write("a", 0, "one", true); d.syncDir() }, map[string]string{"a": "one"}},
		"its name is not":    {func(d *disk) { d.write("a", 0, "one", true) }, nil},
		"its content is not": {func(d *disk) { d.write("a", 0, "one", false); d.syncDir() }, map[string]string{"a": ""}},
		"its tail is not":    {func(d *disk) { d.write("a", 0, "one", true); d.syncDir(); d.write("a", 3, "two", false) }, map[string]string{"a": "one"}},
		"of an earlier process": {func(d *disk) {
			d.write("a", 0, "one", true)
			d.syncDir()
			d.write("a", 3, "two", false)
			d.FS = reopen(d.t, d.journal)
			d.write("a", 6, "three", false)
		}, map[string]string{"a": "one"}},
		"killed while it wrote the journal": {func(d *disk) {
			d.write("a", 0, "one", true)
			d.syncDir()
			journal, err := os.OpenFile(filepath.Join(d.journal, "journal"), os.O_WRONLY|os.O_APPEND, 0)
			d.must(err)
			_, err = journal.WriteString(`{"kind":"syn`)
			d.must(err)
			d.must(journal.Close())
			d.FS = reopen(d.t, d.journal)
			d.write("a", 3, "two", true)
		}, map[string]string{"a": "onetwo"}},
		"synced later": {func(d *disk) {
			d.write("a", 0, "one", false)
			d.syncDir()
			d.FS = reopen(d.t, d.journal)
			d.write("a", 3, "two", true)
		}, map[string]string{"a": "onetwo"}},
		"cut, and written again": {func(d *disk) {
			d.write("a", 0, "onetwo", true)
			d.syncDir()
			f, err := d.OpenFile(d.path("a"), os.O_RDWR, 0)
			d.must(err)
			d.must(f.Truncate(3))
			d.must(f.Close())
			d.write("a", 3, "three", false)
		}, map[string]string{"a": "one"}},
		"synced under another name": {func(d *disk) {
			d.write("a", 0, "one", false)
			f, err := d.OpenFile(d.path("a"), os.O_RDWR, 0)
			d.must(err)
			d.must(d.Rename(d.path("a"), d.path("b")))
			d.must(f.Sync())
			d.must(f.Close())
			d.syncDir()
		}, map[string]string{"b": "one"}},
		"a rename that is not durable": {func(d *disk) {
			d.write("a", 0, "one", true)
			d.syncDir()
			d.must(d.Rename(d.path("a"), d.path("b")))
		}, map[string]string{"a": "one"}},
		"replaced durably": {func(d *disk) {
			d.must(vfs.ReplaceFile(d, d.path("a"), []byte("one"), 0o600, true))
			d.must(vfs.ReplaceFile(d, d.path("a"), []byte("two"), 0o600, true))
		}, map[string]string{"a": "two"}},
		"replaced": {func(d *disk) {
			d.must(vfs.ReplaceFile(d, d.path("a"), []byte("one"), 0o600, true))
			d.must(vfs.ReplaceFile(d, d.path("a"), []byte("two"), 0o600, false))
		}, map[string]string{"a": "one"}},
		"removed": {func(d *disk) {
			d.write("a", 0, "one", true)
			d.syncDir()
			d.must(d.Remove(d.path("a")))
		}, map[string]string{"a": "one"}},
		"removed durably": {func(d *disk) {
			d.write("a", 0, "one", true)
			d.syncDir()
			d.must(d.Remove(d.path("a")))
			d.syncDir()
		}, nil},
		"a directory with all it has": {func(d *disk) {
			d.must(d.MkdirAll(d.path("x/y"), 0o750))
			d.write("x/a", 0, "one", true)
			d.must(d.SyncDir(d.path("x")))
		}, nil},
		"a directory renamed": {func(d *disk) {
			d.must(d.MkdirAll(d.path("x"), 0o750))
			d.syncDir()
			d.write("x/a", 0, "one", true)
			d.must(d.SyncDir(d.path("x")))
			d.must(d.Rename(d.path("x"), d.path("z")))
		}, map[string]string{"x/a": "one"}},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, journal, dir := open(t)
			d := &disk{t: t, FS: fsys, journal: journal, dir: dir}
			tc.do(d)
			_, _, err := crashfs.LosePower(journal, dir)
			d.must(err)
			if got := filesBelow(t, dir); !maps.Equal(got, tc.left) {
				t.Errorf("left is %q, want %q", got, tc.left)
			}
			_, _, err = crashfs.LosePower(journal, dir)
			d.must(err)
			if got := filesBelow(t, dir); !maps.Equal(got, tc.left) {
				t.Errorf("once more: left is %q, want %q", got, tc.left)
			}
		})
	}
}

// filesBelow returns the content of all files in a directory and its direct subdirectories.
func filesBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	below, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(names, below) {
		content, readErr := os.ReadFile(name)
		if errors.Is(readErr, syscall.EISDIR) {
			continue
		}
		if readErr != nil {
			t.Fatal(readErr)
		}
		relative, relErr := filepath.Rel(dir, name)
		if relErr != nil {
			t.Fatal(relErr)
		}
		all[relative] = string(content)
	}
	return all
}

func TestBreak(t *testing.T) {
	fsys, journal, dir := open(t)
	d := &disk{t: t, FS: fsys, journal: journal, dir: dir}
	d.must(d.MkdirAll(d.path("x"), 0o750))
	d.must(d.MkdirAll(d.path("xy"), 0o750))
	d.write("x/a", 0, "one", true)
	f, err := d.OpenFile(d.path("x/a"), os.O_RDWR, 0)
	d.must(err)
	t.Cleanup(func() { d.must(f.Close()) })
	d.must(crashfs.Break(journal, d.path("x")))
	_, err = f.WriteAt([]byte("two"), 0)
	for what, got := range map[string]error{"write": err, "sync": f.Sync(), "syncdir": d.SyncDir(d.path("x")), "remove": d.Remove(d.path("x/a"))} {
		if !errors.Is(got, syscall.EIO) {
			t.Errorf("%s on a broken disk: %v", what, got)
		}
	}
	d.write("xy/a", 0, "beside", true)
	d.must(crashfs.Mend(journal))
	d.must(f.Sync())
}
