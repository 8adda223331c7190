package replication

// flushFailure is a sync that failed, for whoever waits for an offset below upTo.
type flushFailure struct {
	upTo int64
	err  error
}

// flushed is told by the log how a sync went that appends wait for.
func (p *Partition) flushed(upTo int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.flushFailure.Store(&flushFailure{upTo: upTo, err: err})
		p.watchers.wake()
		return
	}
	if p.role.Load().leader {
		p.advanceLocked()
		if p.kickAgain && p.tier != nil {
			p.kickAgain = false
			p.tier.Kick(p.tp)
		}
	} else if f := p.fetcher.Load(); f != nil {
		f.signal()
	}
}
