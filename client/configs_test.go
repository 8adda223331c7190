package client

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAlterConfigsIsOneRequestInOrder(t *testing.T) {
	var seen struct {
		sync.Mutex
		ops []string
	}
	message := "Invalid value"
	f := newFakeBroker(t, map[string]int{"t": 1}, func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.IncrementalAlterConfigsRequest)
		if !ok {
			return nil
		}
		seen.Lock()
		defer seen.Unlock()
		response := kmsg.NewPtrIncrementalAlterConfigsResponse()
		for _, resource := range request.Resources {
			for _, c := range resource.Configs {
				value := "-"
				if c.Value != nil {
					value = *c.Value
				}
				seen.ops = append(seen.ops, fmt.Sprintf("%s %s %v %s", resource.ResourceName, c.Name, int8(c.Op), value))
			}
			answer := kmsg.NewIncrementalAlterConfigsResponseResource()
			answer.ResourceType, answer.ResourceName = resource.ResourceType, resource.ResourceName
			if resource.ResourceName == "bad" {
				answer.ErrorCode, answer.ErrorMessage = 40, &message
			}
			response.Resources = append(response.Resources, answer)
		}
		return response
	})
	c := connect(t, f.addr)
	change := ConfigChange{Set: map[string]string{"c": "3", "a": "1"}, Unset: []string{"b"}}
	if err := c.AlterTopicConfigs(t.Context(), "t", change); err != nil {
		t.Fatal(err)
	}
	seen.Lock()
	if got := strings.Join(seen.ops, ", "); got != "t a 0 1, t b 1 -, t c 0 3" {
		t.Errorf("asked for %s", got)
	}
	seen.Unlock()
	if err := c.AlterTopicConfigs(t.Context(), "bad", change); err == nil || err.Error() != "topic bad: Invalid value" {
		t.Errorf("got %v", err)
	}
}

func TestTopicConfigsAreSorted(t *testing.T) {
	f := newFakeBroker(t, map[string]int{"t": 1}, topicConfigs(map[string]string{"b": "2", "a": "1", "c": "3"}))
	resources, err := connect(t, f.addr).TopicConfigs(t.Context(), "t")
	if err != nil || len(resources) != 1 {
		t.Fatalf("got %+v, %v", resources, err)
	}
	for i, name := range []string{"a", "b", "c"} {
		if c := resources[0].Configs[i]; c.Name != name || c.Source != "DYNAMIC_TOPIC_CONFIG" || c.Default {
			t.Errorf("setting %d: %+v", i, c)
		}
	}
}
