package interbroker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/security"
	"github.com/varvelog/varve/security/securitytest"
)

// TestFetchOverTLS: brokers verify each other's certificates, including the host name unless that
// check is turned off.
func TestFetchOverTLS(t *testing.T) {
	ca, other := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	load := func(pair securitytest.Pair) *security.TLS {
		material, err := security.Load(security.Material{Cert: security.PEM{File: pair.StoreFile}, CA: security.PEM{File: ca.File}})
		if err != nil {
			t.Fatal(err)
		}
		return material
	}
	for name, test := range map[string]struct {
		leader, follower securitytest.Pair
		plainFollower    bool
		anyHost          bool
		works            bool
	}{
		"both known":              {leader: ca.Issue(t, func(c *x509.Certificate) { c.DNSNames = nil }), follower: ca.Issue(t), works: true},
		"an unknown leader":       {leader: other.Issue(t), follower: ca.Issue(t)},
		"an unknown follower":     {leader: ca.Issue(t), follower: other.Issue(t)},
		"a leader elsewhere":      {leader: ca.Issue(t, securitytest.Elsewhere), follower: ca.Issue(t)},
		"a leader, by any name":   {leader: ca.Issue(t, securitytest.Elsewhere), follower: ca.Issue(t), anyHost: true, works: true},
		"unknown, by any name":    {leader: other.Issue(t), follower: ca.Issue(t), anyHost: true},
		"a follower in the clear": {leader: ca.Issue(t), plainFollower: true},
	} {
		t.Run(name, func(t *testing.T) {
			config := load(test.leader).Server(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
			l := newLeaderOn(t, func(ln net.Listener) net.Listener { return tls.NewListener(ln, config) }, func(*kmsg.FetchRequest, *kmsg.FetchResponse) {})
			dialer := Dialer{Listener: listener}
			if !test.plainFollower {
				material := load(test.follower)
				dialer.TLS = func(host string) *tls.Config {
					return material.Client(&tls.Config{InsecureSkipVerify: test.anyHost}, host)
				}
			}
			c := dialer.Dial(l.broker)
			defer c.Close()
			_, err := c.Fetch(t.Context(), &replication.ReplicaFetch{Positions: []replication.ReplicaPosition{position(0, 1)}})
			if test.works && err != nil || !test.works && !errors.Is(err, replication.ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		})
	}
}
