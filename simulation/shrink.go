package simulation

import "slices"

// Shrink drops the actions that a failing history does not need. It calls play for shorter
// histories, at most times times. A shorter history counts only if it breaks the same invariant.
func Shrink(h History, broken Outcome, times int, play func(History) Outcome) (History, Outcome) {
	s := &shrinker{history: h, broken: broken, left: times, play: play}
	s.cut()
	for before := -1; before != len(s.history.Actions) && s.left > 0; {
		before = len(s.history.Actions)
		for size := max(1, before/2); size >= 1; size /= 2 {
			s.drop(size)
		}
	}
	return s.history, s.broken
}

type shrinker struct {
	history History
	broken  Outcome
	left    int
	play    func(History) Outcome
}

// try adopts a shorter history if it fails the same way.
func (s *shrinker) try(h History) {
	if s.left == 0 {
		return
	}
	s.left--
	out := s.play(h)
	if out.Err != nil && out.Broken == s.broken.Broken {
		s.history, s.broken = h, out
	}
}

// cut drops the actions after the failure, unless the failure is that the cluster does not heal.
func (s *shrinker) cut() {
	end := s.broken.Virtual - settleTime
	if end >= s.history.Length {
		return
	}
	h := s.history
	h.Actions = slices.DeleteFunc(slices.Clone(h.Actions), func(a Action) bool { return a.At > end })
	s.try(h)
}

// drop tries to remove each run of size actions, starting at the end: the actions before the run
// stay the same.
func (s *shrinker) drop(size int) {
	for at := len(s.history.Actions) - size; at > -size; at -= size {
		from := max(at, 0)
		h := s.history
		h.Actions = slices.Delete(slices.Clone(h.Actions), from, min(at+size, len(h.Actions)))
		s.try(h)
	}
}
