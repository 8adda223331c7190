package coordinator

import (
	"context"
	"log/slog"
	"time"

	"github.com/varvelog/varve/record"
)

// flight is one batch on its way to the log. A shard has one at a time.
type flight[M any] struct {
	parts   []part[M]
	records int
	since   time.Time
}

// part is those records of a decision that a flight carries.
type part[M any] struct {
	decided  *decided[M]
	from, to int
}

// takeOff appends what has been decided, as much as fits a batch, unless a batch
// is on its way already.
func (s *shard[M]) takeOff(ctx context.Context) {
	if s.inflight != nil || len(s.pending) == 0 {
		return
	}
	f := &flight[M]{since: s.rt.opts.Now()}
	b := &record.Builder{LeaderEpoch: s.epoch}
	for len(s.pending) > 0 {
		d := s.pending[0]
		p := part[M]{decided: d, from: d.written}
		for d.written < len(d.Records) {
			r := d.Records[d.written]
			if b.Count() > 0 && b.Size()+r.size() > s.rt.opts.MaxBatchBytes {
				break
			}
			b.Append(f.since.UnixMilli(), r.Key, r.Value)
			d.written++
		}
		if p.to = d.written; p.to > p.from {
			f.parts = append(f.parts, p)
		}
		if d.written < len(d.Records) {
			break // the rest goes with the next batch
		}
		s.pending[0] = nil
		s.pending = s.pending[1:]
	}
	f.records = b.Count()
	s.inflight = f
	batch, err := b.Build()
	if err != nil {
		s.landed <- err
		return
	}
	// Ended before run is: serve takes what it sends, and waits for it.
	s.rt.wg.Go(func() {
		_, refused := s.rt.opts.Log.Append(ctx, s.partition, batch)
		s.landed <- refused
	})
}

// land finishes the decisions of the flight: applied and answered, or refused.
func (s *shard[M]) land(ctx context.Context, err error) {
	f := s.inflight
	s.inflight = nil
	if err != nil {
		s.crash(ctx, f, err)
		return
	}
	s.rt.metrics.appends.WithLabelValues("ok").Inc()
	s.rt.metrics.records.Add(float64(f.records))
	s.rt.metrics.appendTime.Observe(s.rt.opts.Now().Sub(f.since).Seconds())
	for _, p := range f.parts {
		d := p.decided
		for _, r := range d.Records[p.from:p.to] {
			s.apply(ctx, r)
		}
		if p.to == len(d.Records) {
			s.commit(d)
			s.release(d)
		}
	}
}

func (s *shard[M]) crash(ctx context.Context, f *flight[M], err error) {
	s.rt.metrics.appends.WithLabelValues("error").Inc()
	s.logger.LogAttrs(ctx, slog.LevelWarn, "records were not written; their operations fail",
		slog.Int("records", f.records), slog.Any("error", err))
	if len(s.pending) > 0 && s.pending[0].written > 0 {
		s.pending = s.pending[1:] // its first part was in this flight and is failed below
	}
	for _, p := range f.parts {
		s.fail(p.decided, err)
		s.release(p.decided)
	}
}

// apply is how every record gets into the machine, live and at load.
func (s *shard[M]) apply(ctx context.Context, r Record) {
	if err := s.machine.Apply(r); err != nil {
		s.rt.metrics.skipped.Inc()
		s.logger.LogAttrs(ctx, slog.LevelError, "skipped a record of the coordinator's log; what it says is lost",
			slog.Any("error", err))
	}
}
