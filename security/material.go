package security

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/youmark/pkcs8"
)

// PEM is text in PEM, in a file or in a setting. The zero value is none.
type PEM struct {
	Name string // of the setting, for messages
	File string
	Text string // if File is empty
}

func (p PEM) isSet() bool { return p.File != "" || p.Text != "" }

// String returns the name for messages; it never has the text.
func (p PEM) String() string { return strings.TrimSpace(p.Name + " " + p.File) }

// read returns the text. A file may have at most maxPEM bytes.
func (p PEM) read() ([]byte, error) {
	if p.File == "" {
		return broken.ReplaceAllFunc([]byte(p.Text), lines), nil
	}
	info, err := os.Stat(p.File)
	if err == nil && info.Size() > maxPEM {
		return nil, fmt.Errorf("%s: %d bytes are more than certificates take (%d)", p, info.Size(), maxPEM)
	}
	text, err := os.ReadFile(p.File)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return text, nil
}

// maxPEM is more than all authorities of a system need.
const maxPEM = 8 << 20

// broken matches a PEM block, whose line breaks a properties file or an environment variable may
// have removed.
var broken = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]+-----[^-]+-----END [A-Z0-9 ]+-----`)

// lines puts each word of a block's body, which is Base64, on its own line.
func lines(block []byte) []byte {
	text := string(block)
	begin, rest, _ := strings.Cut(text[len("-----"):], "-----")
	body, end, _ := strings.Cut(rest, "-----")
	if strings.Contains(body, ":") { // headers, whose lines are kept
		return block
	}
	return []byte("-----" + begin + "-----\n" + strings.Join(strings.Fields(body), "\n") + "\n-----" + end + "\n")
}

// Material is the location of the parts of one use.
type Material struct {
	// Cert is a certificate and its chain to an authority, in this order. If it is absent, none is
	// presented.
	Cert PEM
	// Key is the certificate's key. If it is absent, Cert contains it.
	Key PEM
	// KeyPassword decrypts the key (PKCS #8); empty for an unencrypted key. PasswordName is the
	// name of its setting, for messages.
	KeyPassword, PasswordName string
	// CA are the authorities that verify the other side; if they are absent, the system's.
	CA PEM
}

// texts are a Material's parts at the time of one read.
type texts struct{ cert, key, ca []byte }

func (m Material) read() (t texts, err error) {
	for _, part := range []struct {
		from PEM
		to   *[]byte
	}{{m.Cert, &t.cert}, {m.Key, &t.key}, {m.CA, &t.ca}} {
		if !part.from.isSet() {
			continue
		}
		if *part.to, err = part.from.read(); err != nil {
			return texts{}, err
		}
	}
	if !m.Key.isSet() {
		t.key = t.cert
	}
	return t, nil
}

// digest distinguishes one read from another.
func (t texts) digest() [sha256.Size]byte {
	var all []byte
	for _, part := range [][]byte{t.cert, t.key, t.ca} {
		all = append(binary.BigEndian.AppendUint64(all, uint64(len(part))), part...)
	}
	return sha256.Sum256(all)
}

// snapshot is usable material.
type snapshot struct {
	cert  *tls.Certificate // nil: none
	roots *x509.CertPool   // nil: the system's
}

func (m Material) parse(t texts) (s snapshot, err error) {
	if m.Cert.isSet() {
		if s.cert, err = m.pair(t); err != nil {
			return snapshot{}, err
		}
	}
	if !m.CA.isSet() {
		return s, nil
	}
	if s.roots, err = authorities(t.ca); err != nil {
		return snapshot{}, fmt.Errorf("%s: %w", m.CA, err)
	}
	return s, nil
}

// pair returns the certificate with its key.
func (m Material) pair(t texts) (*tls.Certificate, error) {
	keyFrom := m.Key
	if !keyFrom.isSet() {
		keyFrom = m.Cert
	}
	if err := expect(t.cert, "certificate", func(kind string) bool { return kind == "CERTIFICATE" }); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Cert, err)
	}
	if err := expect(t.key, "private key", func(kind string) bool { return strings.HasSuffix(kind, "PRIVATE KEY") }); err != nil {
		return nil, fmt.Errorf("%s: %w", keyFrom, err)
	}
	key, err := m.decrypt(t.key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFrom, err)
	}
	pair, err := tls.X509KeyPair(t.cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and its key: %w", m.Cert, err)
	}
	return &pair, nil
}

// decrypt returns the key without encryption.
func (m Material) decrypt(text []byte) ([]byte, error) {
	password := cmp.Or(m.PasswordName, "a password")
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("the key is encrypted in an old way: convert it with \"openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW\"")
		case block.Type != "ENCRYPTED PRIVATE KEY":
			continue
		case m.KeyPassword == "" && m.PasswordName == "":
			return nil, errors.New("the key is encrypted, which is not possible here: decrypt it with \"openssl pkcs8 -in OLD -out NEW\"")
		case m.KeyPassword == "":
			return nil, fmt.Errorf("the key is encrypted: set %s", password)
		}
		key, _, err := pkcs8.ParsePrivateKey(block.Bytes, []byte(m.KeyPassword))
		if err != nil {
			return nil, fmt.Errorf("decrypt the key: %w: is %s right?", err, password)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("the key: %w", err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
	if m.KeyPassword != "" {
		return nil, fmt.Errorf("the key is not encrypted: leave %s out", password)
	}
	return text, nil
}

// authorities returns all certificates of a text.
func authorities(text []byte) (*x509.CertPool, error) {
	if err := expect(text, "certificate", func(kind string) bool { return kind == "CERTIFICATE" }); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return pool, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a certificate cannot be read: %w", err)
		}
		pool.AddCert(cert)
	}
}

// expect returns what is wrong with a text that has no block of a kind.
func expect(text []byte, what string, is func(kind string) bool) error {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if is(block.Type) {
			return nil
		}
	}
	switch {
	case bytes.HasPrefix(text, []byte{0xFE, 0xED, 0xFE, 0xED}):
		return errors.New("it is a keystore of Java (JKS): " + FromJKS)
	case len(text) > 1 && text[0] == 0x30 && text[1] >= 0x80: // a long sequence in DER
		return errors.New("it is PKCS #12, or a certificate in DER: " + FromPKCS12)
	}
	return fmt.Errorf("it holds no %s in PEM", what)
}

// How to get PEM from the other types of stores, for messages.
const (
	FromPKCS12 = "convert it to PEM with \"openssl pkcs12 -in STORE -nodes -out STORE.pem\""
	FromJKS    = "convert it to PEM with \"keytool -importkeystore -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12\" and \"openssl pkcs12 -in STORE.p12 -nodes -out STORE.pem\""
)
