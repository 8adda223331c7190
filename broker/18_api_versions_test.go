package broker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

func TestApiVersionsListTheTable(t *testing.T) {
	b, _ := newPlainBroker(t, nil)
	for version := range int16(5) {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = version, "kgo", "v1.22.2"
		resp := b.apiVersions(t.Context(), &Request{}, req).(*kmsg.ApiVersionsResponse)
		table := apis()
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != len(table) || resp.FinalizedFeaturesEpoch != -1 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		for i, k := range resp.ApiKeys {
			if k.ApiKey != table[i].key || k.MinVersion != table[i].advertisedMin || k.MaxVersion != table[i].max {
				t.Errorf("v%d: %+v", version, k)
			}
		}
	}
}

func TestApiVersionsShowFeatures(t *testing.T) {
	image := metadata.Image{Features: metadata.FinalizedFeatures{Epoch: 77, Levels: map[string]int16{"a.version": 2, "z.version": 1}}}
	b, _ := newPlainBroker(t, nil)
	b.cluster = &still{image: image}
	b.features = map[string]metadata.FeatureRange{"z.version": {Max: 3}, "a.version": {Min: 1, Max: 2}}
	for version, want := range []string{
		2: "[] -1 []",
		3: "[{a.version 1 2}] 77 [{a.version 2 2} {z.version 1 1}]",
		4: "[{a.version 1 2} {z.version 0 3}] 77 [{a.version 2 2} {z.version 1 1}]",
	} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = int16(version), "kgo", "v1.22.2"
		resp := b.apiVersions(t.Context(), &Request{}, req).(*kmsg.ApiVersionsResponse)
		resp.SetVersion(int16(version))
		var got kmsg.ApiVersionsResponse
		got.Version = int16(version)
		got.Default()
		if err := got.ReadFrom(resp.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		var supported, finalized []string
		for _, f := range got.SupportedFeatures {
			supported = append(supported, fmt.Sprintf("{%s %d %d}", f.Name, f.MinVersion, f.MaxVersion))
		}
		for _, f := range got.FinalizedFeatures {
			finalized = append(finalized, fmt.Sprintf("{%s %d %d}", f.Name, f.MinVersionLevel, f.MaxVersionLevel))
		}
		if text := fmt.Sprint(supported, got.FinalizedFeaturesEpoch, finalized); want != "" && text != want {
			t.Errorf("v%d: %s, want %s", version, text, want)
		}
	}
}

func TestApiVersionsChecksTheSoftware(t *testing.T) {
	b, _ := newPlainBroker(t, nil)
	for _, tc := range []struct {
		name, version string
		want          protocol.ErrorCode
	}{
		{"librdkafka", "2.13.0-RC1", protocol.None},
		{"a", "1", protocol.None},
		{"", "1", protocol.InvalidRequest},
		{"kgo", "", protocol.InvalidRequest},
		{"-kgo", "1", protocol.InvalidRequest},
		{"kgo", "1.", protocol.InvalidRequest},
		{"k go", "1", protocol.InvalidRequest},
		{"kgo", "1\n", protocol.InvalidRequest},
	} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 3, tc.name, tc.version
		if resp := b.apiVersions(t.Context(), &Request{}, req).(*kmsg.ApiVersionsResponse); resp.ErrorCode != int16(tc.want) {
			t.Errorf("%q %q: %s", tc.name, tc.version, protocol.ErrorCode(resp.ErrorCode))
		}
	}
}
