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

// Member configures an embedded etcd as one of several members.
type Member struct {
	NodeID int32 // id of this broker, which is among Peers
	// Listen is the address at which this member listens, host:port. It differs from its Peer's
	// Control if the others connect through a proxy. Empty: the same.
	Listen string
	Peers  []Peer
	// Found lets a member without files begin a cluster although not all of Peers answer. It is for
	// the first start, if one of them will never start.
	Found bool
	// TLS makes the members use TLS only, between each other and with clients; nil: plain TCP. All
	// members must agree.
	TLS *MemberTLS
}

// MemberTLS names the certificates that a member presents and trusts. The certificate and its key
// are read again for each connection; the authorities are not.
type MemberTLS struct {
	CAFile, CertFile, KeyFile string // PEM
	// Client returns the configuration of this broker's own connections to members.
	Client func(host string) *tls.Config
}

// info returns etcd's form of the configuration: other members must present a certificate of the
// authorities. It need not name the address that they connect from.
func (m *MemberTLS) info() transport.TLSInfo {
	return transport.TLSInfo{CertFile: m.CertFile, KeyFile: m.KeyFile, TrustedCAFile: m.CAFile, ClientCertAuth: true, SkipClientSANVerify: true}
}

// scheme returns the URL scheme of all members' addresses.
func (m *Member) scheme() string {
	if m.TLS != nil {
		return "https"
	}
	return "http"
}

// Peer is a broker that runs a member. The members talk to each other at Control, and to clients at
// the next higher port.
type Peer struct {
	NodeID  int32
	Control string // host:port
}

// Settings of a member among several. The loss of a leader is noticed after an election timeout,
// unless Replace reports it earlier. The timeout is ten heartbeats, so that a leader that merely
// waits for the processor stays leader. A member asks the others whether they miss the leader too
// before it stands for election (pre-vote).
const (
	memberTick          = 50 * time.Millisecond
	memberElectionTicks = 10
	// memberTimeout bounds a request. A request that was on its way to a leader that died is lost,
	// and has to be repeated.
	memberTimeout = 1500 * time.Millisecond
	// quorumLogInterval is how often a member that starts logs the members that it waits for.
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

// urls returns the URLs for members and for clients, in the form of etcd's configuration.
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

// memberPrefix is the prefix of a member's name, which ends with the broker's id.
const memberPrefix = "broker-"

func memberNameOf(nodeID int32) string { return memberPrefix + strconv.Itoa(int(nodeID)) }

// configure turns a single member's configuration into that of one of several.
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

// checkScheme rejects TLS for members that were made without it, and the reverse: the members know
// each other by addresses with the other scheme, and would wait for each other in vain.
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

// awaitQuorum waits until the members have elected a leader, and logs the members that it waits
// for.
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

// acceptTimeout bounds a connection that is made only to name the members that a start waits for.
const acceptTimeout = 500 * time.Millisecond

// accepts reports whether a process listens at an address.
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

// Replace makes the embedded member stand for election at once if the member of a broker that is
// known to be gone leads etcd. It returns when there is a new leader, or when ctx ends. Requests on
// their way to the old leader are lost. On any other store it does nothing.
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
			// After a refusal the member stands for election when the election timeout passes.
			_ = s.member.Process(ctx, &raftpb.Message{Type: raftpb.MessageType_MsgTimeoutNow.Enum(), From: &self, To: &self})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// leads reports whether the member of that name leads, or no member does.
func (s *Store) leads(name string) bool {
	leader := s.member.Leader()
	if leader == 0 {
		return true
	}
	m := s.member.Cluster().Member(leader)
	return m != nil && m.Name == name
}
