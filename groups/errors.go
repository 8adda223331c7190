package groups

import (
	"context"
	"errors"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/coordinator"
)

// code is what a client is told of an error of the coordinator runtime or its log.
func (c *Coordinator) code(ctx context.Context, err error) int16 {
	switch {
	case errors.Is(err, coordinator.ErrNotCoordinator), errors.Is(err, coordinator.ErrUncertain):
		return kerr.NotCoordinator.Code
	case errors.Is(err, coordinator.ErrLoading):
		return kerr.CoordinatorLoadInProgress.Code
	case errors.Is(err, coordinator.ErrClosed), errors.Is(err, coordinator.ErrOverloaded), errors.Is(err, coordinator.ErrUnavailable):
		return kerr.CoordinatorNotAvailable.Code
	case errors.Is(err, coordinator.ErrRecordTooLarge):
		return kerr.UnknownServerError.Code
	case ctx.Err() != nil:
		return kerr.NotCoordinator.Code // nobody is there to read it, or the broker is stopping
	}
	c.logger.LogAttrs(ctx, slog.LevelError, "a group request failed for an unknown reason", slog.Any("error", err))
	return kerr.UnknownServerError.Code
}

// fetchCode is code for OffsetFetch: consumers before Kafka 3.9 give up on
// COORDINATOR_NOT_AVAILABLE there, and look for the coordinator again on NOT_COORDINATOR.
func (c *Coordinator) fetchCode(ctx context.Context, err error) int16 {
	if code := c.code(ctx, err); code != kerr.CoordinatorNotAvailable.Code {
		return code
	}
	return kerr.NotCoordinator.Code
}
