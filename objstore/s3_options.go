package objstore

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3Options are the parameters of an s3 URL.
type s3Options struct {
	region, profile, caFile string
	endpoint                string // "": AWS, or the endpoint of the environment
	pathStyle               bool
	checksum                aws.RequestChecksumCalculation // 0: depends on the endpoint
	sse                     types.ServerSideEncryption     // "": the bucket's default
	kmsKey                  string                         // "": of the account or bucket
	storageClass            types.StorageClass             // "": the bucket's default
}

func parseS3Options(query url.Values) (o s3Options, err error) {
	o = s3Options{
		region: query.Get("region"), profile: query.Get("profile"), caFile: query.Get("ca_file"), endpoint: query.Get("endpoint"),
		sse: types.ServerSideEncryption(query.Get("sse")), kmsKey: query.Get("kms_key"), storageClass: types.StorageClass(query.Get("storage_class")),
	}
	if o.endpoint != "" {
		e, parseErr := url.Parse(o.endpoint)
		if parseErr != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" || e.User != nil {
			return o, errors.New("endpoint must be http://HOST:PORT or https://HOST[:PORT]")
		}
	}
	if raw := query.Get("path_style"); raw != "" {
		if o.pathStyle, err = strconv.ParseBool(raw); err != nil {
			return o, errors.New("path_style must be true or false")
		}
	}
	switch query.Get("checksum") {
	case "":
	case "when_supported":
		o.checksum = aws.RequestChecksumCalculationWhenSupported
	case "when_required":
		o.checksum = aws.RequestChecksumCalculationWhenRequired
	default:
		return o, errors.New("checksum must be when_supported or when_required")
	}
	switch {
	case o.sse != "" && o.sse != types.ServerSideEncryptionAes256 && o.sse != types.ServerSideEncryptionAwsKms:
		return o, errors.New("sse must be AES256 or aws:kms")
	case o.kmsKey != "" && o.sse != types.ServerSideEncryptionAwsKms:
		return o, errors.New("kms_key is the key of sse=aws:kms: add that")
	case o.storageClass == types.StorageClassGlacier, o.storageClass == types.StorageClassDeepArchive:
		return o, fmt.Errorf("storage_class=%s: objects must be readable at once: use another class, such as GLACIER_IR", o.storageClass)
	}
	return o, nil
}

// checksums returns when the SDK adds a checksum of its own choice to a request. Servers that do
// not know that checksum reject the request, so by default only AWS receives it.
func (o s3Options) checksums(configured aws.RequestChecksumCalculation, endpoint *string) aws.RequestChecksumCalculation {
	switch {
	case o.checksum != 0:
		return o.checksum
	case endpoint != nil && !isAWS(*endpoint):
		return aws.RequestChecksumCalculationWhenRequired
	default:
		return configured
	}
}

// isAWS reports whether an endpoint belongs to AWS.
func isAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	for _, domain := range [...]string{".amazonaws.com", ".amazonaws.com.cn", ".api.aws"} {
		if strings.HasSuffix(u.Hostname(), domain) {
			return true
		}
	}
	return false
}

// load reads the configuration of the environment and the profiles, and applies the parameters.
func (o s3Options) load(ctx context.Context) (aws.Config, error) {
	httpClient := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost, t.MaxIdleConns = idleConnections, idleConnections })
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithHTTPClient(httpClient)}
	if o.region != "" {
		options = append(options, awsconfig.WithRegion(o.region))
	}
	if o.profile != "" {
		options = append(options, awsconfig.WithSharedConfigProfile(o.profile))
	}
	if o.caFile != "" {
		authorities, err := readAuthorities(o.caFile)
		if err != nil {
			return aws.Config{}, err
		}
		options = append(options, awsconfig.WithCustomCABundle(authorities))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, fmt.Errorf("read the AWS configuration: %w", err)
	}
	switch {
	case cfg.Region != "":
	case o.endpoint != "":
		cfg.Region = "us-east-1" // the default of servers other than AWS
	default:
		return cfg, errors.New("the region is missing: add region=… to the URL or set AWS_REGION")
	}
	if buildable, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = buildable.Freeze()
	}
	return cfg, nil
}

// readAuthorities reads a file of authorities. The SDK's errors would not name the file.
func readAuthorities(file string) (io.Reader, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", file)
	}
	return bytes.NewReader(text), nil
}
