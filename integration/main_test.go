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

// varveBinary is the broker under test. It is built once per run, with the race detector and the
// assertions of package invariants if the tests have them.
var varveBinary string

func TestMain(m *testing.M) {
	if journal := os.Getenv(journalVariable); journal != "" {
		os.Exit(runBroker(journal, os.Args[1:]))
	}
	os.Exit(run(m))
}

// withoutRaceSleep makes the processes of the tests end as soon as they are done. A process built
// with the race detector otherwise sleeps for a second when it ends well, in case a goroutine is
// about to report a race. The commands have no such goroutine, and a broker waits for all of its
// own.
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

// buildBroker builds the broker like the tests, with additional tags.
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

// nextBinary is a later version of the broker, built when a test first needs it. It knows features
// of the remote tier's formats, and a feature level, that the present version does not (tag
// varve_next).
var nextBinary = sync.OnceValues(func() (string, error) {
	binary := varveBinary + "-next"
	return binary, buildBroker(binary, "varve_next")
})

// assertionsOff reports whether the broker is meant to be built as it is shipped.
func assertionsOff() bool { return os.Getenv("VARVE_INVARIANTS") == "off" }

// sideBySide lets a test that mostly waits (for sessions to end, or for retries) run in parallel
// with others of its kind, as many as there are processors. It must not be used in tests that
// measure what a busy machine changes.
func sideBySide(t *testing.T) {
	t.Helper()
	t.Parallel()
}

// long reports whether the long versions of the suites were requested (make test-long).
func long() bool { return os.Getenv("VARVE_LONG") != "" }

// testRounds is the number of times that a test causes its faults.
func testRounds(short, longer int) int {
	if long() {
		return longer
	}
	return short
}
