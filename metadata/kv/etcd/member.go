package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/raft/v3/raftpb"
)

// Member makes an embedded etcd one of several.
type Member struct {
	NodeID int32 // of this broker, which is among Peers
	// Listen is where this member listens: HOST:PORT as a Peer's Control, from
	// which it differs if the others come through a proxy. Empty: there.
	Listen string
	Peers  []Peer
	// Found lets a member without files begin a cluster although not all of Peers
	// answer. It is for the first start, if one of them will never come.
	Found bool
	// TLS has the members speak TLS only, among each other and with clients; nil:
	// plain TCP. All members must agree.
	TLS *MemberTLS
}

// MemberTLS is what a member shows and trusts. The certificate and its key are
// read again at each connection; the authorities are not.
type MemberTLS struct {
	CAFile, CertFile, KeyFile string                        // PEM
	Client                    func(host string) *tls.Config // of this broker's own connections to members
}

// info is for etcd: others must show a certificate of the authorities. It need not name
// the address that they come from.
func (m *MemberTLS) info() transport.TLSInfo {
	return transport.TLSInfo{CertFile: m.CertFile, KeyFile: m.KeyFile, TrustedCAFile: m.CAFile, ClientCertAuth: true, SkipClientSANVerify: true}
}

// scheme is that of all addresses of members.
func (m *Member) scheme() string {
	if m.TLS != nil {
		return "https"
	}
	return "http"
}

// Peer is a broker that runs a member. The members talk to each other at
// Control, and to clients at the port after it.
type Peer struct {
	NodeID  int32
	Control string // HOST:PORT
}

// Settings of a member among several. A leader that is gone is noticed after an
// election timeout, unless Replace says so before. It is ten heartbeats, so that
// one that merely waits for the processor keeps its place; before it gives it up
// a member asks the others whether they too miss the leader (pre-vote).
const (
	memberTick          = 50 * time.Millisecond
	memberElectionTicks = 10
	// memberTimeout bounds a request: one that was on its way to a leader that
	// died is lost, and has to be made again.
	memberTimeout = 1500 * time.Millisecond
	// quorumLogInterval is how often a member that starts says whom it waits for.
	quorumLogInterval = 5 * time.Second
	replaceInterval   = 5 * time.Millisecond
)

func (p Peer) url(scheme string, offset int) (string, error) {
	host, port, err := net.SplitHostPort(p.Control)
	if err != nil {
		return "", fmt.Errorf("address %q of broker %d: %w", p.Control, p.NodeID, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("address %q of broker %d: port: %w", p.Control, p.NodeID, err)
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(n)+offset)), nil
}

// urls are those for members and for clients, as etcd's configuration has them.
func (p Peer) urls(scheme string) (members, clients []url.URL, err error) {
	var parsed [2]*url.URL
	for offset := range parsed {
		text, err := p.url(scheme, offset)
		if err != nil {
			return nil, nil, err
		}
		if parsed[offset], err = url.Parse(text); err != nil {
			return nil, nil, fmt.Errorf("address of broker %d: %w", p.NodeID, err)
		}
	}
	return []url.URL{*parsed[0]}, []url.URL{*parsed[1]}, nil
}

func (p Peer) name() string { return memberNameOf(p.NodeID) }

// memberPrefix begins the name of a member, which ends in the broker's id.
const memberPrefix = "broker-"

func memberNameOf(nodeID int32) string { return memberPrefix + strconv.Itoa(int(nodeID)) }

