package storage

import (
	"bytes"
	"slices"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

func TestAppendAssignsOffsetsAndEpoch(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	first := batchOf(3, 10, epoch0.UnixMilli())
	info, err := l.Append(first, 7)
	if err != nil {
		t.Fatal(err)
	}
	if info.FirstOffset != 0 || info.LastOffset != 2 || info.Records != 3 || info.Bytes != int64(len(first)) || info.LogAppendTime != -1 {
		t.Fatalf("%+v", info)
	}
	two := slices.Concat(batchOf(1, 10, epoch0.UnixMilli()), batchOf(2, 10, epoch0.UnixMilli()+5))
	if info, err = l.Append(two, 8); err != nil || info.FirstOffset != 3 || info.LastOffset != 5 {
		t.Fatalf("%+v, %v", info, err)
	}
	got := readAll(t, l, 0)
	if len(got) != 3 || got[0].LeaderEpoch() != 7 || got[2].LeaderEpoch() != 8 || got[2].BaseOffset() != 4 {
		t.Fatalf("read %d batches", len(got))
	}
	if !bytes.Equal(got[0], first) {
		t.Fatal("the stored batch differs from the one that was appended")
	}
	if e := l.EpochEntries(); len(e) != 2 || e[0] != (EpochEntry{7, 0}) || e[1] != (EpochEntry{8, 3}) {
		t.Fatalf("epochs %v", e)
	}
}

func TestReopenFindsEverything(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 500; c.IndexIntervalBytes = 100 })
	fill(t, k.log(), 30)
	commit(k.log())
	want := readAll(t, k.log(), 0)
	k.reopen()
	l := k.log()
	if l.EndOffset() != 30 || l.HighWatermark() != 30 || l.StartOffset() != 0 || len(l.list()) < 5 {
		t.Fatalf("end %d, hw %d, start %d, %d segments", l.EndOffset(), l.HighWatermark(), l.StartOffset(), len(l.list()))
	}
	got := readAll(t, l, 0)
	if !slices.EqualFunc(got, want, func(a, b record.Batch) bool { return bytes.Equal(a, b) }) {
		t.Fatal("other batches than before")
	}
	fill(t, l, 1)
	if l.EndOffset() != 31 {
		t.Fatal(l.EndOffset())
	}
}
