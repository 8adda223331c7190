package storage

import (
	"errors"
	"syscall"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// A process without free file descriptors cannot open a file. That does not mean that the disk is
// bad: the operation fails, and succeeds again once there are descriptors.
func TestOutOfDescriptorsFailsNoDirectory(t *testing.T) {
	for name, tc := range map[string]struct {
		file string // the file that cannot be opened
		try  func(k *kit) error
	}{
		"checkpoint":        {"checkpoint", func(k *kit) error { return k.m.Checkpoint() }},
		"flush":             {".log", flushAll},
		"index":             {"index", flushAll},
		"epochs":            {epochFile, flushAll},
		"names in the log":  {"t-0", flushAll},
		"name of the log":   {"/data", flushAll},
		"append":            {".log", func(k *kit) error { return appendOne(k.log()) }},
		"roll":              {".log", func(k *kit) error { return k.log().Roll() }},
		"retention of all":  {"t-0", func(k *kit) error { _, err := k.log().EnforceRetention(k.clock.Now()); return err }},
		"cleaned offsets":   {cleanerFile, func(k *kit) error { k.log().cleaning.upTo.Store(1); return k.m.noteCleaned(k.log()) }},
		"lower a promise":   {recoveryFile, func(k *kit) error { return k.log().TruncateCommitted(2) }},
		"snapshot":          {extSnapshot, func(k *kit) error { return k.log().Roll() }},
		"time index lookup": {"index", func(k *kit) error { _, _, err := k.log().OffsetForTimestamp(1); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			faulty := vfs.NewFaulty(vfs.NewMem())
			k := newKit(t, faulty, func(c *Config) { c.SegmentBytes, c.RetentionMs, c.IndexIntervalBytes = 400, 1, 0 })
			l := k.log()
			if name == "lower a promise" {
				fill(t, l, 4)
				if err := errors.Join(l.Flush(t.Context(), 4), k.m.Checkpoint()); err != nil {
					t.Fatal(err)
				}
			}
			fill(t, l, 7)
			commit(l)
			k.clock.advance(1 << 40)
			for _, s := range l.list() {
				s.closeFiles()
			}
			for _, op := range []vfs.Op{vfs.OpOpen, vfs.OpOpenDir} {
				faulty.Inject(vfs.Fault{Op: op, Name: tc.file, Err: syscall.EMFILE})
			}
			if err := tc.try(k); errors.Is(err, ErrStorage) || name != "time index lookup" && !errors.Is(err, ErrExhausted) {
				t.Errorf("with no descriptor left: %v", err)
			}
			if err := l.dir().err(); err != nil {
				t.Fatalf("the directory failed: %v", err)
			}
			faulty.Heal()
			if err := tc.try(k); err != nil {
				t.Errorf("with descriptors again: %v", err)
			}
			if promised := l.dir().checkpoints.written[recoveryFile][l.key]; promised > l.FlushedOffset() {
				t.Errorf("the recovery point is %d, and what is durable ends at %d", promised, l.FlushedOffset())
			}
			if err := errors.Join(l.Flush(t.Context(), l.EndOffset()), verifyFiles(l)); err != nil {
				t.Error(err)
			}
		})
	}
}

func flushAll(k *kit) error { return k.log().Flush(k.t.Context(), k.log().EndOffset()) }

func appendOne(l *Log) error {
	_, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()), 0)
	return err
}

// A sync that was tried and failed ends the service, whatever its error code is (S6).
func TestFailedSyncIsFailStopWhateverItsError(t *testing.T) {
	for _, errno := range []error{syscall.ENOSPC, syscall.EMFILE, syscall.ENOMEM, syscall.EINTR} {
		for _, op := range []vfs.Op{vfs.OpSync, vfs.OpSyncDir} {
			faulty := vfs.NewFaulty(vfs.NewMem())
			l := newKit(t, faulty, nil).log()
			fill(t, l, 1)
			name := ".log"
			if op == vfs.OpSyncDir {
				name = "t-0"
			}
			if err := l.Flush(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			l.epochs.saved, _ = l.epochs.unsaved(1) // so that only data is synced
			faulty.Inject(vfs.Fault{Op: op, Name: name, Err: errno, Times: 1})
			if err := l.Flush(t.Context(), 1); !errors.Is(err, ErrStorage) || l.dir().err() == nil {
				t.Errorf("%s fails with %v: %v", op, errno, err)
			}
		}
	}
}

// After a failed sync the content of the disk is unknown, whatever the reason of the failure.
func TestFailedSyncIsNoExhaustion(t *testing.T) {
	failed := errors.Join(vfs.ErrSync, syscall.ENOMEM)
	if err := classify(failed); !errors.Is(err, ErrStorage) || errors.Is(err, ErrExhausted) || passing(failed) {
		t.Errorf("%v, passing %t", err, passing(failed))
	}
}
