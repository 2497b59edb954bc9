// Package objectstore streams bytes to and from one S3 bucket. It knows keys and
// bytes; which keys may be stored or deleted is decided by the store, which notes
// them. It never lists a bucket to find something to delete.
//
// # Keys
//
// Callers give keys such as blobs/3f/3f0c…; S3_PREFIX is put in front of each. No key
// is derived from what users send. The object platform-id says whose the others are.
//
// # Rights
//
// On the bucket: s3:ListBucket (Check) and s3:ListBucketMultipartUploads (Discard). On
// its objects: s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload.
//
// # Failure modes
//
//   - The service is away or refuses us: ErrUnavailable; Check says why in words. To
//     know of a right that is missing, Claim stores, deletes and asks for the object
//     rights-check in a bucket that is ours, once and after each refusal.
//   - Whose bytes the bucket holds under this prefix is not known yet: nothing is stored or
//     deleted, with ErrUnavailable, until Claim has seen that they are this platform's.
//     It looks again every minute.
//   - They are another platform's: Claim says so, and until it finds that changed nothing is
//     read either.
//   - All upload buffers, or one user's part of them, stay taken for a minute: ErrBusy.
//   - The body that Put reads fails: its error is returned as it is, and nothing is
//     left in the bucket unless the abort fails as well.
//   - The process dies in the middle of Put or Compose: parts of a multipart upload stay in the
//     bucket until Discard, which the collector calls for every key that was noted.
//   - Bytes that change on the way: each part carries a CRC32 which the service
//     verifies, and Get of a whole object verifies it on the way back.
package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Errors on which callers branch.
var (
	ErrNotFound    = errors.New("object not found")
	ErrUnavailable = errors.New("object store unavailable")
	ErrBusy        = errors.New("too many uploads at once")
	// ErrForeign is an ErrUnavailable that waiting does not mend.
	ErrForeign = fmt.Errorf("%w: the bucket "+config.ForeignBucket, ErrUnavailable)
)

// Deadlines. One call may be tried three times within its deadline. Of a service that
// hangs, a client hears within half a minute; one that is slow may go on as long as
// bytes move.
const (
	dialTimeout  = 3 * time.Second
	smallCall    = 20 * time.Second // calls without a body
	partCall     = 2 * time.Minute  // sending one part
	completeCall = 25 * time.Second // the service puts the parts together, which may take it a while
	cleanupCall  = 5 * time.Second  // while a client waits; what it leaves, the collector takes
	checkCall    = 3 * time.Second
)

// patience is how long a connection may stand still. Tests have less of it.
type patience struct {
	write  time.Duration // in which the service takes nothing of what is sent
	answer time.Duration // from the end of a request to the first byte of its answer
	read   time.Duration // without a single byte either way
}

var usualPatience = patience{write: 8 * time.Second, answer: 8 * time.Second, read: 30 * time.Second}

// Bucket is one bucket. It is safe for concurrent use.
type Bucket struct {
	client  *s3.Client
	patient func(*s3.Options) // for a call whose answer may begin late
	name    string
	prefix  string
	address string // for messages
	buffers *buffers
	shares  shares
	observe func(operation string, took time.Duration, err error)
	proven  atomic.Bool           // the rights on objects, since one was last denied
	claim   atomic.Pointer[claim] // nil: whose the bytes are is not known yet
}

// New returns the bucket that c describes. It makes no request. observe, if not nil, is
// told of every call: its operation is put, compose, get, delete or check.
func New(ctx context.Context, c config.Bucket, observe func(operation string, took time.Duration, err error)) (*Bucket, error) {
	return newBucket(ctx, c, observe, usualPatience)
}

