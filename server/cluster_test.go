package server

import (
	"testing"
	"time"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
)

func TestRebalancingIsWhatTheSettingsSay(t *testing.T) {
	for name, tc := range map[string]struct {
		set  map[string]string
		want metadata.Rebalancing
	}{
		"default": {nil, metadata.DefaultRebalancing},
		"set": {map[string]string{
			"auto.leader.rebalance.enable": "false", "leader.imbalance.check.interval.seconds": "7", "leader.imbalance.per.broker.percentage": "0",
		}, metadata.Rebalancing{Interval: 7 * time.Second}},
		"as long as it may be": {map[string]string{"leader.imbalance.check.interval.seconds": "9223372036854775807"}, metadata.Rebalancing{
			Enable: true, ImbalancePercent: 10, Interval: 9223372036 * time.Second,
		}},
	} {
		s := &server{settings: newSettings(config.Broker{Set: tc.set})}
		s.values = s.settings.Layers().Broker()
		if got := s.rebalancing(nil); got != tc.want {
			t.Errorf("%s: %+v, not %+v", name, got, tc.want)
		}
	}
}
