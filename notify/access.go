package notify

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Access is how a bus authenticates to an external NATS, and verifies it. A user and password are
// part of the URLs instead.
type Access struct {
	CredsFile string // of a user with an nkey
	TLS       material
}

// material is the certificate and the authorities at the time of a connection. nil: there is no
// certificate, and the system's authorities are trusted. *security.TLS implements it.
type material interface {
	HasCertificate() bool
	Certificate() tls.Certificate
	Roots() *x509.CertPool
}

// options checks that the credentials can be used now. NATS itself would read them when it
// connects, and retry forever.
func (a Access) options() ([]nats.Option, error) {
	var options []nats.Option
	if a.CredsFile != "" {
		var probe nats.Options
		option := nats.UserCredentials(a.CredsFile)
		err := option(&probe)
		if err == nil {
			_, err = probe.UserJWT()
		}
		if err == nil {
			_, err = probe.SignatureCB([]byte("nonce"))
		}
		if err != nil {
			return nil, fmt.Errorf("read the NATS credentials %s: %w", a.CredsFile, err)
		}
		options = append(options, option)
	}
	if a.TLS != nil {
		options = append(options, func(o *nats.Options) error {
			o.Secure, o.TLSConfig = true, &tls.Config{MinVersion: tls.VersionTLS12}
			o.RootCAsCB = func() (*x509.CertPool, error) { return a.TLS.Roots(), nil }
			if a.TLS.HasCertificate() {
				o.TLSCertCB = func() (tls.Certificate, error) { return a.TLS.Certificate(), nil }
			}
			return nil
		})
	}
	return options, nil
}
