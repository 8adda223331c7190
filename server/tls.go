package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/security"
)

// tlsParts is the TLS material of this broker, by use.
type tlsParts struct {
	watcher   *security.Watcher
	listeners map[string]*security.TLS // by the name of a listener with the protocol SSL
	// The others are nil if no file is given.
	http, control, etcd, nats *security.TLS
}

// loadTLS reads all certificates first, so that an unusable file is reported before anything has
// begun.
func (s *server) loadTLS(ctx context.Context) error {
	s.tls = tlsParts{
		watcher:   security.NewWatcher(security.WatcherOptions{Logger: s.log, Registerer: s.registry}),
		listeners: map[string]*security.TLS{},
	}
	for _, e := range s.Config.Listen {
		if s.Config.Protocol(e.Name) != config.SSL {
			continue
		}
		loaded, err := s.tls.watcher.Load(e.Name, listenerMaterial(s.Config.SSL(e.Name)), nil)
		if err != nil {
			return fmt.Errorf("listener %s: %w", e.Name, err)
		}
		s.tls.listeners[e.Name] = loaded
	}
	etcd, nats := s.Config.EtcdAccess, s.Config.NATSAccess
	for _, o := range []struct {
		use      string
		files    config.TLSFiles
		caOption string
		to       **security.TLS
	}{
		{"http", s.Config.HTTPTLS, "--http-client-ca-file", &s.tls.http},
		{"control", s.Config.ControlTLS, "--control-ca-file", &s.tls.control},
		{"etcd", config.TLSFiles{CAFile: etcd.CAFile, CertFile: etcd.CertFile, KeyFile: etcd.KeyFile}, "--etcd-ca-file", &s.tls.etcd},
		{"nats", config.TLSFiles{CAFile: nats.CAFile, CertFile: nats.CertFile, KeyFile: nats.KeyFile}, "--nats-ca-file", &s.tls.nats},
	} {
		if o.files == (config.TLSFiles{}) {
			continue
		}
		loaded, err := s.tls.watcher.Load(o.use, security.Material{
			Cert: security.PEM{Name: "--" + o.use + "-cert-file", File: o.files.CertFile},
			Key:  security.PEM{Name: "--" + o.use + "-key-file", File: o.files.KeyFile},
			CA:   security.PEM{Name: o.caOption, File: o.files.CAFile},
		}, nil)
		if err != nil {
			return err
		}
		*o.to = loaded
	}
	s.parts.run(ctx, "TLS files", s.tls.watcher.Run)
	return nil
}

func listenerMaterial(c config.ListenerSSL) security.Material {
	return security.Material{
		Cert: givenPEM(c.Keystore, c.KeystoreChain), Key: givenPEM(config.Given{}, c.KeystoreKey),
		KeyPassword: c.KeyPassword.Value, PasswordName: c.KeyPassword.Name,
		CA: givenPEM(c.Truststore, c.TruststoreCertificates),
	}
}

// givenPEM returns the content of a file or, without one, of a text.
func givenPEM(file, text config.Given) security.PEM {
	if file.Value != "" {
		return security.PEM{Name: file.Name, File: file.Value}
	}
	return security.PEM{Name: text.Name, Text: text.Value}
}

// listener returns the TLS configuration of a Kafka listener; nil if it does not use TLS.
func (p tlsParts) listener(c config.Broker, name string) *tls.Config {
	loaded, ok := p.listeners[name]
	if !ok {
		return nil
	}
	settings := c.SSL(name)
	auth := map[string]tls.ClientAuthType{"none": tls.NoClientCert, "requested": tls.VerifyClientCertIfGiven, "required": tls.RequireAndVerifyClientCert}[settings.ClientAuth]
	template := tlsTemplate(settings)
	template.ClientAuth = auth
	return loaded.Server(template)
}

// brokers returns the TLS configuration for connections to other brokers; nil if they do not use
// TLS.
func (p tlsParts) brokers(c config.Broker) func(host string) *tls.Config {
	name := c.InterBrokerListener()
	loaded, ok := p.listeners[name]
	if !ok {
		return nil
	}
	template := tlsTemplate(c.SSL(name))
	// the certificate authority is still verified
	template.InsecureSkipVerify = !c.SSL(name).CheckHost
	return func(host string) *tls.Config { return loaded.Client(template, host) }
}

// overHTTP wraps the HTTP listener in TLS if there is a certificate for it.
func (p tlsParts) overHTTP(ln net.Listener, files config.TLSFiles) net.Listener {
	if p.http == nil {
		return ln
	}
	template := &tls.Config{NextProtos: []string{"http/1.1"}}
	if files.CAFile != "" {
		template.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return tls.NewListener(ln, p.http.Server(template))
}

// dialer returns the TLS configuration of a client; nil without material for it.
func dialer(t *security.TLS) func(host string) *tls.Config {
	if t == nil {
		return nil
	}
	return func(host string) *tls.Config { return t.Client(&tls.Config{}, host) }
}

func tlsTemplate(c config.ListenerSSL) *tls.Config {
	lowest, highest, _ := security.ParseVersions(c.EnabledProtocols) // validated when it was loaded
	return &tls.Config{MinVersion: lowest, MaxVersion: highest, CipherSuites: c.CipherSuites}
}
