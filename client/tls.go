package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/varvelog/varve/security"
)

// TLSFiles are PEM files for a listener with TLS; all may be empty.
type TLSFiles struct {
	CAFile            string // authorities that verify brokers; empty: the system's
	CertFile, KeyFile string // of this client; both or none
}

// Config reads the files.
func (f TLSFiles) Config() (*tls.Config, error) {
	if (f.CertFile == "") != (f.KeyFile == "") {
		return nil, errors.New("--cert-file and --key-file belong together: one of them is missing")
	}
	return loadTLS(security.Material{
		Cert: security.PEM{Name: "--cert-file", File: f.CertFile}, Key: security.PEM{Name: "--key-file", File: f.KeyFile},
		CA: security.PEM{Name: "--ca-file", File: f.CAFile},
	}, &tls.Config{})
}

// loadTLS returns the configuration for connections to any host.
func loadTLS(m security.Material, template *tls.Config) (*tls.Config, error) {
	loaded, err := security.Load(m)
	if err != nil {
		return nil, err
	}
	return loaded.Client(template, ""), nil // the host is filled in at each connection
}

// commandConfigKeys are the configurations of Kafka's clients that ReadCommandConfig accepts.
var commandConfigKeys = []string{
	"security.protocol", "ssl.enabled.protocols", "ssl.endpoint.identification.algorithm", "ssl.key.password", "ssl.keystore.certificate.chain",
	"ssl.keystore.key", "ssl.keystore.location", "ssl.keystore.type", "ssl.truststore.certificates", "ssl.truststore.location", "ssl.truststore.type",
}

// ReadCommandConfig reads a file in the format of --command-config of Kafka's tools. It returns the
// TLS configuration, or nil if the protocol is PLAINTEXT. Everything in the file is honored, or
// rejected by name.
func ReadCommandConfig(file string) (*tls.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--command-config: %w", err)
	}
	properties, err := parseProperties(string(text))
	if err != nil {
		return nil, fmt.Errorf("--command-config %s: %w", file, err)
	}
	config, err := commandConfig(properties)
	if err != nil {
		return nil, fmt.Errorf("--command-config %s: %w", file, err)
	}
	return config, nil
}

func commandConfig(p map[string]string) (*tls.Config, error) {
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if strings.HasSuffix(name, "store.password") {
			return nil, fmt.Errorf("%s: stores are PEM files, which have no password: %s", name, security.FromPKCS12)
		}
		if !slices.Contains(commandConfigKeys, name) {
			return nil, fmt.Errorf("%s is not supported: there are %s", name, strings.Join(commandConfigKeys, ", "))
		}
	}
	for _, name := range []string{"ssl.keystore.type", "ssl.truststore.type"} {
		if kind, given := p[name]; given && !strings.EqualFold(kind, "PEM") {
			return nil, fmt.Errorf("%s=%s: only PEM is supported: %s", name, kind, security.FromJKS)
		}
	}
	switch protocol := strings.ToUpper(p["security.protocol"]); protocol {
	case "SSL":
		return commandTLS(p)
	case "", "PLAINTEXT":
		for name := range p {
			if name != "security.protocol" {
				return nil, fmt.Errorf("%s is of use with security.protocol=SSL only: add that, or leave it out", name)
			}
		}
		return nil, nil
	default:
		return nil, fmt.Errorf("security.protocol=%s: PLAINTEXT and SSL are supported", protocol)
	}
}

// commandTLS returns the configuration for the protocol SSL.
func commandTLS(p map[string]string) (*tls.Config, error) {
	template := &tls.Config{}
	switch algorithm, given := p["ssl.endpoint.identification.algorithm"]; {
	case given && algorithm == "":
		template.InsecureSkipVerify = true // the name alone; security verifies the rest
	case given && !strings.EqualFold(algorithm, "https"):
		return nil, fmt.Errorf("ssl.endpoint.identification.algorithm=%s: must be https, or empty", algorithm)
	}
	if versions, given := p["ssl.enabled.protocols"]; given {
		names := strings.Split(versions, ",")
		for i := range names {
			names[i] = strings.TrimSpace(names[i])
		}
		var err error
		if template.MinVersion, template.MaxVersion, err = security.ParseVersions(names); err != nil {
			return nil, fmt.Errorf("ssl.enabled.protocols: %w", err)
		}
	}
	if (p["ssl.keystore.certificate.chain"] == "") != (p["ssl.keystore.key"] == "") {
		return nil, errors.New("ssl.keystore.certificate.chain and ssl.keystore.key belong together: one of them is missing")
	}
	if p["ssl.key.password"] != "" && p["ssl.keystore.location"] == "" && p["ssl.keystore.key"] == "" {
		return nil, errors.New("ssl.key.password is of use with a key only: add ssl.keystore.location, or leave it out")
	}
	for _, pair := range [][2]string{{"ssl.keystore.location", "ssl.keystore.key"}, {"ssl.truststore.location", "ssl.truststore.certificates"}} {
		if p[pair[0]] != "" && p[pair[1]] != "" {
			return nil, fmt.Errorf("%s and %s: leave one of them out", pair[0], pair[1])
		}
	}
	pem := func(file, text string) security.PEM {
		if p[file] != "" {
			return security.PEM{Name: file, File: p[file]}
		}
		return security.PEM{Name: text, Text: p[text]}
	}
	return loadTLS(security.Material{
		Cert: pem("ssl.keystore.location", "ssl.keystore.certificate.chain"), Key: security.PEM{Name: "ssl.keystore.key", Text: p["ssl.keystore.key"]},
		KeyPassword: p["ssl.key.password"], PasswordName: "ssl.key.password",
		CA: pem("ssl.truststore.location", "ssl.truststore.certificates"),
	}, template)
}
