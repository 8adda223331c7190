package integration

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// stray is a line of `varve log strays`.
type stray struct {
	Path    string `json:"path"`
	Topic   string `json:"topic"`
	TopicID string `json:"topic_id"`
	Bytes   int64  `json:"bytes"`
	Reason  string `json:"reason"`
}

func straysOf(t *testing.T, p *process) (all []stray) {
	t.Helper()
	out := p.varve(t, "", "log", "strays", "--output", "json", filepath.Join(p.dataDir, "logs"))
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTopicIsDeletedWhileABrokerIsAway deletes a topic while a broker is down. The other brokers
// must delete its logs. The broker that was down must set them aside, and do so again after one of
// them has been restored.
func TestTopicIsDeletedWhileABrokerIsAway(t *testing.T) {
	sideBySide(t)
	brokers := clusterOf(t, func(int) []string { return nil })
	startTogether(t, brokers)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, clusterClient(brokers)...))
	for _, topic := range []string{"gone", "kept"} {
		if _, err := admin.CreateTopic(t.Context(), 1, 3, nil, topic); err != nil {
			t.Fatal(err)
		}
		brokers[0].varve(t, "a\nb\n", "produce", topic)
		allInSync(t, admin, topic, 3)
	}
	brokers[2].kill9(t)
	if _, err := admin.DeleteTopic(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	brokers[2].start(t)
	var found []stray
	eventually(t, time.Minute, "the log is set aside", func() bool {
		found = straysOf(t, brokers[2])
		return len(found) == 1
	})
	if s := found[0]; s.Topic != "gone" || s.TopicID == "" || s.Bytes == 0 || !strings.Contains(s.Reason, "no topic") {
		t.Errorf("set aside: %+v", s)
	}
	for _, p := range brokers[:2] {
		if all := straysOf(t, p); len(all) != 0 {
			t.Errorf("a broker that has seen the deletion: %+v", all)
		}
	}
	if _, errOut, status := tryVarve(t, brokers, "log", "strays", "restore", found[0].Path); status != 1 || !strings.Contains(errOut, "stop that broker first") {
		t.Errorf("restored while the broker runs: status %d, %s", status, errOut)
	}
	brokers[2].stop(t, syscall.SIGTERM)
	brokers[2].varve(t, "", "log", "strays", "restore", found[0].Path)
	if left := straysOf(t, brokers[2]); len(left) != 0 {
		t.Errorf("restored, and still set aside: %+v", left)
	}
	brokers[2].start(t)
	eventually(t, time.Minute, "the log is set aside again", func() bool { return len(straysOf(t, brokers[2])) == 1 })
	allInSync(t, admin, "kept", 3)
}
