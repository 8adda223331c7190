package crashfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// kind is the subject of an entry of the journal.
type kind string

const (
	synced    kind = "synced"    // Size bytes of the file are durable
	truncated kind = "truncated" // at most Size bytes of the file are still durable
	dirSynced kind = "dirsynced" // the names in Dir are durable
	created   kind = "created"   // Name is new, with the content of Inode
	madeDir   kind = "madedir"   // Name is a new directory
	renamed   kind = "renamed"   // From is now Name; the former file Name is kept as Kept
	removed   kind = "removed"   // Name was removed; a file is kept as Kept
)

// entry is one line of the journal. Entries that make less durable are written before their
// operation, entries that make more durable after it. Whenever the process is killed, the journal
// thus claims no durability that does not exist. Creating or truncating by OpenFile is the
// exception: it is recorded afterward, because it is what makes the inode known.
type entry struct {
	Kind  kind   `json:"kind"`
	Inode uint64 `json:"inode,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Dir   string `json:"dir,omitempty"` // its SyncDir makes the change durable
	Name  string `json:"name,omitempty"`
	From  string `json:"from,omitempty"`
	Kept  string `json:"kept,omitempty"`
}

// state is the result of replaying a journal.
type state struct {
	durable map[uint64]int64 // durable bytes by inode, of files known to the journal
	pending []entry          // changes of names that are not durable, in order
}

func newState() *state { return &state{durable: map[uint64]int64{}} }

// apply applies one entry. It returns the kept files that are no longer needed.
func (s *state) apply(e entry) (dispensable []string) {
	switch e.Kind {
	case synced:
		s.durable[e.Inode] = e.Size
	case truncated:
		s.durable[e.Inode] = min(s.durable[e.Inode], e.Size)
	case created:
		s.durable[e.Inode] = 0
		s.pending = append(s.pending, e)
	case madeDir, renamed, removed:
		s.pending = append(s.pending, e)
	case dirSynced:
		s.pending = slices.DeleteFunc(s.pending, func(p entry) bool {
			if p.Dir != e.Dir {
				return false
			}
			if p.Kept != "" {
				dispensable = append(dispensable, p.Kept)
			}
			return true
		})
	}
	return dispensable
}

// journal is the file to which entries are appended, one per line, and the directory of kept files.
// It is safe for concurrent use.
type journal struct {
	dir string

	mu    sync.Mutex
	file  *os.File
	state *state
	kept  int
}

func journalFile(dir string) string { return filepath.Join(dir, "journal") }

// openJournal opens the journal in a directory, or creates it.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	s, err := readState(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(journalFile(dir), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err = cutTornLine(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &journal{dir: dir, file: file, state: s}, nil
}

// readState replays the journal in a directory.
func readState(dir string) (*state, error) {
	s := newState()
	text, err := os.ReadFile(journalFile(dir))
	if err != nil {
		return s, ignore(err, fs.ErrNotExist)
	}
	for line := range bytes.Lines(text[:wholeLines(text)]) {
		var e entry
		if err = json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read %s: %w", journalFile(dir), err)
		}
		s.apply(e)
	}
	return s, nil
}

// wholeLines returns the length of the complete lines: the process may have been killed in the
// middle of the last one.
func wholeLines(text []byte) int { return bytes.LastIndexByte(text, '\n') + 1 }

// cutTornLine truncates the file after its last complete line, so that more entries can follow.
func cutTornLine(file *os.File) error {
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	return file.Truncate(int64(wholeLines(text)))
}

// add appends an entry.
func (j *journal) add(e entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.addLocked(e)
}

func (j *journal) addLocked(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err = j.file.Write(append(line, '\n')); err != nil {
		return err
	}
	for _, name := range j.state.apply(e) {
		if err = os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// addKeeping appends the entry of an operation that takes its name away from the file Name. If
// there is such a file, it is kept through a second link.
func (j *journal) addKeeping(e entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if info, err := os.Lstat(e.Name); err == nil && info.Mode().IsRegular() {
		j.kept++
		e.Kept = filepath.Join(j.dir, strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(j.kept))
		if err = os.Remove(e.Kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err = os.Link(e.Name, e.Kept); err != nil {
			return err
		}
	}
	return j.addLocked(e)
}

// meet records a file that the journal does not know. It is older than the journal, so all of it is
// durable.
func (j *journal) meet(inode uint64, size int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.state.durable[inode]; known {
		return nil
	}
	return j.addLocked(entry{Kind: synced, Inode: inode, Size: size})
}
