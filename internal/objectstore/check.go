package objectstore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// ErrRefused is in the errors of Check and Claim if the service answers and does not let this
// process in, until somebody changes a setting or a right. Other errors may end by themselves.
var ErrRefused = errors.New("bucket refused")

// refusal is a sentence whose cause is ErrRefused.
type refusal string

func (r refusal) Error() string { return string(r) }
func (r refusal) Unwrap() error { return ErrRefused }

func refused(format string, a ...any) error { return refusal(fmt.Sprintf(format, a...)) }

// once is for the calls of checks: the next round of them is the retry.
func once(o *s3.Options) { o.RetryMaxAttempts = 1 }

// Check reports whether the bucket answers. The error is a sentence for the people who run the
// platform: it names bucket and address, says what to do and holds no secrets.
func (b *Bucket) Check(ctx context.Context) (err error) {
	defer b.timed("check", time.Now(), &err)
	return b.answers(ctx, checkCall, once)
}

// Reach is Check for who works with the bucket now: it asks again, for there is no next round.
func (b *Bucket) Reach(ctx context.Context) error { return b.answers(ctx, smallCall) }

// answers is Check.
func (s *service) answers(ctx context.Context, within time.Duration, options ...func(*s3.Options)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.name}, options...)
	if err == nil {
		return nil
	}
	if slices.Contains([]int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound}, statusOf(err)) {
		// The answer to a HEAD has no body; the same refusal of a GET tells its cause.
		_, err = s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.name, MaxKeys: aws.Int32(1)}, options...)
		if err == nil {
			return nil
		}
	}
	return s.explain(err)
}

// The rights on objects that the platform needs, by their names in policies.
const (
	rightPut    = "s3:PutObject"
	rightDelete = "s3:DeleteObject"
	rightGet    = "s3:GetObject"
)

func (s *service) lacks(right string) error {
	return refused("the credentials for bucket %s at %s lack the right %s: grant it on the bucket's objects", s.name, s.address, right)
}

// probe is the object on which proveRights tries the rights. No key of a caller is like it.
const probe = "rights-check"

// proveRights tries what uploads, deletions and downloads need: once, and again after
// one of them was forbidden. Whether the bucket answers says nothing about that. It
// writes, and is therefore only for a bucket that is ours.
func (b *Bucket) proveRights(ctx context.Context) error {
	if b.proven.Load() {
		return nil
	}
	key := b.key(probe)
	for _, try := range []struct {
		right string
		call  func() error
	}{
		{rightPut, func() error {
			_, err := b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: key, Body: strings.NewReader("")}, once)
			return err
		}},
		{rightDelete, func() error {
			_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: key}, once)
			return err
		}},
		{rightGet, func() error { // of what is gone now, or was put there by another pod
			out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: key}, once)
			if err == nil {
				err = out.Body.Close()
			}
			return err
		}},
	} {
		err := try.call()
		switch status := statusOf(err); {
		case status == http.StatusForbidden:
			return b.lacks(try.right)
		case err != nil && status != http.StatusNotFound:
			return b.explain(err)
		}
	}
	b.proven.Store(true)
	return nil
}

// statusOf is the HTTP status of the answer that err is about; 0 if there was none.
func statusOf(err error) int {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

// codeOf is the service's own word for the error; empty if there was none.
func codeOf(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return ""
}

// explain says in words why a request failed.
func (s *service) explain(err error) error {
	status := statusOf(err)
	if status == 0 {
		return s.explainSilence(err)
	}
	if why := s.refusal(err); why != nil {
		return why
	}
	code := codeOf(err)
	switch {
	case status == http.StatusNotFound:
		return s.missing()
	case status == http.StatusMovedPermanently, code == "AuthorizationHeaderMalformed": // AWS: signed for another region
		return refused("bucket %s is not in the region of %s: correct %sREGION or %[3]sENDPOINT", s.name, s.address, s.variables)
	}
	return fmt.Errorf("%s answered %d %s for bucket %s: check that it is an S3 service in good health", s.address, status, code, s.name)
}

func (s *service) missing() error {
	return refused("bucket %s does not exist at %s: create it, or correct %sBUCKET_NAME", s.name, s.address, s.variables)
}

// refusal says in words what an answer tells that will be the same until somebody changes something; nil: it is none of those.
func (s *service) refusal(err error) error {
	status, code := statusOf(err), codeOf(err)
	switch code {
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "XAdminUserNotFound": // the last is versitygw's
		return refused("%s refuses the credentials for bucket %s (%s): correct %sACCESS_KEY and %[4]sSECRET_KEY", s.address, s.name, code, s.keys)
	case "RequestTimeTooSkewed":
		return refused("the clocks here and at %s, where bucket %s is, tell times that are too far apart: set the one that is wrong", s.address, s.name)
	case "QuotaExceeded", "XMinioStorageFull": // Ceph's and versitygw's, and MinIO's
		return refused("there is no room in bucket %s at %s (%s): raise its quota, or make room", s.name, s.address, code)
	case "NoSuchBucket":
		return s.missing()
	}
	switch status {
	case http.StatusForbidden:
		return refused("access to bucket %s at %s is forbidden: grant these credentials s3:ListBucket and the rights on its objects, or correct %sACCESS_KEY and %[3]sSECRET_KEY", s.name, s.address, s.keys)
	case http.StatusInsufficientStorage:
		return refused("there is no room in bucket %s at %s (%d): make room", s.name, s.address, status)
	}
	return nil
}

func (s *service) explainSilence(err error) error {
	var (
		unknown *net.DNSError
		network net.Error
		signer  x509.UnknownAuthorityError
		host    x509.HostnameError
	)
	switch {
	case errors.As(err, &signer):
		return fmt.Errorf("the certificate of %s, where bucket %s should be, is signed by an unknown authority: set %sCA to its certificate", s.address, s.name, s.variables)
	case errors.As(err, &host):
		return fmt.Errorf("the certificate of %s, where bucket %s should be, is for another host: correct %sENDPOINT", s.address, s.name, s.variables)
	case strings.Contains(err.Error(), "get credentials"):
		return fmt.Errorf("there are no credentials for bucket %s at %s: set %sACCESS_KEY and %[3]sSECRET_KEY, or give the pod's service account a role", s.name, s.address, s.variables)
	case errors.As(err, &unknown):
		return fmt.Errorf("the host of %s, where bucket %s should be, is unknown: correct %sENDPOINT, or create its DNS record or Service", s.address, s.name, s.variables)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s, where bucket %s should be, refuses connections: start the service, or correct %sENDPOINT", s.address, s.name, s.variables)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("%s, where bucket %s should be, did not answer in time: check that it runs and that network policies let this pod reach it", s.address, s.name)
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next // the innermost says it without the request's details
	}
	return fmt.Errorf("%s, where bucket %s should be, cannot be reached (%w): correct %sENDPOINT", s.address, s.name, err, s.variables)
}
