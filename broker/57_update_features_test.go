package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

func updateRequest(version int16, updates ...kmsg.UpdateFeaturesRequestFeatureUpdate) *kmsg.UpdateFeaturesRequest {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version, req.TimeoutMillis, req.FeatureUpdates = version, 10_000, updates
	return req
}

func TestUpdateFeatures(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	same := kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: metadata.VarveVersion, MaxVersionLevel: 1, UpgradeType: 1}
	high := kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: metadata.VarveVersion, MaxVersionLevel: 1000, UpgradeType: 1}
	none := kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "no.such.version", MaxVersionLevel: 1, UpgradeType: 1}
	for version := range int16(3) {
		resp := c.call(updateRequest(version, same)).(*kmsg.UpdateFeaturesResponse)
		if resp.ErrorCode != 0 || len(resp.Results) != map[bool]int{true: 1, false: 0}[version < 2] {
			t.Errorf("v%d: what is so already: %+v", version, resp)
		}
		resp = c.call(updateRequest(version, none, same)).(*kmsg.UpdateFeaturesResponse)
		switch {
		case version < 2 && (resp.ErrorCode != 0 || len(resp.Results) != 2 ||
			resp.Results[0].ErrorCode != int16(protocol.InvalidUpdateVersion) || resp.Results[1].ErrorCode != int16(protocol.FeatureUpdateFailed)):
			t.Errorf("v%d: %+v", version, resp)
		case version == 2 && (resp.ErrorCode != int16(protocol.InvalidUpdateVersion) || len(resp.Results) != 0 ||
			!strings.HasPrefix(shown(resp.ErrorMessage), "The update failed for all features since the following feature had an error: invalid update version 1 for feature no.such.version")):
			t.Errorf("v%d: %d %s", version, resp.ErrorCode, shown(resp.ErrorMessage))
		}
	}
	resp := c.call(updateRequest(2, high)).(*kmsg.UpdateFeaturesResponse)
	if !strings.Contains(shown(resp.ErrorMessage), "broker 1 only supports levels") {
		t.Error(shown(resp.ErrorMessage))
	}
	expectLogged(t, c.logs, "level", 0)
}

func TestUpgradeTypeOfOldRequests(t *testing.T) {
	for downgrade, want := range map[bool]metadata.UpgradeType{false: metadata.Upgrade, true: metadata.SafeDowngrade} {
		if got := upgradeType(0, kmsg.UpdateFeaturesRequestFeatureUpdate{AllowDowngrade: downgrade, UpgradeType: 3}); got != want {
			t.Errorf("v0, downgrade %t: %d, want %d", downgrade, got, want)
		}
	}
	if got := upgradeType(1, kmsg.UpdateFeaturesRequestFeatureUpdate{AllowDowngrade: true, UpgradeType: 3}); got != metadata.UnsafeDowngrade {
		t.Errorf("v1: %d", got)
	}
}

// TestCauseOfAFailedUpdate: the cause is the first error that is not the consequence of another
// update's error.
func TestCauseOfAFailedUpdate(t *testing.T) {
	own := fmt.Errorf("%w 7", metadata.ErrInvalidUpdateVersion)
	other := fmt.Errorf("%w: another", metadata.ErrFeatureUpdateFailed)
	if got := cause([]error{nil, other, own}); !errors.Is(got, own) {
		t.Error(got)
	}
	if got := cause([]error{other}); !errors.Is(got, other) {
		t.Error(got)
	}
	if cause([]error{nil}) != nil {
		t.Error("there is none")
	}
}

// TestFranzGoReadsFeatures: an unmodified client reads the features, and gets the reason why one
// cannot be raised.
func TestFranzGoReadsFeatures(t *testing.T) {
	c := newTestCluster(t, 0, nil)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.listenOn(t)), kgo.RetryTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	versions, err := admin.ApiVersions(t.Context())
	if err != nil || len(versions) != 1 {
		t.Fatal(versions, err)
	}
	broker := versions[1]
	raw := broker.Raw()
	finalized := c.loader.Image().Features
	if raw.FinalizedFeaturesEpoch != finalized.Epoch || len(raw.FinalizedFeatures) != len(finalized.Levels) || len(raw.SupportedFeatures) != len(metadata.Supported()) {
		t.Fatalf("%+v", raw)
	}
	if f := raw.FinalizedFeatures[0]; f.Name != metadata.VarveVersion || f.MaxVersionLevel != finalized.Levels[metadata.VarveVersion] {
		t.Errorf("finalized %+v", f)
	}
	updated, err := admin.UpdateFeatures(t.Context(), false, kadm.FeatureUpdate{Feature: metadata.VarveVersion, MaxVersionLevel: 1000, UpgradeType: 1})
	if !errors.Is(err, kerr.InvalidUpdateVersion) && !errors.Is(updated.Error(), kerr.InvalidUpdateVersion) {
		t.Errorf("%+v, %v", updated, err)
	}
}
