// Package vfstest holds the conformance suite that every vfs.FS must pass.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// Run runs the suite. open returns a file system and an empty directory in it.
func Run(t *testing.T, open func(t *testing.T) (fsys vfs.FS, dir string)) {
	t.Helper()
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, fsys vfs.FS, dir string)
	}{
		{"ReadBackAtAnyOffset", readBack},
		{"WritePastEndLeavesZeros", writePastEnd},
		{"ReadAtEndIsEOF", readAtEnd},
		{"TruncateCutsAndExtends", truncate},
		{"OpenFlags", openFlags},
		{"ReadOnlyFileRefusesWrites", readOnly},
		{"RenameReplacesFile", rename},
		{"RenameDirectory", renameDir},
		{"RenamedAndRemovedFilesStayOpen", openSurvives},
		{"RemoveRefusesFullDirectory", removeDir},
		{"ReadDirSortsAndDescribes", readDir},
		{"NotExistIsTold", notExist},
		{"ClosedFileIsTold", closedFile},
		{"SyncAndSyncDir", syncs},
		{"ReloadKeepsWhatWasWritten", reload},
		{"WritebackChangesNothing", writeback},
		{"LockExcludes", lock},
		{"ReplaceFile", replaceFile},
		{"RemoveAll", removeAll},
		{"PreallocateLeavesTheLength", preallocate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fsys, dir := open(t)
			tc.run(t, fsys, dir)
		})
	}
}

func create(t *testing.T, fsys vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() }) // tests may have closed it
	if content != "" {
		n, err := f.WriteAt([]byte(content), 0)
		must(t, err)
		if n != len(content) {
			t.Fatalf("WriteAt wrote %d of %d bytes", n, len(content))
		}
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func wantContent(t *testing.T, fsys vfs.FS, name, want string) {
	t.Helper()
	got, err := vfs.ReadFile(fsys, name, 1<<20)
	must(t, err)
	if string(got) != want {
		t.Fatalf("%s holds %q, want %q", name, got, want)
	}
}

func readBack(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "hello world")
	_, err := f.WriteAt([]byte("W"), 6)
	must(t, err)
	p := make([]byte, 5)
	_, err = f.ReadAt(p, 6)
	must(t, err)
	if string(p) != "World" {
		t.Fatalf("read %q", p)
	}
	size, err := f.Size()
	must(t, err)
	if size != 11 {
		t.Fatalf("size %d", size)
	}
}

func writePastEnd(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "ab")
	_, err := f.WriteAt([]byte("z"), 4)
	must(t, err)
	wantContent(t, fsys, name, "ab\x00\x00z")
}

func readAtEnd(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "abc")
	p := make([]byte, 8)
	n, err := f.ReadAt(p, 1)
	wantErr(t, err, io.EOF)
	if n != 2 || !bytes.Equal(p[:2], []byte("bc")) {
		t.Fatalf("read %d bytes: %q", n, p[:n])
	}
	_, err = f.ReadAt(p, 3)
	wantErr(t, err, io.EOF)
	if _, err = f.ReadAt(p, -1); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("a read before the beginning: %v", err)
	}
}

func truncate(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "abcdef")
	must(t, f.Truncate(2))
	wantContent(t, fsys, name, "ab")
	must(t, f.Truncate(4))
	wantContent(t, fsys, name, "ab\x00\x00")
}

func openFlags(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	create(t, fsys, name, "abc")
	_, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	wantErr(t, err, fs.ErrExist)
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	must(t, f.Close())
	wantContent(t, fsys, name, "abc")
	f, err = fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0o644)
	must(t, err)
	must(t, f.Close())
	wantContent(t, fsys, name, "")
}

func readOnly(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	create(t, fsys, name, "abc")
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	if _, err = f.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("a file opened for reading took a write")
	}
	must(t, f.Close())
}

func rename(t *testing.T, fsys vfs.FS, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	create(t, fsys, a, "new")
	create(t, fsys, b, "old")
	must(t, fsys.Rename(a, b))
	wantContent(t, fsys, b, "new")
	_, err := fsys.Stat(a)
	wantErr(t, err, fs.ErrNotExist)
}

func renameDir(t *testing.T, fsys vfs.FS, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, fsys.MkdirAll(filepath.Join(a, "deep"), 0o755))
	create(t, fsys, filepath.Join(a, "f"), "x")
	must(t, fsys.Rename(a, b))
	wantContent(t, fsys, filepath.Join(b, "f"), "x")
	_, err := fsys.Stat(filepath.Join(b, "deep"))
	must(t, err)
}

func openSurvives(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "abc")
	must(t, fsys.Rename(name, name+".deleted"))
	_, err := f.WriteAt([]byte("X"), 0)
	must(t, err)
	wantContent(t, fsys, name+".deleted", "Xbc")
	must(t, fsys.Remove(name+".deleted"))
	p := make([]byte, 3)
	_, err = f.ReadAt(p, 0)
	must(t, err)
	if string(p) != "Xbc" {
		t.Fatalf("removed file reads %q", p)
	}
}

