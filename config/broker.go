package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Broker are the settings of a broker process, combined from the command line, the environment and
// the file.
type Broker struct {
	DataDir string // absolute
	NodeID  int32
	Listen  []Endpoint // port 0 lets the system choose
	// Advertise are the addresses that clients get, for all or some of Listen; see
	// [Broker.Advertised].
	Advertise   []Endpoint
	HTTP        string   // HOST:PORT
	HTTPTLS     TLSFiles // CAFile verifies clients
	Pprof       bool     // serves /debug/pprof at HTTP
	ObjectStore string   // URL
	Rack        string
	Cluster     string

	Etcd       []string // URLs of an external etcd; none: embedded
	EtcdAccess EtcdAccess
	NATS       []string // URLs of external NATS servers; none: embedded
	NATSAccess NATSAccess
	Control    string // HOST:PORT of this broker's first control port
	ControlTLS TLSFiles
	Seeds      []Seed // the brokers that run the embedded control plane
	Found      bool   // a first start does not wait until all of Seeds are reachable

	Tracing Tracing

	Set map[string]string // broker configurations by Kafka's names: the static layer
}

// Seed is a broker that runs a member of the embedded control plane.
type Seed struct {
	NodeID  int32
	Control string // HOST:PORT at which the other brokers reach it
}

// setting is one line of the table of process settings.
type setting struct {
	// The name of the flag and the YAML key. The environment variable is VARVE_ and the name in
	// capitals.
	name     string
	value    string // the placeholder for the value in the help
	def      string
	doc      string
	several  bool // a comma-separated list, or the flag repeated
	isSwitch bool // the flag alone means true
	apply    func(b *Broker, text string) error
}

func (s setting) env() string { return envName(s.name) }

func envName(name string) string {
	return "VARVE_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(strings.TrimPrefix(name, "varve.")))
}

// The settings whose names other code needs.
const (
	configSetting    = "config"
	setSetting       = "set"
	advertiseSetting = "advertise"
)

// brokerSettings is the table of process settings, in the order of the help. The file's name and
// --set are not in it: Load handles them separately.
var brokerSettings = slices.Concat(processSettings, tlsSettings(), accessSettings(), tracingSettings())

