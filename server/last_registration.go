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

// lastRegistrationFile says under which epoch this broker was registered last, and with
// which directories. The next process finds out by it what they have kept since. The
// cluster believes such a broker that it still has what it had. It is in the data directory
// and in each log directory: one that is lost takes no other's past with it.
const lastRegistrationFile = "last-registration"

// maxLastRegistration bounds what is read of the file, in bytes.
const maxLastRegistration = 64 << 10

// bootIDFile holds a number that the kernel draws when the machine starts. Other
// systems have none: there every end that is not clean counts as the machine's.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// registrationMark is what the file holds. Everything that a process writes to a log
// goes to the kernel at once, so that nothing is lost when the process alone dies; the
// kernel has the rest as long as the machine runs.
type registrationMark struct {
	V           int   `json:"v"`
	Sequence    int64 `json:"sequence"` // of the copies the one with the highest counts
	BrokerEpoch int64 `json:"broker_epoch"`
	// KeptEpoch is the first of the epochs in a row that ended without a loss, of which
	// BrokerEpoch is the last; 0: that is BrokerEpoch.
	KeptEpoch int64 `json:"kept_epoch,omitempty"`
	// Clean says that the last process ended with everything on the disk; then it does
	// not matter what became of the machine.
	Clean bool `json:"clean,omitempty"`
	// BootID is of the machine's run that the logs have lost nothing in. Empty: they may
	// have lost something.
	BootID string `json:"boot_id,omitempty"`
	// Directories are those that worked at the registration, Failed those of them that
	// have failed since, or were found to lack something.
	Directories     []metadata.DirectoryID `json:"directories"`
	Failed          []metadata.DirectoryID `json:"failed,omitempty"`
	LostBrokerEpoch int64                  `json:"lost_epoch,omitempty"`
	// LostSinceKept are directories that have lost something since KeptEpoch, and before BrokerEpoch.
	LostSinceKept []metadata.DirectoryID `json:"lost_since_kept,omitempty"`
}

// lastRegistration keeps the file. It is never older than what the logs hold: while a
// process runs, it says that only the same run of the machine keeps everything.
type lastRegistration struct {
	log  *slog.Logger
	fs   vfs.FS
	dirs []string // that have a copy
	// works returns false if a directory has failed: it may hang, and gets no copies any more.
	works  func(dir string) bool
	bootID string

	mu    sync.Mutex
	mark  registrationMark
	holds bool // the mark's epoch ended without a loss, or goes on
}

// readBootID is the id of this run of the machine, empty if the system has none.
func readBootID() string {
	text, err := os.ReadFile(bootIDFile) // vfs reads as much as a file's size says, which is 0 there
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// readLastRegistration reads the newest copy that the directories have. If there is none that
// can be understood nothing is known of the past.
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

// begin is called once the logs are recovered, with the directories that work and
// those of them whose last process gave them up. It returns what they have kept, and
// notes that from now on only this run of the machine keeps it.
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

// maxLostSinceKept bounds how many lost directories are remembered. Beyond, what the others have
// kept begins with the present epoch.
const maxLostSinceKept = 64

// keptLocked is the oldest epoch since which the directories have lost nothing, but for some, or
// epoch if there is none.
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

// loseLocked notes that a directory does not have all that it had at the mark's epoch.
func (l *lastRegistration) loseLocked(id metadata.DirectoryID) {
	if slices.Contains(l.mark.Failed, id) {
		return
	}
	l.mark.Failed = append(l.mark.Failed, id)
	if l.mark.LostBrokerEpoch != math.MaxInt64 {
		l.mark.LostBrokerEpoch = l.mark.BrokerEpoch
	}
}

// registered notes a new registration. Until that is on the disk a crash of the process
// leaves the mark of an earlier epoch, by which this one counts as lost.
func (l *lastRegistration) registered(epoch int64, working []metadata.DirectoryID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept, lost := l.keptLocked(epoch)
	l.mark = registrationMark{
		V: 1, Sequence: l.mark.Sequence, BrokerEpoch: epoch, KeptEpoch: kept, LostSinceKept: lost, BootID: l.bootID, Directories: working,
		LostBrokerEpoch: min(l.mark.LostBrokerEpoch, epoch-1), // what was lost before concerns no later epoch
	}
	l.holds = true
	if err := l.writeLocked(); err != nil {
		l.log.Error("the registration cannot be noted: after a crash of this process its replicas do not count as in sync", slog.Any("error", err))
	}
}

// failed notes that only some directories still work.
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

// clean is the last thing that a broker does, when all its logs are on the disk. One
// that never registered leaves what its predecessor had.
func (l *lastRegistration) clean() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holds {
		return nil
	}
	l.mark.Clean = true
	return l.writeLocked()
}

// writeLocked writes all copies. One is enough: a directory that cannot be written is about to
// fail, and its older copy does not count beside another one.
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
