package broker

import (
	"context"
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// ApiVersions lists the APIs and versions that a client may send. Versions 0-4.
//
//   - v3 (KIP-511): the client names its software. A malformed name or version gets INVALID_REQUEST
//     and no list. The response header stays at v0 in every version.
//   - v3 (KIP-584): the features that this broker supports, and those that the cluster has
//     finalized, with an epoch that grows with every change of them. It is -1 until this broker has
//     the cluster's state. Clients before v4 cannot decode a feature whose lowest level is 0, so it
//     is left out for them.
//   - v4: as v3, with all features.
//   - Any other version is answered as v0 with UNSUPPORTED_VERSION and the range of this API alone,
//     so that the client can ask again.
//
// Not implemented: telemetry (KIP-714), hence no telemetry APIs in the list.
func (b *Broker) apiVersions(_ context.Context, r *Request, req *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	resp.FinalizedFeaturesEpoch = -1
	resp.ApiKeys = b.advertised()
	if req.Version < 3 {
		return resp
	}
	if !softwarePattern.MatchString(req.ClientSoftwareName) || !softwarePattern.MatchString(req.ClientSoftwareVersion) {
		resp.ErrorCode = int16(protocol.InvalidRequest)
		resp.ApiKeys = nil
		return resp
	}
	r.setSoftware(Software{Name: req.ClientSoftwareName, Version: req.ClientSoftwareVersion})
	resp.SupportedFeatures = supportedFeatures(b.features, req.Version)
	if finalized := b.cluster.Image().Features; finalized.Epoch > 0 {
		resp.FinalizedFeaturesEpoch, resp.FinalizedFeatures = finalized.Epoch, finalizedFeatures(finalized.Levels)
	}
	return resp
}

// supportedFeatures returns this broker's features. Clients before v4 fail on a lowest level of 0.
func supportedFeatures(supported map[string]metadata.FeatureRange, version int16) []kmsg.ApiVersionsResponseSupportedFeature {
	var features []kmsg.ApiVersionsResponseSupportedFeature
	for _, name := range slices.Sorted(maps.Keys(supported)) {
		f := kmsg.NewApiVersionsResponseSupportedFeature()
		f.Name, f.MinVersion, f.MaxVersion = name, supported[name].Min, supported[name].Max
		if version >= 4 || f.MinVersion > 0 {
			features = append(features, f)
		}
	}
	return features
}

// finalizedFeatures returns the cluster's features. As in Kafka both ends are the one finalized
// level.
func finalizedFeatures(levels map[string]int16) []kmsg.ApiVersionsResponseFinalizedFeature {
	features := make([]kmsg.ApiVersionsResponseFinalizedFeature, 0, len(levels))
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		f := kmsg.NewApiVersionsResponseFinalizedFeature()
		f.Name, f.MinVersionLevel, f.MaxVersionLevel = name, levels[name], levels[name]
		features = append(features, f)
	}
	return features
}

// apiVersionsKey is the one API whose requests are answered in every version.
const apiVersionsKey = 18

// softwarePattern is Kafka's (ApiVersionsRequest.SOFTWARE_NAME_VERSION_PATTERN).
var softwarePattern = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// advertised returns the table as clients see it, in the order of the keys.
func (b *Broker) advertised() []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(b.apis))
	for _, a := range apis() {
		keys = append(keys, a.versions())
	}
	return keys
}

func (a api) versions() kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.advertisedMin, a.max
	return k
}

// apiVersionsUnsupported answers an ApiVersions request in a version that this broker does not
// serve.
func (b *Broker) apiVersionsUnsupported() kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(0)
	resp.ErrorCode = int16(protocol.UnsupportedVersion)
	resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{b.apis[apiVersionsKey].versions()}
	return resp
}
