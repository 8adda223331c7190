package tiering

import (
	"log/slog"
	"sync"
	"time"
)

// warnings limits the log during an outage that hits every partition.
type warnings struct {
	mu struct {
		sync.Mutex
		last       time.Time
		suppressed int
	}
}

// warningInterval is the least time between two warnings.
const warningInterval = 10 * time.Second

func (w *warnings) log(logger *slog.Logger, what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.mu.last) >= warningInterval {
		logger.Warn("remote tier", slog.String("what", what), slog.Any("error", err), slog.Int("suppressed", w.mu.suppressed))
		w.mu.last, w.mu.suppressed = now, 0
		return
	}
	w.mu.suppressed++
}
