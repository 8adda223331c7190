package storage

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
)

// The child of the crash test is this test binary, started again with these variables set.
const (
	crashDirEnv  = "VARVE_CRASH_TEST_DIR"
	crashSeedEnv = "VARVE_CRASH_TEST_SEED"
)

const crashPartitions = 3

// crashOptions are the options of the child, and of the parent that checks what the child has left.
func crashOptions(dir string) Options {
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 12<<10, 500
	cfg.RetentionBytes, cfg.FileDeleteDelayMs = 100<<10, 5
	cfg.FlushMs, cfg.RetentionMs = 10, -1 // the timestamps are old
	return Options{
		Dirs: []string{dir}, Logger: slog.New(slog.DiscardHandler), Config: func(string) Config { return cfg },
		FlushInterval: 5 * time.Millisecond, CheckpointInterval: 7 * time.Millisecond, RetentionInterval: 20 * time.Millisecond,
		MaxOpenFiles: 12, ProducerExpiration: 1e6 * time.Hour,
	}
}

// crashBatch builds the batch at an offset. There is one producer per partition, so that offsets
// are sequence numbers. A record's value has its partition, offset and leader epoch. The epoch is a
// new one in every run and after every truncation, so that a record which comes back is recognized.
func crashBatch(partition int32, offset int64, epoch int32) record.Batch {
	rnd := rand.New(rand.NewPCG(uint64(offset), uint64(epoch)))
	b := record.Builder{HasProducer: true, ProducerID: 100 + int64(partition), BaseSequence: int32(offset)}
	for i := range 1 + rnd.Int64N(4) {
		value := make([]byte, 16+rnd.IntN(300))
		binary.BigEndian.PutUint32(value, uint32(partition))
		binary.BigEndian.PutUint64(value[4:], uint64(offset+i))
		binary.BigEndian.PutUint32(value[12:], uint32(epoch))
		b.Append(crashTime(offset+i), []byte{1}, value)
	}
	batch, err := b.Build()
	if err != nil {
		panic(err)
	}
	return batch
}

func crashTime(offset int64) int64 { return epoch0.UnixMilli() + 10*offset }

// crashReport writes each acknowledgement as a line to the parent. A line that was written is read,
// whenever this process is killed.
type crashReport struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *crashReport) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// If the parent is gone, this process will be too.
	_, _ = fmt.Fprintf(r.w, format+"\n", args...)
}

// TestCrashChild is the process that TestKillNine starts and kills.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDirEnv)
	if dir == "" {
		t.Skip("run by TestKillNine")
	}
	seed, err := strconv.ParseUint(os.Getenv(crashSeedEnv), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	report := &crashReport{w: os.NewFile(3, "report")}
	report.say("opening")
	m, err := OpenManager(t.Context(), crashOptions(dir))
	if err != nil {
		report.say("! open: %v", err)
		return
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for p := range int32(crashPartitions) {
		l, createErr := m.Create("t", p, testID)
		if createErr != nil {
			report.say("! create: %v", createErr)
			return
		}
		w := crashWriter{l: l, report: report, rnd: rand.New(rand.NewPCG(seed, uint64(p))), epoch: l.LatestEpoch() + 1}
		wg.Go(func() {
			if runErr := w.run(ctx); runErr != nil {
				report.say("! partition %d: %v", p, runErr)
			}
		})
	}
	wg.Go(func() {
		if runErr := m.Run(ctx); runErr != nil {
			report.say("! run: %v", runErr)
		}
	})
	// The parent closes its end of the input to ask for a clean shutdown.
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	stop()
	wg.Wait()
	if err = m.Close(); err != nil {
		report.say("! close: %v", err)
	}
}

// crashWriter performs the child's operations on one partition.
type crashWriter struct {
	l      *Log
	report *crashReport
	rnd    *rand.Rand
	epoch  int32
	last   []byte // the newest batch, if this run wrote it
}

func (w *crashWriter) run(ctx context.Context) error {
	for ctx.Err() == nil {
		var err error
		switch n := w.rnd.IntN(100); {
		case n < 70:
			err = w.append(ctx)
		case n < 80:
			err = w.again()
		case n < 88:
			err = w.flush(ctx)
		case n < 92:
			err = w.l.Roll()
		case n < 95:
			w.commit()
		case n < 97:
			err = w.truncate()
		default:
			w.commit()
			_, err = w.l.EnforceRetention(time.Now())
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (w *crashWriter) append(ctx context.Context) error {
	b := crashBatch(w.l.Partition(), w.l.EndOffset(), w.epoch)
	info, err := w.l.Append(b, w.epoch)
	if err != nil {
		return err
	}
	w.last = b
	// As with flush.messages: durable before it is acknowledged.
	if w.rnd.IntN(4) == 0 {
		if err = w.l.Flush(ctx, info.LastOffset+1); err != nil {
			return err
		}
	}
	w.report.say("a %d %d %d %d", w.l.Partition(), info.FirstOffset, info.LastOffset+1, w.epoch)
	return nil
}

// again sends the last batch a second time, as a client without a response does.
func (w *crashWriter) again() error {
	if w.last == nil {
		return nil
	}
	b := record.Batch(append([]byte(nil), w.last...))
	first := b.BaseOffset()
	b.SetBaseOffset(0)
	info, err := w.l.Append(b, w.epoch)
	if err == nil && (!info.Duplicate || info.FirstOffset != first) {
		err = fmt.Errorf("batch %d again is %+v", first, info)
	}
	return err
}

func (w *crashWriter) flush(ctx context.Context) error {
	end := w.l.EndOffset()
	if err := w.l.Flush(ctx, end); err != nil {
		return err
	}
	w.report.say("f %d %d", w.l.Partition(), end)
	return nil
}

func (w *crashWriter) commit() {
	w.l.SetHighWatermark(w.l.EndOffset() - w.rnd.Int64N(20))
}

// truncate reports its intention first: a kill leaves the truncation done or not begun.
func (w *crashWriter) truncate() error {
	low := max(w.l.HighWatermark(), w.l.LocalStartOffset())
	to := low + w.rnd.Int64N(w.l.EndOffset()-low+1)
	w.report.say("t %d %d", w.l.Partition(), to)
	if err := w.l.Truncate(to); err != nil {
		return err
	}
	w.last = nil
	w.epoch++
	w.report.say("T %d %d", w.l.Partition(), w.l.EndOffset())
	return nil
}
