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
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Patience is how long a connection may stand still. Tests have less of it.
type Patience struct {
	Write  time.Duration // in which the service takes nothing of what is sent
	Answer time.Duration // from the end of a request to the first byte of its answer
	Read   time.Duration // without a single byte either way
	Rate   int64         // bytes a second in which an object must come on average, after that; 0: as slowly as it will

	Attempts int           // of a request
	Backoff  time.Duration // between them, at most
}

var (
	usualPatience   = Patience{Write: 8 * time.Second, Answer: 8 * time.Second, Read: 30 * time.Second, Attempts: 3, Backoff: time.Second} // a client is waiting
	archivePatience = Patience{Write: 30 * time.Second, Answer: 30 * time.Second, Read: time.Minute, Rate: 16 << 10, Attempts: 5, Backoff: 5 * time.Second}
)

// service is what Bucket and Archive share: a bucket's name and the way to it.
type service struct {
	client    *s3.Client
	patient   func(*s3.Options) // for a call whose answer may begin late
	name      string
	prefix    string
	address   string // for messages
	variables string // how those begin that describe it, for messages
	keys      string // and those of its credentials

	limits      Patience
	unavailable error // what its failures are
}

func newService(ctx context.Context, c config.Bucket, variables string, limits Patience, set ...func(*s3.Options)) (service, error) {
	authorities, err := authorities(c.CA)
	if err != nil {
		return service{}, err
	}
	httpClient := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost, t.WriteBufferSize = uploadSlots, 32<<10
			t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = limits.Answer, limits.Answer
			t.TLSClientConfig = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
			t.DialContext = boundWrites(t.DialContext, limits)
		}).
		WithReadTimeout(limits.Read)
	patient := httpClient.WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = completeCall })
	options := s3.Options{
		Region:     c.Region,
		HTTPClient: httpClient,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = limits.Attempts, limits.Backoff
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
		client: s3.New(options, set...), patient: func(o *s3.Options) { o.HTTPClient = patient }, name: c.Name, prefix: c.Prefix, address: address,
		variables: variables, keys: variables, limits: limits, unavailable: ErrUnavailable,
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
func boundWrites(next dial, limits Patience) dial {
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
	limits Patience
}

// Write also moves the deadline of reading on. The SDK sets it when the transport begins to
// wait for an answer, and that is before the request: it would cut off what takes longer to
// send, and the first request after a pause.
func (c boundConn) Write(p []byte) (int, error) {
	now := time.Now()
	if err := errors.Join(c.SetWriteDeadline(now.Add(c.limits.Write)), c.SetReadDeadline(now.Add(c.limits.Read))); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (s *service) key(key string) *string { return aws.String(s.prefix + key) }

// translate maps what the SDK reports to the errors of this package.
func (s *service) translate(err error) error {
	if codeOf(err) == "NoSuchKey" {
		return ErrNotFound
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		return err
	}
	if why := s.refusal(err); why != nil {
		return fmt.Errorf("%w: %w (%w)", s.unavailable, why, err)
	}
	return fmt.Errorf("%w: %w", s.unavailable, err)
}

// mismatch is in the error, of no type that it exports, which aws-sdk-go-v2 has for bytes that are not those of the checksum that the service
// keeps with them (service/internal/checksum).
const mismatch = "checksum did not match"

// reading is what an object holds, as it comes.
type reading struct {
	io.ReadCloser
	service *service
	came    int64 // bytes
	waited  time.Duration
}

func (r *reading) Read(p []byte) (int, error) {
	began := time.Now()
	n, err := r.ReadCloser.Read(p)
	r.came, r.waited = r.came+int64(n), r.waited+time.Since(began)
	switch limits := r.service.limits; {
	case err != nil && strings.Contains(err.Error(), mismatch):
		return n, fmt.Errorf("%w: %w: %w", r.service.unavailable, ErrWrongBytes, err)
	case err != nil && !errors.Is(err, io.EOF):
		return n, r.service.translate(err)
	case err == nil && limits.Rate > 0 && r.waited > limits.Read+time.Duration(r.came/limits.Rate)*time.Second:
		return n, fmt.Errorf("%w: %d bytes came in %s", r.service.unavailable, r.came, r.waited.Round(time.Second))
	}
	return n, err
}
