package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
)

// errMoveDropped ends a move that was cancelled.
var errMoveDropped = errors.New("move was cancelled")

// movePause is the pause before the next attempt of a move whose log was truncated or compacted.
const movePause = 100 * time.Millisecond

// move transfers a log from its data directory to another one (KIP-113), in three parts. A copy is
// made while the log is in use (move_copy.go). The switch stops the log for a moment
// (move_switch.go). A start that finds a move under way decides and continues it (move_start.go).
//
// The request is as durable as the directory of the copy: that is created, durably, before Move
// returns, and a start that finds it begins the move again.
type move struct {
	log    *Log
	to     *dataDir
	future string // directory of the copy

	// Progress of the copy: bytes, and the offset up to which whole segments are copied. Atomic for
	// DirUsage.
	bytes, end atomic.Int64

	// The lock of moves guards the rest.
	stop context.CancelFunc // not nil while the move is being carried out
	// decide is closed when the switch is over. Until it is set the move can be cancelled.
	decide chan struct{}
}

// moves are the requested moves that are not done, the oldest first, at most one per log. Its lock
// guards queue and preferred.
type moves struct {
	invariants.Mutex[rankMoves]
	queue     []*move
	preferred map[partitionKey]*dataDir // directories requested for logs that do not exist yet
	pace      pacer
}

// of returns the move of a log; nil if there is none. The caller holds the lock.
func (q *moves) of(l *Log) *move {
	for _, mv := range q.queue {
		if mv.log == l {
			return mv
		}
	}
	return nil
}

// next returns the oldest move to a directory; nil if there is none.
func (q *moves) next(d *dataDir) *move {
	q.Lock()
	defer q.Unlock()
	for _, mv := range q.queue {
		if mv.to == d {
			return mv
		}
	}
	return nil
}

// begin marks a move as being carried out. It returns false if the move was cancelled.
func (q *moves) begin(mv *move, stop context.CancelFunc) bool {
	q.Lock()
	defer q.Unlock()
	if !slices.Contains(q.queue, mv) {
		return false
	}
	mv.stop = stop
	return true
}

// commit marks a move as about to switch. It returns false if the move was cancelled; afterwards
// the move cannot be cancelled until rest.
func (q *moves) commit(mv *move) bool {
	q.Lock()
	defer q.Unlock()
	if !slices.Contains(q.queue, mv) {
		return false
	}
	mv.decide = make(chan struct{})
	return true
}

// rest marks a move as no longer being carried out, and wakes the requests that wait for its
// switch.
func (q *moves) rest(mv *move) {
	q.Lock()
	defer q.Unlock()
	mv.stop = nil
	if mv.decide != nil {
		close(mv.decide)
		mv.decide = nil
	}
}

// take removes a move from the queue; false if it was not there.
func (q *moves) take(mv *move) bool {
	q.Lock()
	defer q.Unlock()
	return q.takeLocked(mv)
}

func (q *moves) takeLocked(mv *move) bool {
	i := slices.Index(q.queue, mv)
	if i >= 0 {
		q.queue = slices.Delete(q.queue, i, i+1)
	}
	return i >= 0
}

// prefer returns, once, the directory that was requested before the log existed; nil if none was.
func (q *moves) prefer(key partitionKey) *dataDir {
	q.Lock()
	defer q.Unlock()
	d := q.preferred[key]
	delete(q.preferred, key)
	return d
}

// to returns the moves to a directory.
func (q *moves) to(d *dataDir) []FutureLog {
	q.Lock()
	defer q.Unlock()
	var futures []FutureLog
	for _, mv := range q.queue {
		if mv.to == d {
			futures = append(futures, FutureLog{Log: mv.log, Bytes: mv.bytes.Load(), EndOffset: mv.end.Load()})
		}
	}
	return futures
}

// FutureLog is the copy of a log that is being moved, in its new directory.
type FutureLog struct {
	Log       *Log // the log in its present directory
	Bytes     int64
	EndOffset int64 // all below is in the copy
}

