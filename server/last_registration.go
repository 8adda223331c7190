package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

// lastRegistrationFile records this broker's last registration: its epoch and its directories. The
// next process derives from it what the directories have kept since. The cluster trusts such a
// broker to still have its records. The file is in the data directory and in each log directory, so
// that a lost directory does not take the past of the others with it.
const lastRegistrationFile = "last-registration"

// maxLastRegistration bounds the bytes that are read of the file.
const maxLastRegistration = 64 << 10

// bootIDFile holds a random number that the kernel draws when the machine starts. Other systems
// have none: there every unclean end counts as a crash of the machine.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// registrationMark is the content of the file. A process passes everything that it writes to a log
// to the kernel at once. So a crash of the process alone loses nothing: the kernel keeps the rest
// as long as the machine runs.
type registrationMark struct {
	V           int   `json:"v"`
	Sequence    int64 `json:"sequence"` // the copy with the highest sequence counts
	BrokerEpoch int64 `json:"broker_epoch"`
	// KeptEpoch is the first of a run of epochs that ended without a loss, and BrokerEpoch is the
	// last of them. 0 means BrokerEpoch.
	KeptEpoch int64 `json:"kept_epoch,omitempty"`
	// Clean means that the last process ended with everything on the disk. Then a crash of the
	// machine does not matter.
	Clean bool `json:"clean,omitempty"`
	// BootID is the run of the machine in which the logs have lost nothing. Empty: they may have
	// lost records.
	BootID string `json:"boot_id,omitempty"`
	// Directories are those that worked at the registration. Failed are those of them that have
	// failed since or were found to have lost records.
	Directories     []metadata.DirectoryID `json:"directories"`
	Failed          []metadata.DirectoryID `json:"failed,omitempty"`
	LostBrokerEpoch int64                  `json:"lost_epoch,omitempty"`
	// LostSinceKept are directories that have lost records since KeptEpoch, before BrokerEpoch.
	LostSinceKept []metadata.DirectoryID `json:"lost_since_kept,omitempty"`
}

// lastRegistration keeps the file. The file never claims more than the logs hold: while a process
// runs, it says that only the same run of the machine keeps everything.
type lastRegistration struct {
	log  *slog.Logger
	fs   vfs.FS
	dirs []string // directories with a copy
	// works returns false for a failed directory: it may hang, so it gets no more copies.
	works  func(dir string) bool
	bootID string

	mu    sync.Mutex
	mark  registrationMark
	holds bool // the mark's epoch ended without a loss, or is the current one
}

