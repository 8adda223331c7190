package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answers makes an answer to one type of request; to others it returns nil.
func answers[Request kmsg.Request](f func(Request) kmsg.Response) func(kmsg.Request) kmsg.Response {
	return func(r kmsg.Request) kmsg.Response {
		request, ok := r.(Request)
		if !ok {
			return nil
		}
		return f(request)
	}
}

func TestClusterDescribesBrokers(t *testing.T) {
	rack := "a"
	f := newFakeBroker(t, nil, answers(func(r *kmsg.DescribeClusterRequest) kmsg.Response {
		response := kmsg.NewPtrDescribeClusterResponse()
		response.ClusterID, response.ControllerID = "c", 2
		response.Brokers = []kmsg.DescribeClusterResponseBroker{{NodeID: 2, Host: "::1", Port: 9092, IsFenced: true}, {NodeID: 1, Host: "h", Port: 9, Rack: &rack}}
		if !r.IncludeFencedBrokers {
			response.Brokers = response.Brokers[1:]
		}
		return response
	}))
	got, err := connect(t, f.addr).Cluster(t.Context())
	want := []Broker{{ID: 1, Address: "h:9", Rack: "a"}, {ID: 2, Address: "[::1]:9092", Fenced: true}}
	if err != nil || got.ID != "c" || got.Controller != 2 || !slices.Equal(got.Brokers, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// alterRecorder records the requests, and fails partition 1.
func alterRecorder(asked *[]string) func(kmsg.Request) kmsg.Response {
	return answers(func(r *kmsg.AlterPartitionAssignmentsRequest) kmsg.Response {
		response := kmsg.NewPtrAlterPartitionAssignmentsResponse()
		for _, topic := range slices.Backward(r.Topics) { // in another order than requested
			answer := kmsg.NewAlterPartitionAssignmentsResponseTopic()
			answer.Topic = topic.Topic
			for _, p := range topic.Partitions {
				*asked = append(*asked, fmt.Sprintf("%s:%d=%v cancel=%t", topic.Topic, p.Partition, p.Replicas, p.Replicas == nil))
				ap := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
				if ap.Partition = p.Partition; p.Partition == 1 {
					ap.ErrorCode = kerr.InvalidReplicaAssignment.Code
				}
				answer.Partitions = append(answer.Partitions, ap)
			}
			response.Topics = append(response.Topics, answer)
		}
		return response
	})
}

// TestReassignAnswersForEach: each partition has its own result, in order. Missing replicas do not
// cancel by mistake.
func TestReassignAnswersForEach(t *testing.T) {
	var asked []string
	c := connect(t, newFakeBroker(t, nil, alterRecorder(&asked)).addr)
	results, err := c.Reassign(t.Context(), Assignment{TopicPartition{"b", 0}, []int32{2, 1}}, Assignment{TopicPartition{"a", 1}, []int32{1}}, Assignment{TopicPartition{"a", 0}, nil})
	if err != nil || len(results) != 3 {
		t.Fatalf("got %v, %v", results, err)
	}
	slices.Sort(asked)
	if want := []string{"a:0=[] cancel=false", "a:1=[1] cancel=false", "b:0=[2 1] cancel=false"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	if results[0].Err != nil || results[2].Topic != "b" || results[2].Err != nil {
		t.Errorf("got %v", results)
	}
	if failed := results[1].Err; !errors.Is(failed, kerr.InvalidReplicaAssignment) || !strings.HasPrefix(failed.Error(), "a:1: ") {
		t.Errorf("got %v", failed)
	}
	asked = nil
	if _, err = c.CancelReassignments(t.Context(), TopicPartition{"a", 0}); err != nil || !slices.Equal(asked, []string{"a:0=[] cancel=true"}) {
		t.Errorf("asked for %q, %v", asked, err)
	}
}

func TestReassignmentsListsAll(t *testing.T) {
	f := newFakeBroker(t, nil, answers(func(r *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
		response := kmsg.NewPtrListPartitionReassignmentsResponse()
		if r.Topics != nil {
			return response
		}
		for _, name := range []string{"b", "a"} {
			topic := kmsg.NewListPartitionReassignmentsResponseTopic()
			topic.Topic = name
			p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
			p.Replicas, p.AddingReplicas, p.RemovingReplicas = []int32{3, 1, 2}, []int32{3}, []int32{2}
			topic.Partitions = append(topic.Partitions, p)
			response.Topics = append(response.Topics, topic)
		}
		return response
	}))
	got, err := connect(t, f.addr).Reassignments(t.Context())
	if err != nil || len(got) != 2 || got[0].Topic != "a" || !slices.Equal(got[0].Adding, []int32{3}) || !slices.Equal(got[0].Removing, []int32{2}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestElectLeaders: no names mean all partitions, and the election has the requested type.
func TestElectLeaders(t *testing.T) {
	var asked []string
	f := newFakeBroker(t, nil, answers(func(r *kmsg.ElectLeadersRequest) kmsg.Response {
		asked = append(asked, fmt.Sprintf("type %d all=%t", r.ElectionType, r.Topics == nil))
		response := kmsg.NewPtrElectLeadersResponse()
		topic := kmsg.NewElectLeadersResponseTopic()
		topic.Topic = "t"
		for i, code := range []int16{0, kerr.ElectionNotNeeded.Code} {
			p := kmsg.NewElectLeadersResponseTopicPartition()
			p.Partition, p.ErrorCode = int32(i), code
			topic.Partitions = append(topic.Partitions, p)
		}
		response.Topics = append(response.Topics, topic)
		return response
	}))
	asked = nil // newFakeBroker has called it to find its API
	c := connect(t, f.addr)
	results, err := c.ElectLeaders(t.Context(), false)
	if err != nil || len(results) != 2 || results[0].Err != nil || !errors.Is(results[1].Err, kerr.ElectionNotNeeded) {
		t.Errorf("got %v, %v", results, err)
	}
	if _, err = c.ElectLeaders(t.Context(), true, TopicPartition{"t", 0}); err != nil {
		t.Error(err)
	}
	if want := []string{"type 0 all=true", "type 1 all=false"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

func TestReplicaBytesAndSettings(t *testing.T) {
	f := newFakeBroker(t, map[string]int{"a": 2}, logDirs(nil), topicConfigs(map[string]string{"min.insync.replicas": "2", "other": "x"}))
	c := connect(t, f.addr)
	sizes, err := c.ReplicaBytes(t.Context(), TopicPartition{"a", 1})
	if err != nil || len(sizes) != 1 || sizes[Replica{TopicPartition{"a", 1}, 1}] != 1000 {
		t.Errorf("got %v, %v", sizes, err)
	}
	if sizes, err = c.ReplicaBytes(t.Context()); err != nil || len(sizes) != 0 {
		t.Errorf("of nothing: %v, %v", sizes, err)
	}
	values, err := c.TopicSetting(t.Context(), "min.insync.replicas", "a", "b")
	if err != nil || len(values) != 2 || values["b"] != "2" {
		t.Errorf("got %v, %v", values, err)
	}
}
