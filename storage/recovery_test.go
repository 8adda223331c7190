package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// damage changes the files of a log of three segments, each with 3 batches of one record, while no
// broker runs. The log's end was 9 and nothing was flushed.
type damage struct {
	name string
	hurt func(k *kit)
	// flush makes all below it durable before the damage, and writes the checkpoints.
	flush int64
	end   int64 // expected end
}

func (k *kit) edit(name string, change func(b []byte) []byte) {
	k.t.Helper()
	b, err := vfs.ReadFile(k.fs, k.path(name), 1<<20)
	if err != nil {
		k.t.Fatal(err)
	}
	if err = vfs.WriteFile(k.fs, k.path(name), change(b), 0o644); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) create(name string, b []byte) {
	k.t.Helper()
	if err := vfs.WriteFile(k.fs, k.path(name), b, 0o644); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) remove(names ...string) {
	k.t.Helper()
	for _, name := range names {
		if err := k.fs.Remove(k.path(name)); err != nil {
			k.t.Fatal(err)
		}
	}
}

const (
	seg0 = "00000000000000000000"
	seg3 = "00000000000000000003"
	seg6 = "00000000000000000006"
)

var damages = []damage{
	{name: "nothing", hurt: func(*kit) {}, end: 9},
	{name: "zeros behind the end", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { return append(b, make([]byte, 5000)...) })
	}, end: 9},
	{name: "a few zeros behind the end", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { return append(b, 0, 0, 0) })
	}, end: 9},
	{name: "torn last batch", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { return b[:len(b)-1] })
	}, end: 8},
	{name: "torn header of the last batch", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { return b[:2*len(b)/3+20] })
	}, end: 8},
	{name: "changed byte in the active segment", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { b[len(b)/3+80]++; return b })
	}, end: 7},
	{name: "changed byte in a closed segment", hurt: func(k *kit) {
		k.edit(seg3+extLog, func(b []byte) []byte { b[len(b)/3+80]++; return b })
	}, end: 4},
	{name: "closed segment lost its last batch", hurt: func(k *kit) {
		k.edit(seg3+extLog, func(b []byte) []byte { return b[:2*len(b)/3] })
	}, end: 5},
	{name: "closed segment lost everything", hurt: func(k *kit) {
		k.edit(seg3+extLog, func([]byte) []byte { return nil })
	}, end: 3},
	{name: "segment in the middle is gone", hurt: func(k *kit) {
		k.remove(seg3+extLog, seg3+extIndex, seg3+extTimeIndex)
	}, end: 3},
	{name: "offsets go back", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { record.Batch(b[2*len(b)/3:]).SetBaseOffset(7); return b })
	}, end: 8},
	{name: "offset overflows", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { record.Batch(b[2*len(b)/3:]).SetBaseOffset(math.MaxInt64); return b })
	}, end: 8},
	{name: "batch length is nonsense", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { b[len(b)/3+8] = 0x7f; return b })
	}, end: 7},
	{name: "old magic", hurt: func(k *kit) {
		k.edit(seg6+extLog, func(b []byte) []byte { b[16] = 1; return b })
	}, end: 6},
	{name: "indexes are gone", hurt: func(k *kit) {
		k.remove(seg0+extIndex, seg0+extTimeIndex, seg3+extIndex, seg3+extTimeIndex)
	}, end: 9},
	{name: "indexes of durable segments are gone", flush: 9, hurt: func(k *kit) {
		k.remove(seg0+extIndex, seg3+extTimeIndex)
	}, end: 9},
	{name: "indexes are of odd length", flush: 9, hurt: func(k *kit) {
		k.edit(seg0+extIndex, func(b []byte) []byte { return b[:len(b)-1] })
		k.edit(seg3+extTimeIndex, func(b []byte) []byte { return append(b, 1) })
	}, end: 9},
	{name: "indexes hold nonsense", hurt: func(k *kit) {
		for _, name := range []string{seg0 + extIndex, seg3 + extIndex, seg0 + extTimeIndex} {
			k.edit(name, func(b []byte) []byte { return bytes.Repeat([]byte{0x33}, len(b)) })
		}
	}, end: 9},
	{name: "transaction index is nonsense", hurt: func(k *kit) {
		k.create(seg0+extTxnIndex, []byte("nonsense"))
	}, end: 9},
	{name: "leftovers of deletions and compaction", hurt: func(k *kit) {
		k.create(seg0+".log.1.deleted", []byte("x"))
		k.create("00000000000000000001.log.deleted", []byte("x"))
		k.create(seg3+".log.cleaned", []byte("x"))
		k.create(seg3+".index.cleaned", []byte("x"))
		k.create(seg0+".snapshot.tmp", []byte("x"))
		k.create("00000000000000000777.index", []byte("12345678"))
		k.create("some other file", []byte("x"))
	}, end: 9},
	{name: "epoch file is gone", flush: 9, hurt: func(k *kit) { k.remove(epochFile) }, end: 9},
	{name: "epoch file is torn", flush: 9, hurt: func(k *kit) {
		k.edit(epochFile, func(b []byte) []byte { return b[:len(b)-2] })
	}, end: 9},
	{name: "epoch file tells of what is not there", hurt: func(k *kit) {
		k.create(epochFile, []byte("0\n3\n0 0\n4 5\n9 1000\n"))
	}, end: 9},
	{name: "metadata is torn", hurt: func(k *kit) {
		k.edit(metadataFile, func(b []byte) []byte { return b[:20] })
	}, end: 9},
	{name: "snapshots are gone or torn", hurt: func(k *kit) {
		k.remove(seg3 + extSnapshot)
		k.edit(seg6+extSnapshot, func(b []byte) []byte { return b[:3] })
	}, end: 9},
	{name: "checkpoints are gone", flush: 7, hurt: func(k *kit) {
		for _, name := range []string{recoveryFile, startFile, hwFile} {
			k.remove("../" + name)
		}
	}, end: 9},
	{name: "checkpoints are nonsense", flush: 7, hurt: func(k *kit) {
		for _, name := range []string{recoveryFile, startFile, hwFile} {
			k.create("../"+name, []byte("0\n1\nt 0"))
		}
	}, end: 9},
}