// Move requests the move of a log to another data directory. Run carries it out while the log is in
// use. Move returns when the request survives a crash of the machine. A new request cancels an
// earlier one of the same log; a request for the directory that the log is in only cancels.
//
// The result is ErrNoLogDir if there is no such data directory. It is ErrNoLog if the log does not
// exist: its creation in this process will use the directory. It is ErrStorage if the log or any
// directory is offline: what a crash leaves behind is unambiguous only while all directories work.
func (m *Manager) Move(topic string, partition int32, dir string) error {
	key := partitionKey{topic, partition}
	if err := m.move(key, filepath.Clean(dir)); err != nil {
		return fmt.Errorf("move %s to %s: %w", key, dir, err)
	}
	return nil
}

func (m *Manager) move(key partitionKey, path string) error {
	i := slices.IndexFunc(m.dirs, func(d *dataDir) bool { return d.path == path })
	if i < 0 {
		return ErrNoLogDir
	}
	d := m.dirs[i]
	if err := d.err(); err != nil {
		return err
	}
	m.mu.Lock()
	l := m.mu.logs[key]
	if l == nil {
		m.moves.Lock()
		m.moves.preferred[key] = d
		m.moves.Unlock()
	}
	m.mu.Unlock()
	if l == nil {
		return fmt.Errorf("%w: it will be made there", ErrNoLog)
	}
	for {
		m.moves.Lock()
		mv := m.moves.of(l)
		if mv == nil || mv.decide == nil {
			err := m.requestLocked(l, d, mv)
			m.moves.Unlock()
			return err
		}
		decided := mv.decide
		m.moves.Unlock()
		<-decided // the switch takes a moment
	}
}

// requestLocked replaces the log's present move, nil if there is none, with one to d.
func (m *Manager) requestLocked(l *Log, d *dataDir, present *move) error {
	if err := l.usable(); err != nil {
		return err
	}
	if present != nil && present.to == d {
		return nil
	}
	if present != nil {
		if err := m.dropLocked(present); err != nil {
			return err
		}
	}
	if l.dir() == d {
		return nil
	}
	if err := m.allOnline(); err != nil {
		return err
	}
	mv := &move{log: l, to: d, future: dirWith(d, l.key, d.id, suffixFuture)}
	if name := filepath.Base(dirWith(l.dir(), l.key, d.id, suffixMoving)); len(name) > 255 {
		return fmt.Errorf("%w for a directory %s", ErrNameTooLong, name)
	}
	// The directory is durable before the request is accepted, see move.
	if err := m.env.fs.MkdirAll(mv.future, 0o755); err != nil {
		return classify(err)
	}
	if err := d.syncNames(m.env.fs); err != nil {
		return err
	}
	m.moves.queue = append(m.moves.queue, mv)
	if l.closed.Load() { // Delete has looked for a move before this one was queued
		return errors.Join(ErrLogClosed, m.dropLocked(mv))
	}
	d.wakeMover()
	return nil
}

// allOnline returns an error unless all directories work. A log must not move on while an offline
// directory has its -moving directory from an earlier move. The start that finds that directory
// again would take the old copy for the log.
func (m *Manager) allOnline() error {
	for _, d := range m.dirs {
		if d.err() != nil {
			return fmt.Errorf("%w: %s is offline: logs can be moved when it is back, or given up and taken out of log.dirs", ErrStorage, d.path)
		}
	}
	return nil
}

// dropLocked cancels a move and removes its copy, durably: otherwise a start would begin it again.
func (m *Manager) dropLocked(mv *move) error {
	if !m.moves.takeLocked(mv) {
		return nil
	}
	if mv.stop != nil {
		mv.stop()
	}
	return m.discard(mv)
}

// discard removes the copy of a move.
func (m *Manager) discard(mv *move) error {
	if mv.to.err() != nil {
		return nil //nolint:nilerr // a start that finds the directory begins the move again
	}
	gone := trashName(mv.to, mv.log.key)
	if err := m.env.fs.Rename(mv.future, gone); err != nil {
		return classify(ignoreNotExist(err))
	}
	m.env.trash.add(trashItem{dir: gone})
	return mv.to.syncNames(m.env.fs)
}

