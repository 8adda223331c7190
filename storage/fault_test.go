package storage

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// faultKinds are the ways in which an operation fails. Faults without Times last until they are
// healed, the others hit one operation.
var faultKinds = []struct {
	name  string
	fault vfs.Fault
}{
	{"full disk", vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC}},
	{"full disk after a part", vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC, Short: 70}},
	{"full disk for new files", vfs.Fault{Op: vfs.OpOpen, Err: syscall.ENOSPC}},
	{"write", vfs.Fault{Op: vfs.OpWrite, Err: syscall.EIO, Short: 20, Times: 1}},
	{"fsync", vfs.Fault{Op: vfs.OpSync, Err: syscall.EIO, Times: 1}},
	{"fsync that loses data", vfs.Fault{Op: vfs.OpSync, Err: syscall.EIO, Times: 1, Drop: true}},
	{"fsync of a directory", vfs.Fault{Op: vfs.OpSyncDir, Err: syscall.EIO, Times: 1}},
	{"truncate", vfs.Fault{Op: vfs.OpTruncate, Err: syscall.EIO, Times: 1}},
	{"open", vfs.Fault{Op: vfs.OpOpen, Err: syscall.EIO, Times: 1}},
	{"rename", vfs.Fault{Op: vfs.OpRename, Err: syscall.EIO, Times: 1}},
	{"remove", vfs.Fault{Op: vfs.OpRemove, Err: syscall.EIO, Times: 1}},
	{"read", vfs.Fault{Op: vfs.OpRead, Err: syscall.EIO, Times: 1}},
	{"list", vfs.Fault{Op: vfs.OpReadDir, Err: syscall.EIO, Times: 1}},
	{"stat", vfs.Fault{Op: vfs.OpStat, Err: syscall.EIO, Times: 1}},
}

// faultScript is the life of a log, with every operation on files that there is.
var faultScript = []struct {
	name string
	do   func(w *witness) error
}{
	{"append", (*witness).append},
	{"append", (*witness).append},
	{"flush", (*witness).flush},
	{"append", (*witness).append},
	{"append and roll", (*witness).append},
	{"append", (*witness).append},
	{"read", (*witness).read},
	{"truncate", func(w *witness) error { return w.truncate(4) }},
	{"append", (*witness).append},
	{"append", (*witness).append},
	{"flush in the background", (*witness).background},
	{"append and roll", (*witness).append},
	{"truncate into a closed segment", func(w *witness) error { return w.truncate(5) }},
	{"append", (*witness).append},
	{"append and roll", (*witness).append},
	{"append", (*witness).append},
	{"retain", (*witness).retain},
	{"roll", func(w *witness) error { return w.l.Roll() }},
	{"append", (*witness).append},
	{"read", (*witness).read},
	{"flush in the background", (*witness).background},
	{"append", (*witness).append},
	{"flush", (*witness).flush},
	{"close", func(w *witness) error {
		err := w.k.m.Close()
		if err == nil {
			w.flushed = w.end()
		}
		return err
	}},
}

// runScript plays the script with a fault. The step that the fault hits may fail. What was
// acknowledged before must be there afterwards. If the log is still in service, the script
// continues without the fault.
func (w *witness) runScript(fault vfs.Fault) {
	w.t.Helper()
	for i, step := range faultScript {
		before := w.faulty.Hits()
		err := step.do(w)
		hit := w.faulty.Hits() > before
		switch {
		case err != nil && !hit:
			w.t.Fatalf("step %d, %s: %v, without a fault", i, step.name, err)
		case err != nil && !errors.Is(err, ErrStorage) && !errors.Is(err, ErrDiskFull):
			w.t.Fatalf("step %d, %s: error of no known class: %v", i, step.name, err)
		case !hit:
			continue
		}
		w.faulty.Heal()
		if !w.l.closed.Load() {
			w.checkLive()
		}
		w.t.Logf("step %d, %s: %v", i, step.name, err)
		if fault.Op == vfs.OpWrite && errors.Is(err, syscall.ENOSPC) && w.l.usable() != nil && !w.l.closed.Load() {
			w.t.Fatal("a full disk has ended the directory's service")
		}
		w.checkRestarts()
		if w.l.usable() != nil {
			return
		}
	}
	w.checkRestarts()
}

// TestFaultAtEveryOperation fails the n-th operation of each kind, for every n.
func TestFaultAtEveryOperation(t *testing.T) {
	t.Parallel()
	for _, kind := range faultKinds {
		t.Run(kind.name, func(t *testing.T) {
			for n := 0; ; n++ {
				var w *witness
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					w = newWitness(t)
					fault := kind.fault
					fault.After = n
					w.faulty.Inject(fault)
					w.runScript(fault)
				})
				if w.faulty.Hits() == 0 {
					break
				}
			}
		})
	}
}

// TestFaultAtEveryOperationOfAStart fails the n-th operation of opening a log after a crash.
// Whether the start succeeds or not, it must not lose anything.
func TestFaultAtEveryOperationOfAStart(t *testing.T) {
	for _, kind := range faultKinds {
		t.Run(kind.name, func(t *testing.T) {
			w := newWitness(t)
			for _, step := range faultScript[:len(faultScript)-1] {
				if err := step.do(w); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
			}
			for n, hit := 0, true; hit; n++ {
				mem := w.mem.Clone()
				faulty := vfs.NewFaulty(mem)
				fault := kind.fault
				fault.After = n
				faulty.Inject(fault)
				options := w.k.options
				options.FS = faulty
				if m, err := OpenManager(t.Context(), options); err == nil {
					faulty.Heal()
					// A file that could not be synced may have failed the directory.
					_ = m.Close()
				} else if faulty.Hits() == 0 {
					t.Fatalf("fault %d: %v, without a fault", n, err)
				}
				hit = faulty.Hits() > 0
				w.checkRestart(fmt.Sprintf("fault %d, kill", n), w.k.on(mem.Clone()), w.end())
				w.checkRestart(fmt.Sprintf("fault %d, crash", n), w.k.on(mem.CrashClone(uint64(n))), w.flushed)
			}
		})
	}
}
