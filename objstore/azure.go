package objstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
)

const (
	// azureBlockBytes is the most that one request of an upload carries, and azureBlocks is how
	// many of them are in flight. An upload takes their product in memory.
	azureBlockBytes = 4 << 20
	azureBlocks     = 2
)

// openAzure opens a container of the account that is configured in the environment, through the
// variables that gocloud.dev and Azure's own tools use.
func openAzure(ctx context.Context, u *url.URL) (*blobBucket, error) {
	transport := newTransport()
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // none: the Retry decorator does that
	}}
	service := azureblob.NewDefaultServiceURLOptions()
	client, err := azureClient(u.Host, service, options)
	if err != nil {
		return nil, err
	}
	blobs, err := azureblob.OpenBucket(ctx, client, nil)
	if err != nil {
		return nil, err
	}
	b := overBlobs(blobs)
	b.lookFirst(func(ctx context.Context, key string, body *body, ifAbsent bool) error {
		// Upload is used, never a Writer: that of gocloud.dev v0.47 panics when an upload fails.
		// Blocks become an object only when all of them have arrived, at once.
		return blobs.Upload(ctx, key, body, &blob.WriterOptions{
			ContentType: contentType, IfNotExist: ifAbsent,
			BufferSize: int(min(body.size+1, azureBlockBytes)), MaxConcurrency: azureBlocks,
		})
	})
	b.exists = listOne(blobs, "container "+u.Host, "in account "+service.AccountName)
	b.release = func() error {
		err := blobs.Close()
		transport.CloseIdleConnections()
		return err
	}
	return b, nil
}

// azureClient returns the client of a container with the credentials in the environment. More
// specific ones take precedence.
func azureClient(name string, service *azureblob.ServiceURLOptions, options *container.ClientOptions) (*container.Client, error) {
	if connection := cmp.Or(os.Getenv("AZURE_STORAGE_CONNECTION_STRING"), os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING")); connection != "" {
		client, err := container.NewClientFromConnectionString(connection, name, options)
		if err != nil {
			// The error is not wrapped: it may quote the string.
			return nil, errors.New("AZURE_STORAGE_CONNECTION_STRING is malformed")
		}
		return client, nil
	}
	if service.AccountName == "" {
		return nil, errors.New("the Azure account is missing: set AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or an identity; or AZURE_STORAGE_CONNECTION_STRING")
	}
	serviceURL, err := azureblob.NewServiceURL(service)
	if err != nil {
		return nil, err
	}
	where, err := url.JoinPath(string(serviceURL), name)
	if err != nil {
		return nil, errors.New("AZURE_STORAGE_DOMAIN, AZURE_STORAGE_PROTOCOL or AZURE_STORAGE_SAS_TOKEN is malformed")
	}
	if key := os.Getenv("AZURE_STORAGE_KEY"); key != "" {
		shared, keyErr := container.NewSharedKeyCredential(service.AccountName, key)
		if keyErr != nil {
			return nil, errors.New("AZURE_STORAGE_KEY is not a key of an account, which is in base64")
		}
		return container.NewClientWithSharedKeyCredential(where, shared, options)
	}
	if service.SASToken != "" {
		return container.NewClientWithNoCredential(where, options)
	}
	identity, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("no Azure credentials found: set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or an identity: %w", briefError{err})
	}
	return container.NewClient(where, identity, options)
}
