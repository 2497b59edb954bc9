package objectstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// Check reports whether the bucket answers. The error is a sentence for the people who
// run the platform: it names bucket and address, says what to do and holds no secrets.
func (b *Bucket) Check(ctx context.Context) (err error) {
	defer b.timed("check", time.Now(), &err)
	ctx, cancel := context.WithTimeout(ctx, checkCall)
	defer cancel()
	once := func(o *s3.Options) { o.RetryMaxAttempts = 1 }
	_, err = b.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.name}, once)
	if err == nil {
		return nil
	}
	status := statusOf(err)
	if status == 0 {
		return b.explainSilence(err)
	}
	if status == http.StatusForbidden || status == http.StatusNotFound {
		// The answer to a HEAD has no body; the same refusal of a GET tells its cause.
		_, err = b.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.name, MaxKeys: aws.Int32(1)}, once)
		if err == nil {
			return nil
		}
	}
	return b.explainAnswer(status, err)
}

// statusOf is the HTTP status of the answer that err is about; 0 if there was none.
func statusOf(err error) int {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

func (b *Bucket) explainAnswer(status int, err error) error {
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	switch {
	case code == "InvalidAccessKeyId", code == "SignatureDoesNotMatch", code == "XAdminUserNotFound": // the last is versitygw's
		return fmt.Errorf("%s refuses the credentials for bucket %s (%s): correct S3_ACCESS_KEY and S3_SECRET_KEY", b.address, b.name, code)
	case status == http.StatusNotFound:
		return fmt.Errorf("bucket %s does not exist at %s: create it, or correct S3_BUCKET_NAME", b.name, b.address)
	case status == http.StatusForbidden:
		return fmt.Errorf("access to bucket %s at %s is forbidden: grant these credentials s3:ListBucket and the rights on its objects, or correct S3_ACCESS_KEY and S3_SECRET_KEY", b.name, b.address)
	case status == http.StatusMovedPermanently:
		return fmt.Errorf("bucket %s is not in the region of %s: correct S3_REGION or S3_ENDPOINT", b.name, b.address)
	}
	return fmt.Errorf("%s answered %d %s for bucket %s: check that it is an S3 service in good health", b.address, status, code, b.name)
}

func (b *Bucket) explainSilence(err error) error {
	var (
		unknown *net.DNSError
		network net.Error
	)
	switch {
	case strings.Contains(err.Error(), "get credentials"):
		return fmt.Errorf("there are no credentials for bucket %s at %s: set S3_ACCESS_KEY and S3_SECRET_KEY, or give the pod's service account a role", b.name, b.address)
	case errors.As(err, &unknown):
		return fmt.Errorf("the host of %s, where bucket %s should be, is unknown: correct S3_ENDPOINT, or create its DNS record or Service", b.address, b.name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s, where bucket %s should be, refuses connections: start the service, or correct S3_ENDPOINT", b.address, b.name)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("%s, where bucket %s should be, did not answer in time: check that it runs and that network policies let this pod reach it", b.address, b.name)
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next // the innermost says it without the request's details
	}
	return fmt.Errorf("%s, where bucket %s should be, cannot be reached (%w): correct S3_ENDPOINT", b.address, b.name, err)
}
