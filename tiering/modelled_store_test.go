package tiering

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// modelledStore has segment objects that are generated when they are read, in a store with a time
// to the first byte and a bandwidth for each connection. Only GetRange may be called.
type modelledStore struct {
	objstoreBucket
	firstByte time.Duration
	rate      int64 // bytes a second
	objects   map[string]*modelledObject

	mu          sync.Mutex
	gets, bytes int64
	slow        func(n int64) time.Duration // additional time of the n-th request; nil: none
}

// modelledObject is the same batch over and over, with ascending offsets, and the parts after the
// log. The log is generated when it is read: a long one takes no memory.
type modelledObject struct {
	batch   record.Batch
	base    int64
	batches int64
	rest    []byte
}

// readAt fills p.
func (o *modelledObject) readAt(p []byte, off int64) int {
	size := int64(len(o.batch))
	filled := 0
	for filled < len(p) && off < o.batches*size {
		part := append(record.Batch(nil), o.batch...)
		part.SetBaseOffset(o.base + off/size)
		n := copy(p[filled:], part[off%size:])
		filled += n
		off += int64(n)
	}
	if filled < len(p) {
		filled += copy(p[filled:], o.rest[off-o.batches*size:])
	}
	return filled
}

// GetRange takes the time that the store would take.
func (s *modelledStore) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	s.mu.Lock()
	s.gets++
	s.bytes += int64(len(p))
	late := time.Duration(0)
	if s.slow != nil {
		late = s.slow(s.gets)
	}
	s.mu.Unlock()
	if !stepped.Pause(ctx, s.firstByte+late+time.Duration(float64(len(p))/float64(s.rate)*float64(time.Second))) {
		return 0, ctx.Err()
	}
	return s.objects[key].readAt(p, off), nil
}

// counts returns the requests and bytes since the last call.
func (s *modelledStore) counts() (gets, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gets, bytes = s.gets, s.bytes
	s.gets, s.bytes = 0, 0
	return gets, bytes
}

// modelled is a Manager with partitions whose history is in a modelled store.
type modelled struct {
	m          *Manager
	store      *modelledStore
	batch      record.Batch // the content of each chunk
	segments   int
	perSegment int // chunks
}

// newModelled makes partitions with the given number of segments and chunks in each. It has to
// run in a bubble.
func newModelled(ctx context.Context, partitions, segments, perSegment, chunkBytes int, change ...func(*Options)) (*modelled, func()) {
	store := &modelledStore{firstByte: 20 * time.Millisecond, rate: 50 << 20, objects: map[string]*modelledObject{}}
	o := Options{Bucket: store, ChunkBytes: chunkBytes, FetchConcurrency: 10}
	for _, c := range change {
		c(&o)
	}
	w := &modelled{m: New(o), store: store, segments: segments, perSegment: perSegment}
	w.batch = oneBatch(chunkBytes)
	contents := make([]*modelledObject, segments) // the same for all partitions
	entries := make([]format.Segment, segments)
	for i := range segments {
		entries[i], contents[i] = w.segment(int64(i) * int64(perSegment))
	}
	for n := range partitions {
		p := w.m.newPartition(Partition{TopicID: metadata.TopicID{9}, TopicPartition: w.tp(n)}, &fakeLog{remoteEnd: -1})
		for i := range entries {
			store.objects[p.prefix+entries[i].Name] = contents[i]
		}
		end := int64(segments * perSegment)
		p.manifest.Store(&format.Manifest{Sequence: 1, EndOffset: end, Segments: int64(segments), Recent: entries})
		w.m.mu.partitions[p.TopicPartition] = p
	}
	running, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.m.fetcher.run(running, o.FetchConcurrency) })
	return w, func() { cancel(); wg.Wait() }
}

func (w *modelled) tp(n int) metadata.TopicPartition {
	return metadata.TopicPartition{Topic: "t", Partition: int32(n)}
}

// segment makes an object of chunks with one batch of one record each.
func (w *modelled) segment(base int64) (format.Segment, *modelledObject) {
	var log []byte
	for i := range w.perSegment {
		batch := append(record.Batch(nil), w.batch...)
		batch.SetBaseOffset(base + int64(i))
		log = append(log, batch...)
	}
	d := format.Description{
		BaseOffset: base, StartOffset: base, EndOffset: base + int64(w.perSegment), ChunkBytes: int32(w.m.o.ChunkBytes), Topic: "t", CreatedMs: 1,
	}
	obj, err := newObject(d, storage.SegmentFiles{Log: section(log)})
	if err != nil {
		panic(err)
	}
	rest := make([]byte, obj.size()-int64(len(log)))
	if _, err = obj.body().ReadAt(rest, int64(len(log))); err != nil {
		panic(err)
	}
	content := &modelledObject{w.batch, base, int64(w.perSegment), rest}
	return obj.entry(format.Name{Kind: format.KindSegment, StartOffset: base, Attempt: "00112233aabbccdd"}.String(), []format.Epoch{{0, base}}), content
}

// oneBatch returns a batch of one record with nearly the given size.
func oneBatch(size int) record.Batch {
	var builder record.Builder
	builder.Append(1000, nil, make([]byte, size-record.HeaderSize-20))
	one, err := builder.Build()
	if err != nil {
		panic(err)
	}
	return append(record.Batch(nil), one...)
}

// end returns the offset at which each partition ends.
func (w *modelled) end() int64 { return int64(w.segments * w.perSegment) }

// bytes returns how many bytes of log a partition has.
func (w *modelled) bytes() int64 { return w.end() * int64(len(w.batch)) }

// replay reads a partition from one offset to another, like a consumer that requests maxBytes at a
// time and needs perByte for each byte. It returns how many bytes it got.
func (w *modelled) replay(ctx context.Context, n int, from, to int64, maxBytes int, perByte time.Duration) (int64, error) {
	total := int64(0)
	for from < to {
		b, err := w.m.Read(ctx, w.tp(n), from, maxBytes, math.MaxInt64)
		if err != nil {
			return total, fmt.Errorf("read at %d: %w", from, err)
		}
		for _, part := range b.Parts {
			for len(part) > 0 {
				batch, rest, err := record.Split(part)
				if err != nil || batch.BaseOffset() != from {
					return total, fmt.Errorf("batch at %d, want %d: %w", batch.BaseOffset(), from, err)
				}
				from, part = batch.NextOffset(), rest
			}
		}
		total += int64(b.Len())
		if perByte > 0 {
			time.Sleep(time.Duration(b.Len()) * perByte)
		}
	}
	return total, nil
}
