package broker

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

// TestCountingTakesNoMemory: counting requests and topic traffic allocates nothing once an API and
// a topic are known.
func TestCountingTakesNoMemory(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), protocol.NewBudget(1))
	of := m.of("Produce")
	var topic replication.Traffic
	n := testing.AllocsPerRun(100, func() {
		of().requestBytes.Add(1)
		of().observe(times{read: time.Now(), accepted: time.Microsecond, answered: time.Millisecond})
		topic.Produced(nil)
	})
	if n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// TestAPIsThatNobodyCallsHaveNoSeries: the series of an API do not exist before its first call.
func TestAPIsThatNobodyCallsHaveNoSeries(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry, protocol.NewBudget(1))
	series := func() (n int) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "varve_broker_request_seconds" {
				n = len(f.GetMetric())
			}
		}
		return n
	}
	produce := m.of("Produce")
	if n := series(); n != 0 {
		t.Errorf("%d APIs have series", n)
	}
	produce()
	produce()
	if n := series(); n != 1 {
		t.Errorf("%d APIs have series after calls of one", n)
	}
}
