package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMissingToolsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := (&kafka{version: "4.4.0"}).prepare(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "java on the PATH") {
		t.Errorf("without java the error is %v", err)
	}
	path := os.Getenv("PATH")
	if err = os.WriteFile(filepath.Join(path, "java"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = (&kafka{version: "4.4.0"}).prepare(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "mvn on the PATH") {
		t.Errorf("without mvn the error is %v", err)
	}
}

// TestJarsAreFetchedOnce: and again if the first attempt failed.
func TestJarsAreFetchedOnce(t *testing.T) {
	tools, scratch := t.TempDir(), t.TempDir()
	t.Setenv("PATH", tools+string(filepath.ListSeparator)+os.Getenv("PATH"))
	calls := filepath.Join(t.TempDir(), "calls")
	maven := func(script string) {
		t.Helper()
		for name, content := range map[string]string{"java": "", "mvn": "echo \"$@\" >> " + calls + "\n" + script} {
			if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+content+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	k := &kafka{version: "4.4.0"}
	maven("echo there is no such version; exit 1")
	if err := k.prepare(t.Context(), scratch); err == nil || !strings.Contains(err.Error(), "there is no such version") {
		t.Fatalf("the error is %v", err)
	}
	maven("")
	for range 2 {
		if err := k.prepare(t.Context(), scratch); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(content), "dependency:copy-dependencies"); lines != 2 {
		t.Errorf("Maven ran %d times, want 2:\n%s", lines, content)
	}
	pom, err := os.ReadFile(filepath.Join(scratch, "kafka-4.4.0", "pom.xml"))
	if err != nil || !strings.Contains(string(pom), "<version>4.4.0</version>") {
		t.Errorf("the pom is %s, %v", pom, err)
	}
}

func TestKafkaProperties(t *testing.T) {
	spec := nodeSpec{id: 2, size: 3, dir: "/data/broker-2", port: 61000}
	lines := strings.Split(kafkaProperties(spec), "\n")
	for _, want := range []string{
		"node.id=2",
		"controller.quorum.voters=1@127.0.0.1:61001,2@127.0.0.1:61011,3@127.0.0.1:61021",
		"listeners=PLAINTEXT://127.0.0.1:61010,CONTROLLER://127.0.0.1:61011",
		"advertised.listeners=PLAINTEXT://127.0.0.1:61010",
		"log.dirs=/data/broker-2/data",
		"offsets.topic.replication.factor=3",
		"transaction.state.log.min.isr=2",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no %s in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	spec.id, spec.size = 1, 1
	if single := kafkaProperties(spec); !strings.Contains(single, "\noffsets.topic.replication.factor=1\n") {
		t.Errorf("a single broker has\n%s", single)
	}
}

// TestKafkaNode: all brokers of a cluster are formatted with one id, each cluster with another.
func TestKafkaNode(t *testing.T) {
	tools := t.TempDir()
	t.Setenv("PATH", tools+string(filepath.ListSeparator)+os.Getenv("PATH"))
	calls := filepath.Join(t.TempDir(), "calls")
	if err := os.WriteFile(filepath.Join(tools, "java"), []byte("#!/bin/sh\necho \"$5\" >> "+calls+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	k := &kafka{version: "4.4.0", heap: "1g", libs: "/libs"}
	for range 2 {
		for id := 1; id <= 3; id++ {
			command, err := k.node(t.Context(), nodeSpec{id: id, size: 3, dir: t.TempDir(), port: 61000})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(command, "-Xmx1g") || !slices.Contains(command, "kafka.Kafka") {
				t.Errorf("the command is %q", command)
			}
		}
	}
	content, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(content))
	if len(ids) != 6 || ids[0] != ids[2] || ids[3] != ids[5] || ids[0] == ids[3] {
		t.Errorf("the ids are %q", ids)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(ids[0], "--cluster-id="))
	if err != nil || len(raw) != 16 {
		t.Errorf("%q is no cluster id: %v", ids[0], err)
	}
}

func TestVarveNode(t *testing.T) {
	v := &varve{binary: "/bin/varve"}
	alone, err := v.node(t.Context(), nodeSpec{id: 1, size: 1, dir: "/d", shared: "/s", port: 61000})
	if err != nil {
		t.Fatal(err)
	}
	want := "/bin/varve broker start --node-id 1 --data-dir /d/data --listen 127.0.0.1:61000 " +
		"--http 127.0.0.1:61001 --object-store file:///s/objects"
	if got := strings.Join(alone, " "); got != want {
		t.Errorf("the command is %s, want %s", got, want)
	}
	one, err := v.node(t.Context(), nodeSpec{id: 3, size: 3, dir: "/d", shared: "/s", port: 61000})
	if err != nil {
		t.Fatal(err)
	}
	want = "--control 127.0.0.1:61022 --seeds 1=127.0.0.1:61002,2=127.0.0.1:61012,3=127.0.0.1:61022"
	if got := strings.Join(one[len(one)-4:], " "); got != want {
		t.Errorf("the command ends with %s, want %s", got, want)
	}
}

func TestMissingBinary(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "text")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for binary, want := range map[string]string{
		filepath.Join(dir, "varve"): "make build", dir: "is not a program", file: "is not a program",
	} {
		if err := (&varve{binary: binary}).prepare(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", binary, err, want)
		}
	}
}
