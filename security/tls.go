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

// TLS is the material of one use. Its methods may be called from any goroutine.
type TLS struct {
	material Material
	current  atomic.Pointer[snapshot]

	// The fields below belong to the caller of reload: the Watcher's goroutine.
	seen     [sha256.Size]byte // of the last material in use
	changed  func()            // called after the material has changed; may be nil
	unusable string            // why the last read is unusable; empty: it is in use
	told     bool              // unusable has been logged
}

// Load reads the material once. It fails unless all of it is usable.
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

// reload reads the files again and uses their content if it is usable.
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

// HasCertificate reports whether there is a certificate to present.
func (t *TLS) HasCertificate() bool { return t.current.Load().cert != nil }

// Certificate returns the current certificate, or an empty one if there is none. The caller must
// not change it.
func (t *TLS) Certificate() tls.Certificate {
	if cert := t.current.Load().cert; cert != nil {
		return *cert
	}
	return tls.Certificate{}
}

// Roots returns the current authorities; nil means the system's.
func (t *TLS) Roots() *x509.CertPool { return t.current.Load().roots }

// NotAfter returns when the certificate expires; zero if there is none.
func (t *TLS) NotAfter() time.Time {
	if cert := t.current.Load().cert; cert != nil {
		return cert.Leaf.NotAfter
	}
	return time.Time{}
}

// Server returns a configuration for accepting connections. At each handshake it uses the current
// material of t; everything else is as in template.
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

// Client returns a configuration for one connection to a host, with the current material of t;
// everything else is as in template. With InsecureSkipVerify in the template the host's name is not
// verified, but its certificate is.
func (t *TLS) Client(template *tls.Config, host string) *tls.Config {
	s := t.current.Load()
	c := template.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.ServerName, c.RootCAs = host, s.roots
	if s.cert != nil {
		// The certificate is presented even if the server names other authorities: its error is
		// clearer than that of a missing certificate.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.cert, nil }
	}
	if c.InsecureSkipVerify {
		c.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, s.roots) }
	}
	return c
}

// Both is Server and Client in one, for software that takes a single configuration for accepting
// and for connecting. Either side must present a certificate. The authorities for outgoing
// connections are fixed at the time of the call.
func (t *TLS) Both() *tls.Config {
	c := t.Server(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	c.RootCAs = t.Roots()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert := t.Certificate()
		return &cert, nil
	}
	return c
}

// verifyChain does what crypto/tls does for a client, except that it ignores the host's name.
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
