package objstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// gather returns the values of a registry by "name{label values}".
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			name := fmt.Sprintf("%s{%s}", family.GetName(), strings.Join(labels, ","))
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestMetricsCountRequestsByOutcome(t *testing.T) {
	reg := prometheus.NewRegistry()
	faults := objstoretest.NewFaults(open(t, "mem://"))
	b := objstore.Metrics(faults, reg)
	put := func(ifAbsent bool) error {
		return b.Put(t.Context(), "k", strings.NewReader("0123456789"), objstore.PutOptions{IfAbsent: ifAbsent})
	}
	_, missing := b.Stat(t.Context(), "k")
	faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Times: 1})
	down, ok, lost := put(false), put(false), put(true)
	if missing == nil || down == nil || ok != nil || lost == nil {
		t.Fatal(missing, down, ok, lost)
	}
	_, _ = b.GetRange(t.Context(), "k", 4, make([]byte, 100)) // 6 bytes and the end
	for _, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Error(err)
		}
		if got := gather(t, reg)["varve_objstore_requests_in_flight{}"]; got != 1 {
			t.Errorf("%v in flight while listing", got)
		}
	}
	if err := errors.Join(b.Delete(t.Context(), "k"), b.Close()); err != nil {
		t.Fatal(err)
	}
	got := gather(t, reg)
	for name, want := range map[string]float64{
		"varve_objstore_requests_total{put,unavailable}":   1,
		"varve_objstore_requests_total{put,ok}":            1,
		"varve_objstore_requests_total{put,exists}":        1,
		"varve_objstore_requests_total{stat,not_found}":    1,
		"varve_objstore_requests_total{get,ok}":            1,
		"varve_objstore_requests_total{list,ok}":           1,
		"varve_objstore_requests_total{delete,ok}":         1,
		"varve_objstore_request_seconds{put}":              3,
		"varve_objstore_transferred_bytes_total{up}":       10,
		"varve_objstore_transferred_bytes_total{down}":     6,
		"varve_objstore_requests_in_flight{}":              0,
		"varve_objstore_requests_total{get,unavailable}":   0,
		"varve_objstore_requests_total{stat,unavailable}":  0,
		"varve_objstore_requests_total{delete,not_found}":  0,
		"varve_objstore_transferred_bytes_total{sideways}": 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, not %v", name, got[name], want)
		}
	}
}
