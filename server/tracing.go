package server

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/varvelog/varve/tracing"
)

// startTracing starts tracing before all parts that are traced, so that it ends after them.
func (s *server) startTracing(ctx context.Context) error {
	if s.Config.Tracing.Endpoint == "" {
		return nil
	}
	p, err := tracing.Start(ctx, tracing.Options{
		Endpoint: s.Config.Tracing.Endpoint, Ratio: s.Config.Tracing.Ratio, Version: s.Version,
		InstanceID: strconv.Itoa(int(s.Config.NodeID)), Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.tracer = p.Tracer()
	s.parts.add("tracing", func() error {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := p.Stop(stop); err != nil { // an unreachable collector is not an error of the stop
			s.log.Warn("the last traces are lost", slog.Any("error", err))
		}
		return nil
	})
	return nil
}
