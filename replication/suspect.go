package replication

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
)

// A suspect leader was elected although its log may lack records: after an unclean election, or
// because it had crashed with its machine and no replica could have more. The remote tier may have
// the missing records. If the leader served its log now, it would assign their offsets to other
// records. So it serves no request until its log has been compared with the tier and made to
// continue it. Package tiering does that, at each leader epoch from such an election on. Usually it
// takes one read and one write of etcd.
//
// A crash in between leaves a log that is unchanged, or one that begins where the tier ends. The
// next leader is suspect too.

// errSuspicious says that a suspect leader's log has not been compared yet.
var errSuspicious = fmt.Errorf("%w: an election may have lost records, and the log has not been compared with the remote tier yet", storage.ErrStorage)

// continuesTier reports whether a suspect leader's log is known to continue the tier, or has no
// tier to continue: compacted topics have none.
func (p *Partition) continuesTier(r *role.State) bool {
	return p.tier == nil || p.continues.Load() == int64(r.LeaderEpoch)+1 || p.config.Load().Log.CleanupCompact
}

// suspect is a suspect leader of one leader epoch, as package tiering sees it.
type suspect struct {
	p           *Partition
	leaderEpoch int32
}

// Continues implements tiering.Suspect.
func (s suspect) Continues() {
	if s.p.role.Load().LeadsAt(s.leaderEpoch) {
		s.p.continues.Store(int64(s.leaderEpoch) + 1)
		s.p.watchers.wake()
	}
}

// StartFromRemote implements tiering.Suspect. The leadership starts over at the new end of the log:
// no request has been served since it began.
func (s suspect) StartFromRemote(ctx context.Context, state storage.RemoteState) error {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.role.Load()
	if !r.LeadsAt(s.leaderEpoch) || p.continuesTier(r) {
		return fmt.Errorf("start %s from the remote tier: %w", p.tp, ErrNotLeader)
	}
	from := p.log.EndOffset()
	if err := p.log.StartFromRemote(ctx, state); err != nil {
		return fmt.Errorf("start %s from the remote tier: %w", p.tp, err)
	}
	p.logger.Warn("the leader's log lacked records that the remote tier has: it goes on where that ends", slog.String("partition", p.tp.String()),
		slog.Int64("from", from), slog.Int64("to", state.EndOffset), slog.Int("leader_epoch", int(s.leaderEpoch)))
	next := *r
	next.LeaderEpochStartOffset = p.log.EndOffset()
	return p.makeLeaderLocked(&next)
}
