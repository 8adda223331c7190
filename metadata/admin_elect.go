package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// ElectionType says which replicas an election on request may elect.
type ElectionType int8

// The types of elections, with Kafka's numbers.
const (
	// PreferredElection elects the preferred leader if it is in sync.
	PreferredElection ElectionType = iota
	// UncleanElection elects the replica with the longest log for a partition without a leader,
	// unless one that is in sync or eligible can lead.
	UncleanElection
)

// ElectLeaders elects leaders, of each partition by itself, and returns one error per partition in
// their order. It returns when this broker's image shows them. ErrElectionNotNeeded reports that
// the wanted leader leads already.
//
// Elections that this broker's image refuses are tried again on an image that has everything that
// the store had when the call began. So the call sees every state that its client may have seen on
// another broker.
func (a *Admin) ElectLeaders(ctx context.Context, kind ElectionType, tps []TopicPartition) []error {
	before := a.loader.Image()
	errs := a.elect(ctx, kind, tps)
	var refused []TopicPartition
	var at []int
	for i, err := range errs {
		if errors.Is(err, ErrElectionNotNeeded) || errors.Is(err, ErrPreferredLeaderNotAvailable) || errors.Is(err, ErrEligibleLeadersNotAvailable) {
			refused, at = append(refused, tps[i]), append(at, i)
		}
	}
	newest, err := a.catchUp(ctx, before, refused)
	switch {
	case err != nil:
		for _, i := range at {
			errs[i] = fmt.Errorf("elect a leader of %s: %w", tps[i], err)
		}
	case newest.ContentRevision > before.ContentRevision:
		for n, again := range a.elect(ctx, kind, refused) {
			errs[at[n]] = again
		}
	}
	return errs
}

// catchUp returns an image that is at least as new as the brokers, and the partitions of these
// topics, are in the store now.
func (a *Admin) catchUp(ctx context.Context, image *Image, tps []TopicPartition) (*Image, error) {
	var prefixes []string
	for _, tp := range tps {
		if t, known := image.TopicByName(tp.Topic); known {
			prefixes = append(prefixes, partitionsPrefix+t.ID.String()+"/")
		}
	}
	if len(prefixes) == 0 {
		return image, nil
	}
	slices.Sort(prefixes)
	prefixes = append(slices.Compact(prefixes), brokersPrefix)
	newest := make([]int64, len(prefixes))
	errs := make([]error, len(prefixes))
	inParallel(ctx, len(prefixes), func(ctx context.Context, i int) {
		var pairs []kv.Pair
		pairs, _, errs[i] = a.store.List(ctx, prefixes[i])
		for _, pair := range pairs {
			newest[i] = max(newest[i], pair.ModRevision)
		}
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a.loader.WaitRevision(ctx, slices.Max(newest))
}

func (a *Admin) elect(ctx context.Context, kind ElectionType, tps []TopicPartition) []error {
	var ends map[TopicPartition]LogEnds
	if kind == UncleanElection {
		image := a.loader.Image()
		ends = a.logEnds.All(ctx, image, image.leaderless(tps))
	}
	unclean := make([]bool, len(tps))
	errs := a.alterPartitions(ctx, tps, func(image *Image, i int, p *Partition) (Partition, []kv.Comparison, error) {
		var next Repaired
		var err error
		switch kind {
		case PreferredElection:
			next.Partition, err = electPreferred(image, p)
		case UncleanElection:
			next, err = electUnclean(image, p, ends[tps[i]])
		default:
			err = refuse(ErrInvalidRequest, "unknown election type %d", kind)
		}
		unclean[i] = next.Unclean
		return next.Partition, []kv.Comparison{registered(Member{Broker: next.Leader, Epoch: next.LeaderBrokerEpoch})}, err
	})
	for i, err := range errs {
		if err == nil && unclean[i] {
			a.loader.ReportUnclean(a.logger, tps[i], "an operator asked for it")
		}
		if err != nil {
			errs[i] = fmt.Errorf("elect a leader of %s: %w", tps[i], err)
		}
	}
	return errs
}

// leaderless returns those of the partitions that have no leader, with the replicas that can be
// asked.
func (m *Image) leaderless(tps []TopicPartition) []Ask {
	var asks []Ask
	for _, tp := range tps {
		if _, p, err := m.find(tp); err == nil {
			if _, led := m.Leader(p); !led {
				asks = append(asks, Ask{tp, m.askable(p)})
			}
		}
	}
	return asks
}

// AllPartitions returns the partitions of all topics, by topic name and partition.
func (a *Admin) AllPartitions() []TopicPartition { return a.loader.Image().allPartitions() }

func electPreferred(image *Image, p *Partition) (Partition, error) {
	next := *p
	if leader, led := image.Leader(p); led && leader.ID == p.PreferredLeader() {
		return next, ErrElectionNotNeeded
	}
	if next.leadPreferred(image) == "" {
		return next, refuse(ErrPreferredLeaderNotAvailable, "replica %d is dead, stopping or out of sync", p.PreferredLeader())
	}
	return next, nil
}

// electUnclean elects the leader that Repair would elect if unclean elections were allowed.
func electUnclean(image *Image, p *Partition, ends LogEnds) (Repaired, error) {
	next := Repaired{Partition: *p}
	if _, led := image.Leader(p); led {
		return next, ErrElectionNotNeeded
	}
	s := survivors(image, p, ElectionRules{Unclean: true, LogEnds: ends})
	next.setISR(s.isr)
	if next.lead(image, s.isr, s.elects) == "" {
		return Repaired{Partition: *p}, refuse(ErrEligibleLeadersNotAvailable, "no replica is alive and says where its log ends")
	}
	next.noteLoss(&s)
	if !s.unclean && s.elects {
		next.setELR(slices.DeleteFunc(p.EligibleMembers(), func(m Member) bool { return m.Broker == next.Leader }))
	}
	return next, nil
}

// UnregisterBroker removes a dead broker from the known ones, so that it gets no new replicas. It
// keeps the replicas that it has. UnregisterBroker returns ErrBrokerNotRegistered for a broker that
// is not known, and ErrInvalidRequest for a live one, which would register again at once. It
// returns when this broker's image shows the removal.
func (a *Admin) UnregisterBroker(ctx context.Context, id int32) error {
	err := a.unregister(ctx, id)
	if err != nil {
		return fmt.Errorf("unregister broker %d: %w", id, err)
	}
	return nil
}

func (a *Admin) unregister(ctx context.Context, id int32) error {
	var revision int64
	// Only a transaction that deletes the key has a revision to wait for.
	err := swap(ctx, "delete "+knownKey(id), func(ctx context.Context) error {
		known, err := a.store.Get(ctx, knownKey(id))
		if err != nil {
			return err
		}
		if !known.Exists() {
			return ErrBrokerNotRegistered
		}
		live, err := a.store.Get(ctx, brokerKey(id))
		if err != nil {
			return err
		}
		if live.Exists() {
			return refuse(ErrInvalidRequest, "it is running; shut it down first")
		}
		revision, err = a.store.Txn(ctx, []kv.Comparison{kv.Absent(live.Key), kv.ModifiedAt(known.Key, known.ModRevision)}, kv.Delete(known.Key))
		return err
	})
	if err != nil {
		return err
	}
	_, err = a.loader.WaitRevision(ctx, revision)
	return err
}
