package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// system is one system under test.
type system struct {
	name string // as in the table
	dist distribution
}

// distribution knows how brokers of one product are started.
type distribution interface {
	// prepare does once what later starts rely on, below the scratch directory. It reports an error
	// that says what to install or to give if something is missing.
	prepare(ctx context.Context, scratch string) error
	// node writes the files that a broker needs below its directory and returns its command line.
	node(ctx context.Context, spec nodeSpec) ([]string, error)
}

// nodeSpec describes one broker of a cluster.
type nodeSpec struct {
	id     int    // from 1
	size   int    // brokers of the cluster
	dir    string // the broker's own, empty
	shared string // the same for all brokers of the cluster, empty at their start
	port   int    // the first port of the cluster
}

// portsPerBroker is the distance between the ports of two brokers.
const portsPerBroker = 10

// address returns the address of one of the ports of a broker of this cluster. Port 0 serves
// clients.
func (s nodeSpec) address(id, port int) string {
	return fmt.Sprintf("127.0.0.1:%d", s.port+portsPerBroker*(id-1)+port)
}

var (
	systemName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	kafkaVersion = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
)

// parseSystem reads a -system flag. A value with the form of a version is Kafka's, any other is a
// binary of Varve, relative to base.
func parseSystem(text, base, heap string) (system, error) {
	name, value, found := strings.Cut(text, "=")
	if !found || !systemName.MatchString(name) || value == "" {
		return system{}, fmt.Errorf("-system %s: give NAME=BINARY, such as new=bin/varve, "+
			"or NAME=VERSION, such as kafka=4.4.0", text)
	}
	if kafkaVersion.MatchString(value) {
		return system{name: name, dist: &kafka{version: value, heap: heap}}, nil
	}
	return system{name: name, dist: &varve{binary: absolute(base, value)}}, nil
}
