package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/objstore"
)

const (
	// firstCheck is how long a start waits for the object store, without which the
	// broker serves what is on its disk.
	firstCheck = 5 * time.Second
	// The pauses between further checks.
	checkMin = time.Second
	checkMax = 30 * time.Second
)

// openBucket opens the object store and asks whether it can be used. What is wrong
// with it for good ends the start. A store that is away does not: history waits for
// it, and nothing else does.
func (s *server) openBucket(ctx context.Context) error {
	bucket, err := objstore.Open(ctx, s.Config.ObjectStore)
	if err != nil {
		return err
	}
	harden := objstore.DefaultHardenOptions()
	harden.AttemptTimeout = s.values.Duration("varve.objstore.attempt.timeout.ms")
	harden.MaxRequests = int(s.values.Int64("varve.objstore.requests.max"))
	harden.Registerer = s.registry
	harden.Tracer = s.tracer
	s.bucket = objstore.Harden(bucket, harden)
	s.parts.add("object store", s.bucket.Close)
	return s.checkBucket(ctx)
}

// checkBucket asks the object store once, and goes on in the background if it is
// away.
func (s *server) checkBucket(ctx context.Context) error {
	usable := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "varve_objstore_usable",
		Help: "1 once the object store was found usable after the broker's start, 0 as long as it is waited for.",
	})
	if err := s.registry.Register(usable); err != nil {
		return fmt.Errorf("register the object store's metric: %w", err)
	}
	first, cancel := context.WithTimeout(ctx, firstCheck)
	defer cancel()
	switch err := s.bucket.Check(first); {
	case err == nil:
		usable.Set(1)
		return nil
	case ctx.Err() != nil || !errors.Is(err, objstore.ErrUnavailable):
		return err
	default:
		s.bucketAway(err)
	}
	s.parts.run(ctx, "object store check", func(ctx context.Context) error {
		pause := backoff.Backoff{Min: checkMin, Max: checkMax}
		for pause.Sleep(ctx) {
			err := s.bucket.Check(ctx)
			if err == nil {
				usable.Set(1)
				s.ops.bucketAway.Store(nil)
				s.log.Info("the object store can be used")
				return nil
			}
			if ctx.Err() == nil {
				s.bucketAway(err)
			}
		}
		return nil
	})
	return nil
}

// bucketAway logs, when there is news, that the object store cannot be used. The
// broker goes on serving, also when it now is wrong for good: that may be mended
// without it.
func (s *server) bucketAway(err error) {
	text := err.Error()
	if was := s.ops.bucketAway.Swap(&text); was != nil && *was == text {
		return
	}
	if errors.Is(err, objstore.ErrUnavailable) {
		s.log.Warn("the object store is away: the broker serves what is on its disk, and keeps trying", slog.Any("error", err))
		return
	}
	s.log.Error("the object store cannot be used: the broker serves what is on its disk, and keeps trying", slog.Any("error", err))
}

// uploadTimeout bounds an upload from outside. An attempt is bounded by its size
// within; this is what one attempt of the largest segment may take.
func uploadTimeout() time.Duration {
	return objstore.RequestTimeout + objstore.TransferTime(math.MaxInt32)
}
