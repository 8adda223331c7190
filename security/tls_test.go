package security

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/varvelog/varve/security/securitytest"
)

// load is Load for usable files.
func load(t *testing.T, m Material) *TLS {
	t.Helper()
	loaded, err := Load(m)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// meet runs a handshake between a server and a client, lets them exchange a byte, and returns the
// error of each.
func meet(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, atServer, atClient error) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	near, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, c := tls.Server(far, server), tls.Client(near, client)
	done := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(context.WithoutCancel(t.Context()))
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		_ = far.Close()
		done <- err
	}()
	if atClient = c.HandshakeContext(t.Context()); atClient == nil {
		_, atClient = c.Read(make([]byte, 1))
	}
	_ = near.Close()
	return c.ConnectionState(), <-done, atClient
}

func TestBothSidesAreVerified(t *testing.T) {
	ca, stranger := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	of := func(pair securitytest.Pair, a *securitytest.Authority) *TLS {
		return load(t, Material{Cert: PEM{File: pair.StoreFile}, CA: PEM{File: a.File}})
	}
	mutual := &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}
	good, nobody := of(ca.Issue(t), ca), load(t, Material{CA: PEM{File: ca.File}})
	for name, test := range map[string]struct {
		server, client *TLS
		auth           tls.ClientAuthType
		host           string
		skipName       bool
		wantErr        string // at the client or the server; empty: no error
	}{
		"both":                           {good, good, tls.RequireAndVerifyClientCert, "127.0.0.1", false, ""},
		"by name":                        {good, good, tls.RequireAndVerifyClientCert, "localhost", false, ""},
		"no client asked":                {good, nobody, tls.NoClientCert, "127.0.0.1", false, ""},
		"client may be absent":           {good, nobody, tls.VerifyClientCertIfGiven, "127.0.0.1", false, ""},
		"client absent":                  {good, nobody, tls.RequireAndVerifyClientCert, "127.0.0.1", false, "certificate required"},
		"client of a stranger":           {good, of(stranger.Issue(t), ca), tls.RequireAndVerifyClientCert, "127.0.0.1", false, "unknown certificate authority"},
		"client of a stranger, optional": {good, of(stranger.Issue(t), ca), tls.VerifyClientCertIfGiven, "127.0.0.1", false, "unknown certificate authority"},
		"client expired":                 {good, of(ca.Issue(t, securitytest.Expired), ca), tls.RequireAndVerifyClientCert, "127.0.0.1", false, "expired certificate"},
		"server of a stranger":           {of(stranger.Issue(t), ca), good, tls.NoClientCert, "127.0.0.1", false, "unknown authority"},
		"server expired":                 {of(ca.Issue(t, securitytest.Expired), ca), good, tls.NoClientCert, "127.0.0.1", false, "expired"},
		"server elsewhere":               {of(ca.Issue(t, securitytest.Elsewhere), ca), good, tls.NoClientCert, "127.0.0.1", false, "doesn't contain any IP SANs"},
		"no names":                       {of(ca.Issue(t, securitytest.Elsewhere), ca), good, tls.NoClientCert, "127.0.0.1", true, ""},
		"no names, stranger":             {of(stranger.Issue(t), ca), good, tls.NoClientCert, "127.0.0.1", true, "unknown authority"},
		"no names, expired":              {of(ca.Issue(t, securitytest.Expired), ca), good, tls.NoClientCert, "127.0.0.1", true, "expired"},
		"nothing to show":                {nobody, good, tls.NoClientCert, "127.0.0.1", false, "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, atServer, atClient := meet(t, test.server.Server(&tls.Config{ClientAuth: test.auth}), test.client.Client(&tls.Config{InsecureSkipVerify: test.skipName}, test.host))
			err := errors.Join(atServer, atClient)
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("server: %v\nclient: %v", atServer, atClient)
			}
		})
	}
	state, _, _ := meet(t, good.Server(mutual), good.Client(&tls.Config{}, "127.0.0.1"))
	if state.Version != tls.VersionTLS13 || state.DidResume {
		t.Errorf("TLS %x, resumed %v", state.Version, state.DidResume)
	}
	old := good.Client(&tls.Config{}, "127.0.0.1")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, atServer, atClient := meet(t, good.Server(mutual), old); atServer == nil || atClient == nil {
		t.Error("TLS 1.1 is taken")
	}
}

// TestNoTicketOutlivesTrust: a client must not resume a session after its authority is no longer
// trusted.
func TestNoTicketOutlivesTrust(t *testing.T) {
	ca, next := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	trust := file(t, ca.PEM)
	server := load(t, Material{Cert: PEM{File: ca.Issue(t).StoreFile}, CA: PEM{File: trust}})
	config := server.Server(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	client := load(t, Material{Cert: PEM{File: ca.Issue(t).StoreFile}, CA: PEM{File: ca.File}})
	cache := tls.NewLRUClientSessionCache(4)
	for range 2 {
		state, atServer, atClient := meet(t, config, client.Client(&tls.Config{ClientSessionCache: cache}, "127.0.0.1"))
		if atServer != nil || atClient != nil || state.DidResume {
			t.Fatalf("resumed %v: %v, %v", state.DidResume, atServer, atClient)
		}
	}
	securitytest.Write(t, trust, next.PEM)
	if changed, err := server.reload(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if _, atServer, _ := meet(t, config, client.Client(&tls.Config{ClientSessionCache: cache}, "127.0.0.1")); atServer == nil {
		t.Error("a client whose authority is no longer trusted came in")
	}
}

func TestVersions(t *testing.T) {
	for names, want := range map[string][2]uint16{
		"TLSv1.2,TLSv1.3": {tls.VersionTLS12, tls.VersionTLS13}, "TLSv1.3,TLSv1.2": {tls.VersionTLS12, tls.VersionTLS13},
		"TLSv1.2": {tls.VersionTLS12, tls.VersionTLS12}, "TLSv1.3": {tls.VersionTLS13, tls.VersionTLS13},
		"TLSv1.1": {}, "TLSv1.2,SSLv3": {}, "tlsv1.3": {},
	} {
		lowest, highest, err := ParseVersions(strings.Split(names, ","))
		if [2]uint16{lowest, highest} != want || (err == nil) != (want[0] != 0) {
			t.Errorf("%s: %x to %x, %v", names, lowest, highest, err)
		}
	}
	ca := securitytest.NewAuthority(t)
	both := load(t, Material{Cert: PEM{File: ca.Issue(t).StoreFile}, CA: PEM{File: ca.File}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		state, atServer, atClient := meet(t, both.Server(&tls.Config{MinVersion: version, MaxVersion: version}), both.Client(&tls.Config{}, "127.0.0.1"))
		if state.Version != version {
			t.Errorf("want %x: %x, %v, %v", version, state.Version, atServer, atClient)
		}
	}
}
