package security

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// TLS is the material of one use. Its methods may be called from anywhere.
type TLS struct {
	material Material
	current  atomic.Pointer[snapshot]

	// What follows belongs to whoever calls reload: the Watcher's goroutine.
	seen     [sha256.Size]byte // the last reading
	changed  func()            // called after the material has changed; may be nil
	unusable string            // why the last reading is of no use; empty: it is the current one
	told     bool              // about that
}

// Load reads the material once. It fails unless all of it can be used.
func Load(m Material) (*TLS, error) {
	t := &TLS{material: m}
	read, err := m.read()
	if err != nil {
		return nil, err
	}
	s, err := m.parse(read)
	if err != nil {
		return nil, err
	}
	t.seen = read.digest()
	t.current.Store(&s)
	return t, nil
}

// reload reads the files again and takes what they have if it can be used.
func (t *TLS) reload() (changed bool, err error) {
	read, err := t.material.read()
	if err != nil {
		return false, err
	}
	digest := read.digest()
	if digest == t.seen {
		return false, nil
	}
	s, err := t.material.parse(read)
	if err != nil {
		return false, err
	}
	t.seen = digest
	t.current.Store(&s)
	return true, nil
}

// HasCertificate tells whether there is one to show.
func (t *TLS) HasCertificate() bool { return t.current.Load().cert != nil }

// Certificate is the one to show now; it has none if there is none. The caller must not change it.
func (t *TLS) Certificate() tls.Certificate {
	if cert := t.current.Load().cert; cert != nil {
		return *cert
	}
	return tls.Certificate{}
}

// Roots are the authorities of now; nil means the system's.
func (t *TLS) Roots() *x509.CertPool { return t.current.Load().roots }

// NotAfter is when the certificate expires; zero if there is none.
func (t *TLS) NotAfter() time.Time {
	if cert := t.current.Load().cert; cert != nil {
		return cert.Leaf.NotAfter
	}
	return time.Time{}
}

// Server is a configuration for accepting connections. At each handshake it shows and trusts what t has then; the rest is as template says.
func (t *TLS) Server(template *tls.Config) *tls.Config {
	base := template.Clone()
	base.MinVersion = max(base.MinVersion, tls.VersionTLS12)
	base.SessionTicketsDisabled = true
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s := t.current.Load()
		if s.cert == nil {
			return nil, errors.New("there is no certificate to show")
		}
		c := base.Clone()
		c.GetConfigForClient, c.Certificates, c.ClientCAs = nil, []tls.Certificate{*s.cert}, s.roots
		return c, nil
	}
	return base
}

// Client is a configuration for one connection to a host, with what t has now; the rest is as template says. With InsecureSkipVerify in the
// template the host's name is not checked, but its certificate is.
func (t *TLS) Client(template *tls.Config, host string) *tls.Config {
	s := t.current.Load()
	c := template.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.ServerName, c.RootCAs = host, s.roots
	if s.cert != nil {
		// Also if the server names other authorities than the certificate's: it says more clearly what it misses.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.cert, nil }
	}
	if c.InsecureSkipVerify {
		c.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, s.roots) }
	}
	return c
}

// Both is Server and Client in one, for software that takes a single configuration for accepting and for connecting. Either side must show a
// certificate. The authorities that verify those who are connected to stay those of now.
func (t *TLS) Both() *tls.Config {
	c := t.Server(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	c.RootCAs = t.Roots()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert := t.Certificate()
		return &cert, nil
	}
	return c
}

// verifyChain is what crypto/tls does for a client, but for the host's name.
func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// ParseVersions returns the range that Kafka's names of TLS versions stand for.
func ParseVersions(names []string) (lowest, highest uint16, err error) {
	for _, name := range names {
		version, ok := map[string]uint16{"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}[name]
		if !ok {
			return 0, 0, fmt.Errorf("%q is no version of TLS that is safe to use: there are TLSv1.2 and TLSv1.3", name)
		}
		if lowest == 0 || version < lowest {
			lowest = version
		}
		highest = max(highest, version)
	}
	return lowest, highest, nil
}
