package objstore_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/objstore"
)

// badAzure is a container on a server that lists nothing and answers every other request with
// answer.
func badAzure(t *testing.T, answer http.HandlerFunc) objstore.Bucket {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("comp") == "list" {
			fmt.Fprint(w, `<?xml version="1.0"?><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>`)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_KEY": "", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=hunter2",
		"AZURE_STORAGE_CONNECTION_STRING": "", "AZURE_STORAGEBLOB_CONNECTIONSTRING": "",
		"AZURE_STORAGE_DOMAIN": strings.TrimPrefix(server.URL, "http://"), "AZURE_STORAGE_PROTOCOL": "http",
	} {
		t.Setenv(name, value)
	}
	b := open(t, "azblob://container")
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func failAzure(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if code != "" {
			w.Header().Set("X-Ms-Error-Code", code)
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>told\nso</Message></Error>", code)
	}
}

func TestAzureErrorsAreTold(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error // for a Put; nil: none of the sentinels
	}{
		{409, "BlobAlreadyExists", objstore.ErrExists},
		{412, "ConditionNotMet", objstore.ErrExists},
		{404, "ContainerNotFound", objstore.ErrNoBucket},
		{409, "ContainerBeingDeleted", objstore.ErrNoBucket},
		{400, "InvalidBlockList", objstore.ErrUnavailable},
		{400, "InvalidHeaderValue", nil},
		{403, "AuthenticationFailed", nil},
		{501, "", nil},
		{500, "OperationTimedOut", objstore.ErrUnavailable},
		{503, "ServerBusy", objstore.ErrUnavailable},
		{429, "", objstore.ErrUnavailable},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			b := badAzure(t, failAzure(c.status, c.code))
			err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{IfAbsent: true})
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), c.code) {
				t.Errorf("not one line with the code: %v", err)
			}
			for _, sentinel := range []error{objstore.ErrNotFound, objstore.ErrNoBucket, objstore.ErrUnavailable, objstore.ErrExists} {
				if is := errors.Is(err, sentinel); is != errors.Is(c.want, sentinel) {
					t.Errorf("%v: is %v: %t", err, sentinel, is)
				}
			}
		})
	}
}

// As for S3: a conditional request that is repeated would report its own success as a conflict.
func TestAzureAsksOnce(t *testing.T) {
	var asked atomic.Int64
	b := badAzure(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		failAzure(503, "ServerBusy")(w, r)
	})
	err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{IfAbsent: true})
	if !errors.Is(err, objstore.ErrUnavailable) || asked.Load() != 1 {
		t.Errorf("%d requests: %v", asked.Load(), err)
	}
}

func TestAzureCredentialsAreExplained(t *testing.T) {
	for _, c := range []struct{ account, key, connection, want string }{
		{"", "", "", "set AZURE_STORAGE_ACCOUNT"},
		{"account", "not base64 hunter2", "", "AZURE_STORAGE_KEY is not a key"},
		{"", "", "AccountName=a;AccountKey", "AZURE_STORAGE_CONNECTION_STRING is malformed"},
	} {
		t.Setenv("AZURE_STORAGE_ACCOUNT", c.account)
		t.Setenv("AZURE_STORAGE_KEY", c.key)
		t.Setenv("AZURE_STORAGE_CONNECTION_STRING", c.connection)
		_, err := objstore.Open(t.Context(), "azblob://container")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
