package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSurvey(t *testing.T) {
	for name, tc := range map[string]struct {
		times []int64
		keys  []string // "-": null
		want  Survey
	}{
		"in order":              {[]int64{10, 20, 30}, []string{"a", "b", "c"}, Survey{10, 30, -1}},
		"the newest first":      {[]int64{30, 20, 10}, []string{"a", "b", "c"}, Survey{10, 30, -1}},
		"none has a timestamp":  {[]int64{-1, -1}, []string{"a", "b"}, Survey{-1, -1, -1}},
		"one has none":          {[]int64{20, -1}, []string{"a", "b"}, Survey{20, 20, -1}},
		"before 1970":           {[]int64{20, -7}, []string{"a", "b"}, Survey{-7, 20, -1}},
		"no key":                {[]int64{1, 1, 1}, []string{"a", "-", "-"}, Survey{1, 1, 1}},
		"an empty key is a key": {[]int64{1}, []string{""}, Survey{1, 1, -1}},
		"numbers of many bytes": {[]int64{0, math.MaxInt64}, []string{string(make([]byte, 300)), "b"}, Survey{0, math.MaxInt64, -1}},
	} {
		var b Builder
		for i, ts := range tc.times {
			key := []byte(tc.keys[i])
			if tc.keys[i] == "-" {
				key = nil
			}
			b.Append(ts, key, make([]byte, i*100), Header{Key: "h"}, Header{Key: "", Value: []byte("v")})
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := batch.Survey(batch.Payload()); err != nil || got != tc.want {
			t.Errorf("%s: %+v, want %+v, %v", name, got, tc.want, err)
		}
	}
}

func TestSurveyWantsConsecutiveOffsets(t *testing.T) {
	var b Builder
	b.AppendAt(0, 1, nil, nil)
	b.AppendAt(2, 1, nil, nil)
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = batch.Survey(batch.Payload()); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

// A record of a few kilobytes may announce and hold millions of headers after decompression.
// Reading offsets and timestamps must not allocate for them.
func TestHeadersCostNothingToPassOver(t *testing.T) {
	const headers = 1 << 20
	body := []byte{0, 0, 0, 1, 1} // attributes, deltas, no key, no value
	body = binary.AppendVarint(body, headers)
	body = append(body, make([]byte, 2*headers)...) // empty keys and values
	payload := append(binary.AppendVarint(nil, int64(len(body))), body...)
	header, err := (&Builder{payload: []byte{0}, count: 1}).Build()
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1, func() {
		if _, surveyErr := header.Survey(payload); surveyErr != nil {
			t.Error(surveyErr)
		}
		for e, entryErr := range header.EntriesIn(payload) {
			if e.Offset != 0 {
				t.Error(e.Offset)
			}
			if entryErr != nil {
				t.Error(entryErr)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	binary.PutVarint(payload[len(payload)-2*headers-4:], math.MaxInt32) // more than follow
	if _, err = header.Survey(payload); !errors.Is(err, ErrCorrupt) {
		t.Errorf("headers that are announced and not there: %v", err)
	}
}

// TestPlainIsParse compares the fast parser with fields.parse. Every record that plain accepts must
// be accepted by parse with the same fields, and plain must accept the usual record.
func TestPlainIsParse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(rt, "records")
		size := rapid.IntRange(0, 9000).Draw(rt, "size")
		b := &Builder{}
		for i := range n {
			var key []byte
			if rapid.Bool().Draw(rt, "key") {
				key = make([]byte, rapid.IntRange(0, 70).Draw(rt, "key size"))
			}
			b.Append(1000+rapid.Int64Range(-300, 300).Draw(rt, "delta")*int64(i%2), key, make([]byte, size))
		}
		batch, err := b.Build()
		if err != nil {
			rt.Fatal(err)
		}
		p := batch.Payload()
		if rapid.Bool().Draw(rt, "damaged") {
			p = slices.Clone(p)
			for range rapid.IntRange(1, 4).Draw(rt, "bytes") {
				p[rapid.IntRange(0, min(len(p)-1, 40)).Draw(rt, "at")] = rapid.Byte().Draw(rt, "byte")
			}
		}
		var f fields
		plains := 0
		for at, i := 0, int32(0); at < len(p); i++ {
			delta, null, end := plain(p, at, i)
			whole := f.parse(p, at) && (f.bare(p) || f.parseHeaders(p)) && f.offsetDelta == int64(i)
			if end >= 0 {
				plains++
				if !whole || end != f.end || delta != f.timestampDelta || null != f.key.null() {
					rt.Fatalf("record %d at %d: plain has %d, %t, %d; parse %t, %+v", i, at, delta, null, end, whole, f)
				}
			}
			if !whole {
				return
			}
			at = f.end
		}
	})
	usual := &Builder{}
	usual.Append(1000, nil, make([]byte, 100))
	usual.Append(1001, []byte("key"), make([]byte, 1000))
	batch, err := usual.Build()
	if err != nil {
		t.Fatal(err)
	}
	p, at := batch.Payload(), 0
	for i := range int32(2) {
		_, _, end := plain(p, at, i)
		if end < 0 {
			t.Fatalf("record %d is not plain", i)
		}
		at = end
	}
}

func benchmarkSurvey(b *testing.B, records, size int) {
	b.Helper()
	builder := &Builder{}
	for i := range records {
		builder.Append(int64(i), nil, make([]byte, size))
	}
	batch, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := batch.Survey(batch.Payload()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSurvey250x1KiB(b *testing.B)  { benchmarkSurvey(b, 250, 1024) }
func BenchmarkSurvey1000x100B(b *testing.B) { benchmarkSurvey(b, 1000, 100) }

// benchmarkCold checks batches that are in memory but not in a cache, like those of requests.
func benchmarkCold(b *testing.B, check func(batch Batch) error) {
	b.Helper()
	builder := &Builder{}
	for i := range 2560 {
		builder.Append(int64(i), nil, make([]byte, 92))
	}
	batch, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	var all []Batch
	for len(all)*len(batch) < 64<<20 {
		all = append(all, slices.Clone(batch))
	}
	b.SetBytes(int64(len(batch)))
	i := 0
	for b.Loop() {
		if err := check(all[i%len(all)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkCheckCold(b *testing.B) { benchmarkCold(b, Batch.Check) }

func BenchmarkCheckThenSurveyCold(b *testing.B) {
	benchmarkCold(b, func(batch Batch) error {
		if err := batch.Check(); err != nil {
			return err
		}
		_, err := batch.Survey(batch.Payload())
		return err
	})
}

func BenchmarkCheckAndSurveyCold(b *testing.B) {
	benchmarkCold(b, func(batch Batch) error { _, err := batch.CheckAndSurvey(); return err })
}

// TestCheckAndSurveyIsBoth checks that one pass gives the verdicts of Check and Survey. That must
// be so whatever is wrong with the batch, and wherever its records lie relative to the parts of the
// checksum.
func TestCheckAndSurveyIsBoth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Builder
		for i := range rapid.IntRange(1, 60).Draw(t, "records") {
			size := rapid.SampledFrom([]int{0, 1, 60, 5000, checksumPart - 20, checksumPart, 3 * checksumPart}).Draw(t, "size")
			b.Append(int64(i), nil, make([]byte, size))
		}
		built, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		batch := slices.Clone(built)
		flipped, summed := rapid.Bool().Draw(t, "flipped"), rapid.Bool().Draw(t, "summed")
		if flipped {
			at := rapid.IntRange(HeaderSize, len(batch)-1).Draw(t, "at")
			batch[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		}
		if summed {
			batch.SetCRC()
		}
		got, gotErr := batch.CheckAndSurvey()
		if checkErr := batch.Check(); checkErr != nil {
			if !errors.Is(checkErr, ErrChecksum) || !errors.Is(gotErr, ErrChecksum) || gotErr.Error() != checkErr.Error() {
				t.Fatalf("%v, want %v", gotErr, checkErr)
			}
			return
		}
		want, wantErr := batch.Survey(batch.Payload())
		if got != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || errors.Is(gotErr, ErrChecksum) {
			t.Fatalf("%+v, %v, want %+v, %v", got, gotErr, want, wantErr)
		}
	})
}
