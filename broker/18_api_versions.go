package broker

import (
	"context"
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// ApiVersions tells a client what it may send. Versions 0-4.
//
//   - v3 (KIP-511): the client names itself; names that do not look like one get INVALID_REQUEST and no list. The response header
//     stays at v0 in every version.
//   - v3 (KIP-584): supported and finalized features; none here, so both lists are empty and the epoch is -1.
//   - v4: as v3.
//   - Any other version is answered as v0 with UNSUPPORTED_VERSION and the range of this API alone, so that the client can ask again.
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
	return resp
}

// apiVersionsKey is the one API whose request is answered whatever its version.
const apiVersionsKey = 18

// softwarePattern is Kafka's (ApiVersionsRequest.SOFTWARE_NAME_VERSION_PATTERN).
var softwarePattern = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// advertised is the table as clients see it, in the order of the keys.
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

// apiVersionsUnsupported answers an ApiVersions request of a version that this broker does not know.
func (b *Broker) apiVersionsUnsupported() kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(0)
	resp.ErrorCode = int16(protocol.UnsupportedVersion)
	resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{b.apis[apiVersionsKey].versions()}
	return resp
}
