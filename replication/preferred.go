package replication

// Offsets returns the result of a read that wants no records.
func (p *Partition) Offsets() ReadResult {
	result := ReadResult{LastStableOffset: p.log.LastStableOffset()}
	result.HighWatermark, result.LogStartOffset = p.log.HighWatermark(), p.log.StartOffset()
	return result
}

// PreferredReplica returns the replica to which a leader sends a consumer that reads at an offset:
// of the in-sync replicas near the consumer, the one with the highest end (KIP-392). It returns
// false if the consumer should stay: this broker is near itself, no such replica has the offset, or
// this broker does not lead.
func (p *Partition) PreferredReplica(offset int64, near func(broker int32) bool) (broker int32, ok bool) {
	if near(p.brokerID) {
		return -1, false
	}
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	r := p.role.Load()
	if !r.Leads() {
		return -1, false
	}
	farthest := offset - 1
	for _, m := range r.ISR {
		f := p.insync.Follower(m.Broker)
		if f == nil || f.Epoch != m.Epoch || !near(m.Broker) || f.End <= farthest {
			continue
		}
		broker, ok, farthest = m.Broker, true, f.End
	}
	return broker, ok
}
