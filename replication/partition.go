package replication

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
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
// anywhere.
type Partition struct {
	tp      metadata.TopicPartition
	topicID metadata.TopicID
	log     *storage.Log
	tier    tier // nil: there is no bucket
	metrics *metrics
	traffic *Traffic // of the topic, shared by its partitions

	throttles *throttles

	brokerID     int32
	image        func() *metadata.Image // the newest; nil in tests without metadata
	logger       *slog.Logger
	role         atomic.Pointer[role]   // replaced under mu and isrMu
	config       atomic.Pointer[Config] // replaced under mu and isrMu
	flushFailure atomic.Pointer[flushFailure]
	watchers     watchers     // of role, high watermark and flushed offset
	tierEnd      atomic.Int64 // the remote tier's end as the leader last heard of it

	// mu is the writer's: it is held across every write to the log, and every change of role or
	// config. A disk that hangs holds it for as long.
	mu        sync.Mutex
	sinceKick int64       // bytes; guarded by mu
	kickAgain atomic.Bool // once the segment that was closed is flushed

	// isrMu is that of the in-sync protocol, and so of the high watermark while this broker leads.
	// It is taken after mu or alone, and never held across I/O: an append that does not return
	// holds up no in-sync set and no follower's fetch. Role and config stay for the holder of
	// either lock.
	isrMu  sync.Mutex
	insync insync.State // of a leader, see stepLocked
	isr    *isrWriter   // nil: in-sync sets stay as they are

	fetcher   atomic.Pointer[replicaFetcher] // that it follows its leader through
	restoring atomic.Bool                    // takes its state from the remote tier
	moving    atomic.Bool                    // is about to be in another data directory, see Moving
	// The applier's:
	attached   bool    // to the tier
	attachedAs role    // that the tier knows
	aside      string  // why its log is set aside when it goes, "" to delete it
	told       role    // that a listener knows
	counted    counted // that the gauges have
}

// role is what the metadata image says of a partition. It never changes; it is replaced.
type role struct {
	leader                 bool // this broker leads
	gone                   bool // the partition is not this broker's any more
	leaderEpoch            int32
	leaderID               int32
	leaderBrokerEpoch      int64             // the broker epoch that the leader was elected under
	isr                    []metadata.Member // in sync, the leader among them
	eligible               []metadata.Member // the ELR: while it has members nothing is committed
	replicas               []int32
	partitionEpoch         int32
	leaderEpochStartOffset int64 // the log's end when this broker became the leader
}

// roleOf reads a partition's state. Nobody changes what the role shares with the image.
func roleOf(state *metadata.Partition) role {
	return role{
		leaderEpoch: state.LeaderEpoch, leaderID: state.Leader, leaderBrokerEpoch: state.LeaderBrokerEpoch,
		isr: state.Members(), eligible: state.EligibleMembers(), replicas: state.Replicas, partitionEpoch: state.PartitionEpoch,
	}
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
	return r.leaderID, r.leaderEpoch
}

// IsLeader tells whether this broker leads the partition.
func (p *Partition) IsLeader() bool { return p.role.Load().leader }

// leading returns the role if this broker leads the partition, the client does not think otherwise,
// and the log's disk works. currentEpoch is the leader epoch that the client knows, or -1.
func (p *Partition) leading(currentEpoch int32) (*role, error) { return p.serving(currentEpoch, false) }

