package replication

// Snapshot is what monitoring wants to know of a partition. It is not one moment's: the offsets may
// be newer than the rest.
type Snapshot struct {
	Leader        bool    // this broker leads it
	LeaderID      int32   // as the image says, or metadata.NoBroker
	Replicas      []int32 // the first one is preferred; not to be changed
	InSync        int
	NeededInSync  int // min.insync.replicas, as far as there are so many replicas
	LogStart      int64
	HighWatermark int64
}

// UnderReplicated tells whether replicas are out of sync.
func (s *Snapshot) UnderReplicated() bool { return s.InSync < len(s.Replicas) }

// UnderMinISR tells whether acks=all is refused.
func (s *Snapshot) UnderMinISR() bool { return s.InSync < s.NeededInSync }

// AtMinISR tells whether acks=all is refused as soon as one more replica falls out of sync.
func (s *Snapshot) AtMinISR() bool { return s.InSync == s.NeededInSync }

// Snapshot describes the partition.
func (p *Partition) Snapshot() Snapshot {
	r := p.role.Load()
	return Snapshot{
		Leader: r.Leads(), LeaderID: r.Leader.Broker, Replicas: r.Replicas, InSync: len(r.ISR), NeededInSync: r.Needed(p.config.Load().MinInSyncReplicas),
		LogStart: p.log.StartOffset(), HighWatermark: p.log.HighWatermark(),
	}
}

// FollowerLags calls f with how many records each follower lacks, if this broker leads the
// partition. One that has not fetched in this leader's epoch lacks all that there is. f runs under
// a lock of the partition.
func (p *Partition) FollowerLags(f func(broker int32, records int64)) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	end, start := p.log.EndOffset(), p.log.StartOffset()
	for _, at := range p.insync.Followers() {
		f(at.Broker, max(end-max(at.End, start), 0))
	}
}
