package containers

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

// maxImage is the largest size of the image, in bytes.
const maxImage = 100 << 20

// This tests the image as a user sees it: small, not root, read-only except for its data, healthy
// by its own health check, and stopped in order within Docker's time limit.
func TestImage(t *testing.T) {
	needsEngine(t)
	for name, dataOf := range map[string]func(*container.HostConfig){
		"Volume": func(*container.HostConfig) {}, // the anonymous one that the image declares
		"Tmpfs": func(h *container.HostConfig) {
			h.Tmpfs = map[string]string{"/data": "uid=65532,gid=65532,mode=0700"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			kafka := published{"9092", freePort(t)}
			n := startNode(t, nil, "varve", varveImage, "/readyz", []published{{"9644", ""}, kafka},
				testcontainers.WithEnv(map[string]string{"VARVE_ADVERTISE": "127.0.0.1:" + kafka.host}),
				testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
					onLoopback(t, []published{{"9644", ""}, kafka})(h)
					dataOf(h)
					h.ReadonlyRootfs, h.CapDrop = true, []string{"ALL"}
				}),
				testcontainers.WithWaitStrategy(wait.ForHealthCheck().WithStartupTimeout(patience)))

			image, err := n.engine.ImageInspect(t.Context(), varveImage)
			if err != nil {
				t.Fatal(err)
			}
			if image.Size > maxImage || image.Size < 1<<20 {
				t.Errorf("the image has %d bytes, more than %d or next to nothing", image.Size, maxImage)
			}
			if user := image.Config.User; user != "65532:65532" {
				t.Errorf("it runs as %q", user)
			}
			client := newClient(t, []string{"127.0.0.1:" + kafka.host})
			createTopic(t, client, "t", 1, 1, nil)
			produceSome(t, client, "t", 100)

			if code, out, err := n.Exec(t.Context(), []string{"/varve", "broker", "health", "--http", "127.0.0.1:1"}); err != nil || code != 1 {
				text, _ := io.ReadAll(out)
				t.Errorf("a health check of nothing ends with %d, %v: %s", code, err, text)
			}
			began := time.Now()
			n.stop(t)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the stop took %v, longer than Docker waits before it kills", took)
			}
			n.restart(t)
			eventually(t, "the broker is back with its topics", func() error {
				address, err := n.PortEndpoint(t.Context(), "9644/tcp", "http")
				if err != nil {
					return err
				}
				return get(t, address+"/readyz")
			})
		})
	}
}

func get(t *testing.T, target string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = statusError(resp.Status)
	}
	_ = resp.Body.Close() // the body is not read
	return err
}

type statusError string

func (e statusError) Error() string { return "answers " + string(e) }