// readBootID returns the id of this run of the machine, or "" if the system has none.
func readBootID() string {
	// vfs.ReadFile reads as many bytes as the file's size, which is 0 here
	text, err := os.ReadFile(bootIDFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// readLastRegistration reads the newest copy in the directories. If no copy is readable, nothing is
// known of the past.
func readLastRegistration(fsys vfs.FS, dirs []string, bootID string, log *slog.Logger) *lastRegistration {
	l := &lastRegistration{log: log, fs: fsys, dirs: dirs, bootID: bootID, works: func(string) bool { return true }}
	l.mark.LostBrokerEpoch = math.MaxInt64
	for _, dir := range dirs {
		name := filepath.Join(dir, lastRegistrationFile)
		mark, err := readMark(fsys, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			log.Warn("a file with the last registration cannot be read; if no other directory has it, this broker counts as one whose machine has crashed",
				slog.String("file", name), slog.Any("error", err))
		case mark.Sequence > l.mark.Sequence:
			l.mark = mark
		}
	}
	return l
}

func readMark(fsys vfs.FS, name string) (mark registrationMark, err error) {
	text, err := vfs.ReadFile(fsys, name, maxLastRegistration)
	if err != nil {
		return mark, fmt.Errorf("read the last registration: %w", err)
	}
	if err = json.Unmarshal(text, &mark); err != nil {
		return mark, fmt.Errorf("read the last registration: %w", err)
	}
	if mark.V != 1 || mark.Sequence <= 0 {
		return mark, fmt.Errorf("it has version %d and sequence %d", mark.V, mark.Sequence)
	}
	return mark, nil
}

// begin is called after the recovery of the logs, with the directories that work and those of them
// that the last process gave up. It returns what they have kept. Before it returns it writes the
// mark: from now on only this run of the machine keeps everything.
func (l *lastRegistration) begin(working, distrusted []metadata.DirectoryID) (metadata.Past, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.mark.Directories {
		if !slices.Contains(working, id) || slices.Contains(distrusted, id) {
			l.loseLocked(id)
		}
	}
	l.holds = l.mark.BrokerEpoch != 0 && (l.mark.Clean || l.mark.BootID != "" && l.mark.BootID == l.bootID)
	past := metadata.Past{LostDirectories: slices.Clone(l.mark.Failed), LostBrokerEpoch: l.mark.LostBrokerEpoch}
	if l.holds {
		past.PreviousBrokerEpoch = l.mark.BrokerEpoch
		past.KeptBrokerEpoch, past.LostSinceKept = l.keptLocked(l.mark.BrokerEpoch)
	}
	if l.mark.BrokerEpoch == 0 {
		return past, nil // there is nothing to keep
	}
	l.mark.Clean, l.mark.BootID = false, ""
	if l.holds {
		l.mark.BootID = l.bootID
	}
	return past, l.writeLocked()
}

// maxLostSinceKept bounds the list of lost directories. If it gets longer, the run of kept epochs
// begins with the current one.
const maxLostSinceKept = 64

// keptLocked returns the oldest epoch since which the directories have lost nothing, and the
// directories that are excepted. If there is no such epoch, it returns epoch.
func (l *lastRegistration) keptLocked(epoch int64) (kept int64, lostSince []metadata.DirectoryID) {
	lostSince = slices.Clone(l.mark.LostSinceKept)
	for _, id := range l.mark.Failed {
		if !slices.Contains(lostSince, id) {
			lostSince = append(lostSince, id)
		}
	}
	if !l.holds || len(lostSince) > maxLostSinceKept {
		return epoch, nil
	}
	return cmp.Or(l.mark.KeptEpoch, l.mark.BrokerEpoch, epoch), lostSince
}

// loseLocked notes that a directory has lost something since the mark's epoch.
func (l *lastRegistration) loseLocked(id metadata.DirectoryID) {
	if slices.Contains(l.mark.Failed, id) {
		return
	}
	l.mark.Failed = append(l.mark.Failed, id)
	if l.mark.LostBrokerEpoch != math.MaxInt64 {
		l.mark.LostBrokerEpoch = l.mark.BrokerEpoch
	}
}

// registered records a new registration. If the process crashes before that is on the disk, the
// mark is that of an earlier epoch, and this epoch counts as lost.
func (l *lastRegistration) registered(epoch int64, working []metadata.DirectoryID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept, lost := l.keptLocked(epoch)
	l.mark = registrationMark{
		V: 1, Sequence: l.mark.Sequence, BrokerEpoch: epoch, KeptEpoch: kept, LostSinceKept: lost, BootID: l.bootID, Directories: working,
		// earlier losses do not concern later epochs
		LostBrokerEpoch: min(l.mark.LostBrokerEpoch, epoch-1),
	}
	l.holds = true
	if err := l.writeLocked(); err != nil {
		l.log.Error("the registration cannot be noted: after a crash of this process its replicas do not count as in sync", slog.Any("error", err))
	}
}

// failed records that only some directories still work.
func (l *lastRegistration) failed(working []metadata.DirectoryID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.mark.Directories {
		if !slices.Contains(working, id) {
			l.loseLocked(id)
		}
	}
	return l.writeLocked()
}

// clean is the last step of a broker's stop, after all its logs are on the disk. A broker that
// never registered leaves the mark of its predecessor.
func (l *lastRegistration) clean() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holds {
		return nil
	}
	l.mark.Clean = true
	return l.writeLocked()
}

// writeLocked writes all copies. One success is enough: a directory that cannot be written is about
// to fail, and its older copy does not count beside a newer one.
func (l *lastRegistration) writeLocked() error {
	l.mark.Sequence++
	text, err := json.Marshal(l.mark)
	if err != nil {
		return fmt.Errorf("note the registration: %w", err)
	}
	var failed []error
	for _, dir := range l.dirs {
		if !l.works(dir) {
			failed = append(failed, fmt.Errorf("note the registration: %s has failed", dir))
			continue
		}
		if err = vfs.ReplaceFile(l.fs, filepath.Join(dir, lastRegistrationFile), text, 0o600, true); err != nil {
			failed = append(failed, fmt.Errorf("note the registration: %w", err))
		}
	}
	if len(failed) == len(l.dirs) {
		return errors.Join(failed...)
	}
	for _, err = range failed {
		l.log.Warn("a directory cannot keep what this broker was registered with", slog.Any("error", err))
	}
	return nil
}
