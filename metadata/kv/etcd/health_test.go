package etcd

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// TestHealthIsWhetherEtcdAnswers: rejections count as answers; silence and the lack of a leader do
// not.
func TestHealthIsWhetherEtcdAnswers(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := &Store{}
	s.Register(registry)
	value := func(name string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if m := f.GetMetric()[0]; f.GetName() == name {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		t.Fatalf("there is no %s", name)
		return 0
	}
	check := func(when string, reachable, failures float64) {
		t.Helper()
		if value("varve_etcd_reachable") != reachable || value("varve_etcd_request_failures_total") != failures {
			t.Errorf("%s: reachable %v, %v failures", when, value("varve_etcd_reachable"), value("varve_etcd_request_failures_total"))
		}
	}
	check("before the first request", 0, 0)
	if age := value("varve_etcd_last_contact_seconds"); age != -1 {
		t.Errorf("the last contact was %v s ago", age)
	}
	s.health.heard()
	check("after an answer", 1, 0)
	if age := value("varve_etcd_last_contact_seconds"); age < 0 || age > 60 {
		t.Errorf("the last contact was %v s ago", age)
	}
	_ = s.wrap(t.Context(), rpctypes.ErrGRPCNoLeader, "put")
	check("without a leader", 0, 1)
	_ = s.wrap(t.Context(), rpctypes.ErrGRPCCompacted, "watch")
	check("after a refusal", 1, 1)
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_ = s.wrap(late, context.DeadlineExceeded, "get")
	check("after silence", 0, 2)
	left, leave := context.WithCancel(t.Context())
	leave()
	_ = s.wrap(left, context.Canceled, "get")
	check("after a caller that has left", 0, 2)
}