// configure makes a single member's configuration that of one of several.
func (m *Member) configure(c *embed.Config, o EmbeddedOptions) error {
	c.InitialCluster = ""
	for _, p := range m.Peers {
		peer, err := p.url(m.scheme(), 0)
		if err != nil {
			return err
		}
		if c.InitialCluster != "" {
			c.InitialCluster += ","
		}
		c.InitialCluster += p.name() + "=" + peer
		if p.NodeID != m.NodeID {
			continue
		}
		c.Name = p.name()
		if c.AdvertisePeerUrls, c.AdvertiseClientUrls, err = p.urls(m.scheme()); err != nil {
			return err
		}
		own := Peer{NodeID: p.NodeID, Control: cmp.Or(m.Listen, p.Control)}
		if c.ListenPeerUrls, c.ListenClientUrls, err = own.urls(m.scheme()); err != nil {
			return err
		}
	}
	if m.TLS != nil {
		c.PeerTLSInfo, c.ClientTLSInfo = m.TLS.info(), m.TLS.info()
	}
	c.InitialClusterToken = o.Cluster
	tick := cmp.Or(o.tick, memberTick)
	c.TickMs = uint(tick.Milliseconds())
	c.ElectionMs = uint((memberElectionTicks * tick).Milliseconds())
	return nil
}

// checkScheme refuses to go on with TLS where the members have been without, or
// the reverse: they know each other by addresses of the other kind, and would
// wait for each other in vain.
func (m *Member) checkScheme(server *embed.Etcd) error {
	own := server.Server.Cluster().Member(server.Server.MemberID())
	if own == nil || len(own.PeerURLs) == 0 || strings.HasPrefix(own.PeerURLs[0], m.scheme()+"://") {
		return nil
	}
	if m.TLS != nil {
		return errors.New("its members were made without TLS: leave the control plane's certificate out, or start a new cluster with it")
	}
	return errors.New("its members were made with TLS: give the control plane's certificate, key and authorities")
}

// awaitQuorum waits until the members have elected a leader, and says whom it
// waits for.
func (m *Member) awaitQuorum(ctx context.Context, server *embed.Etcd, o EmbeddedOptions) error {
	err := awaitReady(ctx, server, quorumLogInterval, func() {
		silent := m.silent(ctx)
		o.waits("a majority of the seeds; silent: " + silent)
		o.Logger.Info("waiting for a majority of the members of the embedded etcd", slog.String("silent", silent))
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for a majority of the members (silent: %s): %w", m.silent(context.WithoutCancel(ctx)), err)
	}
	return err
}

// silent lists the peers that accept no connection.
func (m *Member) silent(ctx context.Context) string {
	var silent []string
	for _, p := range m.Peers {
		if p.NodeID != m.NodeID && !accepts(ctx, p.Control) {
			silent = append(silent, fmt.Sprintf("broker %d at %s", p.NodeID, p.Control))
		}
	}
	return list(silent)
}

// acceptTimeout is how long a connection may take in order to say whom a start
// waits for.
const acceptTimeout = 500 * time.Millisecond

// accepts reports whether somebody listens at an address.
func accepts(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: acceptTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was written
	return true
}

func list(silent []string) string {
	if len(silent) == 0 {
		return "none"
	}
	return strings.Join(silent, ", ")
}

// Replace has the embedded member stand for election at once, if the member of
// a broker that is known to be gone leads etcd, and returns when there is a new
// leader, or when ctx ends. What was on its way to the old one is lost. On any
// other store it does nothing.
func (s *Store) Replace(ctx context.Context, nodeID int32) {
	if s.member == nil {
		return
	}
	gone := memberNameOf(nodeID)
	tick := time.NewTicker(replaceInterval)
	defer tick.Stop()
	for n := 0; s.leads(gone); n++ {
		if n%(memberElectionTicks*int(memberTick/replaceInterval)) == 0 {
			self := uint64(s.member.MemberID())
			_ = s.member.Process(ctx, &raftpb.Message{Type: raftpb.MessageType_MsgTimeoutNow.Enum(), From: &self, To: &self}) // refused: the election timeout comes
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// leads reports whether the member of that name leads, or nobody does.
func (s *Store) leads(name string) bool {
	leader := s.member.Leader()
	if leader == 0 {
		return true
	}
	m := s.member.Cluster().Member(leader)
	return m != nil && m.Name == name
}
