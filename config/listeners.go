package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Endpoint is one address of a listener: where it listens, or the address that its clients get.
type Endpoint struct {
	Name    string // in capitals
	Address string // HOST:PORT
}

// String returns the endpoint in Kafka's form.
func (e Endpoint) String() string { return e.Name + "://" + e.Address }

// PlainText is the security protocol without encryption, and the name of a listener that is given
// without one.
const PlainText = "PLAINTEXT"

// The broker configurations that listeners depend on.
const (
	protocolMap         = "listener.security.protocol.map"
	interBrokerListener = "inter.broker.listener.name"
	interBrokerProtocol = "security.inter.broker.protocol"

	defaultProtocols = PlainText + ":" + PlainText + "," + SSL + ":" + SSL
)

var listenerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// parseEndpoints reads a comma-separated list of NAME://HOST:PORT, or HOST:PORT for PLAINTEXT.
func parseEndpoints(text string, check func(address string) error) ([]Endpoint, error) {
	var endpoints []Endpoint
	for _, part := range splitList(text) {
		name, address, named := strings.Cut(part, "://")
		if !named {
			name, address = PlainText, part
		}
		if !listenerName.MatchString(name) {
			return nil, fmt.Errorf("%q must be NAME://HOST:PORT or HOST:PORT, with a name of letters, digits, '_' or '-'", part)
		}
		if err := check(address); err != nil {
			if part != text {
				err = fmt.Errorf("%s: %w", part, err)
			}
			return nil, err
		}
		e := Endpoint{Name: strings.ToUpper(name), Address: address}
		if slices.ContainsFunc(endpoints, func(other Endpoint) bool { return other.Name == e.Name }) {
			return nil, fmt.Errorf("the listener %s is there twice: give each a name of its own, NAME://HOST:PORT", e.Name)
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

// checkListen is checkAddress that also accepts port 0, for which the system chooses a port.
func checkListen(address string) error { return checkAddress(address, 0) }

func checkAdvertise(address string) error {
	if isWildcard(address) {
		return errors.New("must name a host that clients can reach")
	}
	return checkAddress(address, 1)
}

// samePorts rejects two listeners at one port, as Kafka does, unless one of them is at an IPv4
// address and the other one at an IPv6 address.
func samePorts(endpoints []Endpoint) error {
	for i, e := range endpoints {
		host, port, _ := net.SplitHostPort(e.Address) // validated when it was read
		for _, other := range endpoints[:i] {
			otherHost, otherPort, _ := net.SplitHostPort(other.Address)
			if port == otherPort && strings.Trim(port, "0") != "" && !oneOfEach(host, otherHost) {
				return fmt.Errorf("%s and %s have the same port: each listener needs one of its own", other, e)
			}
		}
	}
	return nil
}

// oneOfEach reports whether one is an IPv4 and the other an IPv6 address.
func oneOfEach(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x.Is4() != y.Is4()
}

// protocols accepts a map of listeners' names to security protocols.
func protocols() validator {
	return validator{allowed: "NAME:" + PlainText + ",NAME:" + SSL + ",…", check: func(value string) error {
		seen := map[string]bool{}
		for _, part := range splitList(value) {
			name, protocol, ok := strings.Cut(part, ":")
			name, protocol = strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(protocol))
			if !ok || !listenerName.MatchString(name) {
				return fmt.Errorf("%q must be NAME:PROTOCOL", part)
			}
			if err := securityProtocol().check(protocol); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if seen[name] {
				return fmt.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		return nil
	}}
}

// securityProtocol accepts the supported protocols.
func securityProtocol() validator {
	return validator{allowed: "[" + PlainText + ", " + SSL + "]", check: func(value string) error {
		switch strings.ToUpper(value) {
		case PlainText, SSL:
			return nil
		case "SASL_SSL", "SASL_PLAINTEXT":
			return fmt.Errorf("the security protocol %s is not supported yet, only %s and %s are", strings.ToUpper(value), PlainText, SSL)
		}
		return fmt.Errorf("%q is no security protocol: %s and %s are supported", value, PlainText, SSL)
	}}
}

// Protocol returns a listener's security protocol, or "" if it has none, which Load rejects.
func (b Broker) Protocol(listener string) string {
	value, set := b.Set[protocolMap]
	if !set {
		value = defaultProtocols
	}
	for _, part := range splitList(strings.TrimSpace(value)) {
		if name, protocol, _ := strings.Cut(part, ":"); strings.EqualFold(strings.TrimSpace(name), listener) {
			return strings.ToUpper(strings.TrimSpace(protocol))
		}
	}
	return ""
}

// InterBrokerListener returns the name of the listener at which brokers reach each other.
func (b Broker) InterBrokerListener() string {
	return strings.ToUpper(cmp.Or(strings.TrimSpace(b.Set[interBrokerListener]), strings.TrimSpace(b.Set[interBrokerProtocol]), PlainText))
}

// finishListeners checks the listeners against each other. If no address is advertised, every
// listener advertises the address that it listens on.
func finishListeners(b *Broker) (problems []error) {
	if err := samePorts(b.Listen); err != nil {
		problems = append(problems, fmt.Errorf("--listen: %w", err))
	}
	if len(b.Advertise) == 0 {
		for _, e := range b.Listen {
			if isWildcard(e.Address) {
				problems = append(problems, fmt.Errorf("--listen %s accepts clients on all addresses, but they must be told one: add --advertise %s", shownEndpoint(e), shownEndpoint(Endpoint{e.Name, "HOST:PORT"})))
			}
		}
		b.Advertise = slices.Clone(b.Listen)
	}
	for _, e := range b.Advertise {
		if _, ok := endpoint(b.Listen, e.Name); !ok {
			problems = append(problems, fmt.Errorf("--advertise %s: --listen has no listener %s: the names must be those of --listen, or some of them", e, e.Name))
		}
	}
	// An invalid map is reported with the configuration itself.
	if b.Set[protocolMap] == "" || protocols().check(b.Set[protocolMap]) == nil {
		for _, e := range b.Listen {
			if b.Protocol(e.Name) == "" {
				problems = append(problems, fmt.Errorf("--listen %s: no security protocol is defined for listener %s: add --set %s=%s", e, e.Name, protocolMap, b.suggestedMap()))
				break
			}
		}
	}
	if name := b.InterBrokerListener(); !slices.ContainsFunc(b.Advertise, func(e Endpoint) bool { return e.Name == name }) {
		problems = append(problems, fmt.Errorf("%s %s must be a listener that is advertised, which are %s: add --set %s=NAME", interBrokerListener, name, names(b.Advertise), interBrokerListener))
	}
	if b.Set[interBrokerListener] != "" && b.Set[interBrokerProtocol] != "" {
		problems = append(problems, fmt.Errorf("%s and %s: leave one of them out", interBrokerListener, interBrokerProtocol))
	}
	return append(problems, finishSSL(b)...)
}

// suggestedMap gives all listeners PLAINTEXT, except one that is named SSL.
func (b Broker) suggestedMap() string {
	parts := make([]string, 0, len(b.Listen))
	for _, e := range b.Listen {
		protocol := PlainText
		if e.Name == SSL {
			protocol = SSL
		}
		parts = append(parts, e.Name+":"+protocol)
	}
	return strings.Join(parts, ",")
}

// shownEndpoint returns the endpoint as a person would write it.
func shownEndpoint(e Endpoint) string {
	if e.Name == PlainText {
		return e.Address
	}
	return e.String()
}

func names(endpoints []Endpoint) string {
	set := map[string]bool{}
	for _, e := range endpoints {
		set[e.Name] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(set)), ", ")
}

func endpoint(endpoints []Endpoint, name string) (Endpoint, bool) {
	i := slices.IndexFunc(endpoints, func(e Endpoint) bool { return e.Name == name })
	if i < 0 {
		return Endpoint{}, false
	}
	return endpoints[i], true
}

func joinEndpoints(endpoints []Endpoint) string {
	parts := make([]string, 0, len(endpoints))
	for _, e := range endpoints {
		parts = append(parts, e.String())
	}
	return strings.Join(parts, ",")
}

// Advertised returns the address that clients of a listener get after it is bound, since the system
// may have chosen its port. It returns false if they get none.
func (b Broker) Advertised(name string, bound net.Addr) (Endpoint, bool) {
	e, ok := endpoint(b.Advertise, name)
	if !ok {
		return Endpoint{}, false
	}
	host, port, err := net.SplitHostPort(e.Address)
	if err != nil || strings.Trim(port, "0") != "" {
		return e, true
	}
	if _, chosen, err := net.SplitHostPort(bound.String()); err == nil {
		e.Address = net.JoinHostPort(host, chosen)
	}
	return e, true
}
