package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata"
)

const (
	// majorityTimeout bounds one attempt to reach a majority of the others,
	// rejoinTimeout how long they may take to let a member in again.
	majorityTimeout = 5 * time.Second
	rejoinTimeout   = time.Minute
)

// verdict is how a member without files begins.
type verdict int8

const (
	waits  verdict = iota // too little is known
	begins                // with the cluster, which nobody has begun, or without this one
	joins                 // under the id that the others have given to it
	asks                  // what a majority of the others says
)

// decide waits until it is known how a member without files begins, and
// configures that. etcd does not take a member that it knows back without its
// files, since it may have promised what it does not know any more; and a
// majority of members that have forgotten, or that lag, must not begin the
// cluster again.
//
// What the others know of this address decides:
//
//	all are blank                   the cluster begins
//	members, or blank, and none     it has begun without this member, which takes
//	has seen this one start         its place
//	it was added, and has not       all of them say so: it joins
//	started since
//	it has started, or is no        a majority decides: what it was is removed, and a
//	member any more                 new member is added at the same address
//	anything else                   it waits for the others
//
// A crash leaves no more than a member that was added and has not started.
func (m *Member) decide(ctx context.Context, c *embed.Config, o EmbeddedOptions) error {
	if hasFiles(o.Dir) {
		if m.Found {
			o.Logger.Warn("--found is for the first start alone, take it away: without it this broker founds no cluster if it loses its disk")
		}
		return nil
	}
	if m.Found && o.Holds != "" {
		return fmt.Errorf("--found: %w", holdsError(o.Holds))
	}
	asker := m.asker(o)
	stop := func() {}
	defer func() { stop() }()
	says := sayer{o: o, said: time.Now()}
	pause := backoff.Backoff{Min: roundMin, Max: roundMax}
	for n := 0; ; n++ {
		answers := asker.round(ctx)
		what, done, err := m.act(ctx, c, o, answers)
		if err != nil || done {
			return err
		}
		if n == 0 { // the first round has shown that no other process serves this member
			if stop, err = m.serveBlank(o); err != nil {
				return err
			}
		}
		says.say(what)
		if !pause.Sleep(ctx) {
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// act does what the answers of a round allow, or returns what is waited for.
func (m *Member) act(ctx context.Context, c *embed.Config, o EmbeddedOptions, answers []answer) (what string, done bool, err error) {
	own, others, err := m.addresses(0)
	if err != nil {
		return "", false, err
	}
	for _, a := range answers {
		if err = sameSeeds(a.members, others); err != nil {
			return "", false, err
		}
	}
	what = missing(answers, o.Holds)
	switch m.judge(own, answers, o.Holds) {
	case begins:
		if m.Found && what != "" {
			o.Logger.Warn("a member of etcd begins although not all seeds are there, as --found says", slog.String("missing", what))
		}
		return "", true, nil
	case joins:
		c.ClusterState = embed.ClusterStateFlagExisting
		return "", true, nil
	case asks:
		err = m.settle(ctx, c, own, o)
		if !errors.Is(err, metadata.ErrUnavailable) {
			return "", true, err
		}
		return "a majority of the other members of etcd, to let this one in again: " + what, false, nil
	default:
		return "the other seeds: " + what, false, nil
	}
}

// judge decides from the answers of one round.
func (m *Member) judge(own string, answers []answer, holds string) verdict {
	var silent, blanks, added, fresh int
	free := holds == "" // nothing says that there has been a cluster
	for _, a := range answers {
		known := memberAt(a.members, own)
		switch {
		case a.reason != nil:
			silent++
		case a.blank != nil:
			blanks++
			free = free && a.blank.Holds == ""
		case known == nil || len(known.ClientURLs) > 0:
			return asks
		case known.Name == "":
			added++
		default:
			fresh++
		}
	}
	switch {
	case added == len(answers):
		return joins
	case added == 0 && silent == 0 && free:
		return begins
	case added+fresh > len(m.Peers)/2:
		return asks
	case m.Found && added > 0:
		return joins
	case m.Found && free:
		return begins
	default:
		return waits
	}
}

// memberAt is the member at an address for members.
func memberAt(members []*membership.Member, address string) *membership.Member {
	i := slices.IndexFunc(members, func(k *membership.Member) bool { return slices.Contains(k.PeerURLs, address) })
	if i < 0 {
		return nil
	}
	return members[i]
}

// hasFiles tells whether a member has begun in a directory.
func hasFiles(dir string) bool { return wal.Exist(filepath.Join(dir, "member", "wal")) }

// holdsError refuses to begin a cluster beside what another one has left.
func holdsError(holds string) error {
	return fmt.Errorf("there is no member of etcd, but %s: restore the directory of etcd, or move that away too to start an empty cluster", holds)
}

// missing lists the seeds that keep a cluster from being founded, and why.
func missing(answers []answer, holds string) string {
	var seeds []string
	if holds != "" {
		seeds = append(seeds, fmt.Sprintf("those that run, as this broker has no member of etcd, but %s", holds))
	}
	for _, a := range answers {
		name := fmt.Sprintf("broker %d at %s", a.peer.NodeID, a.peer.Control)
		switch {
		case a.reason != nil:
			seeds = append(seeds, fmt.Sprintf("%s (%v)", name, a.reason))
		case a.blank != nil && a.blank.Holds != "":
			seeds = append(seeds, fmt.Sprintf("%s (it has no member of etcd, but %s)", name, a.blank.Holds))
		}
	}
	return list(seeds)
}

// sayer says what a start waits for: at once to whom the options name, and now
// and then to the log.
type sayer struct {
	o    EmbeddedOptions
	last string
	said time.Time
}

func (s *sayer) say(what string) {
	if what != s.last {
		s.o.waits(what)
	}
	s.last = what
	if time.Since(s.said) >= quorumLogInterval {
		s.said = time.Now()
		s.o.Logger.Info("this broker's member of etcd has no files, and waits", slog.String("for", what))
	}
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

// sameSeeds refuses a cluster that other seeds run. Known is nil if nobody has said.
func sameSeeds(known []*membership.Member, others []string) error {
	for _, address := range others {
		if len(known) > 0 && memberAt(known, address) == nil {
			return fmt.Errorf("the members of etcd that run are others than --seeds has: %s is none of them; give all brokers the seeds that the cluster began with", address)
		}
	}
	return nil
}

// settle has a majority of the others decide, which one member that lags cannot:
// it adds this one, in the place of what it was. Without a majority it is
// metadata.ErrUnavailable, and nothing has changed.
func (m *Member) settle(ctx context.Context, c *embed.Config, own string, o EmbeddedOptions) error {
	_, endpoints, err := m.addresses(1)
	if err != nil {
		return err
	}
	through := Options{Endpoints: endpoints, Cluster: o.Cluster, Brokers: true, Logger: o.Logger, Wait: majorityTimeout}
	if m.TLS != nil {
		through.TLS = m.TLS.Client
	}
	store, err := Open(ctx, through)
	if err != nil {
		return fmt.Errorf("its files are gone, and the other members cannot let it in again: %w", err)
	}
	defer func() { _ = store.Close() }() // it was for this alone
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
	case list.Members[i].Name == "": // it was added already
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

// remove removes the member that this one was.
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

// serves tells whether the member answers where it serves clients.
func serves(ctx context.Context, client *clientv3.Client, m *etcdserverpb.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	for _, endpoint := range m.ClientURLs {
		if status, err := client.Status(ctx, endpoint); err == nil && status.Header.GetMemberId() == m.ID {
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
