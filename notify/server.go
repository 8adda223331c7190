package notify

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer runs a NATS server that only this process can reach.
func startServer(logger *slog.Logger) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "varve",
		DontListen: true,
		NoSigs:     true,
		NoLog:      true,
		JetStream:  false,
		MaxPayload: maxHint,
	})
	if err != nil {
		return nil, fmt.Errorf("make the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(serverLog{logger}, false, false, false)
	s.Start()
	if s.ReadyForConnections(startTimeout) {
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, errors.New("start the embedded NATS server: it is not ready in time")
}

func (b *Bus) stopServer() {
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
}

// serverLog writes what the server has to say to our logger, from warnings on.
type serverLog struct{ logger *slog.Logger }

func (l serverLog) Warnf(format string, args ...any) {
	l.logger.Warn("the NATS server reports", slog.String("message", fmt.Sprintf(format, args...)))
}

func (l serverLog) Errorf(format string, args ...any) {
	l.logger.Error("the NATS server reports", slog.String("message", fmt.Sprintf(format, args...)))
}

func (l serverLog) Fatalf(format string, args ...any) { l.Errorf(format, args...) }

func (serverLog) Noticef(string, ...any) {}
func (serverLog) Debugf(string, ...any)  {}
func (serverLog) Tracef(string, ...any)  {}
