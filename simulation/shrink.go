package simulation

import "slices"

// Shrink drops what a failing history does not need: play is asked for the outcome of shorter ones,
// at most so many times. Each must break the same invariant.
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

// try takes a shorter history if it fails as well.
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

// cut drops what comes after the end, unless the failure is that the cluster does not heal.
func (s *shrinker) cut() {
	end := s.broken.Virtual - settleTime
	if end >= s.history.Length {
		return
	}
	h := s.history
	h.Actions = slices.DeleteFunc(slices.Clone(h.Actions), func(a Action) bool { return a.At > end })
	s.try(h)
}

// drop tries to go without each so many actions in a row, from the end: what comes before stays the
// same then.
func (s *shrinker) drop(size int) {
	for at := len(s.history.Actions) - size; at > -size; at -= size {
		from := max(at, 0)
		h := s.history
		h.Actions = slices.Delete(slices.Clone(h.Actions), from, min(at+size, len(h.Actions)))
		s.try(h)
	}
}
