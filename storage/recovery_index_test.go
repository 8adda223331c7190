package storage

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// indexDamages change an index file. A nil result removes it.
var indexDamages = []struct {
	name string
	hurt func(b []byte, width int) []byte
}{
	{"missing", func([]byte, int) []byte { return nil }},
	{"empty", func([]byte, int) []byte { return []byte{} }},
	{"an entry less", func(b []byte, width int) []byte { return b[:len(b)-width] }},
	{"torn entry", func(b []byte, _ int) []byte { return b[:len(b)-1] }},
	{"zeros", func(b []byte, _ int) []byte { return make([]byte, len(b)) }},
	{"last entry is zeros", func(b []byte, width int) []byte {
		return append(b[:len(b)-width:len(b)-width], make([]byte, width)...)
	}},
	{"zeros behind the entries", func(b []byte, width int) []byte { return append(b, make([]byte, 300*width)...) }},
	{"nonsense", func(b []byte, _ int) []byte { return bytes.Repeat([]byte{0x33}, len(b)) }},
	{"ones", func(b []byte, _ int) []byte { return bytes.Repeat([]byte{0xff}, len(b)) }},
	{"entries backwards", func(b []byte, width int) []byte {
		var out []byte
		for n := len(b); n > 0; n -= width {
			out = append(out, b[n-width:n]...)
		}
		return out
	}},
	{"entries twice", func(b []byte, _ int) []byte { return append(b, b...) }},
	{"numbers too high", func(b []byte, width int) []byte { return addToField(b, width, width-4, 1) }},
}

// addToField adds n to a big endian int32 of every entry.
func addToField(b []byte, width, at int, n uint32) []byte {
	b = bytes.Clone(b)
	for e := b; len(e) >= width; e = e[width:] {
		binary.BigEndian.PutUint32(e[at:], binary.BigEndian.Uint32(e[at:])+n)
	}
	return b
}

var indexWidths = map[string]int{extIndex: offsetEntrySize, extTimeIndex: timeEntrySize, extTxnIndex: abortedTxnSize}

// victimIndexes returns the index files of a victim after a clean shutdown.
func victimIndexes(t *testing.T) map[string][]byte {
	t.Helper()
	v := newVictim(t, clean, nil)
	files := map[string][]byte{}
	for ext := range indexWidths {
		for _, seg := range []string{seg0, seg3, seg6} {
			files[seg+ext] = content(t, v.k.fs, v.k.path(seg+ext))
		}
	}
	return files
}

// TestDamagedIndexCostsNothingButTime (S3) damages each index file of each segment in every way,
// after every kind of shutdown.
func TestDamagedIndexCostsNothingButTime(t *testing.T) {
	t.Parallel()
	whole := victimIndexes(t)
	for _, ending := range endings {
		for ext, width := range indexWidths {
			for _, d := range indexDamages {
				for _, seg := range []string{seg0, seg3, seg6} {
					t.Run(ending+" "+ext+" "+d.name+" "+seg[18:], func(t *testing.T) {
						v := newVictim(t, ending, nil)
						after := d.hurt(bytes.Clone(whole[seg+ext]), width)
						v.k.replace(seg+ext, after)
						trusted := ending == clean || (ending == flushed && seg != seg6)
						switch {
						case ext != extTxnIndex || !trusted:
						case d.name == "numbers too high":
							t.Skip("an entry that could be right is believed, as by Kafka")
						case len(after) == 0: // no other file shows that it is gone, as in Kafka
							v.aborted = slices.DeleteFunc(v.aborted, func(a AbortedTxn) bool { return fileName(a.LastOffset-2, "") == seg })
						}
						v.checkIntact(victimEnd)
					})
				}
			}
		}
	}
}

// TestIndexOfAnotherSegment gives a segment the index of another one.
func TestIndexOfAnotherSegment(t *testing.T) {
	whole := victimIndexes(t)
	for _, ending := range endings {
		for ext := range indexWidths {
			for _, pair := range [][2]string{{seg0, seg3}, {seg3, seg0}, {seg3, seg6}, {seg6, seg0}} {
				t.Run(ending+" "+ext+" "+pair[1][18:]+" for "+pair[0][18:], func(t *testing.T) {
					v := newVictim(t, ending, nil)
					v.k.create(pair[0]+ext, whole[pair[1]+ext])
					v.checkIntact(victimEnd)
				})
			}
		}
	}
}

// TestIndexIntoTheMiddleOfBatches: index entries point into the middle of batches, or at other
// batches.
func TestIndexIntoTheMiddleOfBatches(t *testing.T) {
	whole := victimIndexes(t)
	for _, ending := range endings {
		for _, seg := range []string{seg0, seg3, seg6} {
			for _, by := range []int{-118, -1, 1, 8, 61, 118, 1000, 1 << 30} {
				v := newVictim(t, ending, nil)
				v.k.create(seg+extIndex, addToField(whole[seg+extIndex], offsetEntrySize, 4, uint32(by)))
				v.checkIntact(victimEnd)
			}
		}
	}
}

// TestEveryByteOfAnIndex changes one byte at a time in the indexes of a log that was shut down
// cleanly. All offsets and times must still be found.
func TestEveryByteOfAnIndex(t *testing.T) {
	whole := victimIndexes(t)
	for _, ext := range []string{extIndex, extTimeIndex} {
		for _, seg := range []string{seg0, seg6} {
			for i := range whole[seg+ext] {
				v := newVictim(t, clean, nil)
				v.k.edit(seg+ext, func(b []byte) []byte { b[i] ^= 1 << (i % 8); return b })
				v.k.open()
				v.checkContent(victimEnd)
				if last := len(whole[seg+ext]) - indexWidths[ext]; seg == seg6 && i >= last {
					// New entries are added after it, so the start must repair it.
					if err := verifyFiles(v.k.log()); err != nil {
						t.Fatalf("byte %d of the last entry: %v", i-last, err)
					}
				}
			}
		}
	}
}

// TestRebuiltIndexIsNotTrustedBeforeItIsSynced: an index below the recovery point is rebuilt, and a
// crash comes before it is synced. The next start must not trust what is left of it.
func TestRebuiltIndexIsNotTrustedBeforeItIsSynced(t *testing.T) {
	for _, ending := range []string{flushed, clean} {
		for seed := range uint64(40) {
			v := newVictim(t, ending, nil)
			settleDisk(t, v.k.fs, "/data")
			v.k.remove(seg3 + extTimeIndex)
			v.k.open()
			settleNames(t, v.k.fs, "/data")
			v.k = v.k.on(v.k.mem().CrashClone(seed))
			v.k.open()
			l := v.k.log()
			if at, ok, err := l.OffsetForTimestamp(victimTime(4)); err != nil || !ok || at.Offset != 4 {
				t.Fatalf("%s, seed %d: time of offset 4 is found at %+v (%t, %v)", ending, seed, at, ok, err)
			}
			if err := verifyFiles(l); err != nil {
				t.Fatalf("%s, seed %d: %v", ending, seed, err)
			}
		}
	}
}
