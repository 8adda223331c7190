package simulation

import "time"

// network carries messages between hosts: the brokers, and etcd, which is host 0. Messages on a cut
// link are lost; a cut has one direction or both.
type network struct {
	s    *scheduler
	cuts map[link]time.Duration // virtual time of the cut's end
	lost map[link]lossy
}

// link is one direction between two hosts.
type link struct{ from, to int32 }

// lossy makes a link lose percent of its messages for a while, and delay the others.
type lossy struct {
	until   time.Duration
	percent int64
	delay   time.Duration // the maximum of the additional delay
}

const etcdHost int32 = 0

func newNetwork(s *scheduler) *network {
	return &network{s: s, cuts: map[link]time.Duration{}, lost: map[link]lossy{}}
}

func (n *network) cut(l link, until time.Duration) { n.cuts[l] = max(n.cuts[l], until) }

// heal ends all cuts and losses.
func (n *network) heal() {
	clear(n.cuts)
	clear(n.lost)
}

func (n *network) isCut(l link) bool { return n.cuts[l] > n.s.now }

func (l link) String() string { return string('0'+l.from) + ">" + string('0'+l.to) }

// send delivers a message to a process, or to the world if to is nil, or loses it.
func (n *network) send(l link, to *process, do func()) {
	name := "net " + l.String()
	delay := n.s.between(name, 100*time.Microsecond, 1500*time.Microsecond)
	if n.s.draw(name, 100) == 0 {
		delay += n.s.between(name, 0, 100*time.Millisecond)
	}
	if bad := n.lost[l]; bad.until > n.s.now {
		if n.s.draw(name, 100) < bad.percent {
			return
		}
		delay += n.s.between(name, 0, bad.delay)
	}
	if n.isCut(l) {
		return
	}
	n.s.after(delay, to, func() {
		if !n.isCut(l) {
			do()
		}
	})
}
