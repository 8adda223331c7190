package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/invariants"
)

// varveBinary is the broker under test, built once for the run, with the race detector and
// with the assertions of package invariants when the tests have them.
var varveBinary string

func TestMain(m *testing.M) {
	if journal := os.Getenv(journalVariable); journal != "" {
		os.Exit(runBroker(journal, os.Args[1:]))
	}
	os.Exit(run(m))
}

// withoutRaceSleep has the processes that a test runs end as soon as they are done. One that is
// built with the race detector otherwise sleeps for a second whenever it ends well, in case a
// goroutine is about to report a race: the commands have none, and a broker waits for all of its own.
func withoutRaceSleep() error {
	return os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
}

func run(m *testing.M) int {
	if err := withoutRaceSleep(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if !invariants.Enabled && !assertionsOff() {
		fmt.Fprintln(os.Stderr, "these tests are built without -tags invariants, and so would the broker be: add it, or set VARVE_INVARIANTS=off")
		return 1
	}
	dir, err := os.MkdirTemp("", "varve-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	varveBinary = filepath.Join(dir, "varve")
	if err := buildBroker(varveBinary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// buildBroker builds the broker as the tests are built, with more tags.
func buildBroker(binary string, tags ...string) error {
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	if invariants.Enabled {
		tags = append(tags, "invariants")
	}
	args = append(args, "-tags", strings.Join(tags, ","), "../cmd/varve")
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	return nil
}

// nextBinary is a later version of the broker, which is built when a test first asks for it: it knows
// features of the remote tier's formats, and a feature level, that the present one does not (tag varve_next).
var nextBinary = sync.OnceValues(func() (string, error) {
	binary := varveBinary + "-next"
	return binary, buildBroker(binary, "varve_next")
})

// assertionsOff says that the broker is meant to be built as it is shipped.
func assertionsOff() bool { return os.Getenv("VARVE_INVARIANTS") == "off" }

// sideBySide lets a test that mostly waits, for sessions to end or for retries, run beside others of
// its kind, as many at a time as there are processors. It is for tests that do not measure what a
// busy machine changes.
func sideBySide(t *testing.T) {
	t.Helper()
	t.Parallel()
}

// long says that the long versions of the suites were asked for (make test-long).
func long() bool { return os.Getenv("VARVE_LONG") != "" }

// testRounds is how often a test does its harm.
func testRounds(short, longer int) int {
	if long() {
		return longer
	}
	return short
}
