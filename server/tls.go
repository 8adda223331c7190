package server

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/security"
)

// tlsParts is the TLS material of this broker, by use.
type tlsParts struct {
	watcher   *security.Watcher
	listeners map[string]*security.TLS // by the name of a listener with the protocol SSL
}

// loadTLS reads all certificates first, so that a file that cannot be used is told of before anything has begun.
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

// givenPEM is what a file has or, without one, a text.
func givenPEM(file, text config.Given) security.PEM {
	if file.Value != "" {
		return security.PEM{Name: file.Name, File: file.Value}
	}
	return security.PEM{Name: text.Name, Text: text.Value}
}

// listener is how a Kafka listener speaks TLS; nil if it does not.
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

// brokers is how this broker speaks TLS to others; nil if it does not.
func (p tlsParts) brokers(c config.Broker) func(host string) *tls.Config {
	name := c.InterBrokerListener()
	loaded, ok := p.listeners[name]
	if !ok {
		return nil
	}
	template := tlsTemplate(c.SSL(name))
	template.InsecureSkipVerify = !c.SSL(name).CheckHost // the authority is checked all the same
	return func(host string) *tls.Config { return loaded.Client(template, host) }
}

func tlsTemplate(c config.ListenerSSL) *tls.Config {
	lowest, highest, _ := security.ParseVersions(c.EnabledProtocols) // checked when it was loaded
	return &tls.Config{MinVersion: lowest, MaxVersion: highest, CipherSuites: c.CipherSuites}
}