// forgetMove cancels the move of a log that was deleted.
func (m *Manager) forgetMove(l *Log) {
	m.moves.Lock()
	defer m.moves.Unlock()
	if mv := m.moves.of(l); mv != nil {
		if err := m.dropLocked(mv); err != nil {
			l.logger.Warn("remove the copy of a deleted log", errorAttr(err))
		}
	}
}

// wakeMover wakes the moveLoop of the directory.
func (d *dataDir) wakeMover() {
	select {
	case d.moveWake <- struct{}{}:
	default:
	}
}

// moveLoop carries out the moves to a directory, one after the other, until ctx ends.
func (m *Manager) moveLoop(ctx context.Context, d *dataDir) {
	for ctx.Err() == nil {
		again := false
		if mv := m.moves.next(d); mv != nil {
			if !m.tryMove(ctx, mv) {
				continue
			}
			again = true
		}
		pause := time.NewTimer(movePause)
		if !again {
			pause.Stop() // and wait for a request
		}
		select {
		case <-pause.C:
		case <-d.moveWake:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// tryMove carries out a move. It returns true if the move was interrupted, by a truncation or a
// compaction, and has to be tried again.
func (m *Manager) tryMove(ctx context.Context, mv *move) (again bool) {
	l, from := mv.log, mv.log.dir()
	working, stop := context.WithCancel(ctx)
	defer stop()
	if !m.moves.begin(mv, stop) {
		return false
	}
	began := m.env.now()
	err := m.carryOut(working, mv)
	if err == nil {
		m.moves.take(mv)
	}
	m.moves.rest(mv)
	switch {
	case err == nil:
		l.logger.Info("moved log to another data directory", slog.String("from", from.path), slog.String("to", mv.to.path),
			slog.Int64("bytes", mv.bytes.Load()), slog.Duration("took", m.env.now().Sub(began)))
		return false
	case errors.Is(err, errMoveDropped), working.Err() != nil:
		return false // cancelled, or this process ends
	case errors.Is(err, errCleaningAborted) && !l.closed.Load():
		return true
	case l.closed.Load():
		m.forgetMove(l)
		return false
	}
	l.logger.Error("log is not moved to another data directory and stays where it is", slog.String("dir", from.path),
		slog.String("to", mv.to.path), errorAttr(err))
	m.moves.Lock()
	err = m.dropLocked(mv)
	m.moves.Unlock()
	if err != nil {
		l.logger.Warn("remove the copy of a log", errorAttr(err))
	}
	return false
}

// carryOut copies a log and switches over. It holds the log's cleaning token, so that nothing
// compacts, truncates or deletes the log. A truncation or deletion that waits for the token aborts
// the copy with errCleaningAborted.
func (m *Manager) carryOut(ctx context.Context, mv *move) error {
	ctx, end, ok := mv.log.beginCleaning(ctx)
	if !ok {
		return errCleaningAborted
	}
	defer end()
	c := moveCopy{move: mv, log: mv.log, fs: m.env.fs, pace: m.pace, segments: map[int64]*copiedSegment{}, buf: make([]byte, moveBuffer)}
	err := c.clear()
	if err == nil {
		err = c.run(ctx)
	}
	if err == nil {
		err = m.moveTo(ctx, mv, &c)
	}
	if ctx.Err() != nil && !errors.Is(err, errMoveDropped) && err != nil {
		return context.Cause(ctx)
	}
	return err
}

// moveTo switches over after Options.Moving has agreed.
func (m *Manager) moveTo(ctx context.Context, mv *move, c *moveCopy) error {
	done, err := m.options.Moving(ctx, mv.log.key.topic, mv.log.key.partition)
	if err != nil {
		return err
	}
	defer done()
	if err = c.run(ctx); err != nil { // records appended while Moving ran
		return err
	}
	return m.switchOver(mv, c) //nolint:contextcheck // nothing breaks it off
}

// pace waits until n more bytes may be copied. It waits for as long as Options.MoveRate is 0 or
// less.
func (m *Manager) pace(ctx context.Context, n int) error {
	rate := m.options.MoveRate()
	for ; rate <= 0; rate = m.options.MoveRate() {
		pause := time.NewTimer(movePause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
	m.moves.pace.setRate(float64(rate))
	return m.moves.pace.wait(ctx, n)
}
