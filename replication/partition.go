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

// Config is what a partition needs of its topic's effective settings.
type Config struct {
	Log               storage.Config
	MinInSyncReplicas int  // min.insync.replicas
	AckFsync          bool // varve.ack.fsync

	LeaderThrottled, FollowerThrottled ThrottledReplicas // of this broker
}

// flushesEach tells whether every record is synced, and nobody reads it before.
func (c *Config) flushesEach() bool { return c.Log.FlushMessages <= 1 }

// durable tells whether nothing may be acknowledged before it is on the disk.
func (c *Config) durable() bool { return c.AckFsync || c.flushesEach() }

// insync is what the in-sync protocol needs of it.
func (c *Config) insync() insync.Settings {
	return insync.Settings{MinInSyncReplicas: c.MinInSyncReplicas, FlushFirst: c.flushesEach()}
}

// Partition is one replica. The Manager alone changes its role; everything else may be called from
// anywhere. Its state is in groups, each of which has one owner.
type Partition struct {
	// These never change.
	tp        metadata.TopicPartition
	topicID   metadata.TopicID
	log       *storage.Log
	tier      partitionTier // nil: there is no bucket
	brokerID  int32
	image     func() *metadata.Image // the newest; nil in tests without metadata
	clock     func() time.Time
	throttles *throttles
	traffic   *Traffic // of the topic, shared by its partitions
	metrics   *metrics
	logger    *slog.Logger

	// Everybody reads these. They are replaced under mu and isrMu.
	role   atomic.Pointer[role.State]
	config atomic.Pointer[Config]

	watchers watchers    // of role, high watermark and flushed offset; anybody watches
	moving   atomic.Bool // the log is about to be in another data directory; Moving's

	writerState
	leaderState
	followerState
}

// writerState belongs to the log's writer, the holder of mu: the leader's appends, or what the fetcher
// brings.
type writerState struct {
	// mu is held across every write to the log, and every change of role or config. A disk that
	// hangs holds it for as long.
	mu           sync.Mutex
	sinceKick    int64                        // bytes; guarded by mu
	kickAgain    atomic.Bool                  // once the segment that was closed is flushed
	flushFailure atomic.Pointer[flushFailure] // the newest; storage tells it, see flushed
}

// leaderState is what a leader has. It belongs to the holder of isrMu.
type leaderState struct {
	// isrMu is that of the in-sync protocol, and so of the high watermark while this broker leads.
	// It is taken after mu or alone, and never held across I/O: an append that does not return
	// holds up no in-sync set and no follower's fetch. Role and config stay for the holder of
	// either lock.
	isrMu  sync.Mutex
	insync insync.State // the zero value at a follower; see stepLocked
	isr    *isrWriter   // never changes; nil: in-sync sets stay as they are

	tierEnd atomic.Int64 // the remote tier's end as the leader last heard of it; 0 at a follower
	// continues is the leader epoch at which the log was last found to continue the remote tier,
	// plus one; 0: none.
	continues atomic.Int64
}

// followerState is what a follower has.
type followerState struct {
	fetcher   atomic.Pointer[replicaFetcher] // replicaFetchers': that it follows its leader through
	restoring atomic.Bool                    // restores': it takes its state from the remote tier
}

// TopicPartition is the partition's name.
func (p *Partition) TopicPartition() metadata.TopicPartition { return p.tp }

// TopicID is the id of the partition's topic.
func (p *Partition) TopicID() metadata.TopicID { return p.topicID }

// Log is the local part of the partition's log, for its sizes and offsets. It must not be written
// to.
func (p *Partition) Log() *storage.Log { return p.log }

// HighWatermark is the end of what is committed.
func (p *Partition) HighWatermark() int64 { return p.log.HighWatermark() }

// Leader is the leader that the image names, and its epoch.
func (p *Partition) Leader() (brokerID, epoch int32) {
	r := p.role.Load()
	return r.Leader.Broker, r.LeaderEpoch
}

// IsLeader tells whether this broker leads the partition.
func (p *Partition) IsLeader() bool { return p.role.Load().Leads() }

// leading returns the role if this broker leads the partition, the client does not think otherwise,
// and the log's disk works. currentEpoch is the leader epoch that the client knows, or -1.
func (p *Partition) leading(currentEpoch int32) (*role.State, error) {
	return p.serving(currentEpoch, false)
}

// serving is like leading, but accepts a follower too if follower is set. A follower that knows no
// leader is refused: no leader keeps its high watermark up to date.
func (p *Partition) serving(currentEpoch int32, follower bool) (*role.State, error) {
	r := p.role.Load()
	failure := p.log.Offline()
	// The tier's end is read before the log's: the latter only grows.
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

// errBehindTier says that this leader's log has lost records that the remote tier has. It must not
// give their offsets to other records, and has to keep readers from taking its end for the
// partition's.
var errBehindTier = fmt.Errorf("%w: the leader's log does not continue the remote tier", storage.ErrStorage)

// configure takes over changed settings. Partitions of a topic share them; nobody changes what c
// points to.
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

// tooFewInSync says why records cannot be committed.
func tooFewInSync(r *role.State, config *Config, as error) error {
	return fmt.Errorf("%d in sync, %d needed, %d eligible to lead: %w",
		len(r.ISR), r.Needed(config.MinInSyncReplicas), len(r.Eligible), as)
}
