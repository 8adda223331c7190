package objstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func openDir(t *testing.T, dir string) Bucket {
	t.Helper()
	b, err := Open(t.Context(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Brokers are separate processes, so the file system must enforce IfAbsent.
func TestDirectoriesIfAbsentHoldsAcrossBuckets(t *testing.T) {
	dir := t.TempDir()
	buckets := make([]Bucket, 8)
	for i := range buckets {
		buckets[i] = openDir(t, dir)
	}
	for round := range 50 {
		key := fmt.Sprintf("manifest/%d", round)
		won := make([]bool, len(buckets))
		var g errgroup.Group
		for i, b := range buckets {
			g.Go(func() error {
				err := b.Put(t.Context(), key, strings.NewReader(fmt.Sprint(i)), PutOptions{IfAbsent: true})
				won[i] = err == nil
				if errors.Is(err, ErrExists) {
					return nil
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		winners := 0
		for _, w := range won {
			if w {
				winners++
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d winners", round, winners)
		}
	}
}

// A volume that is not mounted must not look like an empty bucket, and nothing may be written in
// its place.
func TestMissingDirectoryIsNotAnEmptyBucket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	b := openDir(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrNoBucket) || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := b.Stat(t.Context(), "k")
	check("Stat", err)
	_, err = b.GetRange(t.Context(), "k", 0, make([]byte, 1))
	check("GetRange", err)
	check("Put", b.Put(t.Context(), "a/b", strings.NewReader("x"), PutOptions{}))
	check("Delete", b.Delete(t.Context(), "k"))
	listed := false
	for _, listErr := range b.List(t.Context(), "some/") {
		listed = true
		check("List", listErr)
	}
	if !listed {
		t.Error("List of a bucket that is not there is empty")
	}
	if _, err = os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is back: %v", err)
	}
}

func TestDirectoryHasNoOtherFilesThanObjects(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	if err := b.Put(t.Context(), "a/b", strings.NewReader("x"), PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "a/b", strings.NewReader("y"), PutOptions{IfAbsent: true}); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && name != filepath.Join(dir, "a", "b") {
			t.Errorf("left over: %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpenRemovesWhatCrashesLeft(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	fresh, stale := filepath.Join(dir, temporaryDir, "put-1"), filepath.Join(dir, temporaryDir, "put-2")
	for _, name := range []string{fresh, stale} {
		if err := os.WriteFile(name, []byte("half an object"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-staleAfter - time.Minute)
	if err := os.Chtimes(stale, then, then); err != nil {
		t.Fatal(err)
	}
	for info, err := range b.List(t.Context(), "") {
		t.Errorf("listed: %+v, %v", info, err)
	}
	openDir(t, dir)
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("another process's object is gone: %v", err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the left-over object is there: %v", err)
	}
}

// A body that is shorter than announced must not become an object.
func TestDirectoryRefusesAShortBody(t *testing.T) {
	b := openDir(t, t.TempDir())
	if err := b.Put(t.Context(), "k", &shortBody{strings.NewReader("0123456789")}, PutOptions{}); err == nil {
		t.Error("Put succeeded")
	}
	if _, err := b.Stat(t.Context(), "k"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Stat: %v", err)
	}
}

type shortBody struct{ *strings.Reader }

func (s *shortBody) Read(p []byte) (int, error) {
	if s.Len() <= 5 {
		return 0, io.EOF
	}
	return s.Reader.Read(p[:1])
}
