package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of all replicas of a broker together. Those about the ISR or the remote tier are
// about the partitions that it leads.
var (
	partitionCount         = replicaManager("partitioncount", "Replicas on this broker.")
	leaderCount            = replicaManager("leadercount", "Partitions that this broker leads.")
	underReplicatedCount   = replicaManager("underreplicatedpartitions", "Partitions led by this broker that have replicas out of sync.")
	underMinISRCount       = replicaManager("underminisrpartitioncount", "Partitions led by this broker with fewer than min.insync.replicas in sync.")
	atMinISRCount          = replicaManager("atminisrpartitioncount", "Partitions led by this broker with just min.insync.replicas in sync.")
	offlineReplicaCount    = replicaManager("offlinereplicacount", "Replicas on this broker whose log directory has failed.")
	followerLag            = gauge("varve_replication_follower_lag_records", "How many records a follower lacks of the partition led by this broker where that is most, by the follower's broker id.", "follower")
	remoteCopyLagBytes     = gauge("kafka_server_brokertopicmetrics_remotecopylagbytes", "Bytes of closed segments that wait to be copied to the remote tier, of partitions led by this broker.", "topic")
	remoteCopyLagSegments  = gauge("kafka_server_brokertopicmetrics_remotecopylagsegments", "Closed segments that wait to be copied to the remote tier, of partitions led by this broker.", "topic")
	remoteLogSizeBytes     = gauge("kafka_server_brokertopicmetrics_remotelogsizebytes", "Bytes of the log that are in the remote tier, of partitions led by this broker.", "topic")
	remoteLogMetadataCount = gauge("kafka_server_brokertopicmetrics_remotelogmetadatacount", "Segments in the remote tier, of partitions led by this broker.", "topic")
)

func replicaManager(name, help string) family {
	return gauge("kafka_server_replicamanager_"+name, help)
}

type replicaCollector struct{ o Options }

func (replicaCollector) families() []family {
	return []family{
		partitionCount, leaderCount, underReplicatedCount, underMinISRCount, atMinISRCount, offlineReplicaCount, followerLag,
		remoteCopyLagBytes, remoteCopyLagSegments, remoteLogSizeBytes, remoteLogMetadataCount,
	}
}

// tierSums are the sums of one topic.
type tierSums struct{ lagBytes, lagSegments, bytes, segments int64 }

func (r replicaCollector) collect(ch chan<- prometheus.Metric) {
	var hosted, led, under, underMin, atMin, failed int
	lags, tiers := map[int32]int64{}, map[string]*tierSums{}
	for p := range r.o.Replicas.Partitions() {
		hosted++
		if p.Log().Offline() != nil {
			failed++
		}
		s := p.Snapshot()
		if !s.Leader {
			continue
		}
		led++
		under += count(s.UnderReplicated())
		underMin += count(s.UnderMinISR())
		atMin += count(s.AtMinISR())
		p.FollowerLags(func(broker int32, records int64) { lags[broker] = max(lags[broker], records) })
		if status, ok := p.TierStatus(); ok {
			t := tiers[p.TopicPartition().Topic]
			if t == nil {
				t = &tierSums{}
				tiers[p.TopicPartition().Topic] = t
			}
			t.lagBytes += status.LagBytes
			t.lagSegments += status.LagSegments
			t.bytes += status.Bytes
			t.segments += status.Segments
		}
	}
	partitionCount.send(ch, float64(hosted))
	leaderCount.send(ch, float64(led))
	underReplicatedCount.send(ch, float64(under))
	underMinISRCount.send(ch, float64(underMin))
	atMinISRCount.send(ch, float64(atMin))
	offlineReplicaCount.send(ch, float64(failed))
	for broker, lag := range lags {
		followerLag.send(ch, float64(lag), number(broker))
	}
	for topic, t := range tiers {
		remoteCopyLagBytes.send(ch, float64(t.lagBytes), topic)
		remoteCopyLagSegments.send(ch, float64(t.lagSegments), topic)
		remoteLogSizeBytes.send(ch, float64(t.bytes), topic)
		remoteLogMetadataCount.send(ch, float64(t.segments), topic)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
