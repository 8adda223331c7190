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

// The commands of the README work as written: each fenced block says in a
// comment above it how it is tested, and a block that says nothing fails.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err = os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err = os.Symlink(varveBinary, filepath.Join(dir, "bin", "varve")); err != nil {
		t.Fatal(err)
	}
	bootstrap := freeAddress(t)
	sh := func(t *testing.T, script string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, "127.0.0.1:9092", bootstrap))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "VARVE_BOOTSTRAP="+bootstrap)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, script, out)
		}
		t.Logf("%s\n%s", script, out)
	}
	blocks := fenced.FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 8 {
		t.Fatalf("found only %d blocks", len(blocks))
	}
	for _, block := range blocks {
		how, script := block[1], block[2]
		switch how {
		case "background":
			if script != "make run\n" {
				t.Fatalf("the background block is %q", script)
			}
			p := &process{bootstrap: bootstrap, log: &syncBuffer{}}
			p.args = []string{"broker", "start", "--data-dir", filepath.Join(dir, "varve-data"), "--listen", bootstrap, "--http", "127.0.0.1:0"}
			p.start(t)
			t.Cleanup(func() { p.stop(t, 15) })
		case "run":
			sh(t, script)
		case "kcat": // kcat is not among what make test may need; make test-clients installs it and runs this test again
			if os.Getenv("VARVE_TEST_KCAT") != "" {
				sh(t, script)
			}
		case "none":
		default:
			t.Errorf("nothing says how this block is tested:\n%s", script)
		}
	}
}
