package broker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// Errors that handlers find by themselves. The text that wraps them is sent to the client.
var (
	errInvalidRequest        = errors.New("invalid request")
	errInvalidConfig         = errors.New("invalid configuration")
	errTopicDeletionDisabled = errors.New("topic deletion is disabled")
	errUnknownTopicID        = errors.New("this server does not host this topic ID")
	errCoordinatorNotReady   = errors.New("the coordinator is not available")
	errMismatchedEndpoint    = errors.New("the request was sent to an endpoint of the wrong type")
	errUnsupportedEndpoint   = errors.New("this endpoint type is not supported")
)

// errorCodes is the one table from errors to Kafka's codes. The first entry that errors.Is matches
// decides, so narrow errors precede wide ones.
var errorCodes = []struct {
	err  error
	code protocol.ErrorCode
}{
	{errInvalidRequest, protocol.InvalidRequest},
	{config.ErrReadOnly, protocol.InvalidRequest},
	{errInvalidConfig, protocol.InvalidConfig},
	{errTopicDeletionDisabled, protocol.TopicDeletionDisabled},
	{errUnknownTopicID, protocol.UnknownTopicID},
	{errCoordinatorNotReady, protocol.CoordinatorNotAvailable},
	{errMismatchedEndpoint, protocol.MismatchedEndpointType},
	{errUnsupportedEndpoint, protocol.UnsupportedEndpointType},
	{errInconsistentTopicID, protocol.InconsistentTopicID},
	{errUnsupportedCodec, protocol.UnsupportedCompressionType},
	{errInvalidTopic, protocol.InvalidTopicException},
	{errUnsupportedVersion, protocol.UnsupportedVersion},

	// The data path.
	{replication.ErrUnknownTopicOrPartition, protocol.UnknownTopicOrPartition},
	{replication.ErrNotLeader, protocol.NotLeaderOrFollower},
	{replication.ErrFencedLeaderEpoch, protocol.FencedLeaderEpoch},
	{replication.ErrUnknownLeaderEpoch, protocol.UnknownLeaderEpoch},
	{replication.ErrNotEnoughReplicasAfterAppend, protocol.NotEnoughReplicasAfterAppend},
	{replication.ErrNotEnoughReplicas, protocol.NotEnoughReplicas},
	{replication.ErrInvalidRequiredAcks, protocol.InvalidRequiredAcks},
	{replication.ErrOffsetNotAvailable, protocol.OffsetNotAvailable},
	{replication.ErrOffsetOutOfRange, protocol.OffsetOutOfRange},
	{replication.ErrOffsetMovedToTier, protocol.OffsetMovedToTieredStorage},
	{replication.ErrPolicy, protocol.PolicyViolation},
	// consumers refresh their metadata and fetch again
	{replication.ErrColdReadFailed, protocol.KafkaStorageError},
	{storage.ErrOffsetOutOfRange, protocol.OffsetOutOfRange},
	{storage.ErrCorruptRecord, protocol.CorruptMessage},
	{storage.ErrRecordTooLarge, protocol.MessageTooLarge},
	{storage.ErrRecordListTooLarge, protocol.RecordListTooLarge},
	{storage.ErrUnsupportedMagic, protocol.InvalidRecord},
	{storage.ErrInvalidRecord, protocol.InvalidRecord},
	{storage.ErrInvalidTimestamp, protocol.InvalidTimestamp},
	{storage.ErrOutOfOrderSequence, protocol.OutOfOrderSequenceNumber},
	{storage.ErrInvalidProducerEpoch, protocol.InvalidProducerEpoch},
	{storage.ErrInvalidTxnState, protocol.InvalidTxnState},
	{storage.ErrLogClosed, protocol.NotLeaderOrFollower}, // deleted or shut down a moment ago
	{storage.ErrNoLogDir, protocol.LogDirNotFound},
	{storage.ErrNoLog, protocol.ReplicaNotAvailable},
	{storage.ErrNameTooLong, protocol.InvalidTopicException},
	{storage.ErrDiskFull, protocol.KafkaStorageError},
	{storage.ErrExhausted, protocol.KafkaStorageError},
	{storage.ErrStorage, protocol.KafkaStorageError},
	{storage.ErrCorrupt, protocol.KafkaStorageError},

	// Errors of the remote tier in requests that are about the tier alone.
	{tiering.ErrNoManifest, protocol.ResourceNotFound},
	{tiering.ErrUnavailable, protocol.RequestTimedOut},
	{tiering.ErrCorrupt, protocol.KafkaStorageError},
	{tiering.ErrUnsupportedFormat, protocol.KafkaStorageError},
	{tiering.ErrReadOnly, protocol.KafkaStorageError},

	{metadata.ErrTopicExists, protocol.TopicAlreadyExists},
	{metadata.ErrUnknownTopic, protocol.UnknownTopicOrPartition},
	{metadata.ErrUnknownTopicID, protocol.UnknownTopicID},
	{metadata.ErrInvalidTopicName, protocol.InvalidTopicException},
	{metadata.ErrInvalidPartitions, protocol.InvalidPartitions},
	{metadata.ErrInvalidReplicationFactor, protocol.InvalidReplicationFactor},
	{metadata.ErrInvalidReplicaAssignment, protocol.InvalidReplicaAssignment},
	{metadata.ErrTooManyPartitions, protocol.PolicyViolation},
	{metadata.ErrInvalidRequest, protocol.InvalidRequest},
	{metadata.ErrIneligibleReplica, protocol.IneligibleReplica},
	{metadata.ErrNoReassignment, protocol.NoReassignmentInProgress},
	{metadata.ErrElectionNotNeeded, protocol.ElectionNotNeeded},
	{metadata.ErrPreferredLeaderNotAvailable, protocol.PreferredLeaderNotAvailable},
	{metadata.ErrEligibleLeadersNotAvailable, protocol.EligibleLeadersNotAvailable},
	{metadata.ErrBrokerNotRegistered, protocol.BrokerIDNotRegistered},
	{metadata.ErrInvalidUpdateVersion, protocol.InvalidUpdateVersion},
	{metadata.ErrFeatureUpdateFailed, protocol.FeatureUpdateFailed},
	{kv.ErrUnavailable, protocol.RequestTimedOut},
	{kv.ErrClosed, protocol.RequestTimedOut},
	{kv.ErrNoSpace, protocol.KafkaStorageError},

	{context.DeadlineExceeded, protocol.RequestTimedOut},
	{context.Canceled, protocol.RequestTimedOut},
	{errStopped, protocol.RequestTimedOut},
	{errDrainTimeout, protocol.RequestTimedOut},
}

