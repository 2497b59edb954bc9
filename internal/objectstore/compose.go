package objectstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// copies is how many parts of one object the service copies at a time.
const copies = 4

// Compose has the service make one object of others, one after the other, and verify its CRC32 (IEEE). Each of them but the last has at
// least PartSize bytes; they stay. ErrNotFound; ErrUnavailable; errors.ErrUnsupported where the service copies no parts; another error if
// the CRC32 is not theirs.
func (b *Bucket) Compose(ctx context.Context, key string, sources []string, crc uint32) (err error) {
	defer b.timed("compose", time.Now(), &err)
	if !b.Claimed() {
		return b.notOurs()
	}
	known := func(in *s3.CompleteMultipartUploadInput) { in.ChecksumCRC32 = crcText(crc) } // which the service verifies
	err = b.multipart(ctx, key, known, func(uploadID string) ([]types.CompletedPart, error) {
		parts := make([]types.CompletedPart, len(sources))
		all, ctx := errgroup.WithContext(ctx)
		all.SetLimit(copies)
		for i, source := range sources {
			all.Go(func() (err error) {
				parts[i], err = b.copyPart(ctx, key, uploadID, int32(i+1), source)
				return err
			})
		}
		return parts, all.Wait()
	})
	if codeOf(err) == "BadDigest" {
		err = errors.New("its parts are not what was stored: " + err.Error()) // no ErrUnavailable, for waiting does not mend it
	}
	return err
}

func (b *Bucket) copyPart(ctx context.Context, key, uploadID string, number int32, source string) (types.CompletedPart, error) {
	ctx, cancel := context.WithTimeout(ctx, partCall)
	defer cancel()
	out, err := b.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
		Bucket: &b.name, Key: b.key(key), UploadId: &uploadID, PartNumber: &number,
		CopySource: b.source(source),
	}, b.patient)
	switch {
	case statusOf(err) == http.StatusNotImplemented || statusOf(err) == http.StatusMethodNotAllowed:
		return types.CompletedPart{}, fmt.Errorf("copy %s: %w: %w", source, errors.ErrUnsupported, err)
	case err != nil:
		return types.CompletedPart{}, fmt.Errorf("copy %s into %s: %w", source, key, b.translate(err))
	case out.CopyPartResult == nil: // it took the request for another one
		return types.CompletedPart{}, fmt.Errorf("copy %s: %w", source, errors.ErrUnsupported)
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.CopyPartResult.ETag, ChecksumCRC32: out.CopyPartResult.ChecksumCRC32}, nil
}

// source is how requests to copy name an object.
func (s *service) source(key string) *string {
	return aws.String(strings.ReplaceAll((&url.URL{Path: s.name + "/" + *s.key(key)}).EscapedPath(), "+", "%2B")) // which is a blank there
}
