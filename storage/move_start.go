package storage

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// movingDir is a directory that a move has created or renamed.
type movingDir struct {
	dir    *dataDir
	key    partitionKey
	target [16]byte // id of the data directory that the log moves to
	path   string
}

// parseMovingName splits the name of such a directory into partition and target.
func parseMovingName(name, suffix string) (key partitionKey, target [16]byte, ok bool) {
	name, ok = strings.CutSuffix(name, suffix)
	i := strings.LastIndexByte(name, '.')
	if !ok || i < 0 || hex.DecodedLen(len(name)-i-1) != len(target) {
		return key, target, false
	}
	if _, err := hex.Decode(target[:], []byte(name[i+1:])); err != nil {
		return key, target, false
	}
	key, ok = parseDirName(name[:i])
	return key, target, ok
}

// movingDirs lists the directories of moves in the data directories that work: leaving are the
// -moving ones, futures the -future ones. plain has the data directory of each partition that has a
// directory under its own name.
func (m *Manager) movingDirs() (leaving, futures []movingDir, plain map[partitionKey]*dataDir) {
	plain = map[partitionKey]*dataDir{}
	for _, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		entries, err := m.env.fs.ReadDir(d.path)
		if err != nil {
			m.leaveOut(d, d.unusable(err))
			continue
		}
		for _, e := range slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() }) {
			f := movingDir{dir: d, path: filepath.Join(d.path, e.Name())}
			if key, ok := parseDirName(e.Name()); ok {
				plain[key] = d
			} else if f.key, f.target, ok = parseMovingName(e.Name(), suffixMoving); ok {
				leaving = append(leaving, f)
			} else if f.key, f.target, ok = parseMovingName(e.Name(), suffixFuture); ok {
				futures = append(futures, f)
			}
		}
	}
	return leaving, futures, plain
}

// settleMoves decides the moves that a crash has interrupted, before the logs are opened (S12). If
// a directory has the log under its own name, that is the log, and the other one's -moving
// directory is removed. Otherwise the log gets its name back where it was. The exception is an
// offline target, which may have the log: then the log stays unopened, and Reopen returns one that
// is offline. settleMoves returns the requests, for resumeMoves.
func (m *Manager) settleMoves() (futures []movingDir) {
	leaving, futures, plain := m.movingDirs()
	for _, f := range leaving {
		if f.dir.err() != nil {
			continue
		}
		target := m.dirByID(f.target)
		away := target != nil && target.err() != nil && !slices.Contains(m.options.LostDirs, formatUUID(f.target))
		if d := plain[f.key]; d != nil {
			// The rename may not be durable yet: after a power cut neither directory would have the
			// log.
			if err := m.env.fs.SyncDir(d.path); err != nil {
				m.leaveOut(d, d.unusable(err))
				continue
			}
			m.junk(f)
			continue
		}
		if away {
			if f.dir.limbo == nil {
				f.dir.limbo = map[partitionKey]bool{}
			}
			f.dir.limbo[f.key] = true
			m.env.logger.Error("log was being moved to a data directory that is offline, and serves nothing until a start at which that works",
				slog.String("partition", f.key.String()), slog.String("dir", f.dir.path), slog.String("to", target.path))
			continue
		}
		err := m.env.fs.Rename(f.path, filepath.Join(f.dir.path, f.key.String()))
		if err == nil {
			err = m.env.fs.SyncDir(f.dir.path)
		}
		if err != nil {
			m.leaveOut(f.dir, fmt.Errorf("give %s its name back: %w", f.path, err))
			continue
		}
		plain[f.key] = f.dir
	}
	return futures
}

// resumeMoves restarts the moves that were under way. While a directory is offline they wait for a
// start at which all work. If the log is on no disk, it will be created in the requested directory.
func (m *Manager) resumeMoves(futures []movingDir) {
	for _, f := range futures {
		l := m.mu.logs[f.key]
		switch {
		case f.target != f.dir.id: // one of Kafka's
		case f.dir.err() != nil || m.allOnline() != nil:
		case l == nil:
			m.moves.preferred[f.key] = f.dir
			m.junk(f)
		case l.dir() == f.dir, m.moves.of(l) != nil:
			m.junk(f)
		default:
			m.moves.queue = append(m.moves.queue, &move{log: l, to: f.dir, future: f.path})
			f.dir.wakeMover()
		}
	}
}

// junk moves a directory to the trash, under a new name that no other directory will get.
func (m *Manager) junk(f movingDir) {
	gone := trashName(f.dir, f.key)
	if err := m.env.fs.Rename(f.path, gone); err != nil {
		m.env.logger.Warn("remove what a move has left: tried again at the next start", slog.String("dir", f.path), errorAttr(err))
		return
	}
	m.env.trash.add(trashItem{dir: gone})
}
