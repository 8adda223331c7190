package client

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FeatureLevels returns the finalized levels of the cluster's features, by name.
func (c *Client) FeatureLevels(ctx context.Context) (map[string]int16, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	response, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, c.kafka) // any broker
	if err != nil {
		return nil, c.Explain(err)
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err != nil {
		return nil, c.about("read the features", "", err)
	}
	levels := map[string]int16{}
	for _, f := range response.FinalizedFeatures {
		levels[f.Name] = f.MaxVersionLevel
	}
	return levels, nil
}

// SupportedFeatures returns the highest levels that each live broker supports, by its id and the
// feature's name. All of them have to answer.
func (c *Client) SupportedFeatures(ctx context.Context) (map[int32]map[string]int16, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	versions, err := c.admin.ApiVersions(ctx)
	if err != nil {
		return nil, c.Explain(err)
	}
	brokers := map[int32]map[string]int16{}
	for id, v := range versions {
		if v.Err != nil {
			return nil, c.about("read what broker "+strconv.Itoa(int(id))+" supports", "", v.Err)
		}
		brokers[id] = map[string]int16{}
		for _, f := range v.Raw().SupportedFeatures {
			brokers[id][f.Name] = f.MaxVersion
		}
	}
	return brokers, nil
}

// Upgrade raises features to levels, all or none. With validateOnly it only checks whether that is
// possible.
func (c *Client) Upgrade(ctx context.Context, levels map[string]int16, validateOnly bool) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := kmsg.NewPtrUpdateFeaturesRequest()
	request.ValidateOnly = validateOnly
	request.TimeoutMillis = int32(c.options.Timeout.Milliseconds())
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType = name, levels[name], 1
		request.FeatureUpdates = append(request.FeatureUpdates, u)
	}
	response, err := request.RequestWith(ctx, c.kafka)
	if err != nil {
		return c.Explain(err)
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err != nil {
		return c.about("upgrade the cluster", text(response.ErrorMessage), err)
	}
	for _, r := range response.Results { // in versions before 2
		if err = kerr.ErrorForCode(r.ErrorCode); err != nil {
			return c.about("upgrade "+r.Feature, text(r.ErrorMessage), err)
		}
	}
	return nil
}
