package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// TestTopicsHaveReplicasOnBrokersThatAreAway creates topics before a broker has started, while it
// is down, and after it has been unregistered. Only in the last case may there be fewer replicas.
// When the broker starts, it must copy what it has missed.
func TestTopicsHaveReplicasOnBrokersThatAreAway(t *testing.T) {
	sideBySide(t)
	brokers := clusterOf(t, func(int) []string { return []string{"--found"} })
	startTogether(t, brokers[:2])
	there := brokers[:2]
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, clusterClient(there)...))
	create := func(topic string, factor int16, replicas int) {
		t.Helper()
		if _, err := admin.CreateTopic(t.Context(), 6, factor, nil, topic); err != nil {
			t.Fatal(err)
		}
		now, _ := replicasOf(t, there, topic)
		for partition, on := range now {
			if len(on) != replicas {
				t.Errorf("%s:%d has the replicas %v", topic, partition, on)
			}
		}
		numbers := startNumbers(t, brokers[0].bootstrap, topic, 6, 500, clusterClient(there)...)
		eventually(t, time.Minute, topic+" takes records", func() bool { _, acknowledged := numbers.count(); return acknowledged > 50 })
		numbers.stop()
		numbers.check()
	}
	create("early", -1, 3)
	startTogether(t, brokers[2:])
	allInSync(t, admin, "early", 3)

	// The broker leads nothing. The brokers from which it fetches must notice, so that the
	// controller does not wait for the lease.
	brokers[2].kill9(t)
	eventually(t, time.Minute, "a broker that only follows is found dead", func() bool {
		return slices.ContainsFunc(there, func(p *process) bool { return strings.Contains(p.log.String(), "a broker's process is gone") })
	})
	if s, _ := statusOf(t, there); len(s.Brokers) != 3 || s.Brokers[2].State != "down" || s.Brokers[2].Address != brokers[2].bootstrap {
		t.Errorf("broker 3 is down: %+v", s.Brokers)
	}
	create("meanwhile", 3, 3)
	brokers[2].start(t)
	allInSync(t, admin, "meanwhile", 3)

	if _, errOut, status := tryVarve(t, there, "cluster", "unregister", "3"); status != 1 || !strings.Contains(errOut, "shut it down first") {
		t.Errorf("a live broker is unregistered: status %d, %s", status, errOut)
	}
	brokers[2].kill9(t)
	eventually(t, time.Minute, "broker 3 is unregistered", func() bool {
		_, _, status := tryVarve(t, there, "cluster", "unregister", "3")
		return status == 0
	})
	create("after", -1, 2)
	brokers[2].start(t)
	create("again", -1, 3)
}
