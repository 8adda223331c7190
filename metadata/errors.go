package metadata

import (
	"errors"

	"github.com/varvelog/varve/metadata/kv"
)

// ErrConflict is kv.ErrConflict, for callers that propose changes and know no store: the state that
// the change was based on has changed.
var ErrConflict = kv.ErrConflict

// ErrValueTooNew reports that a stored value has a version that this build does not read. The
// wrapping text names the key, the version and the remedy. Such a value exists: callers must not
// treat it as missing.
var ErrValueTooNew = errors.New("the value was written by a newer version of Varve")

// Errors of features, see FinalizedFeatures.
var (
	// ErrUnsupportedFeature reports that the cluster has finalized a feature at a level that this
	// broker does not support: it must not run in this cluster.
	ErrUnsupportedFeature = errors.New("this broker does not support a feature of the cluster at its finalized level")
	// ErrUnreleasedFormat reports that the control plane was written by a build from before the
	// formats were fixed.
	ErrUnreleasedFormat = errors.New("written by an unreleased build before formats were fixed; start with an empty control plane and bucket")
	// ErrInvalidUpdateVersion is INVALID_UPDATE_VERSION.
	ErrInvalidUpdateVersion = errors.New("invalid update version")
	// ErrFeatureUpdateFailed is FEATURE_UPDATE_FAILED.
	ErrFeatureUpdateFailed = errors.New("unable to update finalized features")
)

// Errors of the administrative calls. Each stands for one Kafka error code; the broker package maps
// it.
var (
	// ErrTopicExists is TOPIC_ALREADY_EXISTS.
	ErrTopicExists = errors.New("topic already exists")
	// ErrUnknownTopic is UNKNOWN_TOPIC_OR_PARTITION.
	ErrUnknownTopic = errors.New("this server does not host this topic-partition")
	// ErrUnknownTopicID is UNKNOWN_TOPIC_ID.
	ErrUnknownTopicID = errors.New("this server does not host this topic ID")
	// ErrInvalidTopicName is INVALID_TOPIC_EXCEPTION.
	ErrInvalidTopicName = errors.New("invalid topic name")
	// ErrInvalidPartitions is INVALID_PARTITIONS.
	ErrInvalidPartitions = errors.New("invalid number of partitions")
	// ErrInvalidReplicationFactor is INVALID_REPLICATION_FACTOR.
	ErrInvalidReplicationFactor = errors.New("invalid replication factor")
	// ErrInvalidReplicaAssignment is INVALID_REPLICA_ASSIGNMENT.
	ErrInvalidReplicaAssignment = errors.New("invalid replica assignment")
	// ErrTooManyPartitions is POLICY_VIOLATION: one request asked for more partitions than a
	// request may.
	ErrTooManyPartitions = errors.New("excessively large number of partitions per request")
	// ErrInvalidRequest is INVALID_REQUEST.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrIneligibleReplica is INELIGIBLE_REPLICA.
	ErrIneligibleReplica = errors.New("the new ISR contains an ineligible replica")
	// ErrNoReassignment is NO_REASSIGNMENT_IN_PROGRESS.
	ErrNoReassignment = errors.New("no partition reassignment is in progress")
	// ErrElectionNotNeeded is ELECTION_NOT_NEEDED.
	ErrElectionNotNeeded = errors.New("leader election not needed for topic partition")
	// ErrPreferredLeaderNotAvailable is PREFERRED_LEADER_NOT_AVAILABLE.
	ErrPreferredLeaderNotAvailable = errors.New("the preferred leader was not available")
	// ErrEligibleLeadersNotAvailable is ELIGIBLE_LEADERS_NOT_AVAILABLE.
	ErrEligibleLeadersNotAvailable = errors.New("eligible topic partition leaders are not available")
	// ErrBrokerNotRegistered is BROKER_ID_NOT_REGISTERED.
	ErrBrokerNotRegistered = errors.New("the given broker ID was not registered")
)

// ErrBrokerIDInUse reports that another live broker is registered under the same broker id. The
// wrapping text names that broker and the remedy.
var ErrBrokerIDInUse = errors.New("broker id is in use")
