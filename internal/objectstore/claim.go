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

	"github.com/assetplatform/assetplatform/internal/config"
)

// ownerObject holds the id of the platform whose bytes are in the bucket, under its prefix.
const ownerObject = "platform-id"

// claimAge is how long what Claim has seen is taken for granted.
const claimAge = time.Minute

// claim is what was last seen of whose the bytes are.
type claim struct {
	platform uuid.UUID // for which that was asked
	ours     bool      // the bytes are its
	seen     time.Time
}

// Claimed says whether the bytes are this platform's, as far as Claim has seen.
func (b *Bucket) Claimed() bool {
	c := b.claim.Load()
	return c != nil && c.ours
}

// Claim marks the bucket, under its prefix, as the platform's, unless it is marked as another's:
// two of them would mix their bytes in backups and take each other's away with the bucket. In
// one that is ours it then tries the rights on its objects. It is to be called all the time: a
// success holds for a minute, and then the mark is read again, for somebody may have removed it,
// and another platform be there. It does not hold for another platform, whose database this
// process may find behind its URL. The error is a sentence like those of Check.
func (b *Bucket) Claim(ctx context.Context, platform uuid.UUID) (err error) {
	known := b.claim.Load()
	if known != nil && known.platform != platform {
		b.claim.Store(nil) // even if the service does not answer now
		known = nil
	}
	holds := known != nil && known.ours && time.Since(known.seen) < claimAge
	if holds && b.proven.Load() {
		return nil
	}
	defer b.timed("check", time.Now(), &err)
	ctx, cancel := context.WithTimeout(ctx, checkCall)
	defer cancel()
	if !holds {
		if err := b.mark(ctx, platform); err != nil {
			return err
		}
	}
	return b.proveRights(ctx)
}

// HandOver marks a bucket that is one platform's as another's, which takes its place. It is one of nobody's as well.
func (b *Bucket) HandOver(ctx context.Context, from, to uuid.UUID) error {
	owner, err := b.readOwner(ctx)
	if err == nil && owner == from.String() {
		err = b.writeOwner(ctx, to, nil)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return b.explain(err)
	}
	return b.Claim(ctx, to)
}

// mark reads whose the bytes are, and where nobody's, makes them the platform's.
func (b *Bucket) mark(ctx context.Context, platform uuid.UUID) error {
	right := rightGet
	owner, err := b.readOwner(ctx)
	if errors.Is(err, ErrNotFound) {
		// Read again, whatever comes of it: another pod may be quicker, and there are services that ignore the
		// condition, or know none and say so. There the last of several platforms wins; the others see it in a minute.
		right, err = rightPut, b.writeOwner(ctx, platform, aws.String("*"))
		if statusOf(err) == http.StatusNotImplemented || codeOf(err) == "NotImplemented" {
			err = b.writeOwner(ctx, platform, nil)
		}
		if status := statusOf(err); err == nil || status == http.StatusPreconditionFailed || status == http.StatusConflict {
			right = rightGet
			owner, err = b.readOwner(ctx)
		}
	}
	switch {
	case codeOf(err) == "AccessDenied":
		return b.lacks(right)
	case err != nil:
		return b.explain(err)
	}
	found := &claim{platform: platform, ours: owner == platform.String(), seen: time.Now()}
	b.claim.Store(found)
	if !found.ours {
		return refused("bucket %s at %s "+config.ForeignBucket+" (object %s): correct S3_BUCKET_NAME or S3_PREFIX; or, if that platform's database was given up, delete the object",
			b.name, b.address, *b.key(ownerObject))
	}
	return nil
}

// writeOwner marks the bucket; with the condition "*" only if there is no mark.
func (b *Bucket) writeOwner(ctx context.Context, platform uuid.UUID, ifNoneMatch *string) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(ownerObject), Body: strings.NewReader(platform.String()), IfNoneMatch: ifNoneMatch,
	}, once)
	return err
}

// readOwner reads whose the bytes are; ErrNotFound if nobody has claimed the bucket.
func (b *Bucket) readOwner(ctx context.Context) (string, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(ownerObject)}, once)
	if err != nil {
		return "", b.translate(err)
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, int64(len(uuid.Nil.String()))))
	return string(text), err
}

// notOurs is why this platform keeps its hands off the bytes.
func (b *Bucket) notOurs() error {
	if b.claim.Load() == nil {
		return fmt.Errorf("%w: whose bytes bucket %s holds is not known yet", ErrUnavailable, b.name)
	}
	return fmt.Errorf("bucket %s: %w", b.name, ErrForeign)
}
