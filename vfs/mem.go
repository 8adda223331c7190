package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory for tests. It records which changes were made durable, so
// CrashClone can construct states that a crash of the machine may leave. The root "/" exists. It is
// safe for concurrent use.
type Mem struct {
	mu struct {
		sync.Mutex
		root  *memDir
		locks map[string]bool
		size  int64 // size of the disk in bytes; 0: unlimited
	}
	now func() time.Time
}

// SetSize gives the disk a size in bytes; 0 makes it unlimited. Writes beyond the size fail with
// ENOSPC, and Space reports how full the disk is. Only bytes of files with a name are counted.
func (m *Mem) SetSize(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.size = bytes
}

// Space implements SpaceReporter for a disk that has a size.
func (m *Mem) Space(string) (total, free int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	used := m.mu.root.bytes()
	if m.mu.size == 0 {
		return used, 0, errors.ErrUnsupported
	}
	return m.mu.size, max(m.mu.size-used, 0), nil
}

// bytes is the size of all files below the directory.
func (d *memDir) bytes() int64 {
	n := int64(0)
	for _, node := range d.names {
		switch node := node.(type) {
		case *memDir:
			n += node.bytes()
		case *memInode:
			n += int64(len(node.data))
		}
	}
	return n
}

// NewMem returns an empty file system of unlimited size.
func NewMem() *Mem {
	m := &Mem{now: time.Now}
	m.mu.root = newMemDir()
	m.mu.locks = map[string]bool{}
	return m
}

// memNode is a *memDir or a *memInode.
type memNode any

// memDir is a directory: its current names, its names at the latest sync, and the changes since, in
// order.
type memDir struct {
	names   map[string]memNode
	durable map[string]memNode
	pending []dirChange
}

// dirChange is one atomic change of names: remove one, set one, or both (a rename).
type dirChange struct {
	remove, set string
	node        memNode
}

func newMemDir() *memDir {
	return &memDir{names: map[string]memNode{}, durable: map[string]memNode{}}
}

func (d *memDir) change(c dirChange) {
	c.applyTo(d.names)
	d.pending = append(d.pending, c)
}

func (c dirChange) applyTo(names map[string]memNode) {
	if c.remove != "" {
		delete(names, c.remove)
	}
	if c.set != "" {
		names[c.set] = c.node
	}
}

// lookupLocked finds the node of a name. "" and "/" are the root.
func (m *Mem) lookupLocked(name string) (memNode, error) {
	var node memNode = m.mu.root
	for _, part := range splitPath(name) {
		d, ok := node.(*memDir)
		if !ok {
			return nil, syscall.ENOTDIR
		}
		if node, ok = d.names[part]; !ok {
			return nil, fs.ErrNotExist
		}
	}
	return node, nil
}

// parentLocked finds the directory that contains a name or would contain it, and the last part of
// the name.
func (m *Mem) parentLocked(name string) (*memDir, string, error) {
	parts := splitPath(name)
	if len(parts) == 0 {
		return nil, "", syscall.EINVAL
	}
	node, err := m.lookupLocked(strings.Join(parts[:len(parts)-1], "/"))
	if err != nil {
		return nil, "", err
	}
	d, ok := node.(*memDir)
	if !ok {
		return nil, "", syscall.ENOTDIR
	}
	return d, parts[len(parts)-1], nil
}

