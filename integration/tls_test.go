package integration

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/security/securitytest"
)

// secured is a broker process and the files that it uses for TLS.
type secured struct {
	*process
	http           string
	kafka, control securitytest.Pair
	trust          string // the Kafka listener's truststore
}

// startSecured starts three brokers that use TLS on every port and require a certificate. The
// control plane and HTTP have an authority of their own.
func startSecured(t *testing.T, ca, inner *securitytest.Authority) []*secured {
	t.Helper()
	dir := t.TempDir()
	seeds := make([]string, 3)
	for i := range seeds {
		seeds[i] = fmt.Sprintf("%d=%s", i+1, freeControl(t))
	}
	brokers, processes := make([]*secured, len(seeds)), make([]*process, len(seeds))
	for i := range brokers {
		b := &secured{
			process: &process{bootstrap: freeAddress(t), dataDir: filepath.Join(dir, strconv.Itoa(i+1)), log: &syncBuffer{}},
			http:    freeAddress(t), kafka: ca.Issue(t), control: inner.Issue(t), trust: filepath.Join(t.TempDir(), "trust.pem"),
		}
		securitytest.Write(t, b.trust, ca.PEM)
		b.args = []string{
			"broker", "start", "--node-id", strconv.Itoa(i + 1), "--data-dir", b.dataDir, "--object-store", "file://" + filepath.Join(dir, "bucket"),
			"--listen", "SSL://" + b.bootstrap, "--set", "security.inter.broker.protocol=SSL", "--set", "ssl.client.auth=required",
			"--set", "ssl.keystore.location=" + b.kafka.StoreFile, "--set", "ssl.truststore.location=" + b.trust,
			"--http", b.http, "--http-cert-file", b.control.CertFile, "--http-key-file", b.control.KeyFile, "--http-client-ca-file", inner.File,
			"--seeds", strings.Join(seeds, ","), "--control-cert-file", b.control.CertFile, "--control-key-file", b.control.KeyFile, "--control-ca-file", inner.File,
		}
		brokers[i], processes[i] = b, b.process
	}
	startTogether(t, processes)
	return brokers
}

