package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvelog/varve/metadata"
)

// errStreamEnded is a watch that the client gave up by itself.
var errStreamEnded = errors.New("the stream of changes ended")

// wrap turns an error of etcd's client into one of the metadata package. What
// names the call. The cause stays in the chain.
func (s *Store) wrap(ctx context.Context, err error, what string) error {
	switch {
	case s.closed.Load():
		return fmt.Errorf("%s: %w", what, metadata.ErrClosed)
	case s.history.err() != nil:
		return fmt.Errorf("%s: %w", what, s.history.err())
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", what, context.Canceled)
	case ctx.Err() != nil:
		s.health.missed()
		return fmt.Errorf("%s: %w: %w", what, metadata.ErrUnavailable, ctx.Err())
	}
	kind := class(err)
	if errors.Is(kind, metadata.ErrUnavailable) {
		s.health.missed()
	} else {
		s.health.heard()
	}
	if kind == nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, kind, err)
}

// class returns the sentinel for an error, or nil for one that retrying does
// not mend, such as a wrong password.
func class(err error) error {
	err = rpctypes.Error(err) // a member in this process answers with a bare status
	switch {
	case errors.Is(err, errStreamEnded):
		return metadata.ErrUnavailable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return metadata.ErrUnavailable // not the caller's context: that of a member in this process, which stops
	case errors.Is(err, rpctypes.ErrNotLeader), status.Convert(err).Message() == raft.ErrProposalDropped.Error():
		return metadata.ErrUnavailable // while etcd changes its leader
	case errors.Is(err, rpctypes.ErrCompacted):
		return metadata.ErrCompacted
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return metadata.ErrLeaseNotFound
	case errors.Is(err, rpctypes.ErrNoSpace):
		return metadata.ErrNoSpace
	}
	code := status.Code(err)
	if etcdError, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = etcdError.Code()
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Canceled:
		return metadata.ErrUnavailable
	default:
		return nil
	}
}
