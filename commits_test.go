package varve_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommitMessages runs the hook over the commits since it exists. An export of the tree has no
// history to check.
func TestCommitMessages(t *testing.T) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "git", args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	first, err := git("log", "--diff-filter=A", "--format=%H", "-1", "--", "tools/hooks/commit-msg")
	if err != nil || first == "" {
		t.Skipf("there is no history of the hook: %v", err)
	}
	commits, err := git("log", "--no-merges", "--format=%H", first+"..HEAD")
	if err != nil {
		t.Fatal(err)
	}
	for commit := range strings.FieldsSeq(first + " " + commits) {
		message, err := git("log", "-1", "--format=%B", commit)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := checkMessage(t, message); err != nil {
			t.Errorf("%.9s: %s", commit, out)
		}
	}
}

// TestCommitMessageHook: the hook refuses what it should.
func TestCommitMessageHook(t *testing.T) {
	for message, want := range map[string]string{
		"storage: a log rolls\n\nIt did not.\n":         "",
		"storage, tiering: two at once\n\nOne.\n":       "",
		"Merge branch 'words'\n":                        "",
		"storage: a log rolls\n":                        "no body",
		"storage: a log rolls\n\n# a comment\n":         "no body",
		"storage: a log rolls\nIt did not.\n":           "second line",
		"a log rolls\n\nIt did not.\n":                  "package: what it does now",
		"storage: " + strings.Repeat("x", 64) + "\n\nx": "73 characters",
	} {
		out, err := checkMessage(t, message)
		if want == "" && err != nil || want != "" && !strings.Contains(out, want) {
			t.Errorf("%q: %q, %v; want %q", message, out, err, want)
		}
	}
}

func checkMessage(t *testing.T, message string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte(message), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "tools/hooks/commit-msg", file).CombinedOutput()
	return string(out), err
}
