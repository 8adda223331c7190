package storage

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// long reports whether tests may take long.
func long() bool { return os.Getenv("VARVE_LONG") != "" }

// TestKillNine kills a process that writes to several partitions at random moments, a hundred
// times. Everything that it had acknowledged is there afterwards, in order and once. VARVE_SEED
// repeats the choices of another run. The moments of the kills depend on the machine.
//
// No test that locks a real directory may run in parallel: between fork and exec, a child holds the
// locks of this process.
func TestKillNine(t *testing.T) {
	t.Parallel()
	rounds := 100
	if long() {
		rounds = 2000
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("VARVE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("VARVE_SEED=%d", seed)
	c := &crashTest{t: t, dir: t.TempDir(), rnd: rand.New(rand.NewPCG(seed, 1))}
	for round := range rounds {
		if c.round(seed + uint64(round)); t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	if c.acknowledged < rounds {
		t.Fatalf("only %d batches were acknowledged in %d rounds", c.acknowledged, rounds)
	}
	t.Logf("%d batches acknowledged, %d truncations, %d kills", c.acknowledged, c.truncations, c.kills)
}

// crashTest is what the parent knows.
type crashTest struct {
	t          *testing.T
	dir        string
	rnd        *rand.Rand
	partitions [crashPartitions]crashLog

	acknowledged, truncations, kills int
}

// crashLog is what the child has reported about one partition.
type crashLog struct {
	acked   []crashAck
	cutting int64 // target of a truncation whose end was not reported; -1: none
}

// crashAck is a batch that was acknowledged.
type crashAck struct {
	first, end int64
	epoch      int32
}

// round runs a child until it is killed, then checks what it has left.
func (c *crashTest) round(seed uint64) {
	c.t.Helper()
	for p := range c.partitions {
		c.partitions[p].cutting = -1
	}
	lines := c.runChild(seed)
	for _, line := range lines {
		c.hear(line)
	}
	c.check()
}

// runChild starts a child and kills it after a number of lines or a time, whichever comes first. It
// returns everything that the child has reported.
func (c *crashTest) runChild(seed uint64) (lines []string) {
	t := c.t
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }() // only read
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashDirEnv+"="+c.dir, crashSeedEnv+"="+strconv.FormatUint(seed, 10))
	cmd.ExtraFiles = []*os.File{w}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err = errors.Join(cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(r)
	said.Scan() // it runs
	lines = append(lines, said.Text())
	gently := c.rnd.IntN(10) == 0
	end := func() {
		if gently {
			_ = stdin.Close() // asks for a clean shutdown
		} else {
			// It may have ended by itself; that is checked below.
			_ = cmd.Process.Kill()
		}
	}
	wait, most := 150, 1+c.rnd.IntN(400)
	if c.rnd.IntN(3) == 0 { // also during its recovery
		wait = c.rnd.IntN(40)
	}
	defer time.AfterFunc(time.Duration(wait)*time.Millisecond, end).Stop()
	for said.Scan() {
		if lines = append(lines, said.Text()); len(lines) == most {
			end()
		}
	}
	err = errors.Join(said.Err(), ignoreKilled(cmd.Wait(), gently))
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out.String())
	}
	if !gently {
		c.kills++
	}
	return lines
}

func ignoreKilled(err error, gently bool) error {
	var exit *exec.ExitError
	if !gently && errors.As(err, &exit) && exit.ExitCode() == -1 {
		return nil
	}
	if !gently && err == nil {
		return io.ErrUnexpectedEOF // it was to be killed
	}
	return err
}

// hear processes a line of the child.
func (c *crashTest) hear(line string) {
	c.t.Helper()
	if strings.HasPrefix(line, "!") {
		c.t.Fatalf("child: %s", line)
	}
	var n [4]int64
	fields := strings.Fields(line)
	for i, f := range fields[1:] {
		var err error
		if n[i], err = strconv.ParseInt(f, 10, 64); err != nil {
			c.t.Fatalf("child says %q", line)
		}
	}
	l := &c.partitions[n[0]]
	switch fields[0] {
	case "a":
		l.acked = append(l.acked, crashAck{n[1], n[2], int32(n[3])})
		c.acknowledged++
	case "t":
		l.cutting = n[1]
	case "T":
		l.cutting = -1
		l.cutAt(n[1])
		c.truncations++
	}
}

// cutAt forgets the batches that a truncation has removed.
func (l *crashLog) cutAt(end int64) {
	for len(l.acked) > 0 && l.acked[len(l.acked)-1].end > end {
		l.acked = l.acked[:len(l.acked)-1]
	}
}
