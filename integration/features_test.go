package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// featuresOf returns the features that each answering broker shows to clients: the epoch and the
// level of varve.version.
func featuresOf(t *testing.T, admin *kadm.Client) (epochs map[int32]int64, levels map[int32]int16) {
	t.Helper()
	versions, err := admin.ApiVersions(t.Context())
	if err != nil {
		return nil, nil
	}
	epochs, levels = map[int32]int64{}, map[int32]int16{}
	for id, v := range versions {
		if v.Err != nil {
			continue // it has just been stopped
		}
		response := v.Raw()
		epochs[id] = response.FinalizedFeaturesEpoch
		for _, f := range response.FinalizedFeatures {
			if f.Name == "varve.version" {
				levels[id] = f.MaxVersionLevel
			}
		}
	}
	return epochs, levels
}

// agreed waits until three brokers show the same epoch and level, and returns both. It fails if a
// broker shows an epoch below least: a client that has seen least must never see a lower one.
func agreed(t *testing.T, admin *kadm.Client, least int64) (epoch int64, level int16) {
	t.Helper()
	eventually(t, time.Minute, "all brokers show the same features", func() bool {
		epochs, levels := featuresOf(t, admin)
		for id, e := range epochs {
			if e > 0 && e < least {
				t.Errorf("broker %d shows the epoch %d after %d was seen", id, e, least)
			}
		}
		epoch, level = epochs[1], levels[1]
		for id := int32(1); id <= 3; id++ {
			if epochs[id] != epoch || levels[id] != level {
				return false
			}
		}
		return epoch > 0 && level > 0
	})
	return epoch, level
}

// TestFeatureLevels restarts brokers of a new cluster. They must agree on the levels, no epoch may
// go back, and the commands must show the levels.
func TestFeatureLevels(t *testing.T) {
	brokers := startCluster(t)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, clusterClient(brokers)...))
	first, level := agreed(t, admin, 0)
	if out := mustVarve(t, brokers, "cluster", "upgrade", "--dry-run"); !strings.Contains(out, "varve.version") || !strings.Contains(out, "nothing to raise") {
		t.Errorf("there is nothing to upgrade, and the command says %s", out)
	}
	brokers[2].stop(t, syscall.SIGTERM)
	if out := mustVarve(t, brokers[:2], "cluster", "upgrade", "--yes"); !strings.Contains(out, "nothing to raise") {
		t.Errorf("with a broker away the command says %s", out)
	}
	brokers[2].start(t)
	if _, now := agreed(t, admin, first); now != level {
		t.Errorf("the level was %d and is %d", level, now)
	}
	if out := mustVarve(t, brokers, "cluster", "status"); !strings.Contains(out, "  varve.version ") {
		t.Errorf("the status shows no level: %s", out)
	}
}
