package server

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
)

func TestRebalancingIsWhatTheSettingsSay(t *testing.T) {
	for name, tc := range map[string]struct {
		set  map[string]string
		want controller.Rebalancing
	}{
		"default": {nil, controller.DefaultRebalancing},
		"set": {map[string]string{
			"auto.leader.rebalance.enable": "false", "leader.imbalance.check.interval.seconds": "7", "leader.imbalance.per.broker.percentage": "0",
		}, controller.Rebalancing{Interval: 7 * time.Second}},
		"as long as it may be": {map[string]string{"leader.imbalance.check.interval.seconds": "9223372036854775807"}, controller.Rebalancing{
			Enable: true, ImbalancePercent: 10, Interval: 9223372036 * time.Second,
		}},
	} {
		s := &server{settings: newSettings(config.Broker{Set: tc.set})}
		s.values = s.settings.Broker()
		if got := s.rebalancing(nil); got != tc.want {
			t.Errorf("%s: %+v, not %+v", name, got, tc.want)
		}
	}
}

// TestAdvertisedListeners: the registration has the advertised listeners at their actual ports.
func TestAdvertisedListeners(t *testing.T) {
	s := &server{Options: Options{Config: config.Broker{
		Listen:    []config.Endpoint{{Name: "PLAINTEXT", Address: "127.0.0.1:0"}, {Name: "HIDDEN", Address: "127.0.0.1:0"}, {Name: "EXTERNAL", Address: "127.0.0.1:0"}},
		Advertise: []config.Endpoint{{Name: "EXTERNAL", Address: "broker.example.com:9094"}, {Name: "PLAINTEXT", Address: "[::1]:0"}},
		Set:       map[string]string{"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,EXTERNAL:PLAINTEXT,HIDDEN:PLAINTEXT"},
	}}, parts: newStages(slog.New(slog.DiscardHandler))}
	for _, e := range s.Config.Listen {
		ln, err := s.listen(t.Context(), "--listen", e.Address)
		if err != nil {
			t.Fatal(err)
		}
		s.kafka = append(s.kafka, ln)
	}
	port := s.kafka[0].Addr().(*net.TCPAddr).Port
	got, err := s.advertised()
	want := []metadata.Listener{
		{Name: "PLAINTEXT", Host: "::1", Port: int32(port), Protocol: "PLAINTEXT"},
		{Name: "EXTERNAL", Host: "broker.example.com", Port: 9094, Protocol: "PLAINTEXT"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if text := s.advertisedText(); text != fmt.Sprintf("[::1]:%d,EXTERNAL://broker.example.com:9094", port) {
		t.Error(text)
	}
	if _, err = s.listen(t.Context(), "--listen", s.kafka[0].Addr().String()); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("an address that is in use: %v", err)
	}
	if err = s.parts.stop(); err != nil {
		t.Error(err)
	}
}
