package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/trace"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/tiering"
)

// Options are the parts that a Broker connects to the protocol. Everything is required except
// Registerer, Tracer, Suspect and BucketProblems.
type Options struct {
	Config     Config
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not published
	Tracer     trace.Tracer          // of requests; nil: requests are not traced

	Cluster  cluster           // *metadata.Loader
	Admin    admin             // *metadata.Admin
	Replicas replicas          // *replication.Manager
	Groups   groupCoordinator  // *groups.Coordinator
	Static   map[string]string // the broker's static settings by Kafka's names (config.Broker.Set)

	Partitions  *replication.Manager                                // where data is written to and read from
	ProducerIDs func(context.Context) (metadata.ProducerIDs, error) // (*metadata.Admin).AllocateProducerIDs
	Quorum      func(context.Context) (kv.Quorum, error)            // (*etcd.Store).DescribeQuorum

	// Suspect is called when the connection of a follower has ended, with the error that ended it.
	// It must not block. It may be nil.
	Suspect func(follower metadata.Member, err error)
	// BucketProblems returns what is wrong with the bucket as a whole
	// ((*tiering.Manager).BucketProblems). It may be nil.
	BucketProblems func() []tiering.Problem
}

// cluster is the state of the cluster as this broker knows it.
type cluster interface {
	Image() *metadata.Image
	Wait(ctx context.Context, ok func(*metadata.Image) bool) (*metadata.Image, error)
}

// admin changes the cluster's state.
type admin interface {
	CreateTopics(ctx context.Context, specs []metadata.TopicSpec, validateOnly bool) []metadata.TopicResult
	DeleteTopics(ctx context.Context, refs []metadata.TopicRef) []metadata.TopicResult
	CreatePartitions(ctx context.Context, specs []metadata.PartitionsSpec, validateOnly bool) []metadata.TopicResult
	ElectLeaders(ctx context.Context, kind metadata.ElectionType, tps []metadata.TopicPartition) []error
	AllPartitions() []metadata.TopicPartition
	AlterPartitionReassignments(ctx context.Context, reassignments []metadata.Reassignment) []error
	ListReassignments(tps []metadata.TopicPartition) []metadata.PartitionReassignment
	UnregisterBroker(ctx context.Context, id int32) error
	UpdateFeatures(ctx context.Context, updates []metadata.FeatureUpdate, validateOnly bool) []error
	UpdateConfigs(ctx context.Context, r metadata.ConfigResource, change func(old map[string]string) (map[string]string, error)) error
}

// replicas are the partitions on this broker.
type replicas interface {
	// AwaitServed returns once this broker serves those partitions of the topics that its image
	// assigns to it as leader.
	AwaitServed(ctx context.Context, topics []metadata.TopicID) error
}

// groupCoordinator serves the groups whose partitions of __consumer_offsets this broker leads. Any
// method may be called for any group. For a group that another broker coordinates, or that is not
// loaded yet, the response has the code that makes the client look for the coordinator again.
type groupCoordinator interface {
	PartitionFor(groupID string) int32
	JoinGroup(context.Context, *kmsg.JoinGroupRequest, groups.ClientInfo) *kmsg.JoinGroupResponse
	SyncGroup(context.Context, *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse
	Heartbeat(context.Context, *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse
	LeaveGroup(context.Context, *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse
	OffsetCommit(context.Context, *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse
	OffsetFetch(context.Context, *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse
	DescribeGroups(context.Context, *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse
	ListGroups(context.Context, *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse
	DeleteGroups(context.Context, *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse
}

// Broker answers Kafka requests. It has no data of its own beyond connections, fetch sessions and a
// block of producer ids. Its methods may be called from any goroutine.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	tracer  trace.Tracer // nil: requests are not traced
	budget  *protocol.Budget
	apis    map[int16]*api // by key; not changed after New
	limits  *connectionLimits

	cluster  cluster
	admin    admin
	replicas replicas
	groups   groupCoordinator
	static   map[string]string
	quorum   func(context.Context) (kv.Quorum, error)
	suspect  func(metadata.Member, error)
	features map[string]metadata.FeatureRange // the ranges that this build supports

	partitions     *replication.Manager
	bucketProblems func() []tiering.Problem
	sessions       *fetchSessions
	producerIDs    *producerIDs
}

// New returns a broker. It starts nothing; see [Broker.NewListener].
func New(o Options) *Broker {
	b := &Broker{
		cfg:      o.Config,
		log:      o.Logger,
		tracer:   o.Tracer,
		budget:   protocol.NewBudget(o.Config.RequestBudgetBytes),
		apis:     make(map[int16]*api),
		limits:   newConnectionLimits(o.Config),
		cluster:  o.Cluster,
		admin:    o.Admin,
		replicas: o.Replicas,
		groups:   o.Groups,
		static:   o.Static,
		quorum:   o.Quorum,
		suspect:  o.Suspect,
		features: metadata.Supported(),

		partitions:     o.Partitions,
		bucketProblems: o.BucketProblems,
		sessions:       newFetchSessions(o.Config.FetchSessionSlots, time.Now),
		producerIDs:    newProducerIDs(o.ProducerIDs),
	}
	b.sessions.register(o.Registerer)
	b.metrics = newMetrics(o.Registerer, b.budget)
	for _, a := range apis() {
		a.metrics = b.metrics.of(a.name())
		b.apis[a.key] = &a
	}
	return b
}
