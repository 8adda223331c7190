package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

const progressInterval = 200 * time.Millisecond

// progress shows the progress of a long command on stderr if that is a terminal; otherwise it is
// silent. One goroutine calls its methods.
type progress struct {
	w       io.Writer // nil: silent
	verb    string
	now     func() time.Time
	start   time.Time
	shown   time.Time
	records int64
	bytes   int64
}

// newProgress returns a progress that is silent unless stderr is a terminal and stdout, if it gets
// the data, is not.
func (a *app) newProgress(verb string, dataOnStdout bool) *progress {
	p := &progress{verb: verb, now: time.Now}
	if isTerminal(a.errOut) && (!dataOnStdout || !isTerminal(a.out)) {
		p.w = a.errOut
	}
	p.start = p.now()
	p.shown = p.start
	return p
}

// isTerminal reports whether a stream of a command is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p *progress) add(records, bytes int64) {
	p.records += records
	p.bytes += bytes
	if p.w == nil {
		return
	}
	if now := p.now(); now.Sub(p.shown) >= progressInterval {
		p.shown = now
		p.show("\r")
	}
}

// done shows the sum and ends the line.
func (p *progress) done() {
	if p.w != nil {
		p.show("\r")
		_, _ = fmt.Fprintln(p.w)
	}
}

func (p *progress) show(prefix string) {
	seconds := max(p.now().Sub(p.start).Seconds(), 0.001)
	// An error means that the terminal is gone, so nothing can report it.
	_, _ = fmt.Fprintf(p.w, "%s%s %d records, %s, %.0f records/s, %s/s\x1b[K", prefix, p.verb,
		p.records, byteSize(p.bytes), float64(p.records)/seconds, byteSize(int64(float64(p.bytes)/seconds)))
}
