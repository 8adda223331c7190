package record

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// same compares records and ignores differences that no reader can observe.
func same(a, b Record) bool {
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp && bytes.Equal(a.Key, b.Key) && (a.Key == nil) == (b.Key == nil) &&
		bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y Header) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) })
}

func recordsOf(t interface{ Fatal(...any) }, b Batch) []Record {
	var all []Record
	for r, err := range b.Records() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// An excerpt of any batch must be that batch with some records missing.
func TestExcerptKeepsWhatItIsTold(t *testing.T) {
	var x Excerpt
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "records")
		b := Builder{
			Codec: Codec(rapid.IntRange(0, 4).Draw(t, "codec")), BaseOffset: rapid.Int64Range(0, 1<<40).Draw(t, "base"), LeaderEpoch: 7,
			HasProducer: true, ProducerID: 9, ProducerEpoch: 2, BaseSequence: 5, Transactional: rapid.Bool().Draw(t, "transactional"),
			LogAppendTime: rapid.Bool().Draw(t, "append time"),
		}
		offset := b.BaseOffset
		for range n {
			var value []byte
			if rapid.Bool().Draw(t, "has value") {
				value = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value")
			}
			headers := make([]Header, rapid.IntRange(0, 2).Draw(t, "headers"))
			for i := range headers {
				headers[i].Key = fmt.Sprint(i)
			}
			b.AppendAt(offset, rapid.Int64Range(-1, 1<<41).Draw(t, "ts"), rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "key"), value, headers...)
			offset += rapid.Int64Range(1, 3).Draw(t, "gap")
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		records := recordsOf(t, batch)
		if err = x.Begin(batch); err != nil {
			t.Fatal(err)
		}
		var want []Record
		newest, i := NoTimestamp, 0
		for e, entryErr := range x.Entries() {
			if entryErr != nil {
				t.Fatal(entryErr)
			}
			r := records[i]
			i++
			if e.Offset != r.Offset || e.Timestamp != r.Timestamp || !bytes.Equal(e.Key, r.Key) || e.Tombstone != (r.Value == nil) {
				t.Fatalf("entry %+v of record %+v", e, r)
			}
			if rapid.Bool().Draw(t, "keep") {
				x.Keep(e)
				want = append(want, r)
				newest = max(newest, r.Timestamp)
			}
		}
		if i != n || x.Kept() != len(want) || x.Whole() != (len(want) == n) {
			t.Fatalf("%d entries, kept %d, whole %t", i, x.Kept(), x.Whole())
		}
		horizon := NoTimestamp
		if rapid.Bool().Draw(t, "horizon") {
			horizon = rapid.Int64Range(0, 1<<42).Draw(t, "horizon at")
		}
		out, err := x.AppendTo([]byte("before"), horizon)
		if err != nil {
			t.Fatal(err)
		}
		got, rest, err := Split(out[6:])
		if err != nil || len(rest) > 0 || string(out[:6]) != "before" {
			t.Fatal(err, len(rest))
		}
		if err = got.Check(); err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(recordsOf(t, got), want, same) {
			t.Fatalf("records %+v, want %+v", recordsOf(t, got), want)
		}
		if got.Codec() != batch.Codec() || got.BaseOffset() != batch.BaseOffset() || got.LastOffset() != batch.LastOffset() || got.LeaderEpoch() != 7 ||
			got.ProducerID() != 9 || got.ProducerEpoch() != 2 || got.BaseSequence() != 5 || got.LastSequence() != batch.LastSequence() ||
			got.IsTransactional() != batch.IsTransactional() || got.IsLogAppendTime() != batch.IsLogAppendTime() {
			t.Fatalf("header %x, was %x", got[:HeaderSize], batch[:HeaderSize])
		}
		if got.HasDeleteHorizon() != (horizon >= 0) || horizon >= 0 && got.BaseTimestamp() != horizon {
			t.Fatalf("horizon %t at %d, want %d", got.HasDeleteHorizon(), got.BaseTimestamp(), horizon)
		}
		if !batch.IsLogAppendTime() && got.MaxTimestamp() != newest || batch.IsLogAppendTime() && got.MaxTimestamp() != batch.MaxTimestamp() {
			t.Fatalf("max timestamp %d, was %d, newest kept %d", got.MaxTimestamp(), batch.MaxTimestamp(), newest)
		}
		checkEmpty(t, batch)
	})
}

func checkEmpty(t *rapid.T, batch Batch) {
	empty := Batch(AppendEmpty(nil, batch))
	if err := empty.Check(); err != nil {
		t.Fatal(err)
	}
	if len(empty) != HeaderSize || empty.Count() != 0 || len(recordsOf(t, empty)) != 0 || empty.BaseOffset() != batch.BaseOffset() ||
		empty.LastOffset() != batch.LastOffset() || empty.LastSequence() != batch.LastSequence() || empty.ProducerEpoch() != 2 ||
		empty.MaxTimestamp() != batch.MaxTimestamp() || empty.HasDeleteHorizon() || empty.Codec() != CodecNone {
		t.Fatalf("empty batch %x of %x", []byte(empty), batch[:HeaderSize])
	}
}

// Setting a delete horizon must not change any timestamp, even when it is set twice.
func TestExcerptOfABatchWithAHorizon(t *testing.T) {
	b := Builder{BaseOffset: 3}
	b.Append(1000, []byte("a"), nil)
	b.Append(999, []byte("b"), []byte("x"))
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	var x Excerpt
	for range 2 {
		if err = x.Begin(batch); err != nil {
			t.Fatal(err)
		}
		for e, entryErr := range x.Entries() {
			if entryErr != nil {
				t.Fatal(entryErr)
			}
			x.Keep(e)
		}
		out, appendErr := x.AppendTo(nil, 5000)
		if appendErr != nil {
			t.Fatal(appendErr)
		}
		batch = Batch(out)
	}
	got := recordsOf(t, batch)
	if got[0].Timestamp != 1000 || got[1].Timestamp != 999 || batch.BaseTimestamp() != 5000 {
		t.Fatalf("%+v, horizon %d", got, batch.BaseTimestamp())
	}
}

func FuzzExcerpt(f *testing.F) {
	b := Builder{Codec: CodecLZ4}
	b.Append(5, []byte("a"), nil)
	b.Append(6, []byte("b"), []byte("x"))
	batch, err := b.Build()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(batch))
	f.Fuzz(func(t *testing.T, in []byte) {
		batch, _, err := Split(in)
		if err != nil {
			return
		}
		batch.SetCRC()
		if batch.Check() != nil {
			return
		}
		var x Excerpt
		if err = x.Begin(batch); err != nil {
			return
		}
		for e, err := range x.Entries() {
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			x.Keep(e)
		}
		out, err := x.AppendTo(nil, 77)
		if err != nil {
			t.Fatal(err)
		}
		if err = Batch(out).Check(); err != nil {
			t.Fatal(err)
		}
	})
}
