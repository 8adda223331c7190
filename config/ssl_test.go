package config

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const onePEM = " --set=ssl.keystore.location=/k.pem"

func TestSSLListeners(t *testing.T) {
	b := mustLoad(t, "", nil, "--listen=SSL://h:1,PUBLIC://h:2", "--set=listener.security.protocol.map=SSL:SSL,PUBLIC:ssl", "--set=security.inter.broker.protocol=SSL",
		"--set=ssl.keystore.location=/k.pem", "--set=ssl.key.password=secret", "--set=ssl.truststore.location=/t.pem", "--set=ssl.client.auth=required",
		"--set=ssl.endpoint.identification.algorithm=",
		"--set=listener.name.public.ssl.keystore.location=/public.pem", "--set=listener.name.public.ssl.client.auth=none",
		"--set=listener.name.public.ssl.enabled.protocols=TLSv1.2", "--set=listener.name.public.ssl.cipher.suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")
	if b.InterBrokerListener() != "SSL" || b.Protocol("PUBLIC") != SSL {
		t.Errorf("%s, %s", b.InterBrokerListener(), b.Protocol("PUBLIC"))
	}
	inner := b.SSL("SSL")
	if inner.Keystore != (Given{"ssl.keystore.location", "/k.pem"}) || inner.KeyPassword.Value != "secret" || inner.Truststore.Value != "/t.pem" ||
		inner.ClientAuth != "required" || inner.CheckHost || !slices.Equal(inner.EnabledProtocols, []string{"TLSv1.2", "TLSv1.3"}) || inner.CipherSuites != nil {
		t.Errorf("%+v", inner)
	}
	if text := fmt.Sprintf("%v %+v %#v", inner, inner, inner); strings.Contains(text, "secret") {
		t.Errorf("the password is shown: %s", text)
	}
	public := b.SSL("PUBLIC")
	if public.Keystore != (Given{"listener.name.public.ssl.keystore.location", "/public.pem"}) || public.Truststore.Value != "/t.pem" || public.ClientAuth != "none" ||
		!slices.Equal(public.EnabledProtocols, []string{"TLSv1.2"}) || !slices.Equal(public.CipherSuites, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}) {
		t.Errorf("%+v", public)
	}
	if b = mustLoad(t, "", nil, "--listen=h:1,SSL://h:2", strings.TrimSpace(onePEM)); b.Protocol("SSL") != SSL || !b.SSL("SSL").CheckHost || b.SSL("SSL").ClientAuth != "none" {
		t.Errorf("%+v", b.SSL("SSL"))
	}
	mustLoad(t, "", nil, "--listen=h:1,SSL://h:2", "--set=ssl.keystore.certificate.chain=x", "--set=ssl.keystore.key=y", "--set=ssl.keystore.type=pem", "--set=ssl.truststore.certificates=z")

	shown := map[string]Entry{}
	for _, e := range (Layers{Static: map[string]string{"listener.name.public.ssl.client.auth": "none", "listener.name.public.ssl.key.password": "secret"}}).DescribeBroker() {
		shown[e.Name] = e
	}
	if e := shown["listener.name.public.ssl.client.auth"]; e.Value == nil || *e.Value != "none" || !e.ReadOnly || e.Source != SourceStaticBroker {
		t.Errorf("DescribeConfigs shows %+v", e)
	}
	if e := shown["listener.name.public.ssl.key.password"]; e.Value != nil || !e.Sensitive {
		t.Errorf("DescribeConfigs shows %+v", e)
	}
}

func TestSSLThatIsRefused(t *testing.T) {
	const ssl = "--listen=h:1,SSL://h:2 "
	for args, want := range map[string]string{
		ssl:                              "listener SSL: the security protocol SSL needs a certificate: set ssl.keystore.location",
		"--set=ssl.keystore.location=/k": "ssl.keystore.location: no listener has the security protocol SSL",
		ssl + "--set=ssl.keystore.type=JKS" + onePEM:                                                   "ssl.keystore.type: only PEM is supported: convert it with \"openssl pkcs12",
		ssl + "--set=ssl.truststore.type=PKCS12" + onePEM:                                              "ssl.truststore.type: only PEM is supported",
		ssl + "--set=ssl.keystore.type=x" + onePEM:                                                     "must be PEM",
		ssl + "--set=ssl.keystore.key=x" + onePEM:                                                      "ssl.keystore.location and ssl.keystore.key: the certificate is either",
		ssl + "--set=ssl.keystore.key=x":                                                               "ssl.keystore.key needs ssl.keystore.certificate.chain",
		ssl + "--set=ssl.keystore.certificate.chain=x":                                                 "ssl.keystore.certificate.chain needs ssl.keystore.key",
		ssl + "--set=ssl.truststore.location=/t --set=ssl.truststore.certificates=x" + onePEM:          "the authorities are either",
		ssl + "--set=ssl.client.auth=required" + onePEM:                                                "ssl.client.auth=required needs to know",
		ssl + "--set=ssl.client.auth=yes" + onePEM:                                                     "String must be one of: none, requested, required",
		ssl + "--set=ssl.enabled.protocols=TLSv1.1,TLSv1.2" + onePEM:                                   `"TLSv1.1" is not supported: only TLSv1.2 and TLSv1.3 are safe`,
		ssl + "--set=ssl.enabled.protocols=" + onePEM:                                                  "at least one version",
		ssl + "--set=ssl.cipher.suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" + onePEM:                 "ssl.cipher.suites is for TLS 1.2 only",
		ssl + "--set=ssl.cipher.suites=TLS_AES_128_GCM_SHA256" + onePEM:                                "is of TLS 1.3",
		ssl + "--set=ssl.cipher.suites=TLS_RSA_WITH_RC4_128_SHA" + onePEM:                              "not safe",
		ssl + "--set=ssl.endpoint.identification.algorithm=LDAPS" + onePEM:                             "String must be one of: https,",
		ssl + "--set=ssl.keystore.password=x" + onePEM:                                                 "ssl.keystore.password: stores are PEM files, which have no password",
		ssl + "--set=listener.name.other.ssl.client.auth=none" + onePEM:                                "--listen has no listener OTHER",
		ssl + "--set=listener.name.plaintext.ssl.client.auth=none" + onePEM:                            "the listener PLAINTEXT does not have the security protocol SSL",
		ssl + "--set=listener.name.ssl.ssl.endpoint.identification.algorithm=https" + onePEM:           "brokers connect to each other at PLAINTEXT only",
		ssl + "--set=security.inter.broker.protocol=SSL --set=inter.broker.listener.name=SSL" + onePEM: "inter.broker.listener.name and security.inter.broker.protocol: leave one of them out",
	} {
		_, err := load(t, "", nil, strings.Fields(args)...)
		if problems := split(err); len(problems) != 1 || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %q, not %q", args, problems, want)
		}
	}
}
