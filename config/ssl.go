package config

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// SSL is the security protocol of a listener that speaks TLS.
const SSL = "SSL"

// Kafka's configurations of a listener with the protocol SSL. Each may be given for one listener as
// listener.name.<name>.<key>.
const (
	sslPrefix          = "ssl."
	sslCipherSuites    = "ssl.cipher.suites"
	sslClientAuth      = "ssl.client.auth"
	sslProtocols       = "ssl.enabled.protocols"
	sslIdentification  = "ssl.endpoint.identification.algorithm"
	sslKeyPassword     = "ssl.key.password" //nolint:gosec // a name
	sslKeystoreChain   = "ssl.keystore.certificate.chain"
	sslKeystoreKey     = "ssl.keystore.key"
	sslKeystore        = "ssl.keystore.location"
	sslKeystoreType    = "ssl.keystore.type"
	sslTruststoreCerts = "ssl.truststore.certificates"
	sslTruststore      = "ssl.truststore.location"
	sslTruststoreType  = "ssl.truststore.type"

	listenerPrefix = "listener.name."
)

// toPEM explains how to convert Java's stores.
const toPEM = "convert it with \"openssl pkcs12 -in STORE.p12 -nodes -out STORE.pem\", a JKS store first with " +
	"\"keytool -importkeystore -srckeystore STORE.jks -destkeystore STORE.p12 -deststoretype PKCS12\""

// instead explains what to do in place of configurations of Kafka's that Varve will never have.
var instead = map[string]string{
	"ssl.keystore.password":   "stores are PEM files, which have no password (ssl.key.password is the key's): " + toPEM,
	"ssl.truststore.password": "stores are PEM files, which have no password: " + toPEM,
}

func sslKeys() []Key {
	return []Key{
		nullKey(brokerKey(sslCipherSuites, List, "", "", cipherSuites(),
			"The cipher suites that listeners may use, for TLS 1.2: those of TLS 1.3 are fixed, so that ssl.enabled.protocols must be TLSv1.2 with it. While it is not set: all that are safe.")),
		brokerKey(sslClientAuth, String, "none", "", oneOf("none", "requested", "required"),
			"Whether clients must show a certificate; requested verifies one that is shown."),
		brokerKey(sslProtocols, List, "TLSv1.2,TLSv1.3", "", tlsVersions(),
			"The versions of TLS that listeners speak."),
		brokerKey(sslIdentification, String, "https", "", oneOf("https", ""),
			"How brokers check the certificate of the broker that they connect to: https has it name the host; empty takes any that ssl.truststore.location verifies."),
		nullKey(brokerKey(sslKeyPassword, Password, "", "", validator{},
			"The password of an encrypted key (PKCS #8).")),
		nullKey(brokerKey(sslKeystoreChain, Password, "", "", validator{},
			"The certificate and what leads to its authority, as PEM text, in place of ssl.keystore.location.")),
		nullKey(brokerKey(sslKeystoreKey, Password, "", "", validator{},
			"The key of ssl.keystore.certificate.chain, as PEM text.")),
		nullKey(brokerKey(sslKeystore, String, "", "", validator{},
			"PEM file with the certificate, what leads to its authority, and its key. It is read again when it changes.")),
		brokerKey(sslKeystoreType, String, "PEM", "", storeType(),
			"The type of the keystore. Kafka's default is JKS, which is refused, as PKCS12 is."),
		nullKey(brokerKey(sslTruststoreCerts, Password, "", "", validator{},
			"The authorities as PEM text, in place of ssl.truststore.location.")),
		nullKey(brokerKey(sslTruststore, String, "", "", validator{},
			"PEM file with the authorities that verify clients, and brokers when they connect to each other. It is read again when it changes. While neither is set: the system's, for brokers.")),
		brokerKey(sslTruststoreType, String, "PEM", "", storeType(),
			"The type of the truststore. Kafka's default is JKS, which is refused, as PKCS12 is."),
		nullKey(brokerKey(interBrokerProtocol, String, "", "", securityProtocol(),
			"The security protocol whose listener, of the same name, brokers reach each other at, in place of "+interBrokerListener+".")),
	}
}

