package objectstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Errors of an Archive on which callers branch.
var (
	// ErrExists means that there are other bytes under a key that was to be new.
	ErrExists = errors.New("there are other bytes under this key")
	// ErrWrongBytes means that bytes do not have the checksum by which they are known.
	ErrWrongBytes = errors.New("the bytes do not have their checksum")
	// ErrLocked means that an object may not be removed: not yet, or not by who asks.
	ErrLocked = errors.New("the object is locked, or its removal is not granted")
	// ErrArchiveUnavailable is ErrUnavailable of an Archive.
	ErrArchiveUnavailable = fmt.Errorf("backups: %w", ErrUnavailable)
)

// Sum is what identifies bytes.
type Sum struct {
	Size   int64
	SHA256 [sha256.Size]byte
}

// Object is what a list tells of an object.
type Object struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
}

// Archive is a bucket that keeps backups. Unlike a Bucket it is listed, bears nobody's mark, and what is in it is never overwritten but by
// Replace. It is safe for concurrent use.
//
// Rights: s3:ListBucket, s3:ListBucketMultipartUploads; s3:GetObject, s3:PutObject, s3:AbortMultipartUpload; s3:DeleteObject only for what
// removes.
type Archive struct {
	service
	buffers       *buffers
	unconditional atomic.Bool // the service knows no If-None-Match
	copiesNothing atomic.Bool // it does not copy from the bucket, or does not tell the copies' sums
}

// NewArchive returns the archive that c describes. It makes no request.
func NewArchive(ctx context.Context, c config.Bucket) (*Archive, error) {
	return NewArchiveWith(ctx, c, archivePatience)
}

// NewArchiveWith is NewArchive with another patience.
func NewArchiveWith(ctx context.Context, c config.Bucket, limits Patience) (*Archive, error) {
	s, err := newService(ctx, c, "BACKUP_", limits, func(o *s3.Options) {
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // all bytes are compared with their SHA-256
	})
	if err != nil {
		return nil, err
	}
	s.unavailable = ErrArchiveUnavailable
	return &Archive{service: s, buffers: newBuffers()}, nil
}

// NewRemover is NewArchive for who removes.
func NewRemover(ctx context.Context, c config.Bucket, accessKey, secretKey string) (*Archive, error) {
	c.AccessKey, c.SecretKey = accessKey, secretKey
	a, err := NewArchive(ctx, c)
	if err == nil {
		a.keys = "BACKUP_REMOVER_"
	}
	return a, err
}

// Check reports whether the bucket answers, like Bucket.Check, but asks again: there is no next round.
func (a *Archive) Check(ctx context.Context) error { return a.answers(ctx, smallCall) }

// Put stores what body holds under a new key, and tells what it was. The same bytes may be there already, as after an answer that was lost.
// ErrExists, ErrUnavailable; an error of body is returned as it is, and then there is no object.
func (a *Archive) Put(ctx context.Context, key string, body io.Reader) (Sum, error) {
	if a.unconditional.Load() {
		if _, err := a.Stat(ctx, key); err == nil {
			return a.same(ctx, key, body)
		} else if !errors.Is(err, ErrNotFound) {
			return Sum{}, err
		}
		return a.put(ctx, key, body, nil)
	}
	sum, err := a.put(ctx, key, body, aws.String("*"))
	switch {
	case statusOf(err) == http.StatusNotImplemented || codeOf(err) == "NotImplemented":
		a.unconditional.Store(true)
		return sum, fmt.Errorf("%w: the service knows no If-None-Match", errors.ErrUnsupported)
	case statusOf(err) == http.StatusPreconditionFailed || statusOf(err) == http.StatusConflict:
		there, err := a.Sum(ctx, key)
		if err == nil && there != sum || errors.Is(err, ErrNotFound) { // versitygw counts the mark of a removal as an object
			err = fmt.Errorf("%w: %s", ErrExists, key)
		}
		return sum, err
	}
	return sum, err
}

// same is Put where there is an object already.
func (a *Archive) same(ctx context.Context, key string, body io.Reader) (Sum, error) {
	h := newHashing(body)
	if _, err := io.Copy(io.Discard, h); err != nil {
		return Sum{}, err
	}
	there, err := a.Sum(ctx, key)
	if err == nil && there != h.sum() {
		err = fmt.Errorf("%w: %s", ErrExists, key)
	}
	return h.sum(), err
}

// Replace stores what body holds under a key whose bytes are damaged.
func (a *Archive) Replace(ctx context.Context, key string, body io.Reader) (Sum, error) {
	return a.put(ctx, key, body, nil)
}

