package objstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob/fileblob"
)

const (
	// temporaryDir holds objects that are being written. It is in the bucket's directory, so that a
	// rename or link can move them into place.
	temporaryDir = ".varve-tmp"
	// staleAfter is the age at which a temporary file is taken for the leftover of a crash. Younger
	// ones may be in use by other processes.
	staleAfter = 24 * time.Hour

	bucketDirMode = 0o755
)

// fileStore implements the operations of a bucket in a directory for which fileblob is not good
// enough.
type fileStore struct{ dir string }

func openFile(u *url.URL) (*blobBucket, error) {
	if u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") {
		return nil, errors.New("the directory must be absolute: use file:///DIR")
	}
	s := fileStore{dir: filepath.Clean(filepath.FromSlash(u.Path))}
	if err := os.Mkdir(s.dir, bucketDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: directory %s does not exist: create it, or correct the object store's URL", ErrNoBucket, filepath.Dir(s.dir))
		}
		return nil, fmt.Errorf("create the directory: %w", err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, temporaryDir), bucketDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create a directory for objects being written: %w: the object store must be writable", err)
	}
	if err := s.removeStale(time.Now()); err != nil {
		return nil, err
	}
	blobs, err := fileblob.OpenBucket(s.dir, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, err
	}
	b := overBlobs(blobs)
	b.put, b.list, b.exists = s.put, s.list, s.exists
	return b, nil
}

func (s fileStore) exists(context.Context) error {
	switch info, err := os.Stat(s.dir); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: directory %s does not exist: create it, or correct the object store's URL", ErrNoBucket, s.dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrNoBucket, s.dir)
	default:
		return nil
	}
}

// put writes the object to a temporary file and makes it durable. Only then does it give the object
// its name: by a link, which fails if the name exists, or by a rename, which does not. After a
// crash the object is thus whole or absent.
func (s fileStore) put(ctx context.Context, key string, body *body, ifAbsent bool) (err error) {
	if err = s.exists(ctx); err != nil {
		return err // do not create a new bucket where a mount is missing
	}
	name := filepath.Join(s.dir, filepath.FromSlash(key))
	if ifAbsent {
		if _, err = os.Lstat(name); err == nil {
			return ErrExists // saves the copy; the link decides
		}
	}
	tmp, err := os.CreateTemp(filepath.Join(s.dir, temporaryDir), "put-*")
	if err != nil {
		return err
	}
	defer func() {
		removeErr := os.Remove(tmp.Name())
		// After a rename the temporary file no longer exists.
		if err == nil && removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = removeErr
		}
	}()
	if err = copyFile(ctx, tmp, body); err != nil {
		return err
	}
	if err = s.mkdirs(filepath.Dir(name)); err != nil {
		return err
	}
	if ifAbsent {
		err = os.Link(tmp.Name(), name)
		if errors.Is(err, fs.ErrExist) {
			return ErrExists
		}
	} else {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// copyFile writes the body to the file, makes it durable and closes it.
func copyFile(ctx context.Context, f *os.File, body *body) error {
	n, err := io.Copy(f, &contextReader{err: ctx.Err, r: body})
	if err == nil && n != body.size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	err func() error
	r   io.Reader
}

// Read returns the next bytes, or the error of the context.
func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// mkdirs creates a directory in the bucket's directory, and its parents, durably.
func (s fileStore) mkdirs(dir string) error {
	if dir == s.dir {
		return nil
	}
	if err := s.mkdirs(filepath.Dir(dir)); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, bucketDirMode); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	default:
		return syncDir(filepath.Dir(dir))
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// list walks the directories in the order of the keys.
func (s fileStore) list(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		if err := s.exists(ctx); err != nil {
			yield(ObjectInfo{}, err)
			return
		}
		// All keys with the prefix are below its directory part.
		below := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			below = prefix[:i+1]
		}
		s.walk(ctx, below, prefix, yield)
	}
}

// walk yields the objects below a directory ("" or "…/") whose keys begin with prefix. It returns
// false if yield does, or after an error.
func (s fileStore) walk(ctx context.Context, below, prefix string, yield func(ObjectInfo, error) bool) bool {
	entries, err := os.ReadDir(filepath.Join(s.dir, filepath.FromSlash(below)))
	if errors.Is(err, fs.ErrNotExist) {
		return true // no such prefix, or deleted since
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		yield(ObjectInfo{}, err)
		return false
	}
	keyOf := func(e os.DirEntry) string {
		if e.IsDir() {
			// The name has a slash, as in the keys below it: "a-b" comes before "a/b".
			return below + e.Name() + "/"
		}
		return below + e.Name()
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	for _, e := range entries {
		key := keyOf(e)
		switch {
		case e.IsDir():
			if key == temporaryDir+"/" || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key) {
				continue
			}
			if !s.walk(ctx, key, prefix, yield) {
				return false
			}
		case strings.HasPrefix(key, prefix) && e.Type().IsRegular():
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted since
			}
			if err != nil {
				yield(ObjectInfo{}, err)
				return false
			}
			if !yield(ObjectInfo{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil) {
				return false
			}
		}
	}
	return true
}

// removeStale removes the temporary files that crashes have left.
func (s fileStore) removeStale(now time.Time) error {
	dir := filepath.Join(s.dir, temporaryDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for left-over objects: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < staleAfter {
			continue // deleted, or perhaps being written
		}
		if err = os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a left-over object: %w", err)
		}
	}
	return nil
}
