package replication

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

func TestAppendCommitsWithOneReplica(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	for _, acks := range []int16{AcksNone, AcksLeader, AcksAll} {
		before := b.Log().EndOffset()
		a := b.append(t, acks, "one", "two")
		if a.FirstOffset != before || a.LastOffset != before+1 || b.HighWatermark() != before+2 {
			t.Errorf("acks=%d: offsets %d to %d, high watermark %d", acks, a.FirstOffset, a.LastOffset, b.HighWatermark())
		}
		if err := a.Wait(t.Context()); err != nil {
			t.Errorf("acks=%d: %v", acks, err)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	b := newBench(t, vfs.NewMem(), func(c *Config) { c.MinInSyncReplicas = 2 })
	good := batch(t, 1000, "v")
	for _, acks := range []int16{-2, 2, 100} {
		if _, err := b.Append(good, acks); !errors.Is(err, ErrInvalidRequiredAcks) {
			t.Errorf("acks=%d: %v", acks, err)
		}
	}
	alone := leads(2, 1, 2)
	alone.ISR = alone.ISR[:1]
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(good, AcksAll); !errors.Is(err, ErrNotEnoughReplicas) {
		t.Errorf("too few in sync: %v", err)
	}
	if _, err := b.Append(good, AcksLeader); err != nil || b.HighWatermark() != 0 {
		t.Errorf("acks=1 with too few in sync: %v, high watermark %d", err, b.HighWatermark())
	}
	if _, err := b.AppendAt(3, good); !errors.Is(err, ErrUnknownLeaderEpoch) {
		t.Errorf("at an epoch to come: %v", err)
	}
	if err := b.lead(leads(3, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AppendAt(0, good); !errors.Is(err, ErrFencedLeaderEpoch) {
		t.Errorf("at an epoch gone by: %v", err)
	}
	if _, err := b.AppendAt(3, batch(t, 1000, "v")); err != nil {
		t.Errorf("at the present epoch: %v", err)
	}
	b.resign(led(4, 2))
	if _, err := b.Append(good, AcksLeader); !errors.Is(err, ErrNotLeader) {
		t.Errorf("not the leader: %v", err)
	}
	b.leave()
	if _, err := b.Append(good, AcksLeader); !errors.Is(err, ErrUnknownTopicOrPartition) {
		t.Errorf("gone: %v", err)
	}
}

func TestBatchesCarryTheLeaderEpoch(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.append(t, AcksAll, "zero")
	if err := b.lead(leads(7, 1)); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksAll, "seven")
	var epochs []int32
	err := b.Scan(t.Context(), func(batch record.Batch) error {
		epochs = append(epochs, batch.LeaderEpoch())
		return nil
	})
	if err != nil || len(epochs) != 2 || epochs[0] != 0 || epochs[1] != 7 {
		t.Errorf("epochs %v, %v", epochs, err)
	}
}

func TestDuplicateIsAcknowledgedWithItsOffsets(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	produced := func(sequence int32) []byte {
		builder := record.Builder{HasProducer: true, ProducerID: 5, BaseSequence: sequence}
		builder.Append(1000, nil, []byte("v"))
		builder.Append(1000, nil, []byte("w"))
		return build(t, &builder)
	}
	first, err := b.Append(produced(0), AcksAll)
	if err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksAll, "other")
	again, err := b.Append(produced(0), AcksAll)
	if err != nil || !again.Duplicate || again.FirstOffset != first.FirstOffset || again.LastOffset != first.LastOffset {
		t.Errorf("duplicate: %+v, %v", again, err)
	}
	if err = again.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err = b.Append(produced(9), AcksAll); !errors.Is(err, storage.ErrOutOfOrderSequence) {
		t.Errorf("gap: %v", err)
	}
	if b.Log().EndOffset() != 3 {
		t.Errorf("log ends at %d", b.Log().EndOffset())
	}
}

func TestFlushedTopicCommitsAfterSync(t *testing.T) {
	b := newBench(t, vfs.NewMem(), func(c *Config) { c.Log.FlushMessages = 1 })
	for _, acks := range []int16{AcksLeader, AcksAll} {
		a := b.append(t, acks, "v")
		if err := a.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.Log().FlushedOffset() <= a.LastOffset {
			t.Errorf("acks=%d: acknowledged %d, flushed below %d", acks, a.LastOffset, b.Log().FlushedOffset())
		}
		if b.HighWatermark() > b.Log().FlushedOffset() {
			t.Errorf("high watermark %d above flushed %d", b.HighWatermark(), b.Log().FlushedOffset())
		}
	}
}

// heldSyncs blocks every sync of a .log file while gate is locked.
type heldSyncs struct {
	vfs.FS
	gate sync.RWMutex
}

type heldFile struct {
	vfs.File
	fs *heldSyncs
}

func (h *heldSyncs) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return heldFile{f, h}, nil
}

func (f heldFile) Sync() error {
	f.fs.gate.RLock()
	defer f.fs.gate.RUnlock()
	return f.File.Sync()
}

// R8: varve.ack.fsync delays the acknowledgement, but not the high watermark, and so not the
// readers.
func TestAckFsyncHoldsUpTheAcknowledgementOnly(t *testing.T) {
	held := &heldSyncs{FS: vfs.NewMem()}
	b := newBench(t, held, func(c *Config) { c.AckFsync = true })
	for _, acks := range []int16{AcksLeader, AcksAll} {
		held.gate.Lock()
		a := b.append(t, acks, "v")
		if done, err := a.Done(); done {
			t.Errorf("acks=%d: acknowledged before the sync, %v", acks, err)
		}
		if b.HighWatermark() != a.LastOffset+1 {
			t.Errorf("acks=%d: the high watermark is at %d after offset %d", acks, b.HighWatermark(), a.LastOffset)
		}
		held.gate.Unlock()
		if err := a.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.Log().FlushedOffset() <= a.LastOffset {
			t.Errorf("acks=%d: acknowledged %d, flushed below %d", acks, a.LastOffset, b.Log().FlushedOffset())
		}
	}
}

func TestAckFsyncLeavesAcksNoneAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), func(c *Config) { c.AckFsync = true })
		synctest.Wait() // a new leader syncs what it found
		b.append(t, AcksNone, "v")
		synctest.Wait()
		if flushed := b.Log().FlushedOffset(); flushed != 0 || b.HighWatermark() != 1 {
			t.Errorf("acks=0: flushed below %d, high watermark %d", flushed, b.HighWatermark())
		}
	})
}

