package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
)

// ownerObject holds the id of the platform whose bytes are in the bucket, under its prefix.
const ownerObject = "platform-id"

// What is known of whose the bytes are.
const (
	unclaimed int32 = iota
	ours
	foreign
)

// Claimed says whether Claim has succeeded: what it wrote stays.
func (b *Bucket) Claimed() bool { return b.owner.Load() == ours }

// Claim marks the bucket, under its prefix, as the platform's, unless it is marked as another's:
// two of them would mix their bytes in backups and take each other's away with the bucket. The
// error is a sentence like those of Check.
func (b *Bucket) Claim(ctx context.Context, platform uuid.UUID) (err error) {
	defer b.timed("check", time.Now(), &err)
	ctx, cancel := context.WithTimeout(ctx, checkCall)
	defer cancel()
	owner, err := b.readOwner(ctx)
	if errors.Is(err, ErrNotFound) {
		// Read again, whatever comes of it: another pod may be quicker, and there are services that ignore the condition.
		_, err = b.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &b.name, Key: b.key(ownerObject), Body: strings.NewReader(platform.String()), IfNoneMatch: aws.String("*"),
		})
		if status := statusOf(err); err == nil || status == http.StatusPreconditionFailed || status == http.StatusConflict {
			owner, err = b.readOwner(ctx)
		}
	}
	if err != nil {
		return b.explain(err)
	}
	if owner == platform.String() {
		b.owner.Store(ours)
		return nil
	}
	b.owner.Store(foreign)
	return fmt.Errorf("bucket %s at %s holds the bytes of another platform (%s in object %s): correct S3_BUCKET_NAME or S3_PREFIX; or, if that platform's database was given up, delete the object",
		b.name, b.address, owner, *b.key(ownerObject))
}

// readOwner reads whose the bytes are; ErrNotFound if nobody has claimed the bucket.
func (b *Bucket) readOwner(ctx context.Context) (string, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(ownerObject)})
	if err != nil {
		return "", translate(err)
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, int64(len(uuid.Nil.String()))))
	return string(text), err
}

// notOurs is why this platform keeps its hands off the bytes.
func (b *Bucket) notOurs() error {
	if b.owner.Load() == foreign {
		return fmt.Errorf("%w: bucket %s holds the bytes of another platform", ErrUnavailable, b.name)
	}
	return fmt.Errorf("%w: whose bytes bucket %s holds is not known yet", ErrUnavailable, b.name)
}