// errorCode returns the code of an error, and whether the table has an entry for it.
func errorCode(err error) (code protocol.ErrorCode, known bool) {
	if err == nil {
		return protocol.None, true
	}
	for _, e := range errorCodes {
		if errors.Is(err, e.err) {
			return e.code, true
		}
	}
	return protocol.UnknownServerError, false
}

// code returns the code of an error for a response. An error that is missing in the table is a gap
// and is logged, unless the request's context has ended, because the error may only say that.
func (b *Broker) code(ctx context.Context, err error) int16 {
	code, known := errorCode(err)
	if !known && ctx.Err() == nil {
		b.log.LogAttrs(ctx, slog.LevelError, "request failed with an error that has no code, answering UNKNOWN_SERVER_ERROR",
			slog.Any("error", err))
	}
	return int16(code)
}

// codeAndMessage returns an error's code and the text for the client; 0 and null without an error.
func (b *Broker) codeAndMessage(ctx context.Context, err error) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	return b.code(ctx, err), new(message(err))
}

// message returns what an error says to a client. A refusal is said in its own words: what wraps it
// names the topic, which the response does too, and the sentinel says what the error code does.
func message(err error) string {
	if refused, ok := errors.AsType[*metadata.RefusedError](err); ok {
		return refused.Text
	}
	return err.Error()
}
