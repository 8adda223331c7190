package security

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/security/securitytest"
)

// metric returns the value of a metric for the use "test"; -1 if there is none.
func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return -1
}

func TestFilesAreReplaced(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	first, second := ca.Issue(t), ca.Issue(t)
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	w := NewWatcher(WatcherOptions{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})), Registerer: reg})
	changes := 0
	watched, err := w.Load("test", Material{
		Cert: PEM{Name: "the.cert", File: first.CertFile}, Key: PEM{Name: "the.key", File: first.KeyFile}, CA: PEM{Name: "the.ca", File: ca.File},
	}, func() { changes++ })
	if err != nil {
		t.Fatal(err)
	}
	config := watched.Server(&tls.Config{})
	shown := func() string {
		state, atServer, atClient := meet(t, config, watched.Client(&tls.Config{}, "127.0.0.1"))
		if atServer != nil || atClient != nil {
			t.Fatal(atServer, atClient)
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	pass := func() { w.poll(t.Context(), "test", watched) }
	if shown() != first.Serial.String() || metric(t, reg, "varve_tls_reload_failures_total") != 0 {
		t.Error("it does not begin with the first certificate")
	}
	expiry := metric(t, reg, "varve_tls_certificate_expiry_seconds")
	if expiry != float64(watched.NotAfter().Unix()) {
		t.Errorf("expires at %v", expiry)
	}
	pass()
	if changes != 0 {
		t.Error("a change was seen where there was none")
	}

	// A replacement in two steps, with a poll between them, is not an error.
	securitytest.Write(t, first.CertFile, second.Cert)
	pass()
	if shown() != first.Serial.String() || log.Len() > 0 {
		t.Errorf("half a change was taken, or told of: %s", &log)
	}
	securitytest.Write(t, first.KeyFile, second.Key)
	pass()
	pass()
	if shown() != second.Serial.String() || changes != 1 || log.Len() > 0 {
		t.Errorf("the second certificate is not in use (%d changes): %s", changes, &log)
	}

	// An error is reported once, however long it lasts.
	securitytest.Write(t, first.CertFile, "nothing")
	for range 4 {
		pass()
	}
	if shown() != second.Serial.String() || changes != 1 || metric(t, reg, "varve_tls_reload_failures_total") != 1 ||
		strings.Count(log.String(), "the.cert "+first.CertFile) != 1 {
		t.Errorf("after a bad file: %d changes, %v failures: %s", changes, metric(t, reg, "varve_tls_reload_failures_total"), &log)
	}
	if err = os.Remove(ca.File); err != nil { // it is read before the certificate is parsed
		t.Fatal(err)
	}
	pass()
	pass()
	if metric(t, reg, "varve_tls_reload_failures_total") != 2 || !strings.Contains(log.String(), "the.ca: open "+ca.File) {
		t.Errorf("after a file is gone: %s", &log)
	}
	later := ca.Issue(t)
	securitytest.Write(t, ca.File, ca.PEM)
	securitytest.Write(t, first.CertFile, later.Cert)
	securitytest.Write(t, first.KeyFile, later.Key)
	pass()
	if shown() != later.Serial.String() || changes != 2 {
		t.Errorf("the files are mended, and not taken: %d changes", changes)
	}
}

// TestRun: a running Watcher polls by itself.
func TestRun(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	first, second := ca.Issue(t), ca.Issue(t)
	w := NewWatcher(WatcherOptions{Logger: slog.New(slog.DiscardHandler), Interval: time.Millisecond})
	changed := make(chan struct{}, 1)
	watched, err := w.Load("test", Material{Cert: PEM{File: first.StoreFile}}, func() { changed <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	securitytest.Write(t, first.StoreFile, second.Key+second.Cert)
	<-changed
	if got := watched.Certificate().Leaf.SerialNumber; got.Cmp(second.Serial) != 0 {
		t.Errorf("the certificate %v", got)
	}
	cancel()
	if err = <-done; err != nil {
		t.Error(err)
	}
}
