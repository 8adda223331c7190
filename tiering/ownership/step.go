package ownership

// Step is the protocol: it returns the state after an event, and what has to happen then. An answer
// to another request than the one that the state waits for is too late, and changes nothing.
func Step(s State, e Event) (State, Effects) {
	switch e := e.(type) {
	case BecameLeader:
		return State{Unclaimed{attachment{owner: e.Owner, suspect: e.Suspect}}}, Effects{}
	case Resigned:
		return State{}, Effects{}
	case answer:
		if e.answers() != s.Next() {
			return s, Effects{}
		}
	}
	var effects Effects
	next := s.Phase().step(e, &effects)
	if next == (Following{}) {
		return State{}, effects
	}
	return State{next}, effects
}
