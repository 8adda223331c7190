package integration

import (
	"os"
	"testing"
)

// TestSeedLosesItsDisk kills a broker that runs a member of etcd, deletes all its data, and starts
// it under its old id. It must become a member again and copy its replicas. Then another broker is
// killed, so that the cluster needs the restored one for a majority of etcd and of the in-sync
// replicas.
func TestSeedLosesItsDisk(t *testing.T) {
	sideBySide(t)
	brokers := startCluster(t)
	numbers, admin := startReplicated(t, brokers, spread(6))
	brokers[2].kill9(t)
	if err := os.RemoveAll(brokers[2].dataDir); err != nil {
		t.Fatal(err)
	}
	brokers[2].start(t)
	allInSync(t, admin, "numbers", 3)
	numbers.progress("after a broker has come back without its disk")
	brokers[0].kill9(t)
	numbers.progress("without another one")
	brokers[0].start(t)
	allInSync(t, admin, "numbers", 3)
	numbers.stop()
	numbers.check()
}
