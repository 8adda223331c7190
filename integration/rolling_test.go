package integration

import (
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRollingRestart restarts three brokers one after another, as
// docs/operations/restarts-and-upgrades.md describes for an upgrade: stop one in order, start it,
// wait until varve cluster status reports healthy, continue with the next. Producers that write to
// all partitions must see no error, although one of them tries each record only for as long as a
// handover may take.
func TestRollingRestart(t *testing.T) {
	const partitions = 12
	brokers := startCluster(t)
	everywhere := clusterClient(brokers)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, everywhere...))
	for _, topic := range []string{"numbers", "hasty"} {
		if _, err := admin.CreateTopic(t.Context(), partitions, 3, map[string]*string{"min.insync.replicas": new("2")}, topic); err != nil {
			t.Fatal(err)
		}
	}
	numbers := startNumbers(t, brokers[0].bootstrap, "numbers", partitions, 500, everywhere...)
	numbers.readAlong()
	hasty := startNumbers(t, brokers[0].bootstrap, "hasty", partitions, 100,
		append(everywhere, kgo.DisableIdempotentWrite(), kgo.RecordDeliveryTimeout(10*time.Second), kgo.RecordRetries(10))...)
	progress := func(what string) {
		t.Helper()
		_, before := numbers.count()
		_, hastyBefore := hasty.count()
		eventually(t, time.Minute, "every partition takes records "+what, func() bool {
			_, now := numbers.count()
			_, hastyNow := hasty.count()
			return now > before+50 && hastyNow > hastyBefore+50
		})
	}
	progress("at the start")
	for _, p := range brokers {
		p.stop(t, syscall.SIGTERM)
		progress("with a broker stopped")
		p.start(t)
		eventually(t, time.Minute, "varve cluster status says healthy", func() bool {
			s, _ := statusOf(t, brokers)
			return s.State == "healthy"
		})
		progress("after its start")
	}
	hasty.stop()
	numbers.stop()
	numbers.check()
}
