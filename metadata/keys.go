package metadata

import (
	"strconv"
	"strings"
)

// The keys of a cluster, relative to its root. doc.go has the table.
const (
	topicsPrefix        = "topics/"
	partitionsPrefix    = "partitions/"
	brokersPrefix       = "brokers/"
	knownPrefix         = "known/"
	topicConfigsPrefix  = "configs/topics/"
	brokerConfigsPrefix = "configs/brokers/"
	controllerKey       = "controller"
	clusterIDKey        = "cluster-id"
	featuresKey         = "features"
	producerIDsKey      = "producer-ids"
	seedsKnownKey       = "seeds-known"

	// defaultBroker is the id in the key of the settings of all brokers.
	defaultBroker = "default"
)

// TierKey returns the key of a partition's tier pointer. This package never reads it: package
// tiering owns it.
func TierKey(id TopicID, partition int32) string {
	return TierPrefix + id.String() + "/" + strconv.Itoa(int(partition))
}

// TierPrefix is the prefix of all keys of TierKey.
const TierPrefix = "tier/"

func topicKey(name string) string { return topicsPrefix + name }

func partitionKey(id TopicID, partition int32) string {
	return partitionsPrefix + id.String() + "/" + strconv.Itoa(int(partition))
}

func brokerKey(id int32) string { return brokersPrefix + strconv.Itoa(int(id)) }

func knownKey(id int32) string { return knownPrefix + strconv.Itoa(int(id)) }

// parsePartitionKey parses a partition key without its prefix.
func parsePartitionKey(rest string) (TopicID, int32, bool) {
	topic, number, found := strings.Cut(rest, "/")
	if !found {
		return TopicID{}, 0, false
	}
	id, err := ParseTopicID(topic)
	if err != nil {
		return TopicID{}, 0, false
	}
	n, ok := parseNumber(number)
	return id, n, ok
}

// parseNumber parses a broker id or a partition number. It accepts only the spelling that is
// written, so that two keys never mean the same thing.
func parseNumber(s string) (int32, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || strconv.Itoa(int(n)) != s {
		return 0, false
	}
	return int32(n), true
}
