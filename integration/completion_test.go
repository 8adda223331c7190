package integration

import (
	"os/exec"
	"strings"
	"testing"
)

// Shell completion must offer the cluster's topics and groups, except those that are already on the
// line.
func TestCompletionKnowsTheCluster(t *testing.T) {
	broker := startBroker(t)
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "layers", 1)
	createTopic(t, admin, "sand", 1)
	varve := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), varveBinary, args...)
		cmd.Env = append(cmd.Environ(), "VARVE_BOOTSTRAP="+broker.bootstrap)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("varve %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	produce := exec.CommandContext(t.Context(), varveBinary, "produce", "layers", "--bootstrap", broker.bootstrap)
	produce.Stdin = strings.NewReader("a record\n")
	if out, err := produce.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	varve("consume", "layers", "--group", "readers", "--from", "beginning", "-n", "1")
	for line, want := range map[string]string{
		"topic describe":        "layers\nsand\n:4\n",
		"topic describe layers": "sand\n:4\n",
		"consume":               "layers\nsand\n:4\n",
		"group describe":        "readers\n:4\n",
		"consume sand --group":  "readers\n:4\n",
	} {
		if got := varve(append(append([]string{"__complete"}, strings.Fields(line)...), "")...); got != want {
			t.Errorf("varve %s: got %q, want %q", line, got, want)
		}
	}
}
