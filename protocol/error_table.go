package protocol

// Kafka's error codes as of 4.3, in the order of their numbers.
const (
	UnknownServerError                 ErrorCode = -1
	None                               ErrorCode = 0
	OffsetOutOfRange                   ErrorCode = 1
	CorruptMessage                     ErrorCode = 2
	UnknownTopicOrPartition            ErrorCode = 3
	InvalidFetchSize                   ErrorCode = 4
	LeaderNotAvailable                 ErrorCode = 5
	NotLeaderOrFollower                ErrorCode = 6
	RequestTimedOut                    ErrorCode = 7
	BrokerNotAvailable                 ErrorCode = 8
	ReplicaNotAvailable                ErrorCode = 9
	MessageTooLarge                    ErrorCode = 10
	StaleControllerEpoch               ErrorCode = 11
	OffsetMetadataTooLarge             ErrorCode = 12
	NetworkException                   ErrorCode = 13
	CoordinatorLoadInProgress          ErrorCode = 14
	CoordinatorNotAvailable            ErrorCode = 15
	NotCoordinator                     ErrorCode = 16
	InvalidTopicException              ErrorCode = 17
	RecordListTooLarge                 ErrorCode = 18
	NotEnoughReplicas                  ErrorCode = 19
	NotEnoughReplicasAfterAppend       ErrorCode = 20
	InvalidRequiredAcks                ErrorCode = 21
	IllegalGeneration                  ErrorCode = 22
	InconsistentGroupProtocol          ErrorCode = 23
	InvalidGroupID                     ErrorCode = 24
	UnknownMemberID                    ErrorCode = 25
	InvalidSessionTimeout              ErrorCode = 26
	RebalanceInProgress                ErrorCode = 27
	InvalidCommitOffsetSize            ErrorCode = 28
	TopicAuthorizationFailed           ErrorCode = 29
	GroupAuthorizationFailed           ErrorCode = 30
	ClusterAuthorizationFailed         ErrorCode = 31
	InvalidTimestamp                   ErrorCode = 32
	UnsupportedSASLMechanism           ErrorCode = 33
	IllegalSASLState                   ErrorCode = 34
	UnsupportedVersion                 ErrorCode = 35
	TopicAlreadyExists                 ErrorCode = 36
	InvalidPartitions                  ErrorCode = 37
	InvalidReplicationFactor           ErrorCode = 38
	InvalidReplicaAssignment           ErrorCode = 39
	InvalidConfig                      ErrorCode = 40
	NotController                      ErrorCode = 41
	InvalidRequest                     ErrorCode = 42
	UnsupportedForMessageFormat        ErrorCode = 43
	PolicyViolation                    ErrorCode = 44
	OutOfOrderSequenceNumber           ErrorCode = 45
	DuplicateSequenceNumber            ErrorCode = 46
	InvalidProducerEpoch               ErrorCode = 47
	InvalidTxnState                    ErrorCode = 48
	InvalidProducerIDMapping           ErrorCode = 49
	InvalidTransactionTimeout          ErrorCode = 50
	ConcurrentTransactions             ErrorCode = 51
	TransactionCoordinatorFenced       ErrorCode = 52
	TransactionalIDAuthorizationFailed ErrorCode = 53
	SecurityDisabled                   ErrorCode = 54
	OperationNotAttempted              ErrorCode = 55
	KafkaStorageError                  ErrorCode = 56
	LogDirNotFound                     ErrorCode = 57
	SASLAuthenticationFailed           ErrorCode = 58
	UnknownProducerID                  ErrorCode = 59
	ReassignmentInProgress             ErrorCode = 60
	DelegationTokenAuthDisabled        ErrorCode = 61
	DelegationTokenNotFound            ErrorCode = 62
	DelegationTokenOwnerMismatch       ErrorCode = 63
	DelegationTokenRequestNotAllowed   ErrorCode = 64
	DelegationTokenAuthorizationFailed ErrorCode = 65
	DelegationTokenExpired             ErrorCode = 66
	InvalidPrincipalType               ErrorCode = 67
	NonEmptyGroup                      ErrorCode = 68
	GroupIDNotFound                    ErrorCode = 69
	FetchSessionIDNotFound             ErrorCode = 70
	InvalidFetchSessionEpoch           ErrorCode = 71
	ListenerNotFound                   ErrorCode = 72
	TopicDeletionDisabled              ErrorCode = 73
	FencedLeaderEpoch                  ErrorCode = 74
	UnknownLeaderEpoch                 ErrorCode = 75
	UnsupportedCompressionType         ErrorCode = 76
	StaleBrokerEpoch                   ErrorCode = 77
	OffsetNotAvailable                 ErrorCode = 78
	MemberIDRequired                   ErrorCode = 79
	PreferredLeaderNotAvailable        ErrorCode = 80
	GroupMaxSizeReached                ErrorCode = 81
	FencedInstanceID                   ErrorCode = 82
	EligibleLeadersNotAvailable        ErrorCode = 83
	ElectionNotNeeded                  ErrorCode = 84
	NoReassignmentInProgress           ErrorCode = 85
	GroupSubscribedToTopic             ErrorCode = 86
	InvalidRecord                      ErrorCode = 87
	UnstableOffsetCommit               ErrorCode = 88
	ThrottlingQuotaExceeded            ErrorCode = 89
	ProducerFenced                     ErrorCode = 90
	ResourceNotFound                   ErrorCode = 91
	DuplicateResource                  ErrorCode = 92
	UnacceptableCredential             ErrorCode = 93
	InconsistentVoterSet               ErrorCode = 94
	InvalidUpdateVersion               ErrorCode = 95
	FeatureUpdateFailed                ErrorCode = 96
	PrincipalDeserializationFailure    ErrorCode = 97
	SnapshotNotFound                   ErrorCode = 98
	PositionOutOfRange                 ErrorCode = 99
	UnknownTopicID                     ErrorCode = 100
	DuplicateBrokerRegistration        ErrorCode = 101
	BrokerIDNotRegistered              ErrorCode = 102
	InconsistentTopicID                ErrorCode = 103
	InconsistentClusterID              ErrorCode = 104
	TransactionalIDNotFound            ErrorCode = 105
	FetchSessionTopicIDError           ErrorCode = 106
	IneligibleReplica                  ErrorCode = 107
	NewLeaderElected                   ErrorCode = 108
	OffsetMovedToTieredStorage         ErrorCode = 109
	FencedMemberEpoch                  ErrorCode = 110
	UnreleasedInstanceID               ErrorCode = 111
	UnsupportedAssignor                ErrorCode = 112
	StaleMemberEpoch                   ErrorCode = 113
	MismatchedEndpointType             ErrorCode = 114
	UnsupportedEndpointType            ErrorCode = 115
	UnknownControllerID                ErrorCode = 116
	UnknownSubscriptionID              ErrorCode = 117
	TelemetryTooLarge                  ErrorCode = 118
	InvalidRegistration                ErrorCode = 119
	TransactionAbortable               ErrorCode = 120
	InvalidRecordState                 ErrorCode = 121
	ShareSessionNotFound               ErrorCode = 122
	InvalidShareSessionEpoch           ErrorCode = 123
	FencedStateEpoch                   ErrorCode = 124
	InvalidVoterKey                    ErrorCode = 125
	DuplicateVoter                     ErrorCode = 126
	VoterNotFound                      ErrorCode = 127
	InvalidRegularExpression           ErrorCode = 128
	RebootstrapRequired                ErrorCode = 129
	StreamsInvalidTopology             ErrorCode = 130
	StreamsInvalidTopologyEpoch        ErrorCode = 131
	StreamsTopologyFenced              ErrorCode = 132
	ShareSessionLimitReached           ErrorCode = 133
)