func newBucket(ctx context.Context, c config.Bucket, observe func(operation string, took time.Duration, err error), limits patience) (*Bucket, error) {
	authorities, err := authorities(c.CA)
	if err != nil {
		return nil, err
	}
	httpClient := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost, t.WriteBufferSize = uploadSlots, 32<<10
			t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = limits.answer, limits.answer
			t.TLSClientConfig = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
			t.DialContext = boundWrites(t.DialContext, limits)
		}).
		WithReadTimeout(limits.read)
	patient := httpClient.WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = completeCall })
	options := s3.Options{
		Region:     c.Region,
		HTTPClient: httpClient,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = 3, time.Second // a client is waiting
			// versitygw's answer where the folder of a key goes at this moment, with its last object.
			o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{"ExistingObjectIsDirectory": {}}})
		}),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	}
	if c.AccessKey != "" {
		options.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, "")
	} else {
		chain, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.Region))
		if err != nil {
			return nil, fmt.Errorf("read the AWS configuration: %w", err)
		}
		options.Credentials = chain.Credentials
	}
	address := "AWS region " + c.Region
	if c.Endpoint != "" {
		options.BaseEndpoint = aws.String(c.Endpoint)
		options.UsePathStyle = true
		address = c.Endpoint
	}
	if observe == nil {
		observe = func(string, time.Duration, error) {}
	}
	return &Bucket{
		client: s3.New(options), patient: func(o *s3.Options) { o.HTTPClient = patient }, name: c.Name, prefix: c.Prefix, address: address,
		buffers: newBuffers(), shares: shares{users: map[uuid.UUID]*share{}}, observe: observe,
	}, nil
}

// authorities are the system's and those of a PEM text; nil, which stands for the system's, where that is empty.
func authorities(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil //nolint:nilnil // as tls.Config has it
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's authorities: %w", err)
	}
	pool.AppendCertsFromPEM([]byte(pem)) // config has checked it
	return pool, nil
}

// sendBuffer is how much the kernel may hold of what is sent, bytes; it takes twice that.
const sendBuffer = 128 << 10

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// boundWrites limits how long each write on a connection may take. The transport itself
// bounds only what comes after the last one.
func boundWrites(next dial, limits patience) dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// What the kernel holds counts as sent: of a slow line it must go within the time for the answer.
		if tcp, ok := conn.(*net.TCPConn); ok {
			if err := tcp.SetWriteBuffer(sendBuffer); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		return boundConn{conn, limits}, nil
	}
}

type boundConn struct {
	net.Conn
	limits patience
}

// Write also moves the deadline of reading on. The SDK sets it when the transport begins to
// wait for an answer, and that is before the request: it would cut off what takes longer to
// send, and the first request after a pause.
func (c boundConn) Write(p []byte) (int, error) {
	now := time.Now()
	if err := errors.Join(c.SetWriteDeadline(now.Add(c.limits.write)), c.SetReadDeadline(now.Add(c.limits.read))); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Get opens an object, or length bytes of it from offset on; a negative length means up to
// the end. The caller closes the body. ErrNotFound, ErrUnavailable.
func (b *Bucket) Get(ctx context.Context, key string, offset, length int64) (body io.ReadCloser, err error) {
	defer b.timed("get", time.Now(), &err)
	if c := b.claim.Load(); c != nil && !c.ours {
		return nil, b.notOurs()
	}
	in := &s3.GetObjectInput{Bucket: &b.name, Key: b.key(key)}
	switch {
	case length >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := b.client.GetObject(ctx, in) // the body lives beyond this call: no deadline but that for reading
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, translate(err))
	}
	return out.Body, nil
}

// Delete removes an object; one that does not exist is no error.
func (b *Bucket) Delete(ctx context.Context, key string) (err error) {
	defer b.timed("delete", time.Now(), &err)
	if !b.Claimed() {
		return b.notOurs()
	}
	ctx, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	if _, err = b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(key)}); err != nil {
		return fmt.Errorf("delete %s: %w", key, translate(err))
	}
	return nil
}

// Discard removes whatever a crash may have left under key: the object, and parts of
// uploads that were not completed.
func (b *Bucket) Discard(ctx context.Context, key string) error {
	if !b.Claimed() {
		return b.notOurs()
	}
	list, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	uploads, err := b.client.ListMultipartUploads(list, &s3.ListMultipartUploadsInput{Bucket: &b.name, Prefix: b.key(key)})
	if err != nil {
		return fmt.Errorf("list uploads of %s: %w", key, translate(err))
	}
	for _, upload := range uploads.Uploads {
		if aws.ToString(upload.Key) != *b.key(key) {
			continue
		}
		if err := b.abort(ctx, key, aws.ToString(upload.UploadId)); err != nil {
			return err
		}
	}
	return b.Delete(ctx, key)
}

func (b *Bucket) key(key string) *string { return aws.String(b.prefix + key) }

func (b *Bucket) timed(operation string, start time.Time, err *error) {
	if statusOf(*err) == http.StatusForbidden {
		b.proven.Store(false)
	}
	b.observe(operation, time.Since(start), *err)
}

// translate maps what the SDK reports to the errors of this package.
func translate(err error) error {
	if codeOf(err) == "NoSuchKey" {
		return ErrNotFound
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
