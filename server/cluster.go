package server

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/varvelog/varve/interbroker"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/notify"
	"github.com/varvelog/varve/replication"
)

// dialer returns a dialer for connections to other brokers.
func (s *server) dialer() interbroker.Dialer {
	return interbroker.Dialer{Listener: s.Config.InterBrokerListener(), TLS: s.tls.brokers(s.Config)}
}

// followers returns the settings of replication between brokers.
func (s *server) followers(ctx context.Context) replication.Followers {
	return replication.Followers{
		Dial:        s.dialer().Dial,
		BrokerEpoch: s.registration.BrokerEpoch,
		AlterISR: func(ctx context.Context, changes []metadata.ISRChange) []error {
			return s.admin.AlterISR(ctx, metadata.Member{Broker: s.Config.NodeID, Epoch: s.registration.BrokerEpoch()}, changes)
		},
		Suspect:                 func(leader metadata.Member, err error) { s.controller.Suspect(ctx, leader, err) },
		MaxLag:                  s.values.Duration("replica.lag.time.max.ms"),
		FetchersPerLeader:       int(s.values.Int64("num.replica.fetchers")),
		ReplicaMaxWait:          s.values.Duration("replica.fetch.wait.max.ms"),
		ReplicaFetchMaxBytes:    s.values.Int32("replica.fetch.max.bytes"),
		ReplicaResponseMaxBytes: s.values.Int32("replica.fetch.response.max.bytes"),
	}
}

// throttling returns the settings of replication throttles.
func (s *server) throttling() replication.Throttling {
	return replication.Throttling{
		Rates: func(image *metadata.Image) replication.ThrottleRates {
			s.settings.follow(image) // also if no partition asks for its settings
			v := s.settings.as(image).Broker()
			return replication.ThrottleRates{
				Leader: v.Int64("leader.replication.throttled.rate"), Follower: v.Int64("follower.replication.throttled.rate"),
			}
		},
		Windows: int(s.values.Int64("replication.quota.window.num")),
		Window:  time.Duration(s.values.Int64("replication.quota.window.size.seconds")) * time.Second,
	}
}

// suspect publishes a hint to all brokers, see controller.Options.
func (s *server) suspect(broker metadata.Member, err error) {
	notify.Publish(s.bus, notify.BrokerSuspect{
		BrokerID: broker.Broker, BrokerEpoch: broker.Epoch, ReporterID: s.Config.NodeID, Reason: err.Error(),
	})
}

// followSuspects passes hints about dead brokers to the controller, which probes them.
func (s *server) followSuspects(ctx context.Context) error {
	stop, err := notify.Subscribe(s.bus, func(hint notify.BrokerSuspect) {
		s.controller.Hint(ctx, metadata.Member{Broker: hint.BrokerID, Epoch: hint.BrokerEpoch})
	})
	if err != nil {
		return err
	}
	s.parts.add("hints about brokers", func() error { stop(); return nil })
	return nil
}

// handOver moves leadership to other brokers while this one still serves, so that clients see only
// a change of leaders during its stop. The stop continues if that fails.
func (s *server) handOver(ctx context.Context) {
	if len(s.loader.Image().Brokers) <= 1 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	began := time.Now()
	err := s.registration.BeginControlledShutdown(ctx)
	if err == nil {
		_, err = s.loader.Wait(ctx, func(m *metadata.Image) bool { return m.ShouldShutDown(s.Config.NodeID) })
	}
	if err == nil {
		err = s.replicas.AwaitServed(ctx, nil)
	}
	if err != nil {
		s.log.Warn("not all leadership was handed over before the stop", slog.Any("error", err))
		return
	}
	s.log.Info("leadership is handed over", slog.Duration("took", time.Since(began)))
}

// healthy returns an error if this broker should not count as alive. A broker without any other
// live broker always counts: no other one could take over.
func (s *server) healthy() error {
	for id := range s.loader.Image().Brokers {
		if id != s.Config.NodeID {
			return s.replicas.Healthy()
		}
	}
	return nil
}

// minISR returns a topic's min.insync.replicas.
func (s *server) minISR(image *metadata.Image, topic string) int {
	const name = "min.insync.replicas"
	return int(s.settings.topicOnly(image, topic, name).Int64(name))
}

// uncleanElection returns a topic's unclean.leader.election.enable.
func (s *server) uncleanElection(image *metadata.Image, topic string) bool {
	const name = "unclean.leader.election.enable"
	return s.settings.topicOnly(image, topic, name).Bool(name)
}

// rebalancing returns how this broker balances leadership while it is the controller. As in Kafka,
// these settings are read at the start.
func (s *server) rebalancing(*metadata.Image) controller.Rebalancing {
	return controller.Rebalancing{
		Enable:           s.values.Bool("auto.leader.rebalance.enable"),
		Interval:         seconds(s.values.Int64("leader.imbalance.check.interval.seconds")),
		ImbalancePercent: int(s.values.Int64("leader.imbalance.per.broker.percentage")),
	}
}

// seconds converts a number of seconds, capped at the longest duration.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, int64(math.MaxInt64/time.Second))) * time.Second
}
