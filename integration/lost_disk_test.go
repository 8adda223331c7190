package integration

import (
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// TestSeedLosesItsDisk kills a broker that runs a member of etcd, takes everything it had, and starts it under its old id: it becomes a member again and
// copies its replicas. Then the cluster does without another broker, which takes both: a majority of etcd, and of the in-sync replicas.
func TestSeedLosesItsDisk(t *testing.T) {
	const partitions = 6
	brokers := startCluster(t)
	everywhere := clusterClient(brokers)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, everywhere...))
	if _, err := admin.CreateTopic(t.Context(), partitions, 3, map[string]*string{"min.insync.replicas": new("2")}, "numbers"); err != nil {
		t.Fatal(err)
	}
	numbers := startNumbers(t, brokers[0].bootstrap, "numbers", partitions, 500, everywhere...)
	numbers.readAlong(brokers[0].bootstrap, everywhere...)
	progress := func(what string) {
		t.Helper()
		_, before := numbers.count()
		eventually(t, time.Minute, "every partition takes records "+what, func() bool { _, now := numbers.count(); return now > before+100 })
	}
	progress("at the start")
	brokers[2].kill9(t)
	if err := os.RemoveAll(brokers[2].dataDir); err != nil {
		t.Fatal(err)
	}
	brokers[2].start(t)
	allInSync(t, admin, "numbers", 3)
	progress("after a broker has come back without its disk")
	brokers[0].kill9(t)
	progress("without another one")
	brokers[0].start(t)
	allInSync(t, admin, "numbers", 3)
	numbers.stop()
	numbers.check(brokers[0].bootstrap)
}
