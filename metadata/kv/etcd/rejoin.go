package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"github.com/varvelog/varve/backoff"
)

const (
	// majorityTimeout bounds one attempt to reach a majority of the others. rejoinTimeout bounds
	// how long they may take to add a member again.
	majorityTimeout = 5 * time.Second
	rejoinTimeout   = time.Minute
	// servesTimeout bounds how long a process at this member's address may take to answer that it
	// is the member.
	servesTimeout = 10 * time.Second
)

// addresses returns the URLs of this member and of the others: those for members at offset 0, those
// for clients at offset 1.
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

// sameSeeds rejects a cluster that has other members than the seeds. known is nil if no member has
// answered.
func sameSeeds(known []*membership.Member, others []string) error {
	for _, address := range others {
		if len(known) > 0 && memberAt(known, address) == nil {
			return fmt.Errorf("the members of etcd that run are others than --seeds has: %s is none of them; give all brokers the seeds that the cluster began with", address)
		}
	}
	return nil
}

// settle makes a majority of the others decide, so that a member that lags cannot decide alone. The
// majority adds this member, in place of the old one. Without a majority settle returns
// kv.ErrUnavailable, and nothing has changed.
func (m *Member) settle(ctx context.Context, c *embed.Config, own string, o EmbeddedOptions) error {
	_, endpoints, err := m.addresses(1)
	if err != nil {
		return err
	}
	through := Options{Endpoints: endpoints, Cluster: o.Cluster, Brokers: true, Logger: o.Logger, Wait: cmp.Or(o.majority, majorityTimeout)}
	if m.TLS != nil {
		through.TLS = m.TLS.Client
	}
	store, err := Open(ctx, through)
	if err != nil {
		return fmt.Errorf("its files are gone, and the other members cannot let it in again: %w", err)
	}
	defer func() { _ = store.Close() }() // the store was only for this
	ctx, cancel := context.WithTimeout(ctx, rejoinTimeout)
	defer cancel()
	list, err := store.client.MemberList(ctx)
	if err != nil {
		return store.wrap(ctx, err, "list the members of etcd")
	}
	i := slices.IndexFunc(list.Members, func(k *etcdserverpb.Member) bool { return slices.Contains(k.PeerURLs, own) })
	switch {
	case i < 0:
		err = add(ctx, store.client, own)
	case list.Members[i].Name == "": // an earlier attempt has added it
	case len(list.Members[i].ClientURLs) == 0: // it has never started
		if o.Holds != "" {
			return holdsError(o.Holds)
		}
		return nil
	default:
		if err = remove(ctx, store.client, list.Members[i], own, o.Logger); err == nil {
			err = add(ctx, store.client, own)
		}
	}
	if err == nil {
		c.ClusterState = embed.ClusterStateFlagExisting
	}
	return err
}

// remove removes the old member of this broker.
func remove(ctx context.Context, client *clientv3.Client, old *etcdserverpb.Member, own string, logger *slog.Logger) error {
	if serves(ctx, client, old) {
		return fmt.Errorf("another process runs this broker's member of etcd (%x at %s): stop that one, or start this broker on its data directory", old.ID, own)
	}
	logger.Warn("the files of this broker's member of etcd are gone; a new one takes its place", slog.String("member", fmt.Sprintf("%x", old.ID)))
	err := insist(ctx, rpctypes.ErrMemberNotFound, func(ctx context.Context) error {
		_, err := client.MemberRemove(ctx, old.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the member that it was: %w", err)
	}
	return nil
}

// add adds a member at an address.
func add(ctx context.Context, client *clientv3.Client, own string) error {
	err := insist(ctx, rpctypes.ErrPeerURLExist, func(ctx context.Context) error {
		_, err := client.MemberAdd(ctx, []string{own})
		return err
	})
	if err != nil {
		return fmt.Errorf("join again: %w", err)
	}
	return nil
}

// serves reports whether the member answers at its addresses for clients. A listener there gets a
// long timeout: a member that is merely slow must not be removed.
func serves(ctx context.Context, client *clientv3.Client, m *etcdserverpb.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, servesTimeout)
	defer cancel()
	for _, endpoint := range m.ClientURLs {
		if !accepts(ctx, addressOf(endpoint)) {
			continue
		}
		if status, err := client.Status(ctx, endpoint); err == nil && status.Header.GetMemberId() == m.ID {
			return true
		}
	}
	return false
}

// insist repeats a change until it succeeds, or until its error shows that an attempt whose reply
// was lost has made it. etcd rejects changes for some seconds after members were added or removed.
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