// errorTable is indexed by code + 1, so that UnknownServerError (-1) comes first.
var errorTable = [...]struct {
	name      string
	retriable bool
	message   string
}{
	UnknownServerError + 1:                 {"UNKNOWN_SERVER_ERROR", false, "The server experienced an unexpected error when processing the request."},
	None + 1:                               {"NONE", false, ""},
	OffsetOutOfRange + 1:                   {"OFFSET_OUT_OF_RANGE", false, "The requested offset is not within the range of offsets maintained by the server."},
	CorruptMessage + 1:                     {"CORRUPT_MESSAGE", true, "This message has failed its CRC checksum, exceeds the valid size, has a null key for a compacted topic, or is otherwise corrupt."},
	UnknownTopicOrPartition + 1:            {"UNKNOWN_TOPIC_OR_PARTITION", true, "This server does not host this topic-partition."},
	InvalidFetchSize + 1:                   {"INVALID_FETCH_SIZE", false, "The requested fetch size is invalid."},
	LeaderNotAvailable + 1:                 {"LEADER_NOT_AVAILABLE", true, "There is no leader for this topic-partition as we are in the middle of a leadership election."},
	NotLeaderOrFollower + 1:                {"NOT_LEADER_OR_FOLLOWER", true, "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition."},
	RequestTimedOut + 1:                    {"REQUEST_TIMED_OUT", true, "The request timed out."},
	BrokerNotAvailable + 1:                 {"BROKER_NOT_AVAILABLE", false, "The broker is not available."},
	ReplicaNotAvailable + 1:                {"REPLICA_NOT_AVAILABLE", true, "The replica is not available for the requested topic-partition."},
	MessageTooLarge + 1:                    {"MESSAGE_TOO_LARGE", false, "The request included a message larger than the max message size the server will accept."},
	StaleControllerEpoch + 1:               {"STALE_CONTROLLER_EPOCH", false, "The controller moved to another broker."},
	OffsetMetadataTooLarge + 1:             {"OFFSET_METADATA_TOO_LARGE", false, "The metadata field of the offset request was too large."},
	NetworkException + 1:                   {"NETWORK_EXCEPTION", true, "The server disconnected before a response was received."},
	CoordinatorLoadInProgress + 1:          {"COORDINATOR_LOAD_IN_PROGRESS", true, "The coordinator is loading and hence can't process requests."},
	CoordinatorNotAvailable + 1:            {"COORDINATOR_NOT_AVAILABLE", true, "The coordinator is not available."},
	NotCoordinator + 1:                     {"NOT_COORDINATOR", true, "This is not the correct coordinator."},
	InvalidTopicException + 1:              {"INVALID_TOPIC_EXCEPTION", false, "The request attempted to perform an operation on an invalid topic."},
	RecordListTooLarge + 1:                 {"RECORD_LIST_TOO_LARGE", false, "The request included message batch larger than the configured segment size on the server."},
	NotEnoughReplicas + 1:                  {"NOT_ENOUGH_REPLICAS", true, "Messages are rejected since there are fewer in-sync replicas than required."},
	NotEnoughReplicasAfterAppend + 1:       {"NOT_ENOUGH_REPLICAS_AFTER_APPEND", true, "Messages are written to the log, but to fewer in-sync replicas than required."},
	InvalidRequiredAcks + 1:                {"INVALID_REQUIRED_ACKS", false, "Produce request specified an invalid value for required acks."},
	IllegalGeneration + 1:                  {"ILLEGAL_GENERATION", false, "Specified group generation id is not valid."},
	InconsistentGroupProtocol + 1:          {"INCONSISTENT_GROUP_PROTOCOL", false, "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list."},
	InvalidGroupID + 1:                     {"INVALID_GROUP_ID", false, "The configured groupId is invalid."},
	UnknownMemberID + 1:                    {"UNKNOWN_MEMBER_ID", false, "The coordinator is not aware of this member."},
	InvalidSessionTimeout + 1:              {"INVALID_SESSION_TIMEOUT", false, "The session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms)."},
	RebalanceInProgress + 1:                {"REBALANCE_IN_PROGRESS", false, "The group is rebalancing, so a rejoin is needed."},
	InvalidCommitOffsetSize + 1:            {"INVALID_COMMIT_OFFSET_SIZE", false, "The committing offset data size is not valid."},
	TopicAuthorizationFailed + 1:           {"TOPIC_AUTHORIZATION_FAILED", false, "Not authorized to access topics: [Topic authorization failed.]."},
	GroupAuthorizationFailed + 1:           {"GROUP_AUTHORIZATION_FAILED", false, "Not authorized to access group: Group authorization failed."},
	ClusterAuthorizationFailed + 1:         {"CLUSTER_AUTHORIZATION_FAILED", false, "Cluster authorization failed."},
	InvalidTimestamp + 1:                   {"INVALID_TIMESTAMP", false, "The timestamp of the message is out of acceptable range."},
	UnsupportedSASLMechanism + 1:           {"UNSUPPORTED_SASL_MECHANISM", false, "The broker does not support the requested SASL mechanism."},
	IllegalSASLState + 1:                   {"ILLEGAL_SASL_STATE", false, "Request is not valid given the current SASL state."},
	UnsupportedVersion + 1:                 {"UNSUPPORTED_VERSION", false, "The version of API is not supported."},
	TopicAlreadyExists + 1:                 {"TOPIC_ALREADY_EXISTS", false, "Topic with this name already exists."},
	InvalidPartitions + 1:                  {"INVALID_PARTITIONS", false, "Number of partitions is below 1."},
	InvalidReplicationFactor + 1:           {"INVALID_REPLICATION_FACTOR", false, "Replication factor is below 1 or larger than the number of available brokers."},
	InvalidReplicaAssignment + 1:           {"INVALID_REPLICA_ASSIGNMENT", false, "Replica assignment is invalid."},
	InvalidConfig + 1:                      {"INVALID_CONFIG", false, "Configuration is invalid."},
	NotController + 1:                      {"NOT_CONTROLLER", true, "This is not the correct controller for this cluster."},
	InvalidRequest + 1:                     {"INVALID_REQUEST", false, "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details."},
	UnsupportedForMessageFormat + 1:        {"UNSUPPORTED_FOR_MESSAGE_FORMAT", false, "The message format version on the broker does not support the request."},
	PolicyViolation + 1:                    {"POLICY_VIOLATION", false, "Request parameters do not satisfy the configured policy."},
	OutOfOrderSequenceNumber + 1:           {"OUT_OF_ORDER_SEQUENCE_NUMBER", false, "The broker received an out of order sequence number."},
	DuplicateSequenceNumber + 1:            {"DUPLICATE_SEQUENCE_NUMBER", false, "The broker received a duplicate sequence number."},
	InvalidProducerEpoch + 1:               {"INVALID_PRODUCER_EPOCH", false, "Producer attempted an operation with an old epoch."},
	InvalidTxnState + 1:                    {"INVALID_TXN_STATE", false, "The producer attempted a transactional operation in an invalid state."},
	InvalidProducerIDMapping + 1:           {"INVALID_PRODUCER_ID_MAPPING", false, "The producer attempted to use a producer id which is not currently assigned to its transactional id."},
	InvalidTransactionTimeout + 1:          {"INVALID_TRANSACTION_TIMEOUT", false, "The transaction timeout is larger than the maximum value allowed by the broker (as configured by transaction.max.timeout.ms)."},
	ConcurrentTransactions + 1:             {"CONCURRENT_TRANSACTIONS", false, "The producer attempted to update a transaction while another concurrent operation on the same transaction was ongoing."},
	TransactionCoordinatorFenced + 1:       {"TRANSACTION_COORDINATOR_FENCED", false, "Indicates that the transaction coordinator sending a WriteTxnMarker is no longer the current coordinator for a given producer."},
	TransactionalIDAuthorizationFailed + 1: {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false, "Transactional ID authorization failed."},
	SecurityDisabled + 1:                   {"SECURITY_DISABLED", false, "Security features are disabled."},
	OperationNotAttempted + 1:              {"OPERATION_NOT_ATTEMPTED", false, "The broker did not attempt to execute this operation. This may happen for batched RPCs where some operations in the batch failed, causing the broker to respond without trying the rest."},
	KafkaStorageError + 1:                  {"KAFKA_STORAGE_ERROR", true, "Disk error when trying to access log file on the disk."},
	LogDirNotFound + 1:                     {"LOG_DIR_NOT_FOUND", false, "The user-specified log directory is not found in the broker config."},
	SASLAuthenticationFailed + 1:           {"SASL_AUTHENTICATION_FAILED", false, "SASL Authentication failed."},
	UnknownProducerID + 1:                  {"UNKNOWN_PRODUCER_ID", false, "This exception is raised by the broker if it could not locate the producer metadata associated with the producer id in question. This could happen if, for instance, the producer's records were deleted because their retention time had elapsed. Once the last records of the producer id are removed, the producer's metadata is removed from the broker, and future appends by the producer will return this exception."},
	ReassignmentInProgress + 1:             {"REASSIGNMENT_IN_PROGRESS", false, "A partition reassignment is in progress."},
	DelegationTokenAuthDisabled + 1:        {"DELEGATION_TOKEN_AUTH_DISABLED", false, "Delegation Token feature is not enabled."},
	DelegationTokenNotFound + 1:            {"DELEGATION_TOKEN_NOT_FOUND", false, "Delegation Token is not found on server."},
	DelegationTokenOwnerMismatch + 1:       {"DELEGATION_TOKEN_OWNER_MISMATCH", false, "Specified Principal is not valid Owner/Renewer."},
	DelegationTokenRequestNotAllowed + 1:   {"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false, "Delegation Token requests are not allowed on PLAINTEXT/1-way SSL channels and on delegation token authenticated channels."},
	DelegationTokenAuthorizationFailed + 1: {"DELEGATION_TOKEN_AUTHORIZATION_FAILED", false, "Delegation Token authorization failed."},
	DelegationTokenExpired + 1:             {"DELEGATION_TOKEN_EXPIRED", false, "Delegation Token is expired."},
	InvalidPrincipalType + 1:               {"INVALID_PRINCIPAL_TYPE", false, "Supplied principalType is not supported."},
	NonEmptyGroup + 1:                      {"NON_EMPTY_GROUP", false, "The group is not empty."},
	GroupIDNotFound + 1:                    {"GROUP_ID_NOT_FOUND", false, "The group id does not exist."},
	FetchSessionIDNotFound + 1:             {"FETCH_SESSION_ID_NOT_FOUND", true, "The fetch session ID was not found."},
	InvalidFetchSessionEpoch + 1:           {"INVALID_FETCH_SESSION_EPOCH", true, "The fetch session epoch is invalid."},
	ListenerNotFound + 1:                   {"LISTENER_NOT_FOUND", true, "There is no listener on the leader broker that matches the listener on which metadata request was processed."},
	TopicDeletionDisabled + 1:              {"TOPIC_DELETION_DISABLED", false, "Topic deletion is disabled."},
	FencedLeaderEpoch + 1:                  {"FENCED_LEADER_EPOCH", true, "The leader epoch in the request is older than the epoch on the broker."},
	UnknownLeaderEpoch + 1:                 {"UNKNOWN_LEADER_EPOCH", true, "The leader epoch in the request is newer than the epoch on the broker."},
	UnsupportedCompressionType + 1:         {"UNSUPPORTED_COMPRESSION_TYPE", false, "The requesting client does not support the compression type of given partition."},
	StaleBrokerEpoch + 1:                   {"STALE_BROKER_EPOCH", false, "Broker epoch has changed."},
	OffsetNotAvailable + 1:                 {"OFFSET_NOT_AVAILABLE", true, "The leader high watermark has not caught up from a recent leader election so the offsets cannot be guaranteed to be monotonically increasing."},
	MemberIDRequired + 1:                   {"MEMBER_ID_REQUIRED", false, "The group member needs to have a valid member id before actually entering a consumer group."},
	PreferredLeaderNotAvailable + 1:        {"PREFERRED_LEADER_NOT_AVAILABLE", true, "The preferred leader was not available."},
	GroupMaxSizeReached + 1:                {"GROUP_MAX_SIZE_REACHED", false, "The consumer group has reached its max size."},
	FencedInstanceID + 1:                   {"FENCED_INSTANCE_ID", false, "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id."},
	EligibleLeadersNotAvailable + 1:        {"ELIGIBLE_LEADERS_NOT_AVAILABLE", true, "Eligible topic partition leaders are not available."},
	ElectionNotNeeded + 1:                  {"ELECTION_NOT_NEEDED", true, "Leader election not needed for topic partition."},
	NoReassignmentInProgress + 1:           {"NO_REASSIGNMENT_IN_PROGRESS", false, "No partition reassignment is in progress."},
	GroupSubscribedToTopic + 1:             {"GROUP_SUBSCRIBED_TO_TOPIC", false, "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it."},
	InvalidRecord + 1:                      {"INVALID_RECORD", false, "This record has failed the validation on the broker and hence been rejected."},
	UnstableOffsetCommit + 1:               {"UNSTABLE_OFFSET_COMMIT", true, "There are unstable offsets that need to be cleared."},
	ThrottlingQuotaExceeded + 1:            {"THROTTLING_QUOTA_EXCEEDED", true, "The throttling quota has been exceeded."},
	ProducerFenced + 1:                     {"PRODUCER_FENCED", false, "There is a newer producer with the same transactionalId which fences the current one."},
	ResourceNotFound + 1:                   {"RESOURCE_NOT_FOUND", false, "A request illegally referred to a resource that does not exist."},
	DuplicateResource + 1:                  {"DUPLICATE_RESOURCE", false, "A request illegally referred to the same resource twice."},
	UnacceptableCredential + 1:             {"UNACCEPTABLE_CREDENTIAL", false, "Requested credential would not meet criteria for acceptability."},
	InconsistentVoterSet + 1:               {"INCONSISTENT_VOTER_SET", false, "Indicates that either the sender or recipient of a voter-only request is not one of the expected voters."},
	InvalidUpdateVersion + 1:               {"INVALID_UPDATE_VERSION", false, "The given update version was invalid."},
	FeatureUpdateFailed + 1:                {"FEATURE_UPDATE_FAILED", false, "Unable to update finalized features due to an unexpected server error."},
	PrincipalDeserializationFailure + 1:    {"PRINCIPAL_DESERIALIZATION_FAILURE", false, "Request principal deserialization failed during forwarding. This indicates an internal error on the broker cluster security setup."},
	SnapshotNotFound + 1:                   {"SNAPSHOT_NOT_FOUND", false, "Requested snapshot was not found."},
	PositionOutOfRange + 1:                 {"POSITION_OUT_OF_RANGE", false, "Requested position is not greater than or equal to zero, and less than the size of the snapshot."},
	UnknownTopicID + 1:                     {"UNKNOWN_TOPIC_ID", true, "This server does not host this topic ID."},
	DuplicateBrokerRegistration + 1:        {"DUPLICATE_BROKER_REGISTRATION", false, "This broker ID is already in use."},
	BrokerIDNotRegistered + 1:              {"BROKER_ID_NOT_REGISTERED", false, "The given broker ID was not registered."},
	InconsistentTopicID + 1:                {"INCONSISTENT_TOPIC_ID", true, "The log's topic ID did not match the topic ID in the request."},
	InconsistentClusterID + 1:              {"INCONSISTENT_CLUSTER_ID", false, "The clusterId in the request does not match that found on the server."},
	TransactionalIDNotFound + 1:            {"TRANSACTIONAL_ID_NOT_FOUND", false, "The transactionalId could not be found."},
	FetchSessionTopicIDError + 1:           {"FETCH_SESSION_TOPIC_ID_ERROR", true, "The fetch session encountered inconsistent topic ID usage."},
	IneligibleReplica + 1:                  {"INELIGIBLE_REPLICA", false, "The new ISR contains at least one ineligible replica."},
	NewLeaderElected + 1:                   {"NEW_LEADER_ELECTED", false, "The AlterPartition request successfully updated the partition state but the leader has changed."},
	OffsetMovedToTieredStorage + 1:         {"OFFSET_MOVED_TO_TIERED_STORAGE", false, "The requested offset is moved to tiered storage."},
	FencedMemberEpoch + 1:                  {"FENCED_MEMBER_EPOCH", false, "The member epoch is fenced by the group coordinator. The member must abandon all its partitions and rejoin."},
	UnreleasedInstanceID + 1:               {"UNRELEASED_INSTANCE_ID", false, "The instance ID is still used by another member in the consumer group. That member must leave first."},
	UnsupportedAssignor + 1:                {"UNSUPPORTED_ASSIGNOR", false, "The assignor or its version range is not supported by the consumer group."},
	StaleMemberEpoch + 1:                   {"STALE_MEMBER_EPOCH", false, "The member epoch is stale. The member must retry after receiving its updated member epoch via the ConsumerGroupHeartbeat API."},
	MismatchedEndpointType + 1:             {"MISMATCHED_ENDPOINT_TYPE", false, "The request was sent to an endpoint of the wrong type."},
	UnsupportedEndpointType + 1:            {"UNSUPPORTED_ENDPOINT_TYPE", false, "This endpoint type is not supported yet."},
	UnknownControllerID + 1:                {"UNKNOWN_CONTROLLER_ID", false, "This controller ID is not known."},
	UnknownSubscriptionID + 1:              {"UNKNOWN_SUBSCRIPTION_ID", false, "Client sent a push telemetry request with an invalid or outdated subscription ID."},
	TelemetryTooLarge + 1:                  {"TELEMETRY_TOO_LARGE", false, "Client sent a push telemetry request larger than the maximum size the broker will accept."},
	InvalidRegistration + 1:                {"INVALID_REGISTRATION", false, "The controller has considered the broker registration to be invalid."},
	TransactionAbortable + 1:               {"TRANSACTION_ABORTABLE", false, "The server encountered an error with the transaction. The client can abort the transaction to continue using this transactional ID."},
	InvalidRecordState + 1:                 {"INVALID_RECORD_STATE", false, "The record state is invalid. The acknowledgement of delivery could not be completed."},
	ShareSessionNotFound + 1:               {"SHARE_SESSION_NOT_FOUND", true, "The share session was not found."},
	InvalidShareSessionEpoch + 1:           {"INVALID_SHARE_SESSION_EPOCH", true, "The share session epoch is invalid."},
	FencedStateEpoch + 1:                   {"FENCED_STATE_EPOCH", false, "The coordinator rejected the request because the state epoch did not match."},
	InvalidVoterKey + 1:                    {"INVALID_VOTER_KEY", false, "The voter key doesn't match the receiving replica's key."},
	DuplicateVoter + 1:                     {"DUPLICATE_VOTER", false, "The voter is already part of the set of voters."},
	VoterNotFound + 1:                      {"VOTER_NOT_FOUND", false, "The voter is not part of the set of voters."},
	InvalidRegularExpression + 1:           {"INVALID_REGULAR_EXPRESSION", false, "The regular expression is not valid."},
	RebootstrapRequired + 1:                {"REBOOTSTRAP_REQUIRED", false, "Client metadata is stale. The client should rebootstrap to obtain new metadata."},
	StreamsInvalidTopology + 1:             {"STREAMS_INVALID_TOPOLOGY", false, "The supplied topology is invalid."},
	StreamsInvalidTopologyEpoch + 1:        {"STREAMS_INVALID_TOPOLOGY_EPOCH", false, "The supplied topology epoch is invalid."},
	StreamsTopologyFenced + 1:              {"STREAMS_TOPOLOGY_FENCED", false, "The supplied topology epoch is outdated."},
	ShareSessionLimitReached + 1:           {"SHARE_SESSION_LIMIT_REACHED", true, "The limit of share sessions has been reached."},
}
