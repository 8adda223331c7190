package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/vfs"
)

// Checkpoint files of a data directory, one line per partition. They are hints (S3). Without them
// recovery scans more, the log starts at its first segment, the high watermark begins at the local
// log start, and compaction begins at the log start.
const (
	recoveryFile = "recovery-point-offset-checkpoint"
	startFile    = "log-start-offset-checkpoint"
	hwFile       = "replication-offset-checkpoint"
	cleanerFile  = "cleaner-offset-checkpoint"
)

// maxCheckpoint limits how much of a checkpoint file is read, in bytes. The partitions of a broker
// never need as much, however long their names are.
const maxCheckpoint = 1 << 30

// partitionKey identifies a partition inside this package.
type partitionKey struct {
	topic     string
	partition int32
}

func (k partitionKey) String() string { return k.topic + "-" + strconv.Itoa(int(k.partition)) }

func compareKeys(a, b partitionKey) int {
	if c := strings.Compare(a.topic, b.topic); c != 0 {
		return c
	}
	return int(a.partition) - int(b.partition)
}

// formatCheckpoint returns the content of a checkpoint file, sorted by partition.
func formatCheckpoint(offsets map[partitionKey]int64) []byte {
	keys := make([]partitionKey, 0, len(offsets))
	for k := range offsets {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(keys))
	for _, k := range keys {
		fmt.Fprintf(&b, "%s %d %d\n", k.topic, k.partition, offsets[k])
	}
	return b.Bytes()
}

// parseCheckpoint parses the content of a checkpoint file.
func parseCheckpoint(content []byte) (map[partitionKey]int64, error) {
	lines, err := checkpointLines(content)
	if err != nil {
		return nil, err
	}
	offsets := make(map[partitionKey]int64, len(lines))
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("%w: checkpoint line %q, want topic, partition and offset", ErrCorrupt, line)
		}
		partition, partErr := strconv.ParseInt(f[1], 10, 32)
		offset, offsetErr := strconv.ParseInt(f[2], 10, 64)
		if partErr != nil || offsetErr != nil || partition < 0 || offset < 0 {
			return nil, fmt.Errorf("%w: checkpoint line %q, want topic, partition and offset", ErrCorrupt, line)
		}
		offsets[partitionKey{f[0], int32(partition)}] = offset
	}
	return offsets, nil
}

// readCheckpoint reads one of the directory's checkpoints and remembers it as written. A missing
// file gives nil and no error, a damaged one gives an error.
func (d *dataDir) readCheckpoint(fsys vfs.FS, name string) (map[partitionKey]int64, error) {
	content, err := vfs.ReadFile(fsys, filepath.Join(d.path, name), maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	offsets, err := parseCheckpoint(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(d.path, name), err)
	}
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	d.checkpoints.written[name] = offsets
	return offsets, nil
}

// writeCheckpoint makes the offsets that collect returns durable, if they differ from the file's.
// collect runs under the lock that orders the writers, so that an older state never replaces a
// newer one. The returned map is modified and not kept. Two kinds of lines do not come from
// collect: those of logs in limbo stay, and the log start of a log that is being restarted is the
// raised one.
func (d *dataDir) writeCheckpoint(fsys vfs.FS, name string, collect func() map[partitionKey]int64) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	offsets := collect()
	for key := range d.limbo {
		if o, has := d.checkpoints.written[name][key]; has && offsets[key] == 0 {
			offsets[key] = o
		}
	}
	if name == startFile {
		for key, o := range d.raising {
			offsets[key] = max(offsets[key], o)
		}
	}
	return d.writeCheckpointLocked(fsys, name, offsets)
}

func (d *dataDir) writeCheckpointLocked(fsys vfs.FS, name string, offsets map[partitionKey]int64) error {
	if written := d.checkpoints.written[name]; written != nil && maps.Equal(offsets, written) {
		return nil
	}
	if err := vfs.ReplaceFile(fsys, filepath.Join(d.path, name), formatCheckpoint(offsets), 0o644, true); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(d.path, name), err)
	}
	d.checkpoints.written[name] = maps.Clone(offsets)
	return nil
}

// lowerCheckpoint durably lowers one partition's line of a checkpoint to offset if it is above.
func (d *dataDir) lowerCheckpoint(fsys vfs.FS, name string, key partitionKey, offset int64) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	return d.lowerCheckpointLocked(fsys, name, key, offset)
}

func (d *dataDir) lowerCheckpointLocked(fsys vfs.FS, name string, key partitionKey, offset int64) error {
	if d.checkpoints.written[name][key] <= offset {
		return nil // a missing or damaged file promises nothing
	}
	return d.writeLineLocked(fsys, name, key, offset)
}

// writeLineLocked durably sets one partition's line of a checkpoint to offset.
func (d *dataDir) writeLineLocked(fsys vfs.FS, name string, key partitionKey, offset int64) error {
	offsets := maps.Clone(d.checkpoints.written[name])
	if offsets == nil {
		offsets = map[partitionKey]int64{}
	}
	offsets[key] = offset
	return d.writeCheckpointLocked(fsys, name, offsets)
}

// raiseStart durably raises a partition's log start in the checkpoint before the log itself has it.
// Until raisedStart is called, every later write of the checkpoint keeps the raised value.
func (d *dataDir) raiseStart(fsys vfs.FS, key partitionKey, offset int64) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	if err := d.writeLineLocked(fsys, startFile, key, max(offset, d.checkpoints.written[startFile][key])); err != nil {
		return err
	}
	if d.raising == nil {
		d.raising = map[partitionKey]int64{}
	}
	d.raising[key] = offset
	return nil
}

// raisedStart ends raiseStart: the log now has that start, or the directory has failed.
func (d *dataDir) raisedStart(key partitionKey) {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	delete(d.raising, key)
}

// forget durably removes a partition's lines from all checkpoints, so that a new log with the same
// name does not inherit them.
func (d *dataDir) forget(fsys vfs.FS, key partitionKey) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	for _, name := range []string{recoveryFile, startFile, hwFile, cleanerFile} {
		if _, has := d.checkpoints.written[name][key]; !has {
			continue
		}
		offsets := maps.Clone(d.checkpoints.written[name])
		delete(offsets, key)
		if err := d.writeCheckpointLocked(fsys, name, offsets); err != nil {
			return err
		}
	}
	return nil
}
