package simulation

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
)

// host is a broker's machine, and everything of the broker that outlives its processes.
type host struct {
	w       *world
	id      int32
	name    string
	machine Machine
	process *process // nil: none runs
	frozen  bool
	held    []event // events that happen after the host thaws
	skew    time.Duration
	busy    time.Duration // images are not applied before this virtual time
	boot    int
	starts  int
	mark    mark
	marked  []metadata.DirectoryID // the directories that have a copy of the mark
	seen    int64                  // the highest etcd revision that its processes have seen
	// lost is the newest revision at which all logs may have lost something, lostSome the newest
	// one for any directory, and gone the newest one for each directory.
	lost, lostSome int64
	gone           map[metadata.DirectoryID]int64
	// unmarked is the revision at which the mark was lost. What other directories have kept until
	// then is unknown.
	unmarked int64
	failing  []metadata.DirectoryID // whose disks fail now
	ended    []*process             // whose registrations may still arrive
}

// noEpoch is later than every epoch.
const noEpoch = math.MaxInt64

// mark is the content of the file in which package server keeps the last registration.
type mark struct {
	epoch       int64
	kept        int64 // the first in a sequence of epochs that ended without a loss
	clean       bool
	boot        int // -1: the logs may have lost something
	directories []metadata.DirectoryID
	failed      []metadata.DirectoryID
	lostEpoch   int64
	holds       bool
	// lostSinceKept lists directories that have lost something since kept, and before epoch.
	lostSinceKept []metadata.DirectoryID
}

// lose records the directories that do not have everything that they had at the mark's epoch.
func (m *mark) lose(working, distrusted []metadata.DirectoryID) {
	for _, id := range m.directories {
		if slices.Contains(working, id) && !slices.Contains(distrusted, id) || slices.Contains(m.failed, id) {
			continue
		}
		m.failed = append(m.failed, id)
		if m.lostEpoch != noEpoch {
			m.lostEpoch = m.epoch
		}
	}
}

// keptSince returns the oldest epoch since which no directory has lost anything, epoch if there is
// none.
func (m *mark) keptSince(epoch int64) int64 {
	if !m.holds {
		return epoch
	}
	return cmp.Or(m.kept, m.epoch, epoch)
}

// exceptions returns the directories to which the epoch of keptSince does not apply.
func (m *mark) exceptions() []metadata.DirectoryID {
	lost := slices.Clone(m.lostSinceKept)
	for _, id := range m.failed {
		if !slices.Contains(lost, id) {
			lost = append(lost, id)
		}
	}
	return lost
}

// begin returns what the logs have kept since the last registration.
func (h *host) begin(working, distrusted []metadata.DirectoryID) metadata.Past {
	m := &h.mark
	m.lose(working, distrusted)
	m.holds = m.epoch != 0 && (m.clean || m.boot == h.boot)
	past := metadata.Past{LostDirectories: slices.Clone(m.failed), LostBrokerEpoch: m.lostEpoch}
	if m.holds {
		past.PreviousBrokerEpoch, past.KeptBrokerEpoch = m.epoch, m.keptSince(m.epoch)
		past.LostSinceKept = m.exceptions()
	}
	if m.epoch == 0 {
		return past
	}
	h.marked = slices.Clone(working)
	m.clean = false
	if m.boot = -1; m.holds {
		m.boot = h.boot
	}
	return past
}

// registered records a registration.
func (h *host) registered(epoch int64, working []metadata.DirectoryID) {
	kept, lost := h.mark.keptSince(epoch), h.mark.exceptions()
	if kept == epoch {
		lost = nil
	}
	h.mark = mark{
		epoch: epoch, kept: kept, lostSinceKept: lost, boot: h.boot, directories: working,
		lostEpoch: min(h.mark.lostEpoch, epoch-1), holds: true,
	}
	h.marked = slices.Clone(working)
}

// freeze suspends the host's process for a while. The process keeps its state.
func (h *host) freeze(d time.Duration) {
	if h.frozen {
		return
	}
	h.frozen = true
	h.w.sched.after(d, nil, h.thaw)
}

func (h *host) thaw() {
	if !h.frozen {
		return
	}
	h.frozen = false
	held := h.held
	h.held = nil
	for _, e := range held {
		h.w.sched.after(0, e.to, e.do)
	}
}

// start starts a process unless one runs.
func (h *host) start() {
	if h.process != nil || h.w.err != nil {
		return
	}
	h.starts++
	p := &process{host: h, name: fmt.Sprintf("%s/%d", h.name, h.starts)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.make(); err != nil {
		h.w.fail("%s does not start: %v", p.name, err)
		return
	}
	h.process = p
	h.w.trace("%s starts", p.name)
	h.w.check.recovered(p)
	h.w.sched.spawn(p.ctx, p, p.run)
}

// stop ends the running process in one of the ways.
func (h *host) stop(how Stop) {
	p := h.process
	if p == nil && how != Crashed {
		return
	}
	if p != nil {
		h.w.trace("%s ends (%d)", p.name, how)
		p.dead = true
		p.cancel()
		h.w.sched.bury(p)
		h.process = nil
		h.ended = append(h.ended, p)
	}
	h.frozen, h.held = false, nil
	for _, id := range h.failing {
		h.forget(id, h.w.etcd.trueRevision())
	}
	h.failing = nil
	if how == Clean && h.mark.holds {
		h.mark.clean = true
	}
	if how == Crashed {
		h.boot++
		if !h.mark.clean {
			h.lost = h.w.etcd.trueRevision()
			for _, e := range h.ended {
				e.lostAll = true
			}
		}
	}
	if err := h.machine.Stop(how, uint64(h.w.sched.draw("crash "+h.name, math.MaxInt64))); err != nil {
		h.w.fail("%s cannot be ended: %v", h.name, err)
	}
}

// forget records that a directory may lose something up to a revision.
func (h *host) forget(id metadata.DirectoryID, until int64) {
	if h.gone == nil {
		h.gone = map[metadata.DirectoryID]int64{}
	}
	h.lostSome, h.gone[id] = until, until
	for _, e := range h.ended {
		e.lostSome = append(e.lostSome, id)
	}
}

// arrives records that the registration of an ended process takes effect. What was lost since the
// process ended counts as lost at that epoch.
func (h *host) arrives(p *process, epoch int64) {
	if p.lostAll {
		h.lost = max(h.lost, epoch)
	}
	for _, id := range p.lostSome {
		h.forget(id, max(h.gone[id], epoch))
	}
}

// fail makes a disk fail under the running process.
func (h *host) fail(directory int64) {
	if h.process == nil {
		return
	}
	id := h.machine.Fail(directory)
	h.failing = append(h.failing, id)
	h.forget(id, noEpoch) // until the process ends
}

// lose kills the process and empties a directory.
func (h *host) lose(directory int64) {
	h.stop(Killed)
	lost := h.machine.Lose(directory)
	h.forget(lost, h.w.etcd.trueRevision())
	h.marked = slices.DeleteFunc(h.marked, func(id metadata.DirectoryID) bool { return id == lost })
	if len(h.marked) == 0 {
		h.mark, h.unmarked = mark{lostEpoch: noEpoch}, h.w.etcd.trueRevision()
	}
}
