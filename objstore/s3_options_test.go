package objstore

import (
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestChecksumsByDefault(t *testing.T) {
	const supported, required = aws.RequestChecksumCalculationWhenSupported, aws.RequestChecksumCalculationWhenRequired
	for _, c := range []struct {
		query, endpoint  string // endpoint "": AWS as the SDK finds it
		configured, want aws.RequestChecksumCalculation
	}{
		{"", "", supported, supported},
		{"", "", required, required},
		{"", "https://s3.eu-central-1.amazonaws.com", supported, supported},
		{"", "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", supported, supported},
		{"", "https://s3.cn-north-1.amazonaws.com.cn", supported, supported},
		{"", "https://amazonaws.com.example.org", supported, required},
		{"", "http://127.0.0.1:9000", supported, required},
		{"checksum=when_supported", "http://127.0.0.1:9000", required, supported},
		{"checksum=when_required", "", supported, required},
	} {
		query, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		o, err := parseS3Options(query)
		if err != nil {
			t.Fatal(err)
		}
		var endpoint *string
		if c.endpoint != "" {
			endpoint = &c.endpoint
		}
		if got := o.checksums(c.configured, endpoint); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
