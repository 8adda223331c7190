package config

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the generated documents")

func TestGeneratedDocumentIsCurrent(t *testing.T) {
	const name = "../docs/configuration.md"
	if *update {
		if err := os.WriteFile(name, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Markdown() {
		t.Errorf("%s is not what the tables say: run make gen", name)
	}
}
