package securitytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// PEM is its own certificate; File contains it too.
	PEM, File string
}

// NewAuthority makes a self-signed authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &Authority{cert: cert, key: key, PEM: encode("CERTIFICATE", der), File: filepath.Join(t.TempDir(), "ca.pem")}
	Write(t, a.File, a.PEM)
	return a
}

// Pair is a certificate and its key in PEM, and files with them.
type Pair struct {
	Cert, Key         string
	CertFile, KeyFile string
	StoreFile         string // both: for Kafka's ssl.keystore.location
	Serial            *big.Int
}

// Issue makes a certificate for a server or a client named localhost at 127.0.0.1. It applies the
// changes, if any, before it signs it.
func (a *Authority) Issue(t testing.TB, changes ...func(*x509.Certificate)) Pair {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	for _, change := range changes {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := Pair{
		Cert: encode("CERTIFICATE", der), Key: encode("PRIVATE KEY", keyDER), Serial: template.SerialNumber,
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), StoreFile: filepath.Join(dir, "store.pem"),
	}
	Write(t, p.CertFile, p.Cert)
	Write(t, p.KeyFile, p.Key)
	Write(t, p.StoreFile, p.Key+p.Cert)
	return p
}

// Expired makes a certificate expired.
func Expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

// Elsewhere makes a certificate that of another host than 127.0.0.1.
func Elsewhere(c *x509.Certificate) {
	c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example.com"}
}

// Write replaces a file in one step, as tools that renew certificates do.
func Write(t testing.TB, name, text string) {
	t.Helper()
	next := name + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