func storeType() validator {
	return validator{allowed: "PEM", check: func(value string) error {
		switch {
		case strings.EqualFold(value, "PEM"):
			return nil
		case strings.EqualFold(value, "JKS"), strings.EqualFold(value, "PKCS12"):
			return fmt.Errorf("only PEM is supported: %s", toPEM)
		}
		return errors.New("must be PEM")
	}}
}

func tlsVersions() validator {
	return validator{allowed: "TLSv1.2, TLSv1.3", check: func(value string) error {
		versions := splitList(value)
		for _, version := range versions {
			if version != "TLSv1.2" && version != "TLSv1.3" {
				return fmt.Errorf("%q is not supported: only TLSv1.2 and TLSv1.3 are safe", version)
			}
		}
		if len(versions) == 0 {
			return errors.New("at least one version must be named")
		}
		return nil
	}}
}

func cipherSuites() validator {
	return validator{allowed: "names of TLS 1.2", check: func(value string) error {
		_, err := cipherSuiteIDs(splitList(value))
		return err
	}}
}

func cipherSuiteIDs(names []string) (ids []uint16, err error) {
	for _, name := range names {
		i := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%q is not supported, or not safe", name)
		}
		suite := tls.CipherSuites()[i]
		if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
			return nil, fmt.Errorf("%s is of TLS 1.3, which always has all of its suites: leave it out", name)
		}
		ids = append(ids, suite.ID)
	}
	return ids, nil
}

// listenerKey splits listener.name.<name>.<key>.
func listenerKey(name string) (listener, key string, ok bool) {
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ".")
}

// findListenerKey returns the configuration of one listener of that name.
func findListenerKey(name, listener, key string) (Key, error) {
	k, known := brokerTable.byName[key]
	switch {
	case !strings.HasPrefix(key, sslPrefix) || !known:
		if known || slices.Contains(brokerTable.others, key) {
			return Key{}, fmt.Errorf("%w: %s: only %s… can be set for one listener", ErrNotSupported, name, sslPrefix)
		}
		return Key{}, fmt.Errorf("%w: %s: %s is no configuration of a listener", ErrUnknownKey, name, key)
	case listener != strings.ToLower(listener):
		return Key{}, fmt.Errorf("%w: %s: the listener's name is written in small letters here: %s%s.%s", ErrUnknownKey, name, listenerPrefix, strings.ToLower(listener), key)
	}
	k.Name = name
	return k, nil
}

// Given is a setting's value and the name by which it was given, for messages.
type Given struct{ Name, Value string }

// String returns the name alone: the value may be a secret.
func (g Given) String() string { return g.Name }

// GoString returns the name alone.
func (g Given) GoString() string { return g.Name }

// ListenerSSL are the settings of a listener with the protocol SSL.
type ListenerSSL struct {
	Keystore                           Given // a PEM file
	KeystoreChain, KeystoreKey         Given // PEM texts, both or none; none with Keystore
	KeyPassword                        Given
	Truststore, TruststoreCertificates Given // a PEM file, or PEM text, or neither
	ClientAuth                         string
	EnabledProtocols                   []string
	CipherSuites                       []uint16
	CheckHost                          bool // of the brokers that this broker connects to
}

// SSL returns the settings of a listener with the protocol SSL.
func (b Broker) SSL(listener string) ListenerSSL {
	get := func(key string) Given { return b.sslGiven(listener, key) }
	// validated when it was loaded
	suites, _ := cipherSuiteIDs(splitList(get(sslCipherSuites).Value))
	return ListenerSSL{
		Keystore: get(sslKeystore), KeystoreChain: get(sslKeystoreChain), KeystoreKey: get(sslKeystoreKey), KeyPassword: get(sslKeyPassword),
		Truststore: get(sslTruststore), TruststoreCertificates: get(sslTruststoreCerts),
		ClientAuth: get(sslClientAuth).Value, EnabledProtocols: splitList(get(sslProtocols).Value), CipherSuites: suites,
		CheckHost: get(sslIdentification).Value != "",
	}
}

