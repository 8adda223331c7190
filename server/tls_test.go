package server

import (
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/security/securitytest"
)

// TestListenersSettingsReachTLS has two SSL listeners with their own settings, and one without TLS.
func TestListenersSettingsReachTLS(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	c := config.Broker{
		Listen: []config.Endpoint{{Name: "SSL"}, {Name: "PUBLIC"}, {Name: "PLAINTEXT"}},
		Set: map[string]string{
			"listener.security.protocol.map": "SSL:SSL,PUBLIC:SSL,PLAINTEXT:PLAINTEXT", "security.inter.broker.protocol": "SSL",
			"ssl.keystore.location": pair.StoreFile, "ssl.truststore.location": ca.File, "ssl.client.auth": "required", "ssl.endpoint.identification.algorithm": "",
			"listener.name.public.ssl.keystore.certificate.chain": pair.Cert, "listener.name.public.ssl.keystore.key": pair.Key, "listener.name.public.ssl.keystore.location": "",
			"listener.name.public.ssl.client.auth": "requested", "listener.name.public.ssl.enabled.protocols": "TLSv1.2",
			"listener.name.public.ssl.cipher.suites": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		},
	}
	s := controlOnly(t, c, slog.New(slog.DiscardHandler))
	if err := s.loadTLS(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.parts.stop(); err != nil {
			t.Error(err)
		}
	}()
	inner, public := s.tls.listener(c, "SSL"), s.tls.listener(c, "PUBLIC")
	if inner.ClientAuth != tls.RequireAndVerifyClientCert || inner.MinVersion != tls.VersionTLS12 || inner.MaxVersion != tls.VersionTLS13 || inner.CipherSuites != nil {
		t.Errorf("SSL: %+v", inner)
	}
	if public.ClientAuth != tls.VerifyClientCertIfGiven || public.MaxVersion != tls.VersionTLS12 || len(public.CipherSuites) != 1 {
		t.Errorf("PUBLIC: %+v", public)
	}
	if s.tls.listener(c, "PLAINTEXT") != nil {
		t.Error("PLAINTEXT speaks TLS")
	}
	if dial := s.tls.brokers(c)("localhost"); dial.ServerName != "localhost" || dial.VerifyConnection == nil || dial.RootCAs == nil {
		t.Errorf("between brokers: %+v", dial)
	}
	delete(c.Set, "security.inter.broker.protocol")
	if s.tls.brokers(c) != nil {
		t.Error("brokers speak TLS to each other at PLAINTEXT")
	}
	c.Set["ssl.keystore.location"] = "/absent"
	broken := controlOnly(t, c, slog.New(slog.DiscardHandler))
	if err := broken.loadTLS(t.Context()); err == nil || !strings.Contains(err.Error(), "listener SSL: ssl.keystore.location: open /absent") {
		t.Errorf("got %v", err)
	}
}