func removeDir(t *testing.T, fsys vfs.FS, dir string) {
	sub := filepath.Join(dir, "sub")
	must(t, fsys.MkdirAll(sub, 0o755))
	create(t, fsys, filepath.Join(sub, "f"), "")
	if err := fsys.Remove(sub); err == nil {
		t.Fatal("a directory that is not empty was removed")
	}
	must(t, fsys.Remove(filepath.Join(sub, "f")))
	must(t, fsys.Remove(sub))
}

func readDir(t *testing.T, fsys vfs.FS, dir string) {
	create(t, fsys, filepath.Join(dir, "b"), "12345")
	create(t, fsys, filepath.Join(dir, "a"), "")
	must(t, fsys.MkdirAll(filepath.Join(dir, "c"), 0o755))
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	if len(entries) != 3 || entries[0].Name() != "a" || entries[1].Name() != "b" || !entries[2].IsDir() {
		t.Fatalf("entries %v", entries)
	}
	info, err := entries[1].Info()
	must(t, err)
	if info.Size() != 5 || info.IsDir() || info.ModTime().IsZero() {
		t.Fatalf("info: size %d, dir %t, modified %v", info.Size(), info.IsDir(), info.ModTime())
	}
}

func notExist(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "none")
	_, err := fsys.OpenFile(name, os.O_RDWR, 0)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.Stat(name)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.ReadDir(name)
	wantErr(t, err, fs.ErrNotExist)
	wantErr(t, fsys.Remove(name), fs.ErrNotExist)
	wantErr(t, fsys.Rename(name, name+"2"), fs.ErrNotExist)
}

func closedFile(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "abc")
	must(t, f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	wantErr(t, err, fs.ErrClosed)
	wantErr(t, f.Sync(), fs.ErrClosed)
}

func syncs(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "abc")
	must(t, f.Sync())
	must(t, fsys.SyncDir(dir))
	must(t, vfs.SyncFile(fsys, filepath.Join(dir, "a")))
	if err := fsys.SyncDir(filepath.Join(dir, "none")); err == nil {
		t.Fatal("a directory that does not exist was synced")
	}
}

func reload(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "abcdef")
	must(t, f.Sync())
	_, err := f.WriteAt([]byte("XY"), 2)
	must(t, err)
	must(t, f.Truncate(5))
	must(t, vfs.Reload(f))
	wantContent(t, fsys, name, "abXYe")
}

func writeback(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "abcdef")
	w, ok := f.(vfs.WritebackStarter)
	if !ok {
		t.Skip("these files cannot be asked to write back")
	}
	w.StartWriteback(2, 2)
	w.StartWriteback(4, 1<<20) // beyond the end
	wantContent(t, fsys, name, "abcdef")
	must(t, f.Sync())
	must(t, f.Close())
	w.StartWriteback(0, 6) // the file is closed: no effect
}

func lock(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, ".lock")
	held, err := fsys.Lock(name)
	must(t, err)
	_, err = fsys.Lock(name)
	wantErr(t, err, vfs.ErrLocked)
	must(t, held.Close())
	held, err = fsys.Lock(name)
	must(t, err)
	must(t, held.Close())
}

func replaceFile(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	for _, durable := range []bool{true, false} {
		must(t, vfs.ReplaceFile(fsys, name, []byte("one longer"), 0o644, durable))
		must(t, vfs.ReplaceFile(fsys, name, []byte("two"), 0o644, durable))
		wantContent(t, fsys, name, "two")
	}
	must(t, vfs.WriteFile(fsys, name, []byte("3"), 0o644))
	wantContent(t, fsys, name, "3")
	if _, err := vfs.ReadFile(fsys, name, 0); err == nil {
		t.Fatal("ReadFile passed its limit")
	}
}

func removeAll(t *testing.T, fsys vfs.FS, dir string) {
	deep := filepath.Join(dir, "a", "b", "c")
	must(t, fsys.MkdirAll(deep, 0o755))
	create(t, fsys, filepath.Join(deep, "f"), "x")
	must(t, vfs.RemoveAll(fsys, filepath.Join(dir, "a")))
	_, err := fsys.Stat(filepath.Join(dir, "a"))
	wantErr(t, err, fs.ErrNotExist)
	must(t, vfs.RemoveAll(fsys, filepath.Join(dir, "a")))
}

func preallocate(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "abc")
	err := vfs.Preallocate(f, 1<<20)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the volume cannot reserve space")
	}
	must(t, err)
	wantContent(t, fsys, name, "abc")
	_, err = f.WriteAt([]byte("def"), 3)
	must(t, err)
	must(t, f.Truncate(6)) // releases the rest
	wantContent(t, fsys, name, "abcdef")
	must(t, vfs.Preallocate(f, 4)) // less than is written
	wantContent(t, fsys, name, "abcdef")
	must(t, f.Close())
	if err = vfs.Preallocate(f, 1<<20); err == nil {
		t.Fatal("a closed file was preallocated")
	}
}
