package replication

// Snapshot is a partition's state for monitoring. It is not taken at one moment: the offsets may be
// newer than the rest.
type Snapshot struct {
	Leader        bool    // this broker leads it
	LeaderID      int32   // from the image, or metadata.NoBroker
	Replicas      []int32 // the first one is preferred; must not be modified
	InSync        int
	NeededInSync  int // min.insync.replicas, at most the number of replicas
	LogStart      int64
	HighWatermark int64
}

// UnderReplicated reports whether replicas are out of sync.
func (s *Snapshot) UnderReplicated() bool { return s.InSync < len(s.Replicas) }

// UnderMinISR reports whether acks=all is refused.
func (s *Snapshot) UnderMinISR() bool { return s.InSync < s.NeededInSync }

// AtMinISR reports whether acks=all is refused as soon as one more replica falls out of sync.
func (s *Snapshot) AtMinISR() bool { return s.InSync == s.NeededInSync }

// Snapshot returns the partition's state for monitoring.
func (p *Partition) Snapshot() Snapshot {
	r := p.role.Load()
	return Snapshot{
		Leader: r.Leads(), LeaderID: r.Leader.Broker, Replicas: r.Replicas, InSync: len(r.ISR), NeededInSync: r.Needed(p.config.Load().MinInSyncReplicas),
		LogStart: p.log.StartOffset(), HighWatermark: p.log.HighWatermark(),
	}
}

// FollowerLags calls f with the number of records that each follower is behind, if this broker
// leads the partition. A follower that has not fetched in this leader epoch is behind by the whole
// log. f runs under a lock of the partition.
func (p *Partition) FollowerLags(f func(broker int32, records int64)) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	end, start := p.log.EndOffset(), p.log.StartOffset()
	for _, at := range p.insync.Followers() {
		f(at.Broker, max(end-max(at.End, start), 0))
	}
}
