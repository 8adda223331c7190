package etcd

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/varvelog/varve/runtest"
	"github.com/varvelog/varve/security/securitytest"
)

// TestMembersOverTLS: three members and a client use TLS only. A member that returns presents a
// certificate that has been replaced.
func TestMembersOverTLS(t *testing.T) {
	t.Parallel()
	ca, other := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	var pairs [3]securitytest.Pair
	var tls [3]*MemberTLS
	for i := range tls {
		pairs[i] = ca.Issue(t)
		tls[i] = &MemberTLS{CAFile: ca.File, CertFile: pairs[i].CertFile, KeyFile: pairs[i].KeyFile, Client: loaded(t, ca, pairs[i])}
	}
	m := openMembersWith(t, tls)
	if t.Failed() {
		t.FailNow()
	}
	var endpoints []string
	for _, p := range m.peers {
		endpoint, err := p.url("https", 1)
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, endpoint)
	}
	client := openExternal(t, Options{Endpoints: endpoints, Brokers: true, TLS: loaded(t, ca, ca.Issue(t))})
	for i, s := range []*Store{m.stores[0], m.stores[1], m.stores[2], client} {
		write(t, s, "a")
		if q := describe(t, s, 3); len(q.Voters) != 3 {
			t.Fatalf("store %d: %+v", i, q)
		}
	}
	for name, config := range map[string]Options{
		"a stranger": {Endpoints: endpoints, TLS: loaded(t, ca, other.Issue(t))},
		"plain text": {Endpoints: []string{m.peers[0].Control}},
	} {
		config.Cluster, config.Logger, config.DialTimeout = "test", runtest.Logger(t), 300*time.Millisecond
		if _, err := Open(t.Context(), config); err == nil {
			t.Errorf("%s: opened", name)
		}
	}

	closeStore(t, m.stores[2])
	m.stores[2] = nil
	without := &Member{NodeID: 3, Peers: m.peers}
	_, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: filepath.Join(m.dir, "2"), Cluster: "test", Logger: runtest.Logger(t), Member: without})
	oneLine(t, err, "its members were made with TLS")
	next := ca.Issue(t)
	securitytest.Write(t, pairs[2].CertFile, next.Cert)
	securitytest.Write(t, pairs[2].KeyFile, next.Key)
	if m.open(t, 2); m.stores[2] == nil {
		t.FailNow()
	}
	write(t, m.stores[2], "a")
}
