package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// Names in a data directory.
const (
	lockFile        = ".lock"
	cleanFile       = ".kafka_cleanshutdown"
	failedFile      = ".failed"
	suffixDeleteDir = "-delete"
)

// dataDir is one directory of the configuration. After a failure that leaves
// unknown what is on its disk, every operation on its logs fails.
type dataDir struct {
	fs       vfs.FS
	path     string
	id       [16]byte // directory.id of meta.properties
	lock     io.Closer
	meta     []byte // meta.properties as it was found, nil if there was none
	recorded bool   // it has the file of known directories: it was used before
	logs     int    // how many it holds; the manager's lock guards it

	// limbo holds the logs that were leaving when a crash came, and whose target
	// is offline: their lines in the checkpoints stay, and a shutdown is not clean,
	// as they are not recovered. It is set at start only.
	limbo map[partitionKey]bool
	// raising are log starts of logs that are about to restart there; see raiseStart. The lock of the
	// checkpoints guards it.
	raising map[partitionKey]int64

	failure atomic.Pointer[error]
	leftOut bool            // it has failed since the start
	failed  chan<- *dataDir // tells the manager; has room for every directory
	gone    chan struct{}   // closed when it fails while it is in service
	marked  atomic.Bool     // the marker of a failure was written

	watch   vfs.Watch      // of the operations on its disk
	stalled atomic.Bool    // one of them has not returned
	full    atomic.Bool    // its volume is above the high watermark, and nothing is left to delete
	hung    chan struct{}  // closed then
	work    sync.WaitGroup // what Run does for it

	flushes        flushQueue
	checkpointWake chan struct{}                       // capacity 1: write the checkpoints soon
	checkpointing  invariants.Mutex[rankCheckpointing] // admits one writer of its checkpoints at a time; it comes before all other locks

	commits   *committer
	writeback *writeback
	room      room
	moveWake  chan struct{} // capacity 1: a log is to be moved here
	removed   removals

	// checkpoints guards the checkpoint files and what they hold. It comes
	// after a log's lock: under it nothing may wait for one.
	checkpoints struct {
		invariants.Mutex[rankCheckpoints]
		written map[string]map[partitionKey]int64 // nil: the file is missing or damaged
	}
	// clean: the last shutdown was; hasRecovery: the recovery checkpoint was
	// there and sound.
	clean, hasRecovery bool
	// distrust: the last process had a failed fsync. The kernel may still show
	// what it could not write, takes it for written, and never will.
	distrust bool
	// failedBefore stays as distrust was found at the start.
	failedBefore bool
}

func newDataDir(e *env, path string, o *Options, failed chan<- *dataDir) *dataDir {
	d := &dataDir{fs: e.fs, path: filepath.Clean(path), failed: failed, writeback: newWriteback(o.WritebackBytes), moveWake: make(chan struct{}, 1)}
	d.room.fs, d.room.path, d.room.reserve = e.fs, d.path, o.ReserveBytes
	d.gone, d.hung, d.checkpointWake = make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	d.flushes.queued, d.flushes.wake = map[*Log]bool{}, make(chan struct{}, 1)
	d.commits = newCommitter(e, d)
	d.checkpoints.written = map[string]map[partitionKey]int64{}
	return d
}

// fail marks the directory; only the first failure counts. The marker is for
// the next process. It is not synced: after a reboot there is nothing that the
// kernel might show and the disk not have.
func (d *dataDir) fail(err error) {
	d.giveUp(err) // before the marker: a failing disk may take its time for that
	if !d.marked.Swap(true) {
		_ = vfs.WriteFile(d.fs, filepath.Join(d.path, failedFile), []byte(err.Error()+"\n"), 0o644)
	}
}

// giveUp ends the service of the directory; only the first failure counts.
func (d *dataDir) giveUp(err error) {
	if d.failure.CompareAndSwap(nil, &err) {
		close(d.gone)
		d.failed <- d
	}
}

// checkpointSoon wakes the checkpoint loop.
func (d *dataDir) checkpointSoon() {
	select {
	case d.checkpointWake <- struct{}{}:
	default:
	}
}

// trustAgain takes the marker of a failure away, once all logs were recovered.
func (d *dataDir) trustAgain() error {
	if !d.distrust {
		return nil
	}
	d.distrust = false
	return d.fs.Remove(filepath.Join(d.path, failedFile))
}

// err is nil while the directory is fine.
func (d *dataDir) err() error {
	if p := d.failure.Load(); p != nil {
		return &diskError{class: ErrStorage, cause: *p}
	}
	return nil
}

// flushNames is syncNames for callers that can do it again later: a directory that could
// not be opened is no failure of the disk.
func (d *dataDir) flushNames(fsys vfs.FS) error {
	err := fsys.SyncDir(d.path)
	if err == nil || passing(err) {
		return classify(err)
	}
	d.fail(fmt.Errorf("sync directory %s: %w", d.path, err))
	return d.err()
}

// syncNames makes the names of logs' directories durable. Whatever goes wrong fails
// the directory: there is no way back for the caller.
func (d *dataDir) syncNames(fsys vfs.FS) error {
	if err := fsys.SyncDir(d.path); err != nil {
		d.fail(fmt.Errorf("sync directory %s: %w", d.path, err))
		return d.err()
	}
	return nil
}

