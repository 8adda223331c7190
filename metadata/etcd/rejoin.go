package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"github.com/varvelog/varve/backoff"
)

const (
	// rosterTimeout bounds how long a peer may take to tell who the members are.
	rosterTimeout = time.Second
	// rejoinTimeout bounds how long the others may take to let a member in again.
	rejoinTimeout = time.Minute
)

// rejoin has a member without files take a place in a cluster that has begun
// already. etcd does not take a member that it knows back without its files,
// since it may have promised what it does not know any more: so the old one is
// removed, and a new one, at the same address, takes its place. A majority of
// the others has to be there.
//
// What the others know of this address decides:
//
//	nobody answers              the cluster begins, with this member
//	a member that never started the same
//	a member that has started   its files are gone: it is removed and added
//	a member without a name     it was added, and has not started since
//	nothing                     it was removed, and not yet added
func (m *Member) rejoin(ctx context.Context, c *embed.Config, o EmbeddedOptions) error {
	if fileutil.Exist(filepath.Join(o.Dir, "member")) {
		return nil
	}
	own, others, err := m.addresses(0)
	if err != nil {
		return err
	}
	known := m.roster(others)
	if known == nil {
		return nil
	}
	if err = sameSeeds(known, others); err != nil {
		return err
	}
	i := slices.IndexFunc(known, func(k *membership.Member) bool { return slices.Contains(k.PeerURLs, own) })
	if i >= 0 && known[i].Name != "" && len(known[i].ClientURLs) == 0 {
		return nil
	}
	c.ClusterState = embed.ClusterStateFlagExisting
	if i >= 0 && known[i].Name == "" {
		return nil
	}
	var old *membership.Member
	if i >= 0 {
		old = known[i]
	}
	return m.replace(ctx, old, own, o)
}

// addresses are the URLs of this member and of the others, those for members at
// offset 0, those for clients at 1.
func (m *Member) addresses(offset int) (own string, others []string, err error) {
	for _, p := range m.Peers {
		address, err := p.url(m.scheme(), offset)
		if err != nil {
			return "", nil, err
		}
		if p.NodeID == m.NodeID {
			own = address
		} else {
			others = append(others, address)
		}
	}
	return own, others, nil
}

// roster asks the others who the members are; nil if none answers.
func (m *Member) roster(others []string) []*membership.Member {
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: acceptTimeout}).DialContext, ResponseHeaderTimeout: rosterTimeout}
	if m.TLS != nil {
		transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: acceptTimeout}, Config: m.TLS.Client(host)}).DialContext(ctx, network, address)
		}
	}
	defer transport.CloseIdleConnections()
	cluster, err := etcdserver.GetClusterFromRemotePeers(nil, others, transport)
	if err != nil {
		return nil // etcd tells of none; who does not answer is asked again by etcd itself
	}
	return cluster.Members()
}

// sameSeeds refuses a cluster that other seeds run.
func sameSeeds(known []*membership.Member, others []string) error {
	for _, address := range others {
		if !slices.ContainsFunc(known, func(k *membership.Member) bool { return slices.Contains(k.PeerURLs, address) }) {
			return fmt.Errorf("the members of etcd that run are others than --seeds has: %s is none of them; give all brokers the seeds that the cluster began with", address)
		}
	}
	return nil
}

// replace removes the member that this one was, if there is one, and adds this one.
func (m *Member) replace(ctx context.Context, old *membership.Member, own string, o EmbeddedOptions) error {
	ctx, cancel := context.WithTimeout(ctx, rejoinTimeout)
	defer cancel()
	_, endpoints, err := m.addresses(1)
	if err != nil {
		return err
	}
	through := Options{Endpoints: endpoints, Cluster: o.Cluster, Brokers: true, Logger: o.Logger, Wait: rejoinTimeout}
	if m.TLS != nil {
		through.TLS = m.TLS.Client
	}
	store, err := Open(ctx, through)
	if err != nil {
		return fmt.Errorf("its files are gone, and the other members cannot let it in again: %w", err)
	}
	defer func() { _ = store.Close() }() // it was for this alone
	client := store.client
	if old != nil {
		if serves(ctx, client, old) {
			return fmt.Errorf("another process runs this broker's member of etcd (%x at %s): stop that one, or start this broker on its data directory", uint64(old.ID), own)
		}
		o.Logger.Warn("the files of this broker's member of etcd are gone; a new one takes its place", slog.String("member", fmt.Sprintf("%x", uint64(old.ID))))
		err = insist(ctx, rpctypes.ErrMemberNotFound, func(ctx context.Context) error {
			_, removeErr := client.MemberRemove(ctx, uint64(old.ID))
			return removeErr
		})
		if err != nil {
			return fmt.Errorf("remove the member that it was: %w", err)
		}
	}
	err = insist(ctx, rpctypes.ErrPeerURLExist, func(ctx context.Context) error {
		_, addErr := client.MemberAdd(ctx, []string{own})
		return addErr
	})
	if err != nil {
		return fmt.Errorf("join again: %w", err)
	}
	return nil
}

// serves tells whether the member answers where it serves clients.
func serves(ctx context.Context, client *clientv3.Client, m *membership.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	for _, endpoint := range m.ClientURLs {
		if status, err := client.Status(ctx, endpoint); err == nil && status.Header.GetMemberId() == uint64(m.ID) {
			return true
		}
	}
	return false
}

// insist makes a change until it is made, or was made by an attempt whose answer
// was lost. etcd refuses one for some seconds after members have come or gone.
func insist(ctx context.Context, made error, change func(context.Context) error) error {
	pause := backoff.Backoff{Min: reconnectMin, Max: reconnectMax}
	for {
		attempt, cancel := context.WithTimeout(ctx, defaultTimeout)
		err := change(attempt)
		cancel()
		if err == nil || errors.Is(rpctypes.Error(err), made) {
			return nil
		}
		if !pause.Sleep(ctx) {
			return err
		}
	}
}
