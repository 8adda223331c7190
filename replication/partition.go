package replication

import (
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/metadata"
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

// Partition is one replica. The Manager alone changes its role; everything else may be called from anywhere.
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

	// mu is the writer's: it is held across every write to the log and every change of role or config. A disk that hangs holds it for as long.
	mu        sync.Mutex
	sinceKick int64       // bytes; guarded by mu
	kickAgain atomic.Bool // once the segment that was closed is flushed

	// isrMu is that of the in-sync protocol: of followers, and of the high watermark while this broker leads. It is taken after mu or alone, and never
	// held across I/O, so that an append that does not return holds up no in-sync set, no follower's fetch and no acknowledgement. Who has either lock
	// sees a role and a config that stay.
	isrMu     sync.Mutex
	followers followers // of a leader
	isr       *isrWriter

	fetcher   atomic.Pointer[fetcher] // that it follows its leader through
	restoring atomic.Bool             // takes its state from the remote tier
	moving    atomic.Bool             // is about to be in another data directory, see Moving
	// The applier's:
	attached   bool    // to the tier
	attachedAs role    // that the tier knows
	aside      string  // why its log is set aside when it goes, "" to delete it
	told       role    // that a listener knows
	counted    counted // that the gauges have
}

// role is what the metadata image says of a partition. It never changes; it is replaced.
type role struct {
	leader         bool // this broker leads
	gone           bool // the partition is not this broker's any more
	epoch          int32
	leaderID       int32
	leaderEpoch    int64             // the broker epoch that the leader was elected under
	isr            []metadata.Member // in sync, the leader among them
	eligible       []metadata.Member // the ELR: each may be elected, so that nothing is committed while there is one
	replicas       []int32
	partitionEpoch int32
	epochStart     int64 // the log's end when this broker became the leader
}

// roleOf reads a partition's state. Nobody changes what the role shares with the image.
func roleOf(state *metadata.Partition) role {
	return role{
		epoch: state.LeaderEpoch, leaderID: state.Leader, leaderEpoch: state.LeaderBrokerEpoch,
		isr: state.Members(), eligible: state.EligibleMembers(), replicas: state.Replicas, partitionEpoch: state.PartitionEpoch,
	}
}

// TopicPartition is the partition's name.
func (p *Partition) TopicPartition() metadata.TopicPartition { return p.tp }

// TopicID is the id of the partition's topic.
func (p *Partition) TopicID() metadata.TopicID { return p.topicID }

// Log is the local part of the partition's log, for its sizes and offsets. It must not be written to.
func (p *Partition) Log() *storage.Log { return p.log }

// HighWatermark is the end of what is committed.
func (p *Partition) HighWatermark() int64 { return p.log.HighWatermark() }

// Leader is the leader that the image names, and its epoch.
func (p *Partition) Leader() (brokerID, epoch int32) {
	r := p.role.Load()
	return r.leaderID, r.epoch
}

// IsLeader tells whether this broker leads the partition.
func (p *Partition) IsLeader() bool { return p.role.Load().leader }

// leading returns the role if this broker leads the partition, the client does not think otherwise, and the log's disk works. currentEpoch
// is the leader epoch that the client knows, or -1.
func (p *Partition) leading(currentEpoch int32) (*role, error) { return p.serving(currentEpoch, false) }

