package config

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Secret is a text that is printed, logged and marshaled as ***.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// TLSFiles are PEM files: the authorities that verify the other side, and this side's certificate
// and key, both or none.
type TLSFiles struct{ CAFile, CertFile, KeyFile string }

// EtcdAccess is how a broker authenticates to an external etcd, and verifies it. The zero value
// does neither.
type EtcdAccess struct {
	CAFile            string // PEM; empty: the system's authorities
	CertFile, KeyFile string // PEM; both or none
	User              string
	Password          Secret // set if and only if User is set
}

// NATSAccess is EtcdAccess for external NATS servers. A user and password are part of their URLs.
type NATSAccess struct {
	CredsFile         string // of a user with an nkey
	CAFile            string
	CertFile, KeyFile string
}

// tlsSettings are the settings of a Broker's HTTPTLS and ControlTLS.
func tlsSettings() []setting {
	return []setting{
		textSetting("http-cert-file", "FILE", "certificate (PEM) of the HTTP address, which then speaks TLS only", func(b *Broker) *string { return &b.HTTPTLS.CertFile }),
		textSetting("http-key-file", "FILE", "key (PEM) of --http-cert-file", func(b *Broker) *string { return &b.HTTPTLS.KeyFile }),
		textSetting("http-client-ca-file", "FILE", "authorities (PEM) of clients of the HTTP address, who must then show a certificate", func(b *Broker) *string { return &b.HTTPTLS.CAFile }),
		textSetting("control-cert-file", "FILE", "certificate (PEM) of this broker for the control plane of --seeds, for which all brokers then speak TLS only, and show it to each other", func(b *Broker) *string { return &b.ControlTLS.CertFile }),
		textSetting("control-key-file", "FILE", "key (PEM) of --control-cert-file", func(b *Broker) *string { return &b.ControlTLS.KeyFile }),
		textSetting("control-ca-file", "FILE", "authorities (PEM) that verify the other brokers of the control plane", func(b *Broker) *string { return &b.ControlTLS.CAFile }),
	}
}

// finishTLS checks that the files for HTTP and the control plane are complete, and that none is
// unused.
func finishTLS(b *Broker) (problems []error) {
	h, c := b.HTTPTLS, b.ControlTLS
	if (h.CertFile == "") != (h.KeyFile == "") {
		problems = append(problems, errors.New("--http-cert-file and --http-key-file belong together: one of them is missing"))
	}
	if h.CAFile != "" && h.CertFile == "" {
		problems = append(problems, errors.New("--http-client-ca-file needs --http-cert-file and --http-key-file: without TLS nobody shows a certificate"))
	}
	if c == (TLSFiles{}) {
		return problems
	}
	if c.CAFile == "" || c.CertFile == "" || c.KeyFile == "" {
		problems = append(problems, errors.New("--control-cert-file, --control-key-file and --control-ca-file belong together: one of them is missing"))
	}
	if len(b.Seeds) == 0 {
		problems = append(problems, errors.New("--control-cert-file, --control-key-file and --control-ca-file are for the control plane of --seeds: add --seeds, or leave them out"))
	}
	return problems
}

// accessSettings are the settings of a Broker's EtcdAccess and NATSAccess.
func accessSettings() []setting {
	return []setting{
		textSetting("etcd-ca-file", "FILE", "authorities (PEM) that verify an external etcd (default: the system's)", func(b *Broker) *string { return &b.EtcdAccess.CAFile }),
		textSetting("etcd-cert-file", "FILE", "certificate (PEM) of this broker for an external etcd", func(b *Broker) *string { return &b.EtcdAccess.CertFile }),
		textSetting("etcd-key-file", "FILE", "key (PEM) of --etcd-cert-file", func(b *Broker) *string { return &b.EtcdAccess.KeyFile }),
		textSetting("etcd-user", "NAME", "user of an external etcd", func(b *Broker) *string { return &b.EtcdAccess.User }),
		{name: "etcd-password", value: "TEXT", doc: "password of --etcd-user; others on this machine can see a command line, so give it in the environment", apply: func(b *Broker, text string) error {
			b.EtcdAccess.Password = Secret(text)
			return nil
		}},
		textSetting("nats-creds-file", "FILE", "credentials (.creds) of a user of external NATS servers; a user and password stand in the URL: nats://USER:PASSWORD@HOST:PORT", func(b *Broker) *string { return &b.NATSAccess.CredsFile }),
		textSetting("nats-ca-file", "FILE", "authorities (PEM) that verify external NATS servers (default: the system's)", func(b *Broker) *string { return &b.NATSAccess.CAFile }),
		textSetting("nats-cert-file", "FILE", "certificate (PEM) of this broker for external NATS servers", func(b *Broker) *string { return &b.NATSAccess.CertFile }),
		textSetting("nats-key-file", "FILE", "key (PEM) of --nats-cert-file", func(b *Broker) *string { return &b.NATSAccess.KeyFile }),
	}
}

func textSetting(name, value, doc string, field func(*Broker) *string) setting {
	return setting{name: name, value: value, doc: doc, apply: func(b *Broker, text string) error {
		*field(b) = text
		return nil
	}}
}

// finishAccess checks that the access to external servers is complete, and that none of it is
// unused: there must be such servers.
func finishAccess(b *Broker) (problems []error) {
	e, n := b.EtcdAccess, b.NATSAccess
	if e != (EtcdAccess{}) && len(b.Etcd) == 0 {
		problems = append(problems, errors.New("--etcd-ca-file, --etcd-cert-file, --etcd-key-file, --etcd-user and --etcd-password are for an external etcd: add --etcd, or leave them out"))
	}
	if n != (NATSAccess{}) && len(b.NATS) == 0 {
		problems = append(problems, errors.New("--nats-creds-file, --nats-ca-file, --nats-cert-file and --nats-key-file are for external NATS servers: add --nats, or leave them out"))
	}
	for _, pair := range []struct {
		first, second string
		complete      bool
	}{
		{"--etcd-cert-file", "--etcd-key-file", (e.CertFile == "") == (e.KeyFile == "")},
		{"--nats-cert-file", "--nats-key-file", (n.CertFile == "") == (n.KeyFile == "")},
		{"--etcd-user", "--etcd-password", (e.User == "") == (e.Password == "")},
	} {
		if !pair.complete {
			problems = append(problems, fmt.Errorf("%s and %s belong together: one of them is missing", pair.first, pair.second))
		}
	}
	for _, raw := range b.Etcd {
		if strings.Contains(raw, "@") {
			problems = append(problems, fmt.Errorf("--etcd %s: the user does not belong into the URL: use --etcd-user and --etcd-password", redact(raw)))
		}
		if (e.CAFile != "" || e.CertFile != "") && !strings.HasPrefix(raw, "https://") {
			problems = append(problems, fmt.Errorf("--etcd %s: files for TLS are given, but this is a URL without TLS: write https", redact(raw)))
		}
	}
	return problems
}
