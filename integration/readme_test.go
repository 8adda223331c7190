package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var fenced = regexp.MustCompile("(?s)(?:<!-- test: ([a-z]+)[^>]*-->\n)?```sh\n(.*?)```")

// tour runs the fenced blocks of a document as written. A comment above each says how it is tested;
// a block without one fails.
type tour struct {
	document  string // path
	least     int    // least number of blocks
	dir       string // where the commands run, with the binary at bin/varve
	bootstrap string // replaces 127.0.0.1:9092
	env       []string
	// start runs a block of the kind "background".
	start func(t *testing.T, script string)
}

func (r tour) run(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(r.document)
	if err != nil {
		t.Fatal(err)
	}
	if err = os.Mkdir(filepath.Join(r.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err = os.Symlink(varveBinary, filepath.Join(r.dir, "bin", "varve")); err != nil {
		t.Fatal(err)
	}
	blocks := fenced.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < r.least {
		t.Fatalf("found only %d blocks", len(blocks))
	}
	for _, block := range blocks {
		how, script := block[1], block[2]
		switch how {
		case "background":
			r.start(t, script)
		case "run":
			r.sh(t, script)
		// make test must not need kcat. make test-clients installs it and runs this test again.
		case "kcat":
			if os.Getenv("VARVE_TEST_KCAT") != "" {
				r.sh(t, script)
			}
		case "none":
		default:
			t.Errorf("nothing says how this block is tested:\n%s", script)
		}
	}
}

func (r tour) sh(t *testing.T, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, "127.0.0.1:9092", r.bootstrap))
	cmd.Dir = r.dir
	cmd.Env = append(append(os.Environ(), "VARVE_BOOTSTRAP="+r.bootstrap), r.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	t.Logf("%s\n%s", script, out)
}

func TestReadmeCommands(t *testing.T) {
	r := tour{document: "../README.md", least: 8, dir: t.TempDir(), bootstrap: freeAddress(t)}
	r.start = func(t *testing.T, script string) {
		t.Helper()
		if script != "make run\n" {
			t.Fatalf("the background block is %q", script)
		}
		p := &process{bootstrap: r.bootstrap, log: &syncBuffer{}}
		p.args = []string{"broker", "start", "--data-dir", filepath.Join(r.dir, "varve-data"), "--listen", r.bootstrap, "--http", "127.0.0.1:0"}
		p.start(t)
		t.Cleanup(func() { p.stop(t, 15) })
	}
	r.run(t)
}
