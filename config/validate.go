package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// The topic configurations that the checks across keys are about.
const (
	cleanupPolicy        = "cleanup.policy"
	remoteStorageEnable  = "remote.storage.enable"
	remoteLogCopyDisable = "remote.log.copy.disable"
)

// ValidateTopic checks the new overrides of a topic against the configurations that they would be
// used with, and returns all problems, joined.
func (l Layers) ValidateTopic(overrides map[string]string) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		k, err := TopicKey(name)
		if err == nil {
			err = k.Check(overrides[name])
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	v := l.Topic(overrides)
	if l.compacted(overrides) && v.Bool(remoteStorageEnable) {
		problems = append(problems, &ValueError{remoteStorageEnable, "true", tierNeedsDelete})
	}
	return errors.Join(append(problems, append(tierProblems(v), lagProblems(v)...)...)...)
}

// ValidateTopicUpdate checks overrides that replace those of an existing topic.
func (l Layers) ValidateTopicUpdate(old, next map[string]string) error {
	err := l.ValidateTopic(next)
	if !l.Topic(old).Bool(remoteStorageEnable) || l.Topic(next).Bool(remoteStorageEnable) {
		return err
	}
	if policy := l.topicValue(topicTable.byName[cleanupPolicy], next); l.compacted(next) {
		err = errors.Join(err, &ValueError{cleanupPolicy, policy, tierNeedsDelete})
	} else {
		err = errors.Join(err, &ValueError{
			remoteStorageEnable, "false",
			"it is invalid to disable remote storage of a topic, whose data may be there only; " +
				"to stop uploads and keep what is there readable, set remote.storage.enable=true,remote.log.copy.disable=true",
		})
	}
	return err
}

// tierNeedsDelete is why a topic is not both tiered and compacted, in Kafka's words.
const tierNeedsDelete = "Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list."

// lagProblems checks that a record that must be compacted by max.compaction.lag.ms may be.
func lagProblems(v Values) []error {
	const least, most = "min.compaction.lag.ms", "max.compaction.lag.ms"
	if low, high := v.Int64(least), v.Int64(most); low > high {
		return []error{&ValueError{least, fmt.Sprint(low), fmt.Sprintf("conflict topic config setting %s (%d) > %s (%d)", least, low, most, high)}}
	}
	return nil
}

// tierProblems checks that the local tier's bounds are within those of the log.
func tierProblems(v Values) []error {
	if !v.Bool(remoteStorageEnable) {
		return nil
	}
	const asRetention, unbounded = -2, -1 // of retention.bytes, any negative value is unbounded
	var problems []error
	for _, unit := range [...]string{"bytes", "ms"} {
		total, name := "retention."+unit, "local.retention."+unit
		whole, local := v.Int64(total), v.Int64(name)
		problems = append(problems, copyLagProblems(v, unit, whole, local)...)
		if local == asRetention {
			continue
		}
		reason := ""
		switch {
		case v.Bool(remoteLogCopyDisable) && local != whole:
			reason = fmt.Sprintf("with remote.log.copy.disable it must equal %s (%d) or be -2, because no more logs are copied to the remote storage", total, whole)
		case whole <= unbounded:
		case local == unbounded:
			reason = fmt.Sprintf("Value must not be -1 as %s value is set as %d.", total, whole)
		case local > whole:
			reason = fmt.Sprintf("Value must not be more than %s property value: %d", total, whole)
		}
		if reason != "" {
			problems = append(problems, &ValueError{name, fmt.Sprint(local), reason})
		}
	}
	return problems
}

// copyLagProblems checks that segments are uploaded before local retention would delete them.
func copyLagProblems(v Values, unit string, whole, local int64) []error {
	const asRetention = -2
	if local == asRetention {
		local = whole
	}
	name := "remote.copy.lag." + unit
	lag := v.Int64(name)
	if lag <= 0 || local < 0 || lag <= local {
		return nil
	}
	return []error{&ValueError{name, fmt.Sprint(lag), fmt.Sprintf("Value must not exceed local.retention.%s (effective value: %d)", unit, local)}}
}

// watermarkProblems checks that the low watermark is not above the high one, and in the same unit.
func watermarkProblems(v Values) []error {
	const name = "varve.disk.low.watermark"
	low, high := v.Float64(name), v.Float64("varve.disk.high.watermark")
	if high == 0 || low <= high && (low > 1) == (high > 1) {
		return nil
	}
	return []error{&ValueError{name, fmt.Sprint(low), fmt.Sprintf("Value must be in the unit of varve.disk.high.watermark property value, and not above it: %v", high)}}
}

