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
	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/catalogue"
)

const (
	// firstCheck is how long a start waits for the object store. Without it the broker serves what
	// is on its disk.
	firstCheck = 5 * time.Second
	// The pauses between further checks.
	checkMin = time.Second
	checkMax = 30 * time.Second
)

// openBucket opens the object store and checks whether it can be used. A permanent error ends the
// start. An unreachable store does not: only history needs it.
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
	s.gate = catalogue.NewGate(s.bucket)
	s.parts.add("object store", s.bucket.Close)
	return s.checkBucket(ctx)
}

// checkBucket checks the object store once. awaitBucket checks an unreachable one again.
func (s *server) checkBucket(ctx context.Context) error {
	s.usable = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "varve_objstore_usable",
		Help: "1 once the object store was found usable, and to be the cluster's, after the broker's start, 0 as long as it is waited for.",
	})
	if err := s.registry.Register(s.usable); err != nil {
		return fmt.Errorf("register the object store's metric: %w", err)
	}
	return s.askBucket(ctx, s.bucket.Check)
}

// askBucket runs one check of the object store during the start. It returns permanent errors. An
// unreachable store is noted, and not asked again before awaitBucket.
func (s *server) askBucket(ctx context.Context, ask func(context.Context) error) error {
	if s.ops.bucketAway.Load() != nil {
		return nil
	}
	first, cancel := context.WithTimeout(ctx, firstCheck)
	defer cancel()
	err := ask(first)
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, kv.ErrUnavailable), !catalogue.Temporary(err):
		return err
	}
	s.bucketAway(err)
	return nil
}

// awaitBucket opens the gate of a usable object store. It checks an unreachable one until it can be
// used, and then until it is found to be the cluster's.
func (s *server) awaitBucket(ctx context.Context, verify func(context.Context) error) {
	if s.ops.bucketAway.Load() == nil {
		s.usable.Set(1)
		s.gate.Open()
		return
	}
	s.parts.run(ctx, "object store check", func(ctx context.Context) error {
		pause := backoff.Backoff{Min: checkMin, Max: checkMax}
		for pause.Sleep(ctx) {
			err := s.bucket.Check(ctx)
			if err == nil {
				err = verify(ctx)
			}
			if err == nil {
				s.usable.Set(1)
				s.gate.Open()
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
}

// bucketAway shuts the gate and logs, unless the error is the same as before, that the object store
// cannot be used. The broker continues to serve even if the error is now permanent: it can be fixed
// without a restart.
func (s *server) bucketAway(err error) {
	text := err.Error()
	s.gate.Shut(text)
	if was := s.ops.bucketAway.Swap(&text); was != nil && *was == text {
		return
	}
	if catalogue.Temporary(err) {
		s.log.Warn("the object store is away: the broker serves what is on its disk, and keeps trying", slog.Any("error", err))
		return
	}
	s.log.Error("the object store cannot be used: the broker serves what is on its disk, and keeps trying", slog.Any("error", err))
}

// uploadTimeout bounds a whole upload in the tier. Within it the object store bounds each attempt
// by its size. The result is the time that one attempt of the largest segment may take.
func uploadTimeout() time.Duration {
	return objstore.RequestTimeout + objstore.TransferTime(math.MaxInt32)
}

// copyWindow returns how long unused quota of uploads is kept.
func copyWindow(v config.Values) time.Duration {
	const longest = int64(24 * time.Hour / time.Second)
	windows := v.Int64("remote.log.manager.copy.quota.window.num")
	return time.Duration(min(windows*v.Int64("remote.log.manager.copy.quota.window.size.seconds"), longest)) * time.Second
}
