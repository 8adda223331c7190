package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvelog/varve/metadata/kv"
)

// errStreamEnded reports a watch that the client has ended by itself.
var errStreamEnded = errors.New("the stream of changes ended")

// wrap converts an error of etcd's client to one of package kv. what names the call. The cause
// stays in the chain.
func (s *Store) wrap(ctx context.Context, err error, what string) error {
	switch {
	case s.closed.Load():
		return fmt.Errorf("%s: %w", what, kv.ErrClosed)
	case s.history.err() != nil:
		return fmt.Errorf("%s: %w", what, s.history.err())
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", what, context.Canceled)
	case ctx.Err() != nil:
		s.health.missed()
		return fmt.Errorf("%s: %w: %w", what, kv.ErrUnavailable, ctx.Err())
	}
	kind := class(err)
	if errors.Is(kind, kv.ErrUnavailable) {
		s.health.missed()
	} else {
		s.health.heard()
	}
	if kind == nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, kind, err)
}

// class returns the sentinel for an error, or nil for an error that a retry does not cure, such as
// a wrong password.
func class(err error) error {
	err = rpctypes.Error(err) // a member in this process returns a bare status
	switch {
	case errors.Is(err, errStreamEnded):
		return kv.ErrUnavailable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// This is not the caller's context, but that of a member in this process that stops.
		return kv.ErrUnavailable
	case errors.Is(err, rpctypes.ErrNotLeader), status.Convert(err).Message() == raft.ErrProposalDropped.Error():
		return kv.ErrUnavailable // while etcd changes its leader
	case errors.Is(err, rpctypes.ErrCompacted):
		return kv.ErrCompacted
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return kv.ErrLeaseNotFound
	case errors.Is(err, rpctypes.ErrNoSpace):
		return kv.ErrNoSpace
	}
	code := status.Code(err)
	if etcdError, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = etcdError.Code()
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Canceled:
		return kv.ErrUnavailable
	default:
		return nil
	}
}