func TestRecovery(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			k := newKit(t, vfs.NewMem(), func(c *Config) {
				c.IndexIntervalBytes = 0
				c.SegmentBytes = 3 * int64(len(batchOf(1, 50, 0, producer(5, 0, 0))))
			})
			l := k.log()
			for i := range int32(9) {
				b := batchOf(1, 50, epoch0.UnixMilli()+int64(i)*100, producer(5, 0, i))
				if _, err := l.Append(b, i/4); err != nil {
					t.Fatal(err)
				}
			}
			want := readAll(t, l, 0)
			epochs := slices.Clone(l.EpochEntries())
			if d.flush > 0 {
				if err := l.Flush(t.Context(), d.flush); err != nil {
					t.Fatal(err)
				}
				if err := k.m.Checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
			dead := k.dead()
			d.hurt(dead)
			dead.open()
			l = dead.log()
			if l.EndOffset() != d.end {
				t.Fatalf("end %d, want %d", l.EndOffset(), d.end)
			}
			got := readAll(t, l, 0)
			if !slices.EqualFunc(got, want[:d.end], func(a, b record.Batch) bool { return bytes.Equal(a, b) }) {
				t.Fatalf("%d batches, or others than before", len(got))
			}
			if err := verifyFiles(l); err != nil {
				t.Fatal(err)
			}
			epochs = slices.DeleteFunc(epochs, func(e EpochEntry) bool { return e.StartOffset >= d.end })
			if !slices.Equal(l.EpochEntries(), epochs) {
				t.Fatalf("epochs %v, want %v", l.EpochEntries(), epochs)
			}
			for i := range d.end {
				at, ok, err := l.OffsetForTimestamp(epoch0.UnixMilli() + i*100 - 50)
				if err != nil || !ok || at.Offset != i {
					t.Fatalf("time of offset %d is found at %+v (%t, %v)", i, at, ok, err)
				}
			}
			// The producer continues at the log's end, and only there.
			if info := mustAppend(t, l, batchOf(1, 50, epoch0.UnixMilli()+5000, producer(5, 0, int32(d.end)))); info.Duplicate || info.FirstOffset != d.end {
				t.Fatalf("%+v", info)
			}
			for _, name := range dead.files() {
				if strings.Contains(name, "deleted") || strings.Contains(name, "cleaned") || strings.HasSuffix(name, ".tmp") || strings.Contains(name, "777") {
					t.Fatalf("%s is still there", name)
				}
			}
			dead.reopen()
			if dead.log().EndOffset() != d.end+1 || len(readAll(t, dead.log(), 0)) != int(d.end)+1 {
				t.Fatalf("end %d after a clean restart", dead.log().EndOffset())
			}
		})
	}
}

