package client

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/security/securitytest"
)

func TestTLSErrorsSayWhatToDo(t *testing.T) {
	ca, stranger := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca.PEM))
	withTLS := func(auth tls.ClientAuthType, version uint16, changes ...func(*x509.Certificate)) string {
		shown := ca.Issue(t, changes...)
		cert, err := tls.X509KeyPair([]byte(shown.Cert), []byte(shown.Key))
		if err != nil {
			t.Fatal(err)
		}
		config := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: auth, ClientCAs: roots, MinVersion: version, MaxVersion: version}
		return serve(t, func(conn net.Conn) {
			secure := tls.Server(conn, config)
			if secure.Handshake() == nil {
				_, _ = io.Copy(io.Discard, secure)
			}
		})
	}
	plain := serve(t, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			_, _ = io.WriteString(conn, "\x00\x00\x00\x02no")
		}
	})
	good := TLSFiles{CAFile: ca.File, CertFile: pair.CertFile, KeyFile: pair.KeyFile}
	foreign := stranger.Issue(t)
	for name, test := range map[string]struct {
		address string
		files   *TLSFiles // nil: no TLS
		want    string
	}{
		"plain text to TLS":       {withTLS(tls.NoClientCert, tls.VersionTLS13), nil, "closed the connection before it answered: if it is a Kafka listener with TLS, add --tls"},
		"TLS to plain text":       {plain, &good, "does not speak TLS: leave --tls out"},
		"an unknown authority":    {withTLS(tls.NoClientCert, tls.VersionTLS13), &TLSFiles{}, "name the authority with --ca-file FILE"},
		"another host":            {withTLS(tls.NoClientCert, tls.VersionTLS13, securitytest.Elsewhere), &good, "is not for that name"},
		"expired":                 {withTLS(tls.NoClientCert, tls.VersionTLS13, securitytest.Expired), &good, "has expired"},
		"no certificate, TLS 1.3": {withTLS(tls.RequireAndVerifyClientCert, tls.VersionTLS13), &TLSFiles{CAFile: ca.File}, "asks for a certificate of this client: give --cert-file"},
		"a stranger, TLS 1.3": {
			withTLS(tls.RequireAndVerifyClientCert, tls.VersionTLS13), &TLSFiles{CAFile: ca.File, CertFile: foreign.CertFile, KeyFile: foreign.KeyFile},
			"does not accept the certificate in --cert-file: unknown certificate authority",
		},
		"old":        {withTLS(tls.NoClientCert, tls.VersionTLS11), &good, "no version of TLS in common"},
		"no answers": {withTLS(tls.RequireAndVerifyClientCert, tls.VersionTLS13), &good, "no answer from"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Bootstrap: []string{test.address}, Timeout: 2e9}
			if test.files != nil {
				config, err := test.files.Config()
				if err != nil {
					t.Fatal(err)
				}
				o.TLS = config
			}
			c, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err = c.Topics(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.address) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestCommandConfig(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	read := func(text string) (*tls.Config, error) {
		file := filepath.Join(t.TempDir(), "client.properties")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadCommandConfig(file)
	}
	continued := func(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", " \\\n") }
	for name, text := range map[string]string{
		"files": fmt.Sprintf("security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location=%s\nssl.truststore.type=PEM\nssl.truststore.location=%s\n", pair.StoreFile, ca.File),
		"texts": fmt.Sprintf("security.protocol=SSL\nssl.keystore.certificate.chain=%s\nssl.keystore.key=%s\nssl.truststore.certificates=%s\nssl.enabled.protocols=TLSv1.2, TLSv1.3\n",
			continued(pair.Cert), continued(pair.Key), continued(ca.PEM)),
	} {
		config, err := read(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cert, err := config.GetClientCertificate(nil)
		if err != nil || cert.Leaf.SerialNumber.Cmp(pair.Serial) != 0 || config.RootCAs == nil || config.InsecureSkipVerify || config.MinVersion != tls.VersionTLS12 {
			t.Errorf("%s: %+v, %v", name, config, err)
		}
	}
	if config, err := read("security.protocol=PLAINTEXT"); config != nil || err != nil {
		t.Error(config, err)
	}
	if config, err := read("security.protocol=SSL\nssl.endpoint.identification.algorithm=\nssl.enabled.protocols=TLSv1.3"); err != nil || config.VerifyConnection == nil || config.MinVersion != tls.VersionTLS13 {
		t.Error(config, err)
	}
	for text, want := range map[string]string{
		"client.id=x":                                            "client.id is not supported: there are security.protocol, ssl.",
		"security.protocol=SASL_SSL":                             "security.protocol=SASL_SSL: PLAINTEXT and SSL are supported",
		"ssl.truststore.location=/x":                             "ssl.truststore.location is of use with security.protocol=SSL only",
		"ssl.keystore.password=x":                                "ssl.keystore.password: stores are PEM files",
		"ssl.keystore.type=JKS":                                  "ssl.keystore.type=JKS: only PEM is supported: convert",
		"security.protocol=SSL\nssl.keystore.key=x":              "belong together",
		"security.protocol=SSL\nssl.key.password=x":              "ssl.key.password is of use with a key only",
		"security.protocol=SSL\nssl.truststore.location=/absent": "ssl.truststore.location: open /absent",
		"security.protocol=SSL\nssl.truststore.location=/x\nssl.truststore.certificates=y": "leave one of them out",
		"security.protocol=SSL\nssl.endpoint.identification.algorithm=x":                   "must be https, or empty",
		"security.protocol=SSL\nssl.enabled.protocols=TLSv1":                               `ssl.enabled.protocols: "TLSv1" is no version`,
		`a=\u1`: "hexadecimal",
	} {
		if config, err := read(text); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "--command-config /") {
			t.Errorf("%q: %v, %v\nwant %s", text, config, err, want)
		}
	}
	if _, err := ReadCommandConfig("/absent"); err == nil || !strings.Contains(err.Error(), "--command-config: open /absent") {
		t.Error(err)
	}
	if _, err := (TLSFiles{CertFile: pair.CertFile}).Config(); err == nil || !strings.Contains(err.Error(), "--cert-file and --key-file belong together") {
		t.Error(err)
	}
}