// ValidateStatic checks the static layer and returns all problems, joined.
func (l Layers) ValidateStatic() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(l.Static)) {
		k, err := BrokerKey(name)
		if err == nil {
			err = k.Check(l.Static[name])
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(append(problems, l.brokerProblems()...)...)
}

// minInSyncReplicas decides what is committed and, in the controller, which replicas stay eligible
// to lead. So all brokers must agree on it. The founder of a cluster makes its value the cluster's,
// which then overrides every broker's own (KIP-966).
const minInSyncReplicas = "min.insync.replicas"

// ClusterDefaults returns the settings that the founder of a cluster makes the cluster's.
func (l Layers) ClusterDefaults() map[string]string {
	return map[string]string{minInSyncReplicas: strconv.FormatInt(l.Broker().Int64(minInSyncReplicas), 10)}
}

// Overruled returns a text for each static setting of this broker that has no effect because the
// cluster has another value.
func (l Layers) Overruled() []string {
	own, set := l.Static[minInSyncReplicas]
	if cluster, decided := l.DynamicDefault[minInSyncReplicas]; set && decided && own != cluster {
		return []string{fmt.Sprintf("%s=%s: the cluster has %s; change it with kafka-configs --entity-type brokers --entity-default", minInSyncReplicas, own, cluster)}
	}
	return nil
}

// ValidateDynamicBroker checks the new dynamic configurations of one broker, whose layers l are.
func (l Layers) ValidateDynamicBroker(next map[string]string) error {
	problems := dynamicProblems(next, PerBroker)
	if value, set := next[minInSyncReplicas]; set {
		problems = append(problems, &ValueError{minInSyncReplicas, value, "brokers must not differ in it: set it for the whole cluster, without a broker id, or for a topic"})
	}
	l.DynamicBroker = next
	return errors.Join(append(problems, l.brokerProblems()...)...)
}

// ValidateDynamicDefault checks the new dynamic configurations of all brokers.
func (l Layers) ValidateDynamicDefault(next map[string]string) error {
	problems := dynamicProblems(next, ClusterWide)
	if value, set := l.DynamicDefault[minInSyncReplicas]; set && next[minInSyncReplicas] == "" {
		problems = append(problems, &ValueError{minInSyncReplicas, value, "the cluster's value cannot be removed: brokers would go back to their own, which may differ; set it instead"})
	}
	l.DynamicDefault = next
	return errors.Join(append(problems, l.brokerProblems()...)...)
}

func dynamicProblems(next map[string]string, scope Scope) []error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(next)) {
		k, err := BrokerKey(name)
		switch {
		case err != nil:
		case k.Dynamic == ReadOnly:
			err = fmt.Errorf("%w: %s is read at start", ErrReadOnly, name)
		case k.Dynamic < scope:
			err = fmt.Errorf("%w: %s at default cluster level, broker id must be specified", ErrReadOnly, name)
		default:
			err = k.Check(next[name])
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// brokerProblems runs the checks across broker configurations.
func (l Layers) brokerProblems() []error {
	problems := append(tierProblems(l.Topic(nil)), lagProblems(l.Topic(nil))...)
	v := l.Broker()
	problems = append(problems, watermarkProblems(v)...)
	if slices.Contains(v.List("log.cleanup.policy"), "compact") && v.Bool("log.remote.storage.enable") {
		problems = append(problems, &ValueError{"log.cleanup.policy", "compact", tierNeedsDelete + " Set log.remote.storage.enable=false as well."})
	}
	if size, threads := v.Int64("log.cleaner.dedupe.buffer.size"), v.Int64("log.cleaner.threads"); threads > 0 && size/threads <= 1<<20 {
		problems = append(problems, &ValueError{
			"log.cleaner.dedupe.buffer.size", fmt.Sprint(size), "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
		})
	}
	if low, high := v.Int64("group.min.session.timeout.ms"), v.Int64("group.max.session.timeout.ms"); low > high {
		problems = append(problems, &ValueError{
			"group.min.session.timeout.ms", fmt.Sprint(low), fmt.Sprintf("Value must not be more than group.max.session.timeout.ms property value: %d", high),
		})
	}
	if budget, largest := v.Int64("queued.max.request.bytes"), v.Int64("socket.request.max.bytes"); budget > 0 && budget < largest {
		problems = append(problems, &ValueError{
			"queued.max.request.bytes", fmt.Sprint(budget), fmt.Sprintf("Value must be at least socket.request.max.bytes property value: %d", largest),
		})
	}
	return problems
}
