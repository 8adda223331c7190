package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

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