// The original did not wait for a sync, because of its acks or the settings at that time; the
// duplicate does.
func TestAckFsyncOfADuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), func(c *Config) { c.AckFsync = true })
		produced := func(acks int16) Appended {
			builder := record.Builder{HasProducer: true, ProducerID: 5}
			builder.Append(1000, nil, []byte("v"))
			a, err := b.Append(build(t, &builder), acks)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		synctest.Wait() // a new leader syncs what it found
		produced(AcksNone)
		synctest.Wait()
		again := produced(AcksLeader)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := again.Wait(ctx); err != nil || !again.Duplicate || b.Log().FlushedOffset() != 1 {
			t.Errorf("%+v, %v, flushed below %d", again, err, b.Log().FlushedOffset())
		}
	})
}

func TestAckFsyncHoldsForWhatWasAppendedBefore(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	a := b.append(t, AcksLeader, "v")
	c := *b.config.Load()
	c.AckFsync = true
	b.configure(&c)
	if err := a.Wait(t.Context()); err != nil || b.Log().FlushedOffset() != 1 {
		t.Errorf("%v, flushed below %d", err, b.Log().FlushedOffset())
	}
}

func TestWaitersOfADeletedPartition(t *testing.T) {
	held := &heldSyncs{FS: vfs.NewMem()}
	b := newBench(t, held, func(c *Config) { c.AckFsync = true })
	held.gate.Lock()
	a := b.append(t, AcksLeader, "v")
	b.leave()
	if err := b.m.o.Storage.Delete("t", 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(t.Context()); !errors.Is(err, ErrUnknownTopicOrPartition) {
		t.Errorf("got %v", err)
	}
	held.gate.Unlock()
}

func TestManyFlushedAppends(t *testing.T) {
	b := newBench(t, vfs.NewMem(), func(c *Config) { c.Log.FlushMessages = 1 })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if err := b.append(t, AcksAll, "v").Wait(ctx); err != nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if b.HighWatermark() != 800 {
		t.Errorf("high watermark %d", b.HighWatermark())
	}
}

func TestFailedSyncIsNotAcknowledged(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	b := newBench(t, faulty, func(c *Config) { c.Log.FlushMessages = 1 })
	if err := b.append(t, AcksAll, "v").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	faulty.Inject(vfs.Fault{Op: vfs.OpSync, Err: errors.New("broken disk")})
	a, err := b.Append(batch(t, 1000, "lost"), AcksAll)
	if err == nil {
		err = a.Wait(t.Context())
	}
	if !errors.Is(err, storage.ErrStorage) {
		t.Errorf("got %v", err)
	}
	if b.HighWatermark() != 1 {
		t.Errorf("high watermark %d", b.HighWatermark())
	}
}

func TestWaitEndsWithItsContextOrTheLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		// An append that is not committed, as with a follower that is behind.
		uncommitted := func() Appended {
			a := b.append(t, AcksAll, "v")
			a.LastOffset += 1000
			return a
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, context.DeadlineExceeded)
		defer cancel()
		if err := uncommitted().Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("time is up: %v", err)
		}
		result := make(chan error, 1)
		a := uncommitted()
		go func() { result <- a.Wait(t.Context()) }()
		synctest.Wait()
		b.resign(led(1, 2))
		if err := <-result; !errors.Is(err, ErrNotLeader) {
			t.Errorf("deposed: %v", err)
		}
		if b.watchers.n.Load() != 0 {
			t.Error("a watch is left behind")
		}
	})
}
