package main

import (
	"strings"
	"testing"
)

func TestTierPauseWantsTopics(t *testing.T) {
	for _, command := range []string{"pause", "resume"} {
		_, _, err := run(t, "", "tier", command)
		if err == nil || !strings.Contains(err.Error(), "TOPICs") {
			t.Errorf("tier %s without a topic: %v", command, err)
		}
	}
}
