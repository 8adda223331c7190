package replication

// Offsets are the result of a read that wants no records.
func (p *Partition) Offsets() ReadResult {
	result := ReadResult{LastStableOffset: p.log.LastStableOffset()}
	result.HighWatermark, result.LogStartOffset = p.log.HighWatermark(), p.log.StartOffset()
	return result
}

// PreferredReplica is the replica that a leader sends a consumer to that reads at an offset: of
// those that are near, the in-sync one that is farthest (KIP-392). false: the consumer stays,
// because this broker is near itself, none is, or this broker does not lead.
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
