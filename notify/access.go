package notify

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Access is how a bus shows who it is to an external NATS, and knows that it is
// the right one. A user and password stand in the URLs instead.
type Access struct {
	CredsFile         string // of a user with an nkey
	CAFile            string // PEM; empty: the system's authorities
	CertFile, KeyFile string // PEM; both or none
}

// options checks that the files can be used now: NATS itself would read the
// credentials when it connects, and try for ever.
func (a Access) options() ([]nats.Option, error) {
	var options []nats.Option
	var probe nats.Options
	if a.CredsFile != "" {
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
	if a.CAFile != "" {
		option := nats.RootCAs(a.CAFile)
		if err := option(&probe); err != nil {
			return nil, fmt.Errorf("read the authorities of NATS %s: %w", a.CAFile, err)
		}
		options = append(options, option)
	}
	if (a.CertFile == "") != (a.KeyFile == "") {
		return nil, errors.New("a certificate for NATS and its key belong together: one of them is missing")
	}
	if a.CertFile != "" {
		option := nats.ClientCert(a.CertFile, a.KeyFile)
		if err := option(&probe); err != nil {
			return nil, fmt.Errorf("read the certificate for NATS %s and its key %s: %w", a.CertFile, a.KeyFile, err)
		}
		options = append(options, option)
	}
	return options, nil
}
