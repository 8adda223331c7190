package security

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/youmark/pkcs8"

	"github.com/varvelog/varve/security/securitytest"
)

// encrypted returns a pair's key in PKCS #8 with a password.
func encrypted(t *testing.T, pair securitytest.Pair, password string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(pair.Key))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := pkcs8.MarshalPrivateKey(key, []byte(password), nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}))
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMaterial(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	oneLine := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	for name, m := range map[string]Material{
		"one file for both":       {Cert: PEM{File: pair.StoreFile}},
		"two files":               {Cert: PEM{File: pair.CertFile}, Key: PEM{File: pair.KeyFile}, CA: PEM{File: ca.File}},
		"texts":                   {Cert: PEM{Text: pair.Cert}, Key: PEM{Text: pair.Key}, CA: PEM{Text: ca.PEM}},
		"texts on one line":       {Cert: PEM{Text: oneLine(pair.Cert + ca.PEM)}, Key: PEM{Text: oneLine(pair.Key)}, CA: PEM{Text: oneLine(ca.PEM)}},
		"an encrypted key":        {Cert: PEM{Text: pair.Cert}, Key: PEM{Text: encrypted(t, pair, "secret")}, KeyPassword: "secret"},
		"an encrypted key's file": {Cert: PEM{File: file(t, encrypted(t, pair, "secret")+pair.Cert)}, KeyPassword: "secret"},
	} {
		loaded, err := Load(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := loaded.Certificate().Leaf.SerialNumber; got.Cmp(pair.Serial) != 0 {
			t.Errorf("%s: the certificate %v", name, got)
		}
		if loaded.NotAfter() != loaded.Certificate().Leaf.NotAfter || !loaded.HasCertificate() {
			t.Errorf("%s: expires %v", name, loaded.NotAfter())
		}
		if (loaded.Roots() != nil) != m.CA.isSet() {
			t.Errorf("%s: authorities %v", name, loaded.Roots())
		}
	}
	loaded, err := Load(Material{CA: PEM{File: ca.File}})
	if err != nil || loaded.HasCertificate() || !loaded.NotAfter().IsZero() || len(loaded.Certificate().Certificate) != 0 {
		t.Errorf("authorities alone: %v, %v", loaded, err)
	}
}

func TestMaterialThatIsRefused(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	pair, other := ca.Issue(t), ca.Issue(t)
	key := encrypted(t, pair, "secret")
	old := "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"
	cut, _, _ := strings.Cut(pair.Cert, "\n")
	for name, test := range map[string]struct {
		m    Material
		want []string
	}{
		"no such file":         {Material{Cert: PEM{Name: "the.key", File: "/absent"}}, []string{"the.key: open /absent: no such file"}},
		"no such authorities":  {Material{CA: PEM{Name: "the.key", File: "/absent"}}, []string{"the.key: open /absent: no such file"}},
		"JKS":                  {Material{Cert: PEM{Name: "the.key", File: file(t, "\xFE\xED\xFE\xED\x00")}}, []string{"the.key /", "JKS", "keytool"}},
		"PKCS #12":             {Material{CA: PEM{Name: "the.key", File: file(t, "\x30\x82\x01\x00")}}, []string{"the.key /", "openssl pkcs12"}},
		"no certificate":       {Material{Cert: PEM{Name: "the.key", File: pair.KeyFile}}, []string{"the.key " + pair.KeyFile, "holds no certificate in PEM"}},
		"no key":               {Material{Cert: PEM{Name: "the.key", File: pair.CertFile}}, []string{"the.key " + pair.CertFile, "holds no private key in PEM"}},
		"empty authorities":    {Material{CA: PEM{Name: "the.key", Text: "x"}}, []string{"the.key: it holds no certificate"}},
		"another's key":        {Material{Cert: PEM{Name: "the.key", File: pair.CertFile}, Key: PEM{File: other.KeyFile}}, []string{"the.key " + pair.CertFile + " and its key", "does not match"}},
		"a broken certificate": {Material{CA: PEM{Name: "the.key", Text: cut + "\nAAAA\n-----END CERTIFICATE-----\n"}}, []string{"the.key: a certificate cannot be read"}},
		"password missing":     {Material{Cert: PEM{Text: pair.Cert}, Key: PEM{Name: "a.key", Text: key}, PasswordName: "the.password"}, []string{"a.key: the key is encrypted: set the.password"}},
		"password impossible":  {Material{Cert: PEM{Text: pair.Cert}, Key: PEM{Name: "a.key", Text: key}}, []string{"decrypt it with"}},
		"password wrong":       {Material{Cert: PEM{Text: pair.Cert}, Key: PEM{Text: key}, KeyPassword: "Secret", PasswordName: "the.password"}, []string{"is the.password right?"}},
		"password in vain":     {Material{Cert: PEM{File: pair.StoreFile}, KeyPassword: "secret", PasswordName: "the.password"}, []string{"not encrypted: leave the.password out"}},
		"old encryption":       {Material{Cert: PEM{Text: pair.Cert}, Key: PEM{Text: old}, KeyPassword: "secret"}, []string{"openssl pkcs8 -topk8"}},
		"too large":            {Material{CA: PEM{Name: "the.key", File: file(t, strings.Repeat(ca.PEM, maxPEM/len(ca.PEM)+1))}}, []string{"the.key", "more than certificates take"}},
	} {
		_, err := Load(test.m)
		if err == nil {
			t.Errorf("%s: loaded", name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nwant %q", name, err, want)
			}
		}
		for _, secret := range []string{"secret", "PRIVATE KEY", "\n"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error has %q: %v", name, secret, err)
			}
		}
	}
}
