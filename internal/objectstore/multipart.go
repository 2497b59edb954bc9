package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// multipart makes an object of the parts that put stores. on, if not nil, adds to the request that completes it.
func (s *service) multipart(ctx context.Context, key string, on func(*s3.CompleteMultipartUploadInput), put func(uploadID string) ([]types.CompletedPart, error)) (err error) {
	call, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	upload, err := s.client.CreateMultipartUpload(call, &s3.CreateMultipartUploadInput{
		Bucket: &s.name, Key: s.key(key),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject, // Get can verify no other type
	})
	if err != nil {
		return fmt.Errorf("begin upload of %s: %w", key, s.translate(err))
	}
	defer func() {
		if err != nil { // even if ctx has ended
			cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupCall)
			defer cancel()
			err = errors.Join(err, s.abort(cleanup, key, *upload.UploadId))
		}
	}()
	parts, err := put(*upload.UploadId)
	if err != nil {
		return err
	}
	complete, cancel := context.WithTimeout(ctx, completeCall)
	defer cancel()
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &s.name, Key: s.key(key), UploadId: upload.UploadId, ChecksumType: types.ChecksumTypeFullObject,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	if on != nil {
		on(in)
	}
	_, err = s.client.CompleteMultipartUpload(complete, in, s.patient)
	if err != nil {
		return fmt.Errorf("complete upload of %s: %w", key, s.translate(err))
	}
	return nil
}

func (s *service) putPart(ctx context.Context, key, uploadID string, number int32, part []byte) (types.CompletedPart, error) {
	ctx, cancel := context.WithTimeout(ctx, partCall)
	defer cancel()
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.name, Key: s.key(key), UploadId: &uploadID, PartNumber: &number,
		Body: bytes.NewReader(part), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	})
	if err != nil {
		return types.CompletedPart{}, fmt.Errorf("put part %d of %s: %w", number, key, s.translate(err))
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}, nil
}

func (s *service) abort(ctx context.Context, key, uploadID string) error {
	ctx, cancel := context.WithTimeout(ctx, smallCall)
	defer cancel()
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &s.name, Key: s.key(key), UploadId: aws.String(uploadID),
	})
	var gone *types.NoSuchUpload
	if err != nil && !errors.As(err, &gone) {
		return fmt.Errorf("abort upload of %s: %w", key, s.translate(err))
	}
	return nil
}
