package replication

import "github.com/varvelog/varve/replication/insync"

// flushFailure is a sync that failed, for whoever waits for an offset below upTo.
type flushFailure struct {
	upTo int64
	err  error
}

// flushed is told by the log how a sync went that appends wait for. It waits for no append.
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

// flushedAsLeader has the high watermark follow what was synced, if this broker leads.
func (p *Partition) flushedAsLeader() (leads bool) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.Flushed{Log: p.offsets()})
	return p.role.Load().Leads()
}
