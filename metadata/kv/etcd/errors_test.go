package etcd

import (
	"context"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvelog/varve/metadata/kv"
)

// TestErrorsOfEtcd: the errors of etcd while it changes its leader or is overloaded are
// ErrUnavailable, both from a member in this process (a status) and from the client (an EtcdError).
func TestErrorsOfEtcd(t *testing.T) {
	t.Parallel()
	unavailable := map[string]error{
		"no leader":            rpctypes.ErrGRPCNoLeader,
		"not leader":           rpctypes.ErrGRPCNotLeader,
		"leader changed":       rpctypes.ErrGRPCLeaderChanged,
		"too many requests":    rpctypes.ErrTooManyRequests,
		"timed out":            rpctypes.ErrGRPCTimeout,
		"leader failed":        rpctypes.ErrGRPCTimeoutDueToLeaderFail,
		"connection lost":      rpctypes.ErrGRPCTimeoutDueToConnectionLost,
		"applied index":        rpctypes.ErrGRPCTimeoutWaitAppliedIndex,
		"stopped":              rpctypes.ErrGRPCStopped,
		"unhealthy":            rpctypes.ErrGRPCUnhealthy,
		"proposal dropped":     status.Error(codes.Unknown, raft.ErrProposalDropped.Error()),
		"connection refused":   status.Error(codes.Unavailable, "connection refused"),
		"the server's context": context.Canceled,
	}
	for name, err := range unavailable {
		for _, e := range []error{err, rpctypes.Error(err)} {
			if got := new(Store).wrap(t.Context(), e, "get a"); !errors.Is(got, kv.ErrUnavailable) {
				t.Errorf("%s: %v is not ErrUnavailable", name, got)
			}
		}
	}
	for want, err := range map[error]error{
		kv.ErrCompacted: rpctypes.ErrGRPCCompacted, kv.ErrLeaseNotFound: rpctypes.ErrGRPCLeaseNotFound, kv.ErrNoSpace: rpctypes.ErrGRPCNoSpace,
	} {
		if got := new(Store).wrap(t.Context(), rpctypes.Error(err), "get a"); !errors.Is(got, want) || errors.Is(got, kv.ErrUnavailable) {
			t.Errorf("%v is not %v", got, want)
		}
	}
	for _, err := range []error{rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCAuthFailed, rpctypes.ErrGRPCRequestTooLarge, rpctypes.ErrGRPCCorrupt} {
		if got := new(Store).wrap(t.Context(), rpctypes.Error(err), "get a"); errors.Is(got, kv.ErrUnavailable) {
			t.Errorf("%v is worth a retry", got)
		}
	}
}
