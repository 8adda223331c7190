package client

import (
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFeaturesAreReadAndRaised(t *testing.T) {
	var asked []kmsg.UpdateFeaturesRequest
	refusal := "broker 2 only supports levels 1 to 2"
	f := newFakeBroker(t, nil)
	f.answers[int16(kmsg.UpdateFeatures)] = func(r kmsg.Request) kmsg.Response {
		asked = append(asked, *r.(*kmsg.UpdateFeaturesRequest))
		response := r.ResponseKind().(*kmsg.UpdateFeaturesResponse)
		if len(asked) > 1 {
			response.ErrorCode, response.ErrorMessage = 95, &refusal
		}
		return response
	}
	f.features = func(r *kmsg.ApiVersionsResponse) {
		r.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{{Name: "varve.version", MinVersion: 1, MaxVersion: 3}}
		r.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{{Name: "varve.version", MinVersionLevel: 2, MaxVersionLevel: 2}}
		r.FinalizedFeaturesEpoch = 7
	}
	c := connect(t, f.addr)
	levels, err := c.FeatureLevels(t.Context())
	if err != nil || !maps.Equal(levels, map[string]int16{"varve.version": 2}) {
		t.Errorf("levels %v, %v", levels, err)
	}
	supported, err := c.SupportedFeatures(t.Context())
	if err != nil || len(supported) != 1 || supported[1]["varve.version"] != 3 {
		t.Errorf("supported %v, %v", supported, err)
	}
	if err = c.Upgrade(t.Context(), map[string]int16{"varve.version": 3}, true); err != nil {
		t.Error(err)
	}
	err = c.Upgrade(t.Context(), map[string]int16{"varve.version": 3}, false)
	if err == nil || !strings.Contains(err.Error(), "upgrade the cluster: "+refusal) {
		t.Error(err)
	}
	if len(asked) != 2 || !asked[0].ValidateOnly || asked[1].ValidateOnly {
		t.Fatalf("asked %+v", asked)
	}
	if u := asked[0].FeatureUpdates; len(u) != 1 || u[0].Feature != "varve.version" || u[0].MaxVersionLevel != 3 || u[0].UpgradeType != 1 {
		t.Errorf("asked for %+v", u)
	}
}
