package server

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
)

// advertised returns the listeners for the registration. Their ports are known once they are bound.
func (s *server) advertised() ([]metadata.Listener, error) {
	var listeners []metadata.Listener
	for i, e := range s.Config.Listen {
		told, ok := s.Config.Advertised(e.Name, s.kafka[i].Addr())
		if !ok {
			continue // its clients get no addresses
		}
		host, port, err := net.SplitHostPort(told.Address)
		if err != nil {
			return nil, fmt.Errorf("--advertise %s: %w", told, err)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("--advertise %s: port: %w", told, err)
		}
		listeners = append(listeners, metadata.Listener{Name: e.Name, Host: host, Port: int32(number), Protocol: s.Config.Protocol(e.Name)})
	}
	return listeners, nil
}

// advertisedText returns the addresses for clients, as text for people.
func (s *server) advertisedText() string {
	var parts []string
	for i, e := range s.Config.Listen {
		told, ok := s.Config.Advertised(e.Name, s.kafka[i].Addr())
		switch {
		case !ok:
		case told.Name == config.PlainText:
			parts = append(parts, told.Address)
		default:
			parts = append(parts, told.String())
		}
	}
	return strings.Join(parts, ",")
}