// clientTLS returns a configuration that trusts the authorities and presents a certificate, or none
// for the zero Pair.
func clientTLS(t *testing.T, pair securitytest.Pair, authorities ...*securitytest.Authority) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	for _, a := range authorities {
		c.RootCAs.AppendCertsFromPEM([]byte(a.PEM))
	}
	if pair.Cert != "" {
		cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
		if err != nil {
			t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return c
}

// over returns a broker's answer over HTTP.
func (b *secured) over(t *testing.T, config *tls.Config, path string) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Get("https://" + b.http + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// reaches returns an error if a request over a new connection to a broker fails.
func (b *secured) reaches(t *testing.T, config *tls.Config) error {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(b.bootstrap), kgo.RetryTimeout(time.Millisecond), kgo.RequestRetries(0), kgo.RequestTimeoutOverhead(10 * time.Second)}
	if config != nil {
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return client.Ping(t.Context())
}

// TestEverythingOverTLS writes numbered records while the certificates of all brokers and their
// authority are replaced, and a broker is killed. The producer must not notice, nothing may be
// lost, and untrusted clients must be rejected.
func TestEverythingOverTLS(t *testing.T) {
	sideBySide(t)
	ca, next, inner, stranger := securitytest.NewAuthority(t), securitytest.NewAuthority(t), securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	brokers := startSecured(t, ca, inner)
	user := ca.Issue(t)
	var all []string
	for _, b := range brokers {
		all = append(all, b.bootstrap)
	}
	everywhere := []kgo.Opt{
		kgo.SeedBrokers(all...), kgo.ProduceRequestTimeout(3 * time.Second), kgo.RequestTimeoutOverhead(3 * time.Second),
		kgo.DialTLSConfig(clientTLS(t, user, ca, next)),
	}
	admin := kadm.NewClient(newClient(t, "", everywhere...))
	const partitions = 6
	if _, err := admin.CreateTopic(t.Context(), partitions, 3, map[string]*string{"min.insync.replicas": new("2")}, "secret"); err != nil {
		t.Fatal(err)
	}
	numbers := startNumbers(t, "", "secret", partitions, 500, everywhere...)
	numbers.readAlong()
	numbers.progress("at the start")

	// Commands with flags, and with a file in the format of Kafka's tools.
	flags := []string{"--ca-file", ca.File, "--cert-file", user.CertFile, "--key-file", user.KeyFile}
	if out := brokers[0].varve(t, "", append([]string{"cluster", "status"}, flags...)...); !strings.Contains(out, "healthy") {
		t.Errorf("varve cluster status: %s", out)
	}
	properties := filepath.Join(t.TempDir(), "client.properties")
	securitytest.Write(t, properties, fmt.Sprintf("security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location=%s\nssl.keystore.type=PEM\nssl.keystore.location=%s\n", ca.File, user.StoreFile))
	brokers[0].varve(t, "", "topic", "create", "by-command", "--command-config", properties)
	if out := brokers[0].varve(t, "hello\n", "produce", "by-command", "--command-config", properties); strings.Contains(out, "error") {
		t.Errorf("varve produce: %s", out)
	}
	if out := brokers[0].varve(t, "", "consume", "by-command", "--from", "beginning", "-n", "1", "--command-config", properties); !strings.Contains(out, "hello") {
		t.Errorf("varve consume: %s", out)
	}

	// HTTP.
	monitor := clientTLS(t, inner.Issue(t), inner)
	body, err := brokers[0].over(t, monitor, "/metrics")
	for _, use := range []string{"SSL", "http", "control"} {
		if !strings.Contains(body, fmt.Sprintf("varve_tls_certificate_expiry_seconds{use=%q}", use)) {
			t.Errorf("the metrics do not tell when the certificate of %s expires: %v", use, err)
		}
	}
	if _, err = brokers[0].over(t, clientTLS(t, securitytest.Pair{}, inner), "/readyz"); err == nil {
		t.Error("HTTP answers one without a certificate")
	}

	// Clients that must be rejected.
	for name, config := range map[string]*tls.Config{
		"expired": clientTLS(t, ca.Issue(t, securitytest.Expired), ca), "of a stranger": clientTLS(t, stranger.Issue(t), ca), "none": clientTLS(t, securitytest.Pair{}, ca),
		"of the control plane": clientTLS(t, inner.Issue(t), ca), "plain text": nil,
	} {
		if err = brokers[1].reaches(t, config); err == nil {
			t.Errorf("a client is served whose certificate is %s", name)
		}
	}

	// Everything is replaced: the truststores first, then the certificates.
	taken := func(b *secured, use string) int {
		return strings.Count(b.log.String(), fmt.Sprintf(`"msg":"TLS files are taken into use","use":%q`, use))
	}
	replace := func(use string, write func(*secured)) {
		t.Helper()
		for _, b := range brokers {
			write(b)
		}
		for i, b := range brokers {
			eventually(t, time.Minute, fmt.Sprintf("broker %d takes the new files of %s", i+1, use), func() bool { return taken(b, use) > 0 })
		}
	}
	reset := func() {
		for _, b := range brokers {
			b.log.mu.Lock()
			b.log.mu.Reset()
			b.log.mu.Unlock()
		}
	}
	replace("SSL", func(b *secured) { securitytest.Write(t, b.trust, ca.PEM+next.PEM) })
	reset()
	replace("SSL", func(b *secured) {
		pair := next.Issue(t)
		securitytest.Write(t, b.kafka.StoreFile, pair.Key+pair.Cert)
		pair = inner.Issue(t)
		securitytest.Write(t, b.control.KeyFile, pair.Key)
		securitytest.Write(t, b.control.CertFile, pair.Cert)
	})
	replace("control", func(*secured) {})
	numbers.progress("with new certificates")
	if err = brokers[2].reaches(t, clientTLS(t, user, next)); err != nil {
		t.Errorf("the new certificate is not shown: %v", err)
	}
	brokers[2].kill9(t)
	numbers.progress("without a broker")
	brokers[2].start(t)
	allInSync(t, admin, "secret", 3)
	numbers.progress("with all brokers again")
	numbers.stop()
	numbers.check()

	// The old authority is no longer trusted.
	reset()
	replace("SSL", func(b *secured) { securitytest.Write(t, b.trust, next.PEM) })
	if err = brokers[0].reaches(t, clientTLS(t, user, next)); err == nil {
		t.Error("a client of an authority that is no longer trusted is served")
	}
	if err = brokers[0].reaches(t, clientTLS(t, next.Issue(t), next)); err != nil {
		t.Error(err)
	}

	// Unusable files must change nothing.
	reset()
	securitytest.Write(t, brokers[0].kafka.StoreFile, "nothing")
	eventually(t, time.Minute, "the bad file is told of", func() bool { return strings.Contains(brokers[0].log.String(), brokers[0].kafka.StoreFile) })
	if err = brokers[0].reaches(t, clientTLS(t, next.Issue(t), next)); err != nil {
		t.Error(err)
	}
	if body, err = brokers[0].over(t, monitor, "/metrics"); !strings.Contains(body, `varve_tls_reload_failures_total{use="SSL"} 1`) {
		t.Errorf("the failure is not counted: %v", err)
	}
	if i := slices.IndexFunc(brokers, func(b *secured) bool { return strings.Contains(b.log.String(), `"level":"ERROR"`) }); i >= 0 {
		t.Errorf("broker %d logs errors:\n%s", i+1, brokers[i].log)
	}
}
