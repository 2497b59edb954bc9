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
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

// Bucket is one bucket. It is safe for concurrent use.
type Bucket struct {
	service
	buffers *buffers
	shares  shares
	observe func(operation string, took time.Duration, err error)
	proven  atomic.Bool           // the rights on objects, since one was last denied
	claim   atomic.Pointer[claim] // nil: whose the bytes are is not known yet
}

// New returns the bucket that c describes. It makes no request. observe, if not nil, is
// told of every call: its operation is put, compose, get, delete or check.
func New(ctx context.Context, c config.Bucket, observe func(operation string, took time.Duration, err error)) (*Bucket, error) {
	return NewWith(ctx, c, observe, usualPatience)
}

// NewWith is New with another patience.
func NewWith(ctx context.Context, c config.Bucket, observe func(operation string, took time.Duration, err error), limits Patience) (*Bucket, error) {
	s, err := newService(ctx, c, "S3_", limits)
	if err != nil {
		return nil, err
	}
	if observe == nil {
		observe = func(string, time.Duration, error) {}
	}
	return &Bucket{service: s, buffers: newBuffers(), shares: shares{users: map[uuid.UUID]*share{}}, observe: observe}, nil
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
		return nil, fmt.Errorf("get %s: %w", key, b.translate(err))
	}
	return &reading{ReadCloser: out.Body, service: &b.service}, nil
}

// Size is how many bytes an object has. ErrNotFound, ErrUnavailable.
func (b *Bucket) Size(ctx context.Context, key string) (int64, error) {
	o, err := b.stat(ctx, key)
	return o.Size, err
}

// Delete removes an object; one that does not exist is no error.
func (b *Bucket) Delete(ctx context.Context, key string) (err error) {
	defer b.timed("delete", time.Now(), &err)
	if !b.Claimed() {
		return b.notOurs()
	}
	ctx, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	_, err = b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(key)})
	if err != nil && codeOf(err) != goneBefore {
		return fmt.Errorf("delete %s: %w", key, b.translate(err))
	}
	return nil
}

// goneBefore is what some services say, unlike S3, where two delete an object at the same time.
const goneBefore = "NoSuchKey"

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
		return fmt.Errorf("list uploads of %s: %w", key, b.translate(err))
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

func (b *Bucket) timed(operation string, start time.Time, err *error) {
	if statusOf(*err) == http.StatusForbidden {
		b.proven.Store(false)
	}
	b.observe(operation, time.Since(start), *err)
}