// processSettings are those that every broker may need.
var processSettings = []setting{
	{name: "data-dir", value: "DIR", def: "./varve-data", doc: "directory of the local log and of the embedded parts", apply: func(b *Broker, text string) (err error) {
		if text == "" {
			return errors.New("must not be empty")
		}
		b.DataDir, err = filepath.Abs(text)
		return err
	}},
	{name: "node-id", value: "N", def: "1", doc: "id of this broker, unique in the cluster", apply: func(b *Broker, text string) error {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return errors.New("must be a number from 0 to 2147483647")
		}
		b.NodeID = int32(n)
		return nil
	}},
	{name: "listen", value: "HOST:PORT", several: true, def: "127.0.0.1:9092", doc: "addresses to serve Kafka clients on: HOST:PORT, or NAME://HOST:PORT for each of several listeners, as in Kafka's listeners", apply: func(b *Broker, text string) (err error) {
		if text == "" {
			return errors.New("must be HOST:PORT or NAME://HOST:PORT,…")
		}
		b.Listen, err = parseEndpoints(text, checkListen)
		return err
	}},
	{name: advertiseSetting, value: "HOST:PORT", several: true, doc: "addresses that clients are told, by the listener that they come in on, as in Kafka's advertised.listeners; a listener that is left out tells none (default: those of --listen)", apply: func(b *Broker, text string) (err error) {
		b.Advertise, err = parseEndpoints(text, checkAdvertise)
		return err
	}},
	{name: "http", value: "HOST:PORT", def: "127.0.0.1:9644", doc: "address of /metrics, /healthz and /readyz", apply: func(b *Broker, text string) error {
		b.HTTP = text
		return checkAddress(text, 0)
	}},
	{name: "pprof", value: "true|false", def: "false", isSwitch: true, doc: "serve profiles of this process at /debug/pprof on the --http address; they show what is in its memory", apply: func(b *Broker, text string) (err error) {
		if b.Pprof, err = strconv.ParseBool(text); err != nil {
			return errors.New("must be true or false")
		}
		return nil
	}},
	{name: "object-store", value: "URL", doc: "bucket of the remote tier, the same for all brokers: file://DIR, s3://BUCKET?…, gs://BUCKET, azblob://CONTAINER (default for a single broker: file://DATA-DIR/objects)", apply: func(b *Broker, text string) error {
		b.ObjectStore = text
		if text == "" {
			return nil
		}
		if u, err := url.Parse(text); err != nil || u.Scheme == "" {
			return errors.New("must be a URL such as file:///var/lib/varve/objects or s3://bucket?region=eu-central-1")
		}
		return nil
	}},
	{name: "rack", value: "R", doc: "rack or zone of this broker", apply: func(b *Broker, text string) error {
		b.Rack = text
		return nil
	}},
	{name: "cluster", value: "NAME", def: "varve", doc: "name of the cluster, which separates clusters that share an etcd", apply: func(b *Broker, text string) error {
		b.Cluster = text
		if !clusterName.MatchString(text) {
			return errors.New("must be 1 to 64 letters, digits, '.', '_' or '-'")
		}
		return nil
	}},
	{name: "etcd", value: "URL,…", several: true, doc: "external etcd (default: embedded)", apply: func(b *Broker, text string) (err error) {
		b.Etcd, err = splitURLs(text, "http", "https")
		return err
	}},
	{name: "nats", value: "URL,…", several: true, doc: "external NATS servers (default: embedded)", apply: func(b *Broker, text string) (err error) {
		b.NATS, err = splitURLs(text, "nats", "tls")
		return err
	}},
	{name: "control", value: "HOST:PORT", doc: "address at which this broker, one of --seeds, listens for the embedded control plane: etcd members talk at PORT, etcd clients at PORT+1, NATS servers at PORT+2 (default: as --seeds say; another one if the others reach it through a proxy or a mapped port)", apply: func(b *Broker, text string) error {
		b.Control = text
		if text == "" {
			return nil
		}
		return checkControl(text)
	}},
	{name: "seeds", value: "N=HOST:PORT,…", several: true, doc: "the brokers that run the embedded control plane, three or five of them, the same list for every broker (default: this one alone)", apply: applySeeds},
	{name: "found", value: "true|false", def: "false", isSwitch: true, doc: "begin a new cluster although not all of --seeds are there; only for the first start, if one of them will never come, and then on all that are there", apply: func(b *Broker, text string) (err error) {
		if b.Found, err = strconv.ParseBool(text); err != nil {
			return errors.New("must be true or false")
		}
		return nil
	}},
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func checkAddress(text string, lowestPort int) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New("must be HOST:PORT")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || int(n) < lowestPort {
		return fmt.Errorf("the port must be a number from %d to 65535", lowestPort)
	}
	return nil
}

// controlPorts is how many ports a control address stands for.
const controlPorts = 3

// checkControl is checkAddress for an address whose port is the first of three.
func checkControl(text string) error {
	if err := checkAddress(text, 1); err != nil {
		return err
	}
	if checkAddress(ControlAddress(text, controlPorts-1), 1) != nil {
		return errors.New("the port must be a number from 1 to 65533: the two after it are used as well")
	}
	return nil
}

// isWildcard reports whether an address means all addresses of the machine.
func isWildcard(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func splitURLs(text string, schemes ...string) ([]string, error) {
	urls := splitList(text)
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			return nil, fmt.Errorf("%s must be a URL such as %s://HOST:PORT", redact(raw), schemes[0])
		}
	}
	return urls, nil
}

// redact hides the user and password of a URL, well-formed or not.
func redact(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if at := strings.LastIndexByte(rest, '@'); ok && at >= 0 {
		return scheme + "://***" + rest[at:]
	}
	return text
}