// serving is leading, but that a follower will do as well if that is said. One that knows no leader will not: nobody tells it what is committed.
func (p *Partition) serving(currentEpoch int32, follower bool) (*role, error) {
	r := p.role.Load()
	switch {
	case r.gone:
		return nil, fmt.Errorf("%s: %w", p.tp, ErrUnknownTopicOrPartition)
	case currentEpoch >= 0 && currentEpoch < r.epoch:
		return nil, fmt.Errorf("%s: epoch %d, leader has %d: %w", p.tp, currentEpoch, r.epoch, ErrFencedLeaderEpoch)
	case currentEpoch >= 0 && currentEpoch > r.epoch:
		return nil, fmt.Errorf("%s: epoch %d, leader has %d: %w", p.tp, currentEpoch, r.epoch, ErrUnknownLeaderEpoch)
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

// errBehindTier says that this leader's log has lost records that the remote tier has. It must not give their offsets to other records, and has to keep
// readers from taking its end for the partition's.
var errBehindTier = fmt.Errorf("%w: the leader's log does not continue the remote tier", storage.ErrStorage)

// lead makes this broker the leader at the role's epoch, which starts at the log's end, or gives the leader of that epoch a newer state. An image that
// shows the present partition epoch, or an older one, changes nothing: an in-sync set that was proposed on it may have been written since.
// A broker leads as well when the log's disk has failed: clients hear why nothing is served until another replica is elected.
func (p *Partition) lead(next role) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next.leader = true
	if old := p.role.Load(); old.leader && old.epoch == next.epoch {
		if next.partitionEpoch <= old.partitionEpoch {
			return nil
		}
		next.epochStart = old.epochStart
		p.isrMu.Lock()
		defer p.isrMu.Unlock()
		p.followers.keep(next, p.brokerID)
		p.leadLocked(&next)
		return nil
	}
	next.epochStart = p.log.EndOffset()
	if err := p.log.AssignEpoch(next.epoch, next.epochStart); err != nil && p.log.Offline() == nil {
		return fmt.Errorf("lead %s at epoch %d: %w", p.tp, next.epoch, err)
	}
	if p.config.Load().durable() {
		p.log.FlushSoon() // what recovery found may never have been synced
	}
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.followers = newFollowers(next, p.brokerID, time.Now())
	p.leadLocked(&next)
	return nil
}

// leadLocked makes a role of this leader the present one. The caller has both locks.
func (p *Partition) leadLocked(next *role) {
	p.role.Store(next)
	p.advanceLocked()
	p.learnOwnLocked()
}

// resign makes this broker not the leader: somebody else is, nobody is, or the partition is gone.
func (p *Partition) resign(r role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	r.leader = false
	p.tierEnd.Store(0)
	p.followers = followers{}
	p.role.Store(&r)
	p.watchers.wake()
}

// configure takes over changed settings. Partitions of a topic share them; nobody changes what c points to.
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
	if p.role.Load().leader {
		p.advanceLocked()
	}
}

// committableLocked is the offset that the high watermark may move to: all in-sync replicas have what is below it. While a change of the in-sync set
// is under way both sets count. With fewer in sync than min.insync.replicas, or while a replica is eligible, it does not move (KIP-966): a replica that
// may be elected then has all that is committed, whatever the broker that keeps the eligible replicas takes for the minimum. Nor does it move when the disk
// of the leader's log has failed: the leader does not have what is not on the disk.
func (p *Partition) committableLocked() int64 {
	end := p.log.EndOffset()
	config, r := p.config.Load(), p.role.Load()
	if config.flushesEach() {
		end = min(p.log.FlushedOffset(), end)
	}
	if !r.enoughInSync(config) || p.log.Offline() != nil {
		return 0
	}
	return min(end, p.followers.committed(r.isr, p.brokerID))
}

// needed is how many replicas must be in sync: min.insync.replicas, as far as there are so many.
func (r *role) needed(config *Config) int { return min(config.MinInSyncReplicas, len(r.replicas)) }

// enoughInSync reports whether records can be committed.
func (r *role) enoughInSync(config *Config) bool {
	return len(r.eligible) == 0 && len(r.isr) >= r.needed(config)
}

// tooFewInSync says why records cannot be committed.
func (r *role) tooFewInSync(config *Config, as error) error {
	return fmt.Errorf("%d in sync, %d needed, %d eligible to lead: %w", len(r.isr), r.needed(config), len(r.eligible), as)
}

// imageRevision is the revision of the newest image of the cluster.
func (p *Partition) imageRevision() int64 {
	if p.image == nil {
		return math.MaxInt64
	}
	return p.image().Revision
}

// advance moves the high watermark as far as it goes, if this broker leads.
func (p *Partition) advance() (leads bool) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	if !p.role.Load().leader {
		return false
	}
	p.advanceLocked()
	return true
}

// advanceLocked moves the leader's high watermark as far as it goes, and wakes who waits for that. While isrMu is held nothing is truncated: only a
// follower's log is, and this broker leads.
func (p *Partition) advanceLocked() {
	if to := p.committableLocked(); to > p.log.HighWatermark() {
		p.log.SetHighWatermark(to)
	}
	p.watchers.wake()
}
