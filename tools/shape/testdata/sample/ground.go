package sample

import "example.org/nowhere"

type ground struct {
	n   int
	top *Top
}

func (g *ground) step() int {
	nowhere.Do()
	g.top.note()
	return g.n
}