// unusable explains in one line why a directory cannot be opened, and what helps.
func (d *dataDir) unusable(err error) error {
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return fmt.Errorf("%w: %s is used by another process: stop that broker or choose another directory", ErrDirLocked, d.path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %s cannot be written (%w): change its owner or mode, or choose another directory", ErrDirInvalid, d.path, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s is not a directory: choose another one", ErrDirInvalid, d.path)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s is on a full disk: make space or choose another directory", ErrDiskFull, d.path)
	}
	return fmt.Errorf("%w: %s: %w", ErrDirInvalid, d.path, err)
}

// open makes the directory if need be, locks it, reads whose it is and takes the
// marker of a clean shutdown away, durably: if this process crashes, the next
// one must recover. But for ErrDirLocked its errors mean that the disk fails.
func (d *dataDir) open(fsys vfs.FS) error {
	if err := d.make(fsys); err != nil {
		return d.unusable(err)
	}
	lock, err := fsys.Lock(filepath.Join(d.path, lockFile))
	if err != nil {
		return d.unusable(err)
	}
	d.lock = lock
	d.meta, err = vfs.ReadFile(fsys, filepath.Join(d.path, metaFile), 1<<16)
	if ignoreNotExist(err) != nil {
		return d.unusable(err)
	}
	if _, err = fsys.Stat(filepath.Join(d.path, failedFile)); err == nil {
		d.distrust, d.failedBefore = true, true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return d.unusable(err)
	}
	marker := filepath.Join(d.path, cleanFile)
	switch _, err = fsys.Stat(marker); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return d.unusable(err)
	}
	d.clean = true
	if err = errors.Join(fsys.Remove(marker), fsys.SyncDir(d.path)); err != nil {
		return d.unusable(err)
	}
	return nil
}

// make creates the directory, and those above it, so that they are there after a crash.
func (d *dataDir) make(fsys vfs.FS) error {
	var parents []string
	for path := d.path; path != filepath.Dir(path); path = filepath.Dir(path) {
		if _, err := fsys.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(path))
	}
	if err := fsys.MkdirAll(d.path, 0o755); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := fsys.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// markClean says that everything is on disk and in order. Nothing may be
// written to the directory afterwards.
func (d *dataDir) markClean(fsys vfs.FS) error {
	return vfs.ReplaceFile(fsys, filepath.Join(d.path, cleanFile), []byte(`{"version":0,"brokerEpoch":-1}`), 0o644, true)
}

// unlock lets others use the directory.
func (d *dataDir) unlock() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// checkpointed holds the four checkpoints of a directory.
type checkpointed struct {
	recovery, start, hw, cleaned map[partitionKey]int64
}

// readCheckpoints reads all checkpoints. Damaged ones are passed over.
func (d *dataDir) readCheckpoints(fsys vfs.FS, logger *slog.Logger) checkpointed {
	read := func(name string) (map[partitionKey]int64, bool) {
		offsets, err := d.readCheckpoint(fsys, name)
		if err != nil {
			logger.Warn("pass over damaged checkpoint", errorAttr(err))
		}
		return offsets, err == nil && offsets != nil
	}
	var c checkpointed
	c.recovery, d.hasRecovery = read(recoveryFile)
	c.start, _ = read(startFile)
	c.hw, _ = read(hwFile)
	c.cleaned, _ = read(cleanerFile)
	return c
}

// of is what the checkpoints say of one partition.
func (c checkpointed) of(d *dataDir, key partitionKey) found {
	gapsBelow := c.cleaned[key]
	if !d.hasRecovery {
		gapsBelow = math.MaxInt64
	}
	return found{
		clean:         d.clean && !d.distrust,
		reload:        d.distrust,
		gapsBelow:     gapsBelow,
		recoveryPoint: c.recovery[key],
		start:         c.start[key],
		hw:            c.hw[key],
		cleaned:       c.cleaned[key],
	}
}

// parseDirName reads topic and partition from a directory's name. ok is false
// for directories that are not a partition's.
func parseDirName(name string) (key partitionKey, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || i == len(name)-1 {
		return key, false
	}
	partition, err := strconv.ParseUint(name[i+1:], 10, 31)
	if err != nil || partition > math.MaxInt32 || name[i+1] == '+' || (name[i+1] == '0' && len(name)-i > 2) {
		return key, false
	}
	return partitionKey{name[:i], int32(partition)}, true
}

// partitions lists the directories of partitions, and those of deleted ones.
func (d *dataDir) partitions(fsys vfs.FS) (keys []partitionKey, deleted []string, err error) {
	entries, err := fsys.ReadDir(d.path)
	if err != nil {
		return nil, nil, d.unusable(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if strings.HasSuffix(e.Name(), suffixDeleteDir) {
			deleted = append(deleted, filepath.Join(d.path, e.Name()))
		} else if key, ok := parseDirName(e.Name()); ok {
			keys = append(keys, key)
		}
	}
	return keys, deleted, nil
}