func (a *Archive) put(ctx context.Context, key string, body io.Reader, ifNoneMatch *string) (Sum, error) {
	buffer, err := a.buffers.take(ctx)
	if err != nil {
		return Sum{}, err
	}
	defer a.buffers.give(buffer)
	h := newHashing(body)
	n, ended, err := fill(h, *buffer)
	if err != nil {
		return Sum{}, err
	}
	if !ended {
		on := func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = ifNoneMatch }
		err = a.multipart(ctx, key, on, func(uploadID string) ([]types.CompletedPart, error) {
			return a.putParts(ctx, key, uploadID, *buffer, h)
		})
		return h.sum(), err
	}
	sum := h.sum()
	call, cancel := context.WithTimeout(ctx, partCall)
	defer cancel()
	_, err = a.client.PutObject(call, &s3.PutObjectInput{
		Bucket: &a.name, Key: a.key(key), Body: bytes.NewReader((*buffer)[:n]), IfNoneMatch: ifNoneMatch,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum.SHA256[:])),
	}, signWith(sum.SHA256))
	if err != nil {
		err = fmt.Errorf("put %s: %w", key, a.translate(err))
	}
	return sum, err
}

// A part of an archived object is twice as large after every so many: an upload has 10,000 parts at most, and nobody knows how long a dump
// becomes. 112 GiB are one of 80 MiB.
const partsOfSize = 1000

// putParts stores a body whose beginning, a part, is in first. The next part is read while one is sent.
func (a *Archive) putParts(ctx context.Context, key, uploadID string, first []byte, body io.Reader) (parts []types.CompletedPart, err error) {
	type sent struct {
		part types.CompletedPart
		err  error
	}
	now, next := first, make([]byte, len(first))
	for n, ended := len(first), false; n > 0; {
		under, part := make(chan sent, 1), now[:n]
		go func() {
			p, err := a.putPart(ctx, key, uploadID, int32(len(parts)+1), part)
			under <- sent{p, err}
		}()
		n = 0
		var failed error
		if !ended {
			n, ended, failed = fill(body, next)
		}
		s := <-under
		if err := errors.Join(s.err, failed); err != nil {
			return nil, err
		}
		parts = append(parts, s.part)
		now, next = next, now
		if len(parts)%partsOfSize == 0 {
			next = make([]byte, 2*len(next))
		}
	}
	return parts, nil
}

// Copy has the service copy an object of a bucket, and verifies what it tells of the copy: ErrWrongBytes if these are others than sum, which
// are not left there. errors.ErrUnsupported where it does not do that: then nothing was done, or what was done is not known to be right.
func (a *Archive) Copy(ctx context.Context, from *Bucket, source, key string, sum Sum) error {
	if a.copiesNothing.Load() {
		return errors.ErrUnsupported
	}
	err := a.copyFrom(ctx, &from.service, source, key, sum)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		a.copiesNothing.Store(true)
	case errors.Is(err, ErrWrongBytes):
		err = errors.Join(err, a.Delete(ctx, key))
	}
	return err
}

// CopyFrom has the service copy an object of an archive into the bucket, like Archive.Copy.
func (b *Bucket) CopyFrom(ctx context.Context, from *Archive, source, key string, sum Sum) error {
	if !b.Claimed() {
		return b.notOurs()
	}
	if from.copiesNothing.Load() {
		return errors.ErrUnsupported
	}
	err := b.copyFrom(ctx, &from.service, source, key, sum)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		from.copiesNothing.Store(true)
	case errors.Is(err, ErrWrongBytes):
		err = errors.Join(err, b.Delete(context.WithoutCancel(ctx), key))
	}
	return err
}

func (s *service) copyFrom(ctx context.Context, from *service, source, key string, sum Sum) error {
	if s.address != from.address {
		return errors.ErrUnsupported
	}
	call, cancel := context.WithTimeout(ctx, partCall)
	defer cancel()
	out, err := s.client.CopyObject(call, &s3.CopyObjectInput{
		Bucket: &s.name, Key: s.key(key), CopySource: from.source(source), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}, s.patient)
	switch status := statusOf(err); {
	case codeOf(err) == "NoSuchKey" || status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusForbidden || status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed || status == http.StatusBadRequest,
		err == nil && (out.CopyObjectResult == nil || out.CopyObjectResult.ChecksumSHA256 == nil):
		return errors.ErrUnsupported
	case err != nil:
		return fmt.Errorf("copy %s: %w", source, s.translate(err))
	case *out.CopyObjectResult.ChecksumSHA256 != base64.StdEncoding.EncodeToString(sum.SHA256[:]):
		return fmt.Errorf("%w: %s of bucket %s", ErrWrongBytes, *from.key(source), from.name)
	}
	return nil
}

