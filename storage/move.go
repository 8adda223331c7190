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

// errMoveDropped ends a move that nobody wants any more.
var errMoveDropped = errors.New("move was cancelled")

// movePause is how soon a move is tried again whose log was truncated, or is
// being compacted.
const movePause = 100 * time.Millisecond

// move brings a log from its data directory to another one (KIP-113), in three
// parts: a copy beside the log's work (move_copy.go), the switch, which stops
// the log for a moment (move_switch.go), and what a start does for a move that
// it finds under way (move_start.go).
//
// The request is as durable as the directory of the copy, which is made before
// the request is answered.
type move struct {
	log    *Log
	to     *dataDir
	future string // the directory of the copy

	// How far the copy is: bytes, and the offset up to which whole segments are there.
	bytes, end atomic.Int64

	// The rest belongs to the lock of moves.
	stop   context.CancelFunc // not nil while it is worked on
	decide chan struct{}      // closed when the switch is over; nil before it: the move can be cancelled
}

// moves are the moves that were asked for and are not done, the oldest first,
// at most one a log.
type moves struct {
	invariants.Mutex[rankMoves]
	queue     []*move
	preferred map[partitionKey]*dataDir // where to make logs that are not here yet
	pace      pacer
}

// of is the move of a log; nil if there is none. The lock is held.
func (q *moves) of(l *Log) *move {
	for _, mv := range q.queue {
		if mv.log == l {
			return mv
		}
	}
	return nil
}

// next is the oldest move to a directory.
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

// begin says that a move is worked on, if it is still wanted.
func (q *moves) begin(mv *move, stop context.CancelFunc) bool {
	q.Lock()
	defer q.Unlock()
	if !slices.Contains(q.queue, mv) {
		return false
	}
	mv.stop = stop
	return true
}

// commit says that a move is about to be decided, if it is still wanted. It
// cannot be cancelled until rest.
func (q *moves) commit(mv *move) bool {
	q.Lock()
	defer q.Unlock()
	if !slices.Contains(q.queue, mv) {
		return false
	}
	mv.decide = make(chan struct{})
	return true
}

// rest says that a move is not worked on any more.
func (q *moves) rest(mv *move) {
	q.Lock()
	defer q.Unlock()
	mv.stop = nil
	if mv.decide != nil {
		close(mv.decide)
		mv.decide = nil
	}
}

// take removes a move from those to be done; false if it was not there.
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

// prefer is the directory that was asked for before the log was here; nil if
// none was. It answers once.
func (q *moves) prefer(key partitionKey) *dataDir {
	q.Lock()
	defer q.Unlock()
	d := q.preferred[key]
	delete(q.preferred, key)
	return d
}

// to lists the moves to a directory.
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

// FutureLog is the copy of a log in the directory that the log moves to.
type FutureLog struct {
	Log       *Log // where it is until then
	Bytes     int64
	EndOffset int64 // up to which the copy is whole
}

// Move asks for a log to be moved to another data directory, which Run does
// while the log is used. It returns when the request survives a crash of the
// machine. A move of the same log to elsewhere is cancelled; the directory that
// the log is in cancels only.
//
// ErrNoLogDir says that there is no such data directory. ErrNoLog says that the
// log is not here: the directory is remembered, until this process ends, for
// when it is made. ErrStorage says that the directory or the log is offline, or
// another directory is: what a crash leaves can be told apart only while all
// directories are there.
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
		<-decided // soon
	}
}

// requestLocked replaces the move of a log, nil if there is none, by that to d.
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
	if err := m.env.fs.MkdirAll(mv.future, 0o755); err != nil {
		return classify(err)
	}
	if err := d.syncNames(m.env.fs); err != nil {
		return err
	}
	m.moves.queue = append(m.moves.queue, mv)
	if l.closed.Load() { // Delete has looked for a move before there was this one
		return errors.Join(ErrLogClosed, m.dropLocked(mv))
	}
	d.wakeMover()
	return nil
}

// allOnline is nil while all directories work. A log must not move on from a
// directory of which one that is away says that the log is just coming there.
func (m *Manager) allOnline() error {
	for _, d := range m.dirs {
		if d.err() != nil {
			return fmt.Errorf("%w: %s is offline: logs can be moved when it is back, or given up and taken out of log.dirs", ErrStorage, d.path)
		}
	}
	return nil
}

// dropLocked cancels a move and takes the copy away, durably: a start would
// begin it again.
func (m *Manager) dropLocked(mv *move) error {
	if !m.moves.takeLocked(mv) {
		return nil
	}
	if mv.stop != nil {
		mv.stop()
	}
	return m.discard(mv)
}

// discard takes a copy away.
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

// wakeMover tells that there is a move to the directory.
func (d *dataDir) wakeMover() {
	select {
	case d.moveWake <- struct{}{}:
	default:
	}
}

// moveLoop carries out the moves to a directory, one after the other.
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

// tryMove carries a move out. again: something came in between, and it is to be
// tried anew.
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

// carryOut copies a log and switches over. Nobody compacts, truncates or
// deletes the log meanwhile: whoever wants the latter two ends the copy with
// errCleaningAborted.
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

// moveTo switches over once Options.Moving agrees.
func (m *Manager) moveTo(ctx context.Context, mv *move, c *moveCopy) error {
	done, err := m.options.Moving(ctx, mv.log.key.topic, mv.log.key.partition)
	if err != nil {
		return err
	}
	defer done()
	if err = c.run(ctx); err != nil { // what was appended meanwhile
		return err
	}
	return m.switchOver(mv, c) //nolint:contextcheck // nothing breaks it off
}

// pace waits until n bytes more may be copied.
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