// sslGiven returns a listener's configuration: its own, or that of all, or the default.
func (b Broker) sslGiven(listener, key string) Given {
	for _, name := range []string{listenerPrefix + strings.ToLower(listener) + "." + key, key} {
		if value, ok := b.Set[name]; ok {
			return Given{name, strings.TrimSpace(value)}
		}
	}
	return Given{key, brokerTable.byName[key].Default}
}

// finishSSL checks that each listener with the protocol SSL has what it needs, and that no setting
// is unused.
func finishSSL(b *Broker) (problems []error) {
	speaks := map[string]bool{} // by the listener's name
	for _, e := range b.Listen {
		speaks[e.Name] = b.Protocol(e.Name) == SSL
		if speaks[e.Name] {
			problems = append(problems, sslProblems(e.Name, b.SSL(e.Name))...)
		}
	}
	anySpeaks := slices.Contains(slices.Collect(maps.Values(speaks)), true)
	for _, name := range slices.Sorted(maps.Keys(b.Set)) {
		listener, key, ok := listenerKey(name)
		_, exists := speaks[strings.ToUpper(listener)]
		switch {
		case !ok && strings.HasPrefix(name, sslPrefix) && brokerTable.byName[name].Name != "" && !anySpeaks:
			problems = append(problems, fmt.Errorf("%s: no listener has the security protocol %s: give one that in %s, or leave this out", name, SSL, protocolMap))
		case !ok || brokerTable.byName[key].Name == "":
		case !exists:
			problems = append(problems, fmt.Errorf("%s: --listen has no listener %s", name, strings.ToUpper(listener)))
		case !speaks[strings.ToUpper(listener)]:
			problems = append(problems, fmt.Errorf("%s: the listener %s does not have the security protocol %s: give it that in %s, or leave this out", name, strings.ToUpper(listener), SSL, protocolMap))
		case key == sslIdentification && strings.ToUpper(listener) != b.InterBrokerListener():
			problems = append(problems, fmt.Errorf("%s: brokers connect to each other at %s only: leave this out", name, b.InterBrokerListener()))
		}
	}
	return problems
}

func sslProblems(listener string, s ListenerSSL) (problems []error) {
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("listener %s: "+format, append([]any{listener}, args...)...))
	}
	inline := s.KeystoreChain.Value != "" || s.KeystoreKey.Value != ""
	switch {
	case s.Keystore.Value != "" && inline:
		problem("%s and %s: the certificate is either in a file or in the settings: leave one of them out", s.Keystore.Name, cmp.Or(nameIf(s.KeystoreChain), s.KeystoreKey.Name))
	case s.Keystore.Value != "":
	case !inline:
		problem("the security protocol %s needs a certificate: set %s to a PEM file with the certificate and its key", SSL, sslKeystore)
	case s.KeystoreChain.Value == "":
		problem("%s needs %s", s.KeystoreKey.Name, sslKeystoreChain)
	case s.KeystoreKey.Value == "":
		problem("%s needs %s", s.KeystoreChain.Name, sslKeystoreKey)
	}
	trusts := s.Truststore.Value != "" || s.TruststoreCertificates.Value != ""
	if s.Truststore.Value != "" && s.TruststoreCertificates.Value != "" {
		problem("%s and %s: the authorities are either in a file or in the settings: leave one of them out", s.Truststore.Name, s.TruststoreCertificates.Name)
	}
	if (s.ClientAuth == "requested" || s.ClientAuth == "required") && !trusts {
		problem("%s=%s needs to know whose clients' certificates are good: set %s to a PEM file with their authorities", sslClientAuth, s.ClientAuth, sslTruststore)
	}
	if len(s.CipherSuites) > 0 && !slices.Equal(s.EnabledProtocols, []string{"TLSv1.2"}) {
		problem("%s is for TLS 1.2 only: set %s=TLSv1.2 as well, or leave it out", sslCipherSuites, sslProtocols)
	}
	return problems
}

// nameIf returns the name if the value is set.
func nameIf(g Given) string {
	if g.Value == "" {
		return ""
	}
	return g.Name
}
