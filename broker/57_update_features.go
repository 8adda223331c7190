package broker

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// UpdateFeatures changes the finalized levels of features: all that are named, or none. Versions
// 0-2 (KIP-584). Any broker serves it.
//
//   - INVALID_UPDATE_VERSION, with a text, for a level that a broker does not support, and for a
//     change that the type of the update does not allow. A dead broker counts until it is
//     unregistered. The other features of such a request get FEATURE_UPDATE_FAILED.
//   - Level 0 disables a feature.
//   - v0: allow_downgrade is a safe downgrade.
//   - v1 (KIP-778): upgrade, safe downgrade (refused if stored data would lose its meaning), unsafe
//     downgrade; validation alone.
//   - v2 (KIP-1022): one error for the whole request, that of the first feature that cannot be
//     updated.
//
// Not implemented: authorization.
func (b *Broker) updateFeatures(ctx context.Context, _ *Request, req *kmsg.UpdateFeaturesRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	updates := make([]metadata.FeatureUpdate, len(req.FeatureUpdates))
	for i, u := range req.FeatureUpdates {
		updates[i] = metadata.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Type: upgradeType(req.Version, u)}
	}
	errs := b.admin.UpdateFeatures(ctx, updates, req.ValidateOnly)
	if req.Version >= 2 {
		resp.ErrorCode, resp.ErrorMessage = b.codeAndMessage(ctx, cause(errs))
		if resp.ErrorCode != int16(protocol.None) {
			resp.ErrorMessage = new("The update failed for all features since the following feature had an error: " + *resp.ErrorMessage)
		}
		return resp
	}
	for i, err := range errs {
		r := kmsg.NewUpdateFeaturesResponseResult()
		r.Feature = updates[i].Name
		r.ErrorCode, r.ErrorMessage = b.codeAndMessage(ctx, err)
		resp.Results = append(resp.Results, r)
	}
	return resp
}

// upgradeType returns the type of an update. In v0 a flag stands for it.
func upgradeType(version int16, u kmsg.UpdateFeaturesRequestFeatureUpdate) metadata.UpgradeType {
	switch {
	case version >= 1:
		return metadata.UpgradeType(u.UpgradeType)
	case u.AllowDowngrade:
		return metadata.SafeDowngrade
	default:
		return metadata.Upgrade
	}
}

// cause returns the first error that is not the consequence of another.
func cause(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, metadata.ErrFeatureUpdateFailed) {
			return err
		}
	}
	return errors.Join(errs...)
}
