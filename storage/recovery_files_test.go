package storage

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// fileDamages change a file that is a hint. A nil result removes it.
var fileDamages = []struct {
	name string
	hurt func(b []byte) []byte
}{
	{"missing", func([]byte) []byte { return nil }},
	{"empty", func([]byte) []byte { return []byte{} }},
	{"torn", func(b []byte) []byte { return b[:len(b)*2/3] }},
	{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
	{"torn within its pages", func(b []byte) []byte { clear(b[len(b)/2:]); return b }},
	{"nonsense", func(b []byte) []byte { return bytes.Repeat([]byte("?\n"), 1+len(b)/2) }},
	{"of another version", func(b []byte) []byte { return append([]byte{'9'}, b...) }},
	{"twice", func(b []byte) []byte { return append(b, b...) }},
}

// TestDamagedHintCostsNothingButTime (S3) damages, one at a time, every file that recovery can do
// without.
func TestDamagedHintCostsNothingButTime(t *testing.T) {
	t.Parallel()
	names := []string{
		"../" + recoveryFile, "../" + startFile, "../" + hwFile, epochFile, metadataFile,
		seg3 + extSnapshot, seg6 + extSnapshot, fileName(victimEnd, extSnapshot),
	}
	for _, ending := range endings {
		for _, name := range names {
			for _, d := range fileDamages {
				v := newVictim(t, ending, nil)
				b, err := vfs.ReadFile(v.k.fs, v.k.path(name), 1<<20)
				if err != nil {
					continue // the log does not have the file yet
				}
				t.Run(ending+" "+strings.TrimPrefix(name, "../")+" "+d.name, func(t *testing.T) {
					v.t, v.k.t = t, t
					v.k.replace(name, d.hurt(b))
					v.checkIntact(victimEnd)
					if v.k.log().TopicID() != testID {
						t.Fatalf("topic id %v", v.k.log().TopicID())
					}
				})
			}
		}
	}
}

// TestSnapshotThatLies: a snapshot of another moment, or of offsets that are gone, must not be
// used.
func TestSnapshotThatLies(t *testing.T) {
	for _, ending := range endings {
		v := newVictim(t, ending, nil)
		older := content(t, v.k.fs, v.k.path(seg3+extSnapshot))
		v.k.create(fileName(victimEnd+5, extSnapshot), older)
		v.k.create(fileName(victimEnd+5, extSnapshot)+".tmp", older)
		v.k.open()
		// A later start would use it when the log has grown that far.
		if slices.Contains(v.k.files(), fileName(victimEnd+5, extSnapshot)) {
			t.Fatalf("%s: a snapshot above the end is still there", ending)
		}
		v.checkContent(victimEnd)
		v.checkUse(victimEnd)
	}
}

// TestCleanMarkerBesideADamagedLog: the log was damaged after a clean shutdown, and the marker has
// various contents.
func TestCleanMarkerBesideADamagedLog(t *testing.T) {
	for _, marker := range []string{"", "\x00\x00\x00", `{"version":0,"brokerEpoch":-1}`, "nonsense"} {
		v := newVictim(t, clean, nil)
		v.k.create("../"+cleanFile, []byte(marker))
		v.k.edit(seg6+extLog, func(b []byte) []byte { return b[:len(b)-5] })
		v.checkIntact(victimEnd - 1)
		if v.k.log().FlushedOffset() > v.k.log().EndOffset() {
			t.Fatalf("marker %q: flushed %d, end %d", marker, v.k.log().FlushedOffset(), v.k.log().EndOffset())
		}
	}
}

// TestLeftovers: files left by interrupted operations are removed, and no others.
func TestLeftovers(t *testing.T) {
	leftovers := []string{
		seg0 + ".log.1.deleted", seg3 + ".index.77.deleted", "00000000000000000001.log.deleted", seg6 + ".snapshot.deleted",
		seg3 + ".log.cleaned", seg3 + ".index.cleaned", seg3 + ".timeindex.cleaned", seg3 + ".txnindex.cleaned",
		seg3 + ".log.swap", seg3 + ".index.swap", seg6 + ".log.swap",
		seg0 + ".snapshot.tmp", epochFile + ".tmp",
		"00000000000000000777.index", "00000000000000000777.timeindex", "00000000000000000777.txnindex",
	}
	for _, ending := range endings {
		v := newVictim(t, ending, nil)
		for _, name := range leftovers {
			v.k.create(name, []byte("leftover"))
		}
		v.k.create("../"+recoveryFile+".tmp", []byte("leftover"))
		if err := v.k.fs.MkdirAll("/data/t-0.0123-delete/deep", 0o755); err != nil {
			t.Fatal(err)
		}
		v.k.create("../t-0.0123-delete/"+seg0+extLog, []byte("leftover"))
		v.checkIntact(victimEnd)
		for _, name := range v.k.files() {
			if b := content(t, v.k.fs, v.k.path(name)); string(b) == "leftover" {
				t.Errorf("%s: %s is still there", ending, name)
			}
		}
		v.k.m.env.emptyTrash(farFuture)
		if _, err := v.k.fs.Stat("/data/t-0.0123-delete"); err == nil {
			t.Errorf("%s: the directory of a deleted log is still there", ending)
		}
	}
}

// TestDamagedSwapIsPassedOver: the segments that it was made of still exist, and stay.
func TestDamagedSwapIsPassedOver(t *testing.T) {
	for _, ending := range endings {
		v := newVictim(t, ending, nil)
		v.k.create(seg0+".log.swap", []byte("this was never the content of a segment, but it is longer than a header"))
		v.checkIntact(victimEnd)
	}
}

// TestSegmentsThatOverlap: a segment contains the next one's batches too, as after an interrupted
// replacement. A reader gets every batch once.
func TestSegmentsThatOverlap(t *testing.T) {
	for _, ending := range endings {
		for _, pair := range [][2]string{{seg0, seg3}, {seg3, seg6}} {
			v := newVictim(t, ending, nil)
			next := content(t, v.k.fs, v.k.path(pair[1]+extLog))
			v.k.edit(pair[0]+extLog, func(b []byte) []byte { return append(b, next[:positions(next)[2]]...) })
			v.k.open()
			got := readThrough(t, v.k.log())
			if !slices.EqualFunc(got, v.batches, sameBatch) {
				t.Fatalf("%s: %d batches", ending, len(got))
			}
			if ending == killed {
				v.checkContent(victimEnd)
				v.checkUse(victimEnd)
			} else {
				v.checkAppendable()
			}
		}
	}
}

// TestSegmentTwice: a copy of part of a segment, under the name of its second batch.
func TestSegmentTwice(t *testing.T) {
	v := newVictim(t, killed, nil)
	b := content(t, v.k.fs, v.k.path(seg3+extLog))
	v.k.create(fileName(4, extLog), b[positions(b)[1]:])
	v.checkIntact(victimEnd)
}

// TestGapBetweenSegments: above the recovery point a missing segment ends the log; below it the
// remaining segments stay readable.
func TestGapBetweenSegments(t *testing.T) {
	for _, ending := range endings {
		v := newVictim(t, ending, nil)
		for ext := range indexWidths {
			v.k.replace(seg3+ext, nil)
		}
		v.k.remove(seg3 + extLog)
		if ending == killed {
			v.checkIntact(3)
			continue
		}
		v.k.open()
		got := readThrough(t, v.k.log())
		want := append(slices.Clone(v.batches[:3]), v.batches[6:]...)
		if !slices.EqualFunc(got, want, sameBatch) {
			t.Fatalf("%s: %d batches, want %d", ending, len(got), len(want))
		}
		v.checkAppendable()
	}
}
