package replication

import "github.com/varvelog/varve/replication/insync"

// flushFailure is a failed sync. It concerns appends that wait for an offset below upTo.
type flushFailure struct {
	upTo int64
	err  error
}

// flushed is called by the log with the outcome of a sync. It takes isrMu but never mu: a hanging
// append must not delay the syncs of other logs.
func (p *Partition) flushed(upTo int64, err error) {
	if err != nil {
		p.flushFailure.Store(&flushFailure{upTo: upTo, err: err})
		p.watchers.wake()
		return
	}
	if p.flushedAsLeader() {
		if p.kickAgain.Swap(false) && p.tier != nil {
			p.tier.Kick(p.tp)
		}
	} else if f := p.fetcher.Load(); f != nil {
		f.signal()
	}
}

// flushedAsLeader advances the high watermark to what was synced, if this broker leads.
func (p *Partition) flushedAsLeader() (leads bool) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.Flushed{Log: p.offsets()})
	return p.role.Load().Leads()
}
