package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata/kv"
)

// verdict says how a member without files begins.
type verdict int8

const (
	waits  verdict = iota // not enough is known
	begins                // a new cluster, or a cluster that began without this member
	joins                 // under the id that the others have given to it
	asks                  // a majority of the others decides
)

// decide waits until it is known how a member without files begins, and configures that. etcd does
// not accept a known member without its files: it may have promised something that it no longer
// knows. And a majority of members that have lost their files, or that lag, must not begin the
// cluster again.
//
// The answers of the others about this member's address decide:
//
//	all are blank                   the cluster begins
//	members or blank, and none      the cluster began without this member, which takes
//	has seen this one start         its place
//	it was added, and has not       if all of them answer that, it joins
//	started since
//	it has started, or is no        a majority decides: the old member is removed, and a
//	longer a member                 new member is added at the same address
//	anything else                   it waits for the others
//
// The first two need an answer of every seed, and no data of a cluster (Holds) on a blank one; with
// Member.Found, seeds may be silent. A member that a majority, but not all, know as not started is
// decided by a majority too. A crash leaves at most a member that was added and has not started.
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
		if err != nil {
			return err
		}
		if done {
			return m.awaitAdded(ctx, c, asker)
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

// act does what the answers of a round allow. If it is not done, it returns what it waits for.
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
		if !errors.Is(err, kv.ErrUnavailable) {
			return "", true, err
		}
		return "a majority of the other members of etcd, to let this one in again: " + what, false, nil
	default:
		return "the other seeds: " + what, false, nil
	}
}

// awaitAdded waits until every member that answers has applied the addition of this one. etcd asks
// any of them for the list of members, and ends if the list is too short.
func (m *Member) awaitAdded(ctx context.Context, c *embed.Config, asker *asker) error {
	if c.ClusterState != embed.ClusterStateFlagExisting {
		return nil
	}
	own, _, err := m.addresses(0)
	if err != nil {
		return err
	}
	lags := func(a answer) bool {
		known := memberAt(a.members, own)
		return a.members != nil && (len(a.members) != len(m.Peers) || known == nil || known.Name != "")
	}
	pause := backoff.Backoff{Min: roundMin, Max: roundMax}
	for slices.ContainsFunc(asker.round(ctx), lags) {
		if !pause.Sleep(ctx) {
			return fmt.Errorf("wait until all members know this one: %w", context.Cause(ctx))
		}
	}
	return nil
}

// judge decides from the answers of one round.
func (m *Member) judge(own string, answers []answer, holds string) verdict {
	var silent, blanks, added, fresh int
	free := holds == "" // no sign of an earlier cluster
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

// memberAt returns the member with that address for members, nil if there is none.
func memberAt(members []*membership.Member, address string) *membership.Member {
	i := slices.IndexFunc(members, func(k *membership.Member) bool { return slices.Contains(k.PeerURLs, address) })
	if i < 0 {
		return nil
	}
	return members[i]
}

// hasFiles reports whether a member has begun in a directory.
func hasFiles(dir string) bool { return wal.Exist(filepath.Join(dir, "member", "wal")) }

// holdsError refuses to begin a cluster in a directory that has data of another one.
func holdsError(holds string) error {
	return fmt.Errorf("there is no member of etcd, but %s: restore the directory of etcd, or move that away too to start an empty cluster", holds)
}

// missing lists the seeds that prevent the founding of a cluster, with the reasons.
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

// sayer reports what a start waits for: to EmbeddedOptions.Waits at each change, and to the log at
// intervals.
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