func splitPath(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parentLocked(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	node, exists := d.names[base]
	inode, isFile := node.(*memInode)
	switch {
	case !exists && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, fs.ErrNotExist)
	case exists && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathError("open", name, fs.ErrExist)
	case exists && !isFile:
		return nil, pathError("open", name, syscall.EISDIR)
	case !exists:
		inode = &memInode{modified: m.now()}
		d.change(dirChange{set: base, node: inode})
	case flag&os.O_TRUNC != 0:
		inode.change(fileChange{truncate: true}, m.now())
	}
	return &memFile{fs: m, inode: inode, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldBase, err := m.parentLocked(oldName)
	if err != nil {
		return pathError("rename", oldName, err)
	}
	to, newBase, err := m.parentLocked(newName)
	if err != nil {
		return pathError("rename", newName, err)
	}
	node, ok := from.names[oldBase]
	if !ok {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	if over, isDir := to.names[newBase].(*memDir); isDir && len(over.names) > 0 {
		return pathError("rename", newName, syscall.ENOTEMPTY)
	}
	if from == to {
		from.change(dirChange{remove: oldBase, set: newBase, node: node})
		return nil
	}
	from.change(dirChange{remove: oldBase})
	to.change(dirChange{set: newBase, node: node})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parentLocked(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	node, ok := d.names[base]
	if !ok {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if dir, isDir := node.(*memDir); isDir && len(dir.names) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	d.change(dirChange{remove: base})
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.mu.root
	for _, part := range splitPath(name) {
		node, ok := d.names[part]
		if !ok {
			node = newMemDir()
			d.change(dirChange{set: part, node: node})
		}
		if d, ok = node.(*memDir); !ok {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookupLocked(name)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	d, ok := node.(*memDir)
	if !ok {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	entries := make([]fs.DirEntry, 0, len(d.names))
	for base, child := range d.names {
		entries = append(entries, fs.FileInfoToDirEntry(infoOf(base, child)))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookupLocked(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return infoOf(filepath.Base(name), node), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookupLocked(name)
	if err != nil {
		return pathError("sync", name, err)
	}
	d, ok := node.(*memDir)
	if !ok {
		return pathError("sync", name, syscall.ENOTDIR)
	}
	for _, c := range d.pending {
		c.applyTo(d.durable)
	}
	d.pending = nil
	return nil
}

// Reserved is the space that a file takes, in bytes: its length, or the preallocated size if that
// is larger.
func (m *Mem) Reserved(name string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookupLocked(name)
	if err != nil {
		return 0, pathError("stat", name, err)
	}
	inode, ok := node.(*memInode)
	if !ok {
		return 0, pathError("stat", name, syscall.EISDIR)
	}
	return max(inode.reserved, int64(len(inode.data))), nil
}

// Lock implements FS. A lock does not survive CrashClone.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if m.mu.locks[name] {
		return nil, pathError("lock", name, ErrLocked)
	}
	m.mu.locks[name] = true
	return &memLock{File: f, fs: m, name: name}, nil
}

type memLock struct {
	File
	fs   *Mem
	name string
}

// Close releases the lock.
func (l *memLock) Close() error {
	l.fs.mu.Lock()
	delete(l.fs.mu.locks, l.name)
	l.fs.mu.Unlock()
	return l.File.Close()
}

// CrashClone returns a state that the machine might find after losing power now. Everything synced
// is there. Of the later changes, each directory keeps a prefix of those to its names. Each file
// keeps any subset of its writes, and the last bytes of a write may be missing. seed selects the
// state. m itself is not affected.
func (m *Mem) CrashClone(seed uint64) *Mem {
	rnd := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	c := NewMem()
	c.now = m.now
	m.mu.Lock()
	defer m.mu.Unlock()
	c.mu.root = m.mu.root.crash(rnd, map[*memInode]*memInode{})
	return c
}

func (d *memDir) crash(rnd *rand.Rand, seen map[*memInode]*memInode) *memDir {
	names := map[string]memNode{}
	maps.Copy(names, d.durable)
	for _, c := range d.pending[:rnd.IntN(len(d.pending)+1)] {
		c.applyTo(names)
	}
	sorted := make([]string, 0, len(names))
	for base := range names {
		sorted = append(sorted, base)
	}
	// The order in which the generator is used must not depend on the order of the map.
	slices.Sort(sorted)
	out := newMemDir()
	for _, base := range sorted {
		var node memNode
		switch n := names[base].(type) {
		case *memDir:
			node = n.crash(rnd, seen)
		case *memInode:
			if seen[n] == nil {
				seen[n] = n.crash(rnd)
			}
			node = seen[n]
		}
		out.names[base], out.durable[base] = node, node
	}
	return out
}

// Clone returns the state that the next process finds if this one is killed now: everything that
// was written, synced or not. Each change is as durable in the clone as it is in m.
func (m *Mem) Clone() *Mem {
	c := NewMem()
	c.now = m.now
	m.mu.Lock()
	defer m.mu.Unlock()
	c.mu.root = m.mu.root.clone(map[memNode]memNode{})
	return c
}

func (d *memDir) clone(seen map[memNode]memNode) *memDir {
	if c, ok := seen[d].(*memDir); ok {
		return c
	}
	out := newMemDir()
	seen[d] = out
	cloneNode := func(node memNode) memNode {
		switch n := node.(type) {
		case *memDir:
			return n.clone(seen)
		case *memInode:
			if seen[n] == nil {
				seen[n] = n.clone()
			}
			return seen[n]
		}
		return nil
	}
	for base, node := range d.names {
		out.names[base] = cloneNode(node)
	}
	for base, node := range d.durable {
		out.durable[base] = cloneNode(node)
	}
	for _, c := range d.pending {
		c.node = cloneNode(c.node)
		out.pending = append(out.pending, c)
	}
	return out
}
