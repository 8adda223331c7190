package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigCheck(t *testing.T) {
	t.Setenv("VARVE_NODE_ID", "none of the file's business")
	file := filepath.Join(t.TempDir(), "varve.yaml")
	check := func(content string) (string, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _, err := run(t, "", "config", "check", file)
		return out, err
	}
	out, err := check("node-id: 7\nobject-store: s3://b?region=eu-central-1\nset:\n  log.segment.bytes: 1048576\n")
	if err != nil || !strings.Contains(out, "is good") || !strings.Contains(out, "log.segment.bytes") {
		t.Errorf("%q, %v", out, err)
	}
	for content, wants := range map[string][]string{
		"noed-id: 7\nset:\n  log.segment.bites: 1\n  log.retention.ms: soon\n": {`:1: unknown`, "node-id", "log.segment.bytes", "log.retention.ms"},
		"seeds: 1=127.0.0.1:1\netcd: http://127.0.0.1:2379\n":                  {"--etcd and --seeds"},
		"object-store: s3://b?regoin=eu-central-1\n":                           {`unknown parameter "regoin"`},
		"object-store: gs://\n":                                                {"bucket's name is missing"},
		"object-store: mem://\n":                                               {"mem://: a bucket in memory is for tests", "file://DIR"},
		"set:\n  varve.objstore.attempt.timeout.ms: 30000\n":                   {"attempt.timeout.ms=30000: must be below the 30000"},
		"node-id: [1\n": {file},
	} {
		out, err = check(content)
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) || out != "" {
				t.Errorf("%q: %q, %v, want %q", content, out, err, want)
			}
		}
	}
	if _, _, err = run(t, "", "config", "check", file+"x"); err == nil || !strings.Contains(err.Error(), file+"x") {
		t.Error(err)
	}
}

func TestConfigDocs(t *testing.T) {
	want, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, "", "config", "docs"); err != nil || out != string(want) {
		t.Errorf("not docs/configuration.md: %v", err)
	}
}