func applySeeds(b *Broker, text string) error {
	b.Seeds = nil
	for _, part := range splitList(text) {
		id, address, ok := strings.Cut(part, "=")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil || n < 0 || checkControl(address) != nil {
			return fmt.Errorf("%q must be N=HOST:PORT", part)
		}
		if slices.ContainsFunc(b.Seeds, func(s Seed) bool { return s.NodeID == int32(n) }) {
			return fmt.Errorf("broker %d is there twice", n)
		}
		b.Seeds = append(b.Seeds, Seed{NodeID: int32(n), Control: address})
	}
	return nil
}

// finish fills in the defaults that depend on other settings and returns all problems, joined.
func finish(b *Broker) error {
	var problems []error
	if b.ObjectStore == "" {
		if len(b.Seeds) > 0 || len(b.Etcd) > 0 {
			// Each broker would have its own bucket and take it for the one that all share.
			problems = append(problems, errors.New("--object-store is missing: with --seeds or --etcd there may be several brokers, which share one bucket: name it, or for a single broker file://DIR"))
		}
		b.ObjectStore = (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(b.DataDir, "objects"))}).String()
	}
	problems = append(problems, finishListeners(b)...)
	problems = append(problems, finishControl(b)...)
	problems = append(problems, finishTLS(b)...)
	problems = append(problems, finishAccess(b)...)
	for _, name := range slices.Sorted(maps.Keys(b.Set)) {
		if k, err := BrokerKey(name); err == nil && k.Setting != "" {
			problems = append(problems, fmt.Errorf("%s is set with --%s", name, k.Setting))
		}
	}
	return errors.Join(append(problems, Layers{Static: b.Set}.ValidateStatic())...)
}

// finishControl checks the settings of a control plane of several brokers.
func finishControl(b *Broker) (problems []error) {
	own := slices.IndexFunc(b.Seeds, func(s Seed) bool { return s.NodeID == b.NodeID })
	if b.Found && own < 0 {
		problems = append(problems, errors.New("--found is for a broker that is one of --seeds: leave it out"))
	}
	switch {
	case len(b.Seeds) == 0 && b.Control != "":
		return append(problems, errors.New("--control is this broker's place among --seeds: add --seeds, or leave --control out"))
	case len(b.Seeds) == 0:
		return problems
	case len(b.Etcd) > 0:
		problems = append(problems, errors.New("--etcd and --seeds: etcd is either external or run by the seeds: leave one of them out"))
	}
	switch {
	case own < 0 && b.Control != "":
		problems = append(problems, fmt.Errorf("--control %s: broker %d is not one of --seeds: add it there, or leave --control out", b.Control, b.NodeID))
	case own >= 0 && b.Control == "":
		b.Control = b.Seeds[own].Control
	}
	return problems
}

// ControlAddress returns one of the three addresses at a control address: 0 etcd's members, 1
// etcd's clients, 2 NATS servers.
func ControlAddress(control string, offset int) string {
	host, port, err := net.SplitHostPort(control)
	n, portErr := strconv.Atoi(port)
	if err != nil || portErr != nil {
		return control // validated when it was read
	}
	return net.JoinHostPort(host, strconv.Itoa(n+offset))
}

// Static returns the static layer: the settings by Kafka's names, and the process settings that
// have a name in Kafka.
func (b Broker) Static() map[string]string {
	static := map[string]string{
		"node.id":              strconv.Itoa(int(b.NodeID)),
		"listeners":            joinEndpoints(b.Listen),
		"advertised.listeners": joinEndpoints(b.Advertise),
	}
	if b.Rack != "" {
		static["broker.rack"] = b.Rack
	}
	maps.Copy(static, b.Set)
	static["log.dirs"] = strings.Join(b.LogDirs(), ",")
	return static
}

// LogDirs returns the directories of the local log.
func (b Broker) LogDirs() []string {
	dirs := splitList(b.Set["log.dirs"])
	if len(dirs) == 0 {
		dirs = splitList(b.Set["log.dir"])
	}
	if len(dirs) == 0 {
		return []string{filepath.Join(b.DataDir, "logs")}
	}
	for i := range dirs {
		// Abs fails only if a relative path has no meaning.
		if absolute, err := filepath.Abs(dirs[i]); err == nil {
			dirs[i] = absolute
		}
	}
	return dirs
}