func TestRecoveryReadsOnlyBehindTheRecoveryPoint(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 500 })
	l := k.log()
	fill(t, l, 9)
	if err := l.Flush(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	dead := k.dead()
	dead.edit(seg0+extLog, func(b []byte) []byte { b[100]++; return b })
	dead.open()
	if dead.log().EndOffset() != 9 {
		t.Fatalf("end %d: what was durable was scanned", dead.log().EndOffset())
	}
	if _, err := readRange(dead.log(), 0, 9); err == nil {
		t.Fatal("the damage was not noticed by the reader's checksum")
	}
}

// TestCompactedLogMayHaveGaps: Kafka's compaction leaves gaps, and its checkpoint says how far it
// went. Any other gap is lost data.
func TestCompactedLogMayHaveGaps(t *testing.T) {
	for _, compact := range []bool{true, false} {
		k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400; c.CleanupCompact = true })
		fill(t, k.log(), 9)
		dead := k.dead()
		dead.create("../"+cleanerFile, fmt.Appendf(nil, "0\n1\nt 0 %d\n", map[bool]int{true: 6, false: 5}[compact]))
		dead.edit(seg3+extLog, func(b []byte) []byte { return b[:len(b)/3] })
		dead.open()
		want := map[bool]int64{true: 9, false: 4}[compact]
		if got := dead.log().EndOffset(); got != want {
			t.Fatalf("compacted %t: end %d, want %d", compact, got, want)
		}
		if compact {
			got := readAll(t, dead.log(), 4)
			if len(got) != 3 || got[0].BaseOffset() != 6 {
				t.Fatalf("%d batches behind the gap", len(got))
			}
		}
	}
}

func TestSwapIsCompleted(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400; c.CleanupCompact = true })
	fill(t, k.log(), 9)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	// As if compaction had left one batch of the first two segments.
	all := content(t, k.fs, k.path(seg3+extLog))
	k.create(seg0+".log.swap", all[2*len(all)/3:])
	k.create(seg0+".index.swap", nil)
	k.create(seg0+".timeindex.swap", nil)
	k.open()
	if got := bases(k.log()); !slices.Equal(got, []int64{0, 6}) {
		t.Fatalf("segments %v", got)
	}
	if got := readAll(t, k.log(), 0); len(got) != 4 || got[0].BaseOffset() != 5 {
		t.Fatalf("%d batches from %d on", len(got), got[0].BaseOffset())
	}
}

func TestUnfinishedSwapIsUndone(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400; c.CleanupCompact = true })
	fill(t, k.log(), 9)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.create(seg0+".log.cleaned", nil)
	k.create(seg3+".log.swap", nil)
	k.open()
	if got := bases(k.log()); !slices.Equal(got, []int64{0, 3, 6}) || len(readAll(t, k.log(), 0)) != 9 {
		t.Fatalf("segments %v", got)
	}
	if files := k.files(); slices.ContainsFunc(files, func(s string) bool { return strings.HasSuffix(s, "swap") || strings.HasSuffix(s, "cleaned") }) {
		t.Fatalf("files %v", files)
	}
}

func TestLyingIndexIsNotFollowed(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.IndexIntervalBytes = 0; c.SegmentBytes = 2000 })
	fill(t, k.log(), 40)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	size := int64(len(content(t, k.fs, k.path(seg0+extLog))))
	for _, lie := range []int64{1, 130, size - 10, size, size + 100, math.MaxInt32} {
		k.edit(seg0+extIndex, func(b []byte) []byte {
			for i := 4; i < len(b); i += 8 {
				b[i], b[i+1], b[i+2], b[i+3] = byte(lie>>24), byte(lie>>16), byte(lie>>8), byte(lie)
			}
			return b
		})
		k.open()
		if got := readAll(t, k.log(), 0); len(got) != 40 {
			t.Fatalf("positions of %d: %d batches", lie, len(got))
		}
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnyBytesInALogFile(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	if err := k.fs.MkdirAll("/data/t-0", 0o755); err != nil {
		t.Fatal(err)
	}
	openWith(t, k, []byte("nonsense that is longer than the header of a batch has to be, to get so far"))
}

// openWith opens a log whose first segment has arbitrary bytes, and uses it.
func openWith(t *testing.T, k *kit, b []byte) {
	t.Helper()
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	_ = k.fs.Remove("/data/" + cleanFile) // as after a crash
	k.create(seg0+extLog, b)
	k.open()
	l := k.log()
	// Recovery keeps every batch that passes its CRC, also with an unknown codec.
	count := func() int {
		t.Helper()
		got, err := readChecked(l, l.LocalStartOffset(), l.EndOffset(), func(record.Batch) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	n, end := count(), l.EndOffset()
	mustAppend(t, l, batchOf(1, 5, epoch0.UnixMilli()))
	if count() != n+1 || l.EndOffset() != end+1 {
		t.Fatalf("%d batches after one was added to %d, end %d after %d", count(), n, l.EndOffset(), end)
	}
}

func FuzzRecovery(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(batchOf(3, 5, epoch0.UnixMilli())))
	f.Add(append([]byte(batchOf(3, 5, epoch0.UnixMilli())), make([]byte, 100)...))
	f.Add([]byte(marker(0, 1, record.ControlAbort)))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := newKit(t, vfs.NewMem(), nil)
		if err := k.fs.MkdirAll("/data/t-0", 0o755); err != nil {
			t.Fatal(err)
		}
		// Most inputs fail the checksum at once: correct it where possible.
		for rest := bytes.Clone(b); len(rest) > 0; {
			one, after, err := record.Split(rest)
			if err != nil || one.BaseOffset() < 0 || one.BaseOffset() > 1<<30 {
				break
			}
			one.SetCRC()
			copy(b[len(b)-len(rest):], one)
			rest = after
		}
		openWith(t, k, b)
	})
}