// Holds says whether the bucket has an object of this size, and of these bytes where the service keeps their SHA-256, as of the copies that it
// has made: one of them may be wrong, if whoever made it did not come to look. ErrUnavailable.
func (b *Bucket) Holds(ctx context.Context, key string, sum Sum) (bool, error) {
	call, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	out, err := b.client.HeadObject(call, &s3.HeadObjectInput{Bucket: &b.name, Key: b.key(key), ChecksumMode: types.ChecksumModeEnabled})
	if statusOf(err) == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", key, b.translate(err))
	}
	kept := aws.ToString(out.ChecksumSHA256)
	composite := strings.Contains(kept, "-") // of its parts' checksums
	return aws.ToInt64(out.ContentLength) == sum.Size && (kept == "" || composite || kept == base64.StdEncoding.EncodeToString(sum.SHA256[:])), nil
}

// Get opens an object, whose size it tells. The caller closes it. ErrNotFound, ErrUnavailable.
func (a *Archive) Get(ctx context.Context, key string) (body io.ReadCloser, size int64, err error) {
	out, err := a.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &a.name, Key: a.key(key)})
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", key, a.translate(err))
	}
	return &reading{ReadCloser: out.Body, service: &a.service}, aws.ToInt64(out.ContentLength), nil
}

// Sum reads an object. ErrNotFound, ErrUnavailable.
func (a *Archive) Sum(ctx context.Context, key string) (Sum, error) {
	body, size, err := a.Get(ctx, key)
	if err != nil {
		return Sum{}, err
	}
	defer body.Close()
	h := newHashing(body)
	if _, err := io.Copy(io.Discard, h); err != nil {
		return Sum{}, fmt.Errorf("read %s: %w", key, err)
	}
	if h.size != size {
		return Sum{}, fmt.Errorf("read %s: %w: %d of %d bytes came", key, a.unavailable, h.size, size)
	}
	return h.sum(), nil
}

// Stat tells of an object. ErrNotFound, ErrUnavailable.
func (a *Archive) Stat(ctx context.Context, key string) (Object, error) { return a.stat(ctx, key) }

func (s *service) stat(ctx context.Context, key string) (Object, error) {
	call, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	out, err := s.client.HeadObject(call, &s3.HeadObjectInput{Bucket: &s.name, Key: s.key(key)})
	if statusOf(err) == http.StatusNotFound {
		return Object{}, ErrNotFound
	}
	if err != nil {
		return Object{}, fmt.Errorf("look for %s: %w", key, s.translate(err))
	}
	return Object{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}, nil
}

// List tells of all objects whose keys begin with a prefix, behind a key, in the order of their keys.
func (a *Archive) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &a.name, Prefix: a.key(prefix)}
		if after != "" {
			in.StartAfter = a.key(after)
		}
		for {
			page, err := a.list(ctx, in)
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, o := range page.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), a.prefix)
				if !yield(Object{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			in.ContinuationToken = page.NextContinuationToken
		}
	}
}

func (a *Archive) list(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	call, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	page, err := a.client.ListObjectsV2(call, in)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", aws.ToString(in.Prefix), a.translate(err))
	}
	return page, nil
}

// Delete removes an object; one that does not exist is no error. Where the bucket has versions the object is one of them from then on. ErrLocked,
// ErrUnavailable.
func (a *Archive) Delete(ctx context.Context, key string) error {
	call, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	_, err := a.client.DeleteObject(call, &s3.DeleteObjectInput{Bucket: &a.name, Key: a.key(key)})
	switch codeOf(err) {
	case "AccessDenied", "ObjectLocked": // S3's for both, and MinIO's
		return fmt.Errorf("delete %s: %w: %w", key, ErrLocked, err)
	case goneBefore:
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, a.translate(err))
	}
	return nil
}

// hashing sums what is read through it.
type hashing struct {
	from io.Reader
	hash hash.Hash
	size int64
}

func newHashing(from io.Reader) *hashing { return &hashing{from: from, hash: sha256.New()} }

func (h *hashing) Read(p []byte) (n int, err error) {
	n, err = h.from.Read(p)
	h.hash.Write(p[:n])
	h.size += int64(n)
	return n, err
}

func (h *hashing) sum() Sum {
	s := Sum{Size: h.size}
	h.hash.Sum(s.SHA256[:0])
	return s
}

// Verified reads what another reader holds, and fails in the end with ErrWrongBytes if that was not what sum says.
func Verified(from io.Reader, sum Sum) io.Reader { return &verifying{newHashing(from), sum} }

type verifying struct {
	*hashing
	must Sum
}

func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.hashing.Read(p)
	if errors.Is(err, io.EOF) && v.sum() != v.must {
		err = ErrWrongBytes
	}
	return n, err
}
