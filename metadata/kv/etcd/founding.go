package etcd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// Before a member without files begins, it asks all other seeds for their state, at their addresses
// for members. A running etcd member answers there with the list of members. A seed that has not
// begun either answers the same request with its own blank.
const (
	membersPath = "/members"
	blankHeader = "X-Varve-Blank" // has the blank as JSON
	etcdHeader  = "X-Etcd-Cluster-Id"
	// askTimeout bounds how long a seed may take to answer, maxAnswer the size of its answer in
	// bytes.
	askTimeout = time.Second
	maxAnswer  = 1 << 20
	// The pauses between two rounds of questions. A cluster begins a round after its last seed has
	// started.
	roundMin = 5 * time.Millisecond
	roundMax = 50 * time.Millisecond
)

// blank is a seed without an etcd member, as it describes itself.
type blank struct {
	Cluster string `json:"cluster"`
	NodeID  int32  `json:"node_id"`
	Seeds   string `json:"seeds"`
	Holds   string `json:"holds"` // as in EmbeddedOptions
}

// answer is the answer of one other seed in a round. It is blank, or it has members, or reason says
// why neither is known.
type answer struct {
	peer    Peer
	blank   *blank
	members []*membership.Member
	reason  error
}

// self returns this member as a blank.
func (m *Member) self(o EmbeddedOptions) blank {
	seeds := make([]string, len(m.Peers))
	for i, p := range m.Peers {
		seeds[i] = fmt.Sprintf("%d=%s", p.NodeID, p.Control)
	}
	slices.Sort(seeds)
	return blank{Cluster: o.Cluster, NodeID: m.NodeID, Seeds: strings.Join(seeds, ","), Holds: o.Holds}
}

// serveBlank answers the other seeds until stop is called, which frees the address.
func (m *Member) serveBlank(o EmbeddedOptions) (stop func(), err error) {
	text, err := json.Marshal(m.self(o))
	if err != nil {
		return nil, fmt.Errorf("describe a seed without a member: %w", err)
	}
	own := m.Peers[slices.IndexFunc(m.Peers, func(p Peer) bool { return p.NodeID == m.NodeID })]
	if m.Listen != "" {
		own.Control = m.Listen
	}
	var info *transport.TLSInfo
	if m.TLS != nil {
		files := m.TLS.info()
		info = &files
	}
	ln, err := transport.NewListener(own.Control, m.scheme(), info)
	if err != nil {
		return nil, fmt.Errorf("listen for the other seeds at %s: %w", own.Control, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+membersPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(blankHeader, string(text))
	})
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: askTimeout, WriteTimeout: askTimeout,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(ln) }) // Serve returns after Close
	return func() {
		_ = server.Close() // a seed that waits for an answer asks again
		serving.Wait()
	}, nil
}

// asker asks the other seeds.
type asker struct {
	self   blank
	scheme string
	others []Peer
	client http.Client
}

func (m *Member) asker(o EmbeddedOptions) *asker {
	dialer := &net.Dialer{Timeout: acceptTimeout}
	// No connection outlives its question, because the listener there is about to change.
	t := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	if m.TLS != nil {
		t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&tls.Dialer{NetDialer: dialer, Config: m.TLS.Client(host)}).DialContext(ctx, network, address)
		}
	}
	others := slices.DeleteFunc(slices.Clone(m.Peers), func(p Peer) bool { return p.NodeID == m.NodeID })
	return &asker{self: m.self(o), scheme: m.scheme(), others: others, client: http.Client{Transport: t, Timeout: askTimeout}}
}

// round asks all others at the same time. Only answers of one round may be combined: an answer of
// an earlier round may be out of date.
func (a *asker) round(ctx context.Context) []answer {
	answers := make([]answer, len(a.others))
	var all sync.WaitGroup
	for i, p := range a.others {
		all.Go(func() {
			answers[i] = answer{peer: p}
			answers[i].reason = a.ask(ctx, &answers[i])
		})
	}
	all.Wait()
	return answers
}

func (a *asker) ask(ctx context.Context, to *answer) error {
	address, err := to.peer.url(a.scheme, 0)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+membersPath, http.NoBody)
	if err != nil {
		return err
	}
	response, err := a.client.Do(request)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // the outer error repeats the address
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case response.Header.Get(blankHeader) != "":
		return a.readBlank(to, response.Header.Get(blankHeader))
	case response.StatusCode != http.StatusOK || response.Header.Get(etcdHeader) == "":
		return errors.New("what listens there is no member of etcd")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	var members []*membership.Member
	if err = json.Unmarshal(body, &members); err != nil || len(members) == 0 {
		return errors.New("its member of etcd names no members")
	}
	to.members = members
	return nil
}

// readBlank accepts a blank only from the seed that was asked, and only if it would begin the same
// cluster.
func (a *asker) readBlank(to *answer, text string) error {
	var b blank
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return errors.New("what listens there is no seed")
	}
	switch {
	case b.NodeID != to.peer.NodeID:
		return errors.New("broker " + strconv.Itoa(int(b.NodeID)) + " listens there")
	case b.Cluster != a.self.Cluster:
		return fmt.Errorf("it has the other cluster name %q", b.Cluster)
	case b.Seeds != a.self.Seeds:
		return fmt.Errorf("it has the other seeds %s", b.Seeds)
	}
	to.blank = &b
	return nil
}
