package storage

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/invariants"
)

// RemoteState is what the object store knows of a log up to an offset: enough for a log to continue
// there without the batches before it.
type RemoteState struct {
	StartOffset int64        // log start
	EndOffset   int64        // end of what is in the object store; no transaction is open there
	Epochs      []EpochEntry // epochs that begin below EndOffset, ascending
	Producers   []byte       // content of the .snapshot file at EndOffset; empty: no producers
}

// StartFromRemote drops everything local. The next record gets the offset r.EndOffset, which is
// also the high watermark; the log starts at r.StartOffset, in the object store. A crash on the way
// leaves a log that is empty or has all of r's state. An invalid state changes nothing; neither
// does a ctx that ends while a flush is awaited.
func (l *Log) StartFromRemote(ctx context.Context, r RemoteState) error {
	if invariants.Enabled {
		defer l.solely("StartFromRemote")()
	}
	defer l.forbidCleaning()()
	// The token keeps flushes out: a flush writes the epoch file too.
	if err := l.takeFlushToken(ctx); err != nil {
		return fmt.Errorf("start %s from the object store: %w", l.key, err)
	}
	defer l.flush.token.Release()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.startFromRemoteLocked(r); err != nil {
		return fmt.Errorf("start %s from the object store at %d: %w", l.key, r.EndOffset, err)
	}
	return nil
}

func (l *Log) startFromRemoteLocked(r RemoteState) error {
	if err := l.usable(); err != nil {
		return err
	}
	if r.StartOffset < 0 || r.EndOffset < r.StartOffset {
		return fmt.Errorf("%w: it has the offsets [%d, %d)", ErrCorrupt, r.StartOffset, r.EndOffset)
	}
	state := beginning{epochs: r.Epochs}
	if len(r.Producers) > 0 {
		var err error
		if state.producers, err = decodeSnapshot(r.Producers); err != nil {
			return err
		}
	}
	if err := l.truncateFullyLocked(r.EndOffset, r.StartOffset, &state); err != nil {
		return err
	}
	l.SetRemoteEndOffset(r.EndOffset)
	l.assertLocked()
	return nil
}

// beginning is what a log without local batches knows of the batches before it. It is durable
// before the log's first segment is created: a start that finds that segment relies on it.
type beginning struct {
	epochs    []EpochEntry
	producers map[int64]*producerEntry // nil: none
}

// enterLocked takes the state over, durably, while the log has no segment on the disk. The caller
// holds the flush token, so that no flush writes the epoch file at the same time.
func (l *Log) enterLocked(b *beginning, at int64) error {
	var p producerState
	p.restore(b.producers)
	l.setProducersLocked(p)
	if err := l.writeSnapshotLocked(at, true); err != nil {
		return err
	}
	if err := l.writeEpochs(b.epochs); err != nil {
		return err
	}
	l.epochs.store(b.epochs)
	l.epochs.saved = b.epochs
	return nil
}
