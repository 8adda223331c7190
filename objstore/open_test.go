package objstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

func TestOpenExplainsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ url, want string }{
		{"objects", `unknown scheme ""`},
		{"ftp://host/dir", `unknown scheme "ftp": use file, s3, gs, azblob or mem`},
		{"azblob://", "name is missing"},
		{"azblob://container?account=a", `unknown parameter "account": azblob takes prefix`},
		{"s3://%zz", "malformed"},
		{"file://relative/dir", "must be absolute"},
		{"file:", "must be absolute"},
		{"file://" + dir + "/none/objects", "directory " + dir + "/none does not exist: create it"},
		{"file://" + file, "create"},
		{"file://" + dir + "?create_dir=1", `unknown parameter "create_dir": file takes prefix`},
		{"file://" + dir + "?prefix=../up", "prefix"},
		{"s3://?region=x", "name is missing"},
		{"s3://b/path?region=x", "use ?prefix=path/"},
		{"s3://b?region=x&region=y", "twice"},
		{"s3://b?endpoint=127.0.0.1:9000", "endpoint must be http://"},
		{"s3://b?region=x&path_style=maybe", "path_style must be true or false"},
		{"s3://b?region=x&checksum=never", "checksum must be when_supported or when_required"},
		{"s3://b?region=x&sse=rot13", "sse must be AES256 or aws:kms"},
		{"s3://b?region=x&kms_key=k", "kms_key is the key of sse=aws:kms"},
		{"s3://b?region=x&storage_class=DEEP_ARCHIVE", "objects must be readable at once"},
		{"s3://key:secret@b?region=x", "credentials do not belong in the URL"},
		{"s3://b?region=x&secret_access_key=hunter2", `unknown parameter "secret_access_key"`},
	} {
		_, err := objstore.Open(t.Context(), c.url)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", c.url, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.url, err)
		}
	}
}

func TestOpenMakesTheDirectoryButNotThoseAbove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	for range 2 {
		b := open(t, "file://"+dir)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOpenPrefixesShareABucket(t *testing.T) {
	dir := t.TempDir()
	a, b, whole := open(t, "file://"+dir+"?prefix=a"), open(t, "file://"+dir+"?prefix=/b/c/"), open(t, "file://"+dir)
	for _, bucket := range []objstore.Bucket{a, b} {
		if err := bucket.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{IfAbsent: true}); err != nil {
			t.Error(err)
		}
	}
	var keys []string
	for info, err := range whole.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if got := strings.Join(keys, " "); got != "a/k b/c/k" {
		t.Errorf("keys %q", got)
	}
}

// openAndCheck does what a broker does when it starts.
func openAndCheck(t *testing.T, rawURL string) error {
	t.Helper()
	b, err := objstore.Open(t.Context(), rawURL)
	if err != nil {
		return err
	}
	return errors.Join(b.Check(t.Context()), b.Close())
}

func TestCheckURLSendsNothing(t *testing.T) {
	for url, want := range map[string]string{
		"s3://b?region=x&endpoint=http://127.0.0.1:1": "", "gs://b": "", "azblob://c?prefix=p": "", "file:///nowhere/at/all": "",
		"s3://b?checksum=1": "open bucket s3://b?checksum=1: checksum must be",
		"gs://":             "name is missing",
	} {
		err := objstore.CheckURL(url)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// An unreachable store must not keep a bucket from being opened. Check must report it.
func TestStoresThatAreAway(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
	t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2024-01-01&sig=hunter2")
	t.Setenv("AZURE_STORAGE_DOMAIN", "127.0.0.1:1")
	for i, rawURL := range []string{"s3://b?endpoint=http://127.0.0.1:1", "s3://b?endpoint=http://nowhere.invalid", "gs://b", "azblob://c", "azblob://c"} {
		if i == 4 { // gocloud.dev reports a host without an address as a missing object
			t.Setenv("AZURE_STORAGE_DOMAIN", "nowhere.invalid")
		}
		err := openAndCheck(t, rawURL)
		if !errors.Is(err, objstore.ErrUnavailable) || !strings.Contains(err.Error(), "no usable answer from") || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", rawURL, err)
		}
	}
}

func TestCheckS3ExplainsWhatIsWrong(t *testing.T) {
	s3 := objstoretest.StartS3(t)
	there := s3.BucketURL(t, "there")
	check := func(t *testing.T, rawURL string, want ...string) {
		t.Helper()
		begin := time.Now()
		err := openAndCheck(t, rawURL)
		if err == nil {
			t.Fatal("it can be used")
		}
		for _, w := range append(want, " bucket s3://") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v: not %q", err, w)
			}
		}
		if strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 || strings.Contains(err.Error(), s3.SecretKey) {
			t.Errorf("not one line: %v", err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	}
	t.Run("no bucket", func(t *testing.T) {
		check(t, strings.Replace(there, "there", "missing", 1), "bucket missing does not exist at "+s3.Endpoint, "create it")
	})
	t.Run("wrong secret", func(t *testing.T) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
		check(t, there, "denied", "check the credentials")
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		check(t, there, "no AWS credentials found: set AWS_ACCESS_KEY_ID")
	})
	t.Run("no region", func(t *testing.T) {
		check(t, "s3://there", "region is missing")
	})
	t.Run("no server", func(t *testing.T) {
		s3.Stop(t)
		check(t, there, "no usable answer", "check the URL and that the server runs", "refused")
		s3.Start(t)
		if err := openAndCheck(t, there); err != nil {
			t.Errorf("the server is back: %v", err)
		}
	})
}