func TestStartAboveEndBeginsAnew(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 3)
	// The epoch file has the epochs up to here.
	if err := k.log().Flush(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := k.log().AssignEpoch(k.log().LatestEpoch()+1, 3); err != nil {
		t.Fatal(err)
	}
	fill(t, k.log(), 6)
	commit(k.log())
	if err := k.log().AdvanceStartOffset(7); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	dead := k.dead()
	dead.edit(seg0+extLog, func(b []byte) []byte { return b[:len(b)/2] })
	for range 2 { // another crash comes before anything is written
		dead.open()
		l := dead.log()
		if l.StartOffset() != 7 || l.EndOffset() != 7 {
			t.Fatalf("log from %d to %d", l.StartOffset(), l.EndOffset())
		}
		if epoch := l.LatestEpoch(); epoch != UndefinedEpoch {
			t.Fatalf("an empty log says that it has records of epoch %d", epoch)
		}
		dead = dead.dead()
	}
}

func TestKafkaDirectoryIsAdopted(t *testing.T) {
	// Preallocated and mapped index files have zeros after their entries until Kafka closes them;
	// after a crash of Kafka they are rebuilt.
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.IndexIntervalBytes = 0 })
	fill(t, k.log(), 9)
	dead := k.dead()
	dead.create(seg0+extIndex, make([]byte, 10<<20))
	dead.create(seg0+extTimeIndex, make([]byte, 10<<20))
	dead.remove(metadataFile)
	dead.open()
	if err := verifyFiles(dead.log()); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, dead.log(), 0); len(got) != 9 || dead.log().TopicID() != testID {
		t.Fatalf("%d batches, topic id %v", len(got), dead.log().TopicID())
	}
	if _, err := dead.fs.OpenFile(dead.path(metadataFile), os.O_RDONLY, 0); err != nil {
		t.Fatal(err)
	}
}

// TestCutTransactionsStayCut: a power cut takes the end of a log, with an aborted transaction whose
// index entry had reached the disk. The entry must not return in another power cut, after the
// segment was closed and is trusted.
func TestCutTransactionsStayCut(t *testing.T) {
	met := 0
	for seed := range uint64(200) {
		mem := vfs.NewMem()
		k := newKit(t, mem, nil)
		l := k.log()
		mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli()))
		if err := l.Flush(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		for _, b := range []record.Batch{txnBatch(1, 7, 0), marker(2, 7, record.ControlAbort)} {
			if _, err := l.AppendAsFollower(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(vfs.SyncFile(mem, k.path(fileName(0, extTxnIndex))), mem.SyncDir("/data/t-0")); err != nil {
			t.Fatal(err)
		}
		next := k.crashed(seed)
		if l = next.log(); l.EndOffset() > 2 {
			_ = next.m.Close() // the marker had reached the disk too
			continue
		}
		met++
		for l.EndOffset() < 5 {
			mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli()))
		}
		commit(l)
		if err := errors.Join(l.Roll(), l.Flush(t.Context(), 5), next.m.Checkpoint()); err != nil {
			t.Fatal(err)
		}

		last := next.crashed(seed)
		if aborted, err := last.log().AbortedTransactions(0, 5); err != nil || len(aborted) > 0 {
			t.Fatalf("seed %d: %+v, %v", seed, aborted, err)
		}
		_, _ = next.m.Close(), last.m.Close()
	}
	if met == 0 {
		t.Error("the marker was never lost")
	}
}
