package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// apis returns the table of the APIs that this broker serves, one line each, in the order of their
// keys. Versions are those of Apache Kafka 4.3.
func apis() []api {
	return []api{
		servePipelined(3, 13, (*Broker).produce).advertiseFrom(0, refuseProduce),
		serve(4, 18, (*Broker).fetch),
		serve(1, 11, (*Broker).listOffsets),
		serve(0, 13, (*Broker).metadata),
		serve(2, 10, (*Broker).offsetCommit),
		serve(1, 10, (*Broker).offsetFetch),
		serve(0, 6, (*Broker).findCoordinator),
		serve(0, 9, (*Broker).joinGroup).retainsFrame(),
		serve(0, 4, (*Broker).heartbeat),
		serve(0, 5, (*Broker).leaveGroup),
		serve(0, 5, (*Broker).syncGroup).retainsFrame(),
		serve(0, 6, (*Broker).describeGroups),
		serve(0, 5, (*Broker).listGroups),
		serve(0, 4, (*Broker).apiVersions),
		serve(2, 7, (*Broker).createTopics),
		serve(1, 6, (*Broker).deleteTopics),
		serve(0, 2, (*Broker).deleteRecords),
		serve(0, 5, (*Broker).initProducerID),
		serve(2, 4, (*Broker).offsetForLeaderEpoch),
		serve(1, 4, (*Broker).describeConfigs),
		serve(1, 2, (*Broker).alterReplicaLogDirs),
		serve(1, 5, (*Broker).describeLogDirs),
		serve(0, 3, (*Broker).createPartitions),
		serve(0, 2, (*Broker).deleteGroups),
		serve(0, 2, (*Broker).electLeaders),
		serve(0, 1, (*Broker).incrementalAlterConfigs),
		serve(0, 1, (*Broker).alterPartitionReassignments),
		serve(0, 0, (*Broker).listPartitionReassignments),
		serve(0, 2, (*Broker).describeQuorum),
		serve(0, 2, (*Broker).updateFeatures),
		serve(0, 2, (*Broker).describeCluster),
		serve(0, 0, (*Broker).unregisterBroker),
		serve(0, 0, (*Broker).describeTopicPartitions),
	}
}

// api is one line of the table: an API, the versions served, and its handler.
type api struct {
	key, min, max int16
	advertisedMin int16
	newRequest    func() kmsg.Request

	// Exactly one of handle and accept is set. handle runs on the connection's writer, in request
	// order, and may block under ctx. accept runs on the connection's reader, in request order,
	// before the next request of the connection is read. It returns the rest of the work and must
	// not wait for other clients.
	handle func(*Broker, context.Context, *Request, kmsg.Request) kmsg.Response
	accept func(*Broker, context.Context, *Request, kmsg.Request) stage2

	// refuse answers versions that are advertised but not served. A nil response means that none is
	// sent.
	refuse func(kmsg.Request) kmsg.Response

	// keepsFrame means that the owner behind the handler may retain byte slices of the request. Its
	// frame is left to the garbage collector. The frames of all other requests are reused as soon
	// as the response is written.
	keepsFrame bool

	metrics func() *apiMetrics // set by New
}

// stage2 is the second half of a pipelined request.
type stage2 struct {
	// respond makes the response, or returns nil if none is sent (acks=0). It may wait under ctx,
	// unless ready is set.
	respond func(ctx context.Context) kmsg.Response
	// ready means that respond does not wait. The reader then answers by itself if no earlier
	// request is unanswered: a handover to the writer costs about as much as a small append.
	ready bool
}

// requestOf constrains R to a pointer to a kmsg request struct.
type requestOf[T any] interface {
	*T
	kmsg.Request
}

// serve makes a table line for a handler that runs entirely on the writer. The key is that of the
// handler's request type.
func serve[T any, R requestOf[T]](lowest, highest int16, h func(*Broker, context.Context, *Request, R) kmsg.Response) api {
	a := newAPI[T, R](lowest, highest)
	a.handle = func(b *Broker, ctx context.Context, r *Request, req kmsg.Request) kmsg.Response {
		return h(b, ctx, r, req.(R))
	}
	return a
}

// servePipelined makes a table line for a handler whose first stage runs on the reader.
func servePipelined[T any, R requestOf[T]](lowest, highest int16, h func(*Broker, context.Context, *Request, R) stage2) api {
	a := newAPI[T, R](lowest, highest)
	a.accept = func(b *Broker, ctx context.Context, r *Request, req kmsg.Request) stage2 {
		return h(b, ctx, r, req.(R))
	}
	return a
}

func newAPI[T any, R requestOf[T]](lowest, highest int16) api {
	return api{
		key: R(new(T)).Key(), min: lowest, max: highest, advertisedMin: lowest,
		newRequest: func() kmsg.Request { return R(new(T)) },
	}
}

// advertiseFrom makes ApiVersions show a lower first version than the broker serves. Only Produce
// needs it (KAFKA-18659): librdkafka assumes that a broker without Produce v0 has no message format
// that it knows, and then sends a higher version anyway. refuse answers the versions in between.
func (a api) advertiseFrom(v int16, refuse func(kmsg.Request) kmsg.Response) api {
	a.advertisedMin = v
	a.refuse = refuse
	return a
}

// retainsFrame sets keepsFrame.
func (a api) retainsFrame() api {
	a.keepsFrame = true
	return a
}

func (a api) name() string { return protocol.APIName(a.key) }

func (a api) serves(version int16) bool { return a.min <= version && version <= a.max }
