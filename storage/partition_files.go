package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/vfs"
)

// partitionFiles lists the files in a partition's directory by base offset.
type partitionFiles struct {
	bases     []int64                    // of .log files, ascending
	sizes     map[string]map[int64]int64 // by extension and base, in bytes
	snapshots []int64                    // ascending
	swaps     []int64                    // of .log.swap files
	swapParts map[int64][]string         // names of .swap files by base
	leftovers []string                   // names of files to remove
	epochs    bool                       // the epoch file exists
	cleaned   int64                      // smallest base of a .cleaned file; -1: none
}

// size returns a file's length in bytes; -1 if it does not exist.
func (p *partitionFiles) size(ext string, base int64) int64 {
	if n, ok := p.sizes[ext][base]; ok {
		return n
	}
	return -1
}

func (p *partitionFiles) exists(ext string, base int64) bool { return p.size(ext, base) >= 0 }

// naming reports whether a swap was interrupted while the new segment got its final names. In that
// state files under the base's plain names belong to the new segment.
func (p *partitionFiles) naming(base int64) bool {
	return slices.Contains(p.swaps, base) && !slices.Contains(p.swapParts[base], fileName(base, swapOrder[0])+suffixSwap)
}

// splitName splits a segment file's name into base offset, extension and suffix.
func splitName(name string) (base int64, ext, suffix string, ok bool) {
	digits, rest, found := strings.Cut(name, ".")
	if !found || len(digits) != 20 {
		return 0, "", "", false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || base < 0 {
		return 0, "", "", false
	}
	ext, suffix, found = strings.Cut(rest, ".")
	if found {
		suffix = "." + suffix
	}
	return base, "." + ext, suffix, true
}

// tidyDir completes what the last process began: it finishes or undoes swaps of segments, removes
// deleted and unfinished files, and lists the directory. A crash in here is safe: the next start
// continues.
func (l *Log) tidyDir() (*partitionFiles, error) {
	p, err := l.listFiles()
	if err != nil {
		return nil, err
	}
	// Swaps come before leftovers: the .cleaned files show whether a swap was decided, also to the
	// start after a crash in here.
	for _, base := range p.swaps {
		if err = l.completeSwap(base, p); err != nil {
			return nil, fmt.Errorf("complete replacement of segment %d: %w", base, err)
		}
	}
	if len(p.swaps) > 0 {
		if p, err = l.listFiles(); err != nil {
			return nil, err
		}
	}
	for _, name := range p.leftovers {
		if err = l.env.fs.Remove(filepath.Join(l.path(), name)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (l *Log) listFiles() (*partitionFiles, error) {
	entries, err := l.env.fs.ReadDir(l.path())
	if err != nil {
		return nil, err
	}
	p := &partitionFiles{sizes: map[string]map[int64]int64{}, swapParts: map[int64][]string{}, cleaned: -1}
	for _, e := range entries {
		base, ext, suffix, ok := splitName(e.Name())
		switch {
		case strings.HasSuffix(e.Name(), ".tmp"), strings.HasSuffix(e.Name(), suffixDeleted):
			p.leftovers = append(p.leftovers, e.Name())
		case e.Name() == epochFile:
			p.epochs = true
		case !ok:
		case suffix == suffixCleaned:
			p.leftovers = append(p.leftovers, e.Name())
			if p.cleaned < 0 || base < p.cleaned {
				p.cleaned = base
			}
		case suffix == suffixSwap:
			p.swapParts[base] = append(p.swapParts[base], e.Name())
			if ext == extLog {
				p.swaps = append(p.swaps, base)
			}
		case suffix != "":
		case ext == extSnapshot:
			p.snapshots = append(p.snapshots, base)
		default:
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if ext == extLog {
				p.bases = append(p.bases, base)
			}
			if p.sizes[ext] == nil {
				p.sizes[ext] = map[int64]int64{}
			}
			p.sizes[ext][base] = info.Size()
		}
	}
	slices.Sort(p.bases)
	slices.Sort(p.snapshots)
	slices.Sort(p.swaps)
	for base, parts := range p.swapParts {
		if !slices.Contains(p.swaps, base) { // the .log is renamed last: the swap was not decided
			p.leftovers = append(p.leftovers, parts...)
		}
	}
	for _, ext := range []string{extIndex, extTimeIndex, extTxnIndex} {
		for base := range p.sizes[ext] {
			if _, has := p.sizes[extLog][base]; !has && !p.naming(base) { // left by a deletion
				p.leftovers = append(p.leftovers, fileName(base, ext))
			}
		}
	}
	return p, nil
}

// completeSwap puts a segment that compaction has made in the place of the segments that it was
// made of. The .swap files are whole and durable. If files of the same cleaning are still .cleaned
// the renaming was not complete: the swap was not decided, and the old segments stay.
func (l *Log) completeSwap(base int64, p *partitionFiles) error {
	name := func(base int64, ext, suffix string) string {
		return filepath.Join(l.path(), fileName(base, ext)+suffix)
	}
	undo := func() error {
		// The .log first: without it the other files are leftovers.
		for _, ext := range []string{extLog, extIndex, extTimeIndex, extTxnIndex} {
			if err := ignoreNotExist(l.env.fs.Remove(name(base, ext, suffixSwap))); err != nil {
				return err
			}
		}
		return nil
	}
	if p.cleaned >= 0 && base >= p.cleaned {
		return undo()
	}
	end, err := l.endOfFile(name(base, extLog, suffixSwap), base)
	if errors.Is(err, ErrCorrupt) && slices.Contains(p.bases, base) {
		l.logger.Warn("pass over damaged replacement of segments", slog.Int64("segment", base), errorAttr(err))
		return undo()
	}
	if err != nil {
		return err
	}
	// The old files are gone, durably, before the new ones get their names. Otherwise a start after
	// a crash could take the new index files for the old segment's and remove them.
	for _, old := range p.bases {
		if old < base || old >= end {
			continue
		}
		for _, ext := range swapOrder {
			if err = ignoreNotExist(l.env.fs.Remove(name(old, ext, ""))); err != nil {
				return err
			}
		}
	}
	if err = l.env.fs.SyncDir(l.path()); err != nil {
		return err
	}
	for _, ext := range swapOrder {
		if err = ignoreNotExist(l.env.fs.Rename(name(base, ext, suffixSwap), name(base, ext, ""))); err != nil {
			return err
		}
	}
	l.logger.Info("completed replacement of segments", slog.Int64("segment", base), slog.Int64("end", end))
	return l.env.fs.SyncDir(l.path())
}

// endOfFile returns the offset after the last batch of a .log file; base if it has none.
func (l *Log) endOfFile(name string, base int64) (int64, error) {
	f, err := l.env.fs.OpenFile(name, 0, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	end := base
	for sc := scanBatches(f, 0, size, make([]byte, 8192)); ; {
		h, _, err := sc.next()
		if err != nil {
			return end, ignoreEOF(err)
		}
		end = h.NextOffset()
	}
}

// metadataFile holds the topic's id; it is in the log's directory.
const metadataFile = "partition.metadata"

// logMetadata is the content of a partition.metadata file.
type logMetadata struct {
	topicID [16]byte // zero: unknown
	// supersedes are the ids of the directories that were offline when the log was created. A log
	// of the partition in one of them is older (rivals.go).
	supersedes [][16]byte
}

// format returns the content of a partition.metadata file.
func (m *logMetadata) format() []byte {
	b := []byte("version: 0\ntopic_id: " + formatUUID(m.topicID))
	for _, id := range m.supersedes {
		b = append(b, "\nsupersedes: "+formatUUID(id)...)
	}
	return b
}

// parseMetadata parses the content of a partition.metadata file.
func parseMetadata(content []byte) (m logMetadata, err error) {
	version := false
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "version":
			version = value == "0"
		case "topic_id":
			if m.topicID, err = parseUUID(value); err != nil {
				return m, err
			}
		case "supersedes":
			id, err := parseUUID(value)
			if err != nil {
				return m, err
			}
			m.supersedes = append(m.supersedes, id)
		}
	}
	if !version || m.topicID == ([16]byte{}) {
		return m, fmt.Errorf("%w: %s has no version 0 or no topic id", ErrCorrupt, metadataFile)
	}
	return m, nil
}

// loadMetadata reads the topic's id. If the file is missing or torn, which is possible because it
// is not synced before the first flush, the id stays unknown; Create writes it again.
func (l *Log) loadMetadata() error {
	content, err := vfs.ReadFile(l.env.fs, filepath.Join(l.path(), metadataFile), 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := parseMetadata(content)
	if err != nil {
		l.logger.Warn("pass over damaged file", slog.String("file", metadataFile), errorAttr(err))
		return nil
	}
	l.topicID.Store(&m.topicID)
	l.supersedes = m.supersedes
	return nil
}
