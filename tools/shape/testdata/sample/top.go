package sample

// Top is what callers meet.
type Top struct{ g *ground }

// Run calls the ground twice, which counts once.
func (t *Top) Run() int {
	t.g.step()
	return t.g.step()
}

func (t *Top) note() {}
