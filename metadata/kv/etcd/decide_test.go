package etcd

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// TestJudge checks the table of Member.decide, for a seed of three.
func TestJudge(t *testing.T) {
	const own = "http://127.0.0.1:9094"
	knows := func(address, name string, clients ...string) answer {
		return answer{members: []*membership.Member{{
			RaftAttributes: membership.RaftAttributes{PeerURLs: []string{address}},
			Attributes:     membership.Attributes{Name: name, ClientURLs: clients},
		}}}
	}
	silent, empty := answer{reason: errors.New("nobody listens")}, answer{blank: &blank{}}
	used := answer{blank: &blank{Holds: "logs"}}
	added, fresh := knows(own, ""), knows(own, "1")
	started, stranger := knows(own, "1", own), knows("http://127.0.0.1:9095", "2")
	for _, c := range []struct {
		name    string
		answers []answer
		holds   string
		found   bool
		want    verdict
	}{
		{"all are blank", []answer{empty, empty}, "", false, begins},
		{"the others have begun without this one", []answer{fresh, empty}, "", false, begins},
		{"one is silent", []answer{empty, silent}, "", false, waits},
		{"one has logs", []answer{empty, used}, "", false, waits},
		{"this one has logs", []answer{empty, empty}, "logs", false, waits},
		{"all say that it was added", []answer{added, added}, "", false, joins},
		{"one says so, the other is silent", []answer{added, silent}, "", false, waits},
		{"one says so, the other is blank", []answer{added, empty}, "", false, waits},
		{"one says so, the other lags", []answer{added, fresh}, "", false, asks},
		{"it has started before", []answer{started, silent}, "", false, asks},
		{"it is no member any more", []answer{stranger, empty}, "", false, asks},
		{"--found with a silent one", []answer{empty, silent}, "", true, begins},
		{"--found once it was added", []answer{added, silent}, "", true, joins},
		{"--found beside logs", []answer{empty, silent}, "logs", true, waits},
	} {
		m := &Member{Peers: make([]Peer, 3), Found: c.found}
		if got := m.judge(own, c.answers, c.holds); got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, got, c.want)
		}
	}
}