// serving is like leading, but accepts a follower too if follower is set. A follower that knows no
// leader is refused: no leader keeps its high watermark up to date.
func (p *Partition) serving(currentEpoch int32, follower bool) (*role, error) {
	r := p.role.Load()
	switch {
	case r.gone:
		return nil, fmt.Errorf("%s: %w", p.tp, ErrUnknownTopicOrPartition)
	case currentEpoch >= 0 && currentEpoch < r.leaderEpoch:
		return nil, fmt.Errorf("%s: epoch %d, leader has %d: %w", p.tp, currentEpoch, r.leaderEpoch, ErrFencedLeaderEpoch)
	case currentEpoch >= 0 && currentEpoch > r.leaderEpoch:
		return nil, fmt.Errorf("%s: epoch %d, leader has %d: %w", p.tp, currentEpoch, r.leaderEpoch, ErrUnknownLeaderEpoch)
	case !r.leader && (!follower || r.leaderID == metadata.NoBroker):
		return nil, fmt.Errorf("%s: %w", p.tp, ErrNotLeader)
	}
	if err := p.log.Offline(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.tp, err)
	}
	if tier, end := p.tierEnd.Load(), p.log.EndOffset(); r.leader && tier > end {
		return nil, fmt.Errorf("%s: %w: the log ends at %d, the remote tier at %d", p.tp, errBehindTier, end, tier)
	}
	return r, nil
}

// errBehindTier says that this leader's log has lost records that the remote tier has. It must not
// give their offsets to other records, and has to keep readers from taking its end for the
// partition's.
var errBehindTier = fmt.Errorf("%w: the leader's log does not continue the remote tier", storage.ErrStorage)

// makeLeader makes this broker the leader at the role's epoch, which starts at the log's end, or
// gives the leader of that epoch a newer state. An image that shows the present partition epoch, or
// an older one, changes nothing: an in-sync set that was proposed on it may have been written
// since. A broker leads as well when the log's disk has failed: clients hear why nothing is served
// until another replica is elected.
func (p *Partition) makeLeader(next role) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next.leader = true
	if old := p.role.Load(); old.leader && old.leaderEpoch == next.leaderEpoch {
		if next.partitionEpoch <= old.partitionEpoch {
			return nil
		}
		next.leaderEpochStartOffset = old.leaderEpochStartOffset
		p.isrMu.Lock()
		defer p.isrMu.Unlock()
		p.becomeLocked(&next, insync.ImageSeen{Partition: next.state(), Log: p.offsets(), Directory: p.directory()})
		return nil
	}
	next.leaderEpochStartOffset = p.log.EndOffset()
	if err := p.log.AssignEpoch(next.leaderEpoch, next.leaderEpochStartOffset); err != nil && p.log.Offline() == nil {
		return fmt.Errorf("lead %s at epoch %d: %w", p.tp, next.leaderEpoch, err)
	}
	config := p.config.Load()
	if config.durable() {
		p.log.FlushSoon() // what recovery found may never have been synced
	}
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.becomeLocked(&next, insync.BecameLeader{
		Self: p.brokerID, Partition: next.state(), Settings: config.insync(), Log: p.offsets(), HighWatermark: p.log.HighWatermark(),
		Directory: p.directory(), Time: time.Now(), Proposes: p.isr != nil,
	})
	return nil
}

// makeFollower ends the leadership of this broker, if it has it: another one leads, none does, or
// the partition is gone.
func (p *Partition) makeFollower(r role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.leader = false
	p.tierEnd.Store(0)
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.becomeLocked(&r, insync.Resigned{})
}

// becomeLocked replaces the role, before those that look at it are woken. The caller has both
// locks.
func (p *Partition) becomeLocked(next *role, e insync.Event) {
	p.role.Store(next)
	p.stepLocked(e)
}

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

// state is what the role has of the partition's state.
func (r *role) state() insync.PartitionState {
	return insync.PartitionState{LeaderEpoch: r.leaderEpoch, PartitionEpoch: r.partitionEpoch, ISR: r.isr, Eligible: r.eligible, Replicas: r.replicas}
}

// needed is how many replicas must be in sync.
func (r *role) needed(config *Config) int {
	state := r.state()
	return state.Needed(config.MinInSyncReplicas)
}

// enoughInSync reports whether records can be committed.
func (r *role) enoughInSync(config *Config) bool {
	state := r.state()
	return state.EnoughInSync(config.MinInSyncReplicas)
}

// tooFewInSync says why records cannot be committed.
func (r *role) tooFewInSync(config *Config, as error) error {
	return fmt.Errorf("%d in sync, %d needed, %d eligible to lead: %w", len(r.isr), r.needed(config), len(r.eligible), as)
}
