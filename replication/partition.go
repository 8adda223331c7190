package replication

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
)

// Config holds the effective topic settings that a partition needs.
type Config struct {
	Log               storage.Config
	MinInSyncReplicas int  // min.insync.replicas
	AckFsync          bool // varve.ack.fsync

	// LeaderThrottled and FollowerThrottled name this broker's throttled replicas.
	LeaderThrottled, FollowerThrottled ThrottledReplicas
}

// flushesEach reports whether every record is synced before readers may see it.
func (c *Config) flushesEach() bool { return c.Log.FlushMessages <= 1 }

// durable reports whether acknowledgements wait until the records are synced.
func (c *Config) durable() bool { return c.AckFsync || c.flushesEach() }

// insync returns the settings that the in-sync protocol needs.
func (c *Config) insync() insync.Settings {
	return insync.Settings{MinInSyncReplicas: c.MinInSyncReplicas, FlushFirst: c.flushesEach()}
}

// Partition is one replica. Only the Manager changes its role; every exported method may be called
// from any goroutine. The fields are grouped by owner.
type Partition struct {
	// These never change.
	tp        metadata.TopicPartition
	topicID   metadata.TopicID
	log       *storage.Log
	tier      partitionTier // nil without a bucket
	brokerID  int32
	image     func() *metadata.Image // returns the newest image; nil in tests without metadata
	clock     func() time.Time
	throttles *throttles
	traffic   *Traffic // of the topic, shared by its partitions
	metrics   *metrics
	logger    *slog.Logger

	// Read without a lock; replaced under mu and isrMu.
	role   atomic.Pointer[role.State]
	config atomic.Pointer[Config]

	watchers watchers // woken by changes of role, high watermark, flushed end and log start
	// moving is true while the log is about to move to another data directory; Manager.Moving sets
	// it.
	moving atomic.Bool

	writerState
	leaderState
	followerState
}

// writerState belongs to the log's writer, the holder of mu: the leader's appends, or the fetcher
// that appends for a follower.
type writerState struct {
	// mu is held across every write to the log, and every change of role or config. If the disk
	// hangs, mu stays held as long.
	mu        sync.Mutex
	sinceKick int64 // bytes appended since the last Kick; guarded by mu
	// kickAgain: kickLocked has sent a Kick, and flushed sends another one after the next sync.
	kickAgain    atomic.Bool
	flushFailure atomic.Pointer[flushFailure] // the newest failed sync, nil if none; set by flushed
}

// leaderState is a leader's part. The holder of isrMu owns it.
type leaderState struct {
	// isrMu guards the in-sync protocol, and with it the high watermark while this broker leads. It
	// is taken after mu or alone, and never held across I/O: a hanging append delays no ISR change
	// and no follower's fetch. Role and config do not change while either lock is held.
	isrMu  sync.Mutex
	insync insync.State // the zero value on a follower; see stepLocked
	isr    *isrWriter   // never changes; nil: the ISR never changes

	// tierEnd is the end of the remote tier as the tier last reported it to the leader; 0 on a
	// follower.
	tierEnd atomic.Int64
	// continues is the leader epoch at which the log was last found to continue the remote tier,
	// plus one; 0: none.
	continues atomic.Int64
}

// followerState is a follower's part.
type followerState struct {
	// fetcher is the one that follows the leader for this partition, nil if none; replicaFetchers
	// sets it.
	fetcher atomic.Pointer[replicaFetcher]
	// restoring is true while the follower takes its state from the remote tier; restores sets it.
	restoring atomic.Bool
}

// TopicPartition returns the partition's name.
func (p *Partition) TopicPartition() metadata.TopicPartition { return p.tp }

// TopicID returns the id of the partition's topic.
func (p *Partition) TopicID() metadata.TopicID { return p.topicID }

// Log returns the local part of the partition's log, for its sizes and offsets. The caller must not
// write to it.
func (p *Partition) Log() *storage.Log { return p.log }

// HighWatermark returns the exclusive end of the committed records.
func (p *Partition) HighWatermark() int64 { return p.log.HighWatermark() }

// Leader returns the leader that the image names, and the leader epoch.
func (p *Partition) Leader() (brokerID, epoch int32) {
	r := p.role.Load()
	return r.Leader.Broker, r.LeaderEpoch
}

// IsLeader reports whether this broker leads the partition.
func (p *Partition) IsLeader() bool { return p.role.Load().Leads() }

// leading returns the role if this broker leads the partition, the client's leader epoch is not
// another one, and the log's disk works. currentEpoch is the leader epoch that the client knows, or
// -1.
func (p *Partition) leading(currentEpoch int32) (*role.State, error) {
	return p.serving(currentEpoch, false)
}

// serving is like leading, but also accepts a follower if follower is set. A follower without a
// known leader is rejected, because its high watermark is not being updated.
func (p *Partition) serving(currentEpoch int32, follower bool) (*role.State, error) {
	r := p.role.Load()
	failure := p.log.Offline()
	// Read the tier's end before the log's end: the log only grows, so a log that continues the
	// tier never looks shorter than the tier.
	log := role.Log{Failed: failure != nil, Continues: p.continuesTier(r), TierEnd: p.tierEnd.Load(), End: p.log.EndOffset()}
	switch r.Serve(role.Request{CurrentLeaderEpoch: currentEpoch, FromFollower: follower}, log) {
	case role.Served:
		return r, nil
	case role.UnknownPartition:
		return nil, fmt.Errorf("%s: %w", p.tp, ErrUnknownTopicOrPartition)
	case role.FencedLeaderEpoch:
		return nil, fmt.Errorf("%s: epoch %d, leader has %d: %w", p.tp, currentEpoch, r.LeaderEpoch, ErrFencedLeaderEpoch)
	case role.UnknownLeaderEpoch:
		return nil, fmt.Errorf("%s: epoch %d, leader has %d: %w", p.tp, currentEpoch, r.LeaderEpoch, ErrUnknownLeaderEpoch)
	case role.LogFailed:
		return nil, fmt.Errorf("%s: %w", p.tp, failure)
	case role.Suspicious:
		return nil, fmt.Errorf("%s: %w", p.tp, errSuspicious)
	case role.BehindTier:
		return nil, fmt.Errorf("%s: %w: the log ends at %d, the remote tier at %d", p.tp, errBehindTier, log.End, log.TierEnd)
	default: // role.NotLeader
		return nil, fmt.Errorf("%s: %w", p.tp, ErrNotLeader)
	}
}

// errBehindTier says that this leader's log has lost records that the remote tier has. The leader
// must not assign their offsets to other records, and readers must not take its log end for the end
// of the partition.
var errBehindTier = fmt.Errorf("%w: the leader's log does not continue the remote tier", storage.ErrStorage)

// configure applies changed settings. Partitions of a topic share c, which must not be modified.
func (p *Partition) configure(c *Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.config.Load(); old != nil && *old == *c {
		return
	}
	p.log.SetConfig(c.Log)
	if c.durable() {
		p.log.FlushSoon()
	}
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.config.Store(c)
	p.stepLocked(insync.SettingsChanged{Settings: c.insync(), Log: p.offsets()})
}

// enoughInSync reports whether records can be committed.
func enoughInSync(r *role.State, config *Config) bool {
	return r.EnoughInSync(config.MinInSyncReplicas)
}

// tooFewInSync returns an error that says why records cannot be committed.
func tooFewInSync(r *role.State, config *Config, as error) error {
	return fmt.Errorf("%d in sync, %d needed, %d eligible to lead: %w",
		len(r.ISR), r.Needed(config.MinInSyncReplicas), len(r.Eligible), as)
}
