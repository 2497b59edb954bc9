package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/config"
)

// patience is how long a connection may stand still. Tests have less of it.
type patience struct {
	write  time.Duration // in which the service takes nothing of what is sent
	answer time.Duration // from the end of a request to the first byte of its answer
	read   time.Duration // without a single byte either way

	attempts int           // of a request
	backoff  time.Duration // between them, at most
}

var (
	usualPatience   = patience{write: 8 * time.Second, answer: 8 * time.Second, read: 30 * time.Second, attempts: 3, backoff: time.Second} // a client is waiting
	archivePatience = patience{write: 30 * time.Second, answer: 30 * time.Second, read: time.Minute, attempts: 5, backoff: 5 * time.Second}
)

// service is what Bucket and Archive share: a bucket's name and the way to it.
type service struct {
	client    *s3.Client
	patient   func(*s3.Options) // for a call whose answer may begin late
	name      string
	prefix    string
	address   string // for messages
	variables string // how those begin that describe it, for messages
}

func newService(ctx context.Context, c config.Bucket, variables string, limits patience, set ...func(*s3.Options)) (service, error) {
	authorities, err := authorities(c.CA)
	if err != nil {
		return service{}, err
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
			o.MaxAttempts, o.MaxBackoff = limits.attempts, limits.backoff
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
			return service{}, fmt.Errorf("read the AWS configuration: %w", err)
		}
		options.Credentials = chain.Credentials
	}
	address := "AWS region " + c.Region
	if c.Endpoint != "" {
		options.BaseEndpoint = aws.String(c.Endpoint)
		options.UsePathStyle = true
		address = c.Endpoint
	}
	return service{
		client: s3.New(options, set...), patient: func(o *s3.Options) { o.HTTPClient = patient }, name: c.Name, prefix: c.Prefix, address: address, variables: variables,
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

func (s *service) key(key string) *string { return aws.String(s.prefix + key) }

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
