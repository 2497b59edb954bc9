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
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
)

// ownerObject holds the id of the platform whose bytes are in the bucket, under its prefix.
const ownerObject = "platform-id"

// inUse follows the id once the platform has come to use the bucket: then the object's age tells when it did so last.
const inUse = " in use"

const (
	// claimAge is how long what Claim has seen is taken for granted.
	claimAge = time.Minute
	// renewal is the age at which Claim writes the mark anew, and abandoned that at which the platform is taken to use the bucket no more.
	renewal, abandoned = 2 * time.Minute, 5 * time.Minute
)

// InUse is the error of HandOver for a bucket whose platform was there within the last minutes.
type InUse struct {
	Bucket string // with its address
	At     time.Time
}

func (u *InUse) Error() string {
	return fmt.Sprintf("the platform of bucket %s was there at %s", u.Bucket, u.At.UTC().Format(time.RFC3339))
}

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
func (b *Bucket) Claim(ctx context.Context, platform uuid.UUID) error {
	return b.take(ctx, platform, inUse)
}

// HandOver marks a bucket that is one platform's as another's, which takes its place. It is one of nobody's as well. One that is the other's
// already is refused with *InUse until that platform has not been there for five minutes: it has another database than who takes its place.
func (b *Bucket) HandOver(ctx context.Context, from, to uuid.UUID) error {
	m, err := b.readMark(ctx)
	if err == nil && m.owner == to.String() && from != to && m.note == inUse && m.age < abandoned {
		return &InUse{Bucket: b.name + " at " + b.address, At: m.at}
	}
	if err == nil && m.owner == from.String() {
		err = b.writeMark(ctx, to.String(), nil, nil)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return b.explain(err)
	}
	return b.take(ctx, to, "")
}

// take is Claim, with what is to be noted beside the platform's id.
func (b *Bucket) take(ctx context.Context, platform uuid.UUID, note string) (err error) {
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
		if err := b.mark(ctx, platform, note); err != nil {
			return err
		}
	}
	return b.proveRights(ctx)
}

// mark reads whose the bytes are, and where nobody's, makes them the platform's.
func (b *Bucket) mark(ctx context.Context, platform uuid.UUID, note string) error {
	right := rightGet
	m, err := b.readMark(ctx)
	if errors.Is(err, ErrNotFound) {
		// Read again, whatever comes of it: another pod may be quicker.
		right, err = rightPut, b.writeMark(ctx, platform.String()+note, nil, aws.String("*"))
		if status := statusOf(err); err == nil || status == http.StatusPreconditionFailed || status == http.StatusConflict {
			right = rightGet
			m, err = b.readMark(ctx)
		}
	}
	switch {
	case codeOf(err) == "AccessDenied":
		return b.lacks(right)
	case err != nil:
		return b.explain(err)
	}
	found := &claim{platform: platform, ours: m.owner == platform.String(), seen: time.Now()}
	b.claim.Store(found)
	if !found.ours {
		return refused("bucket %s at %s "+config.ForeignBucket+" (object %s): correct S3_BUCKET_NAME or S3_PREFIX; or, if that platform's database was given up, delete the object",
			b.name, b.address, *b.key(ownerObject))
	}
	if m.note != note || note == inUse && m.age >= renewal {
		// Whoever fails does so in the next minute again, and nobody depends on it so soon. Rights are tried elsewhere.
		_ = b.writeMark(ctx, platform.String()+note, m.etag, nil)
	}
	return nil
}

// mark is what ownerObject says.
type mark struct {
	owner string // id of the platform
	note  string
	at    time.Time
	age   time.Duration // by the service's clock
	etag  *string
}

// writeMark writes it, where both are nil whatever is there. There are services that ignore such conditions, or know none and say so: there the
// last of several platforms wins, and the others see it in a minute.
func (b *Bucket) writeMark(ctx context.Context, content string, ifMatch, ifNoneMatch *string) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(ownerObject), Body: strings.NewReader(content), IfMatch: ifMatch, IfNoneMatch: ifNoneMatch,
	}, once)
	if conditional := ifMatch != nil || ifNoneMatch != nil; conditional && (statusOf(err) == http.StatusNotImplemented || codeOf(err) == "NotImplemented") {
		return b.writeMark(ctx, content, nil, nil)
	}
	return err
}

// readMark reads it; ErrNotFound if nobody has claimed the bucket.
func (b *Bucket) readMark(ctx context.Context) (m mark, err error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(ownerObject)}, once)
	if err != nil {
		return m, b.translate(err)
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, 100))
	length := min(len(text), len(uuid.Nil.String()))
	m.owner, m.note, m.etag = string(text[:length]), string(text[length:]), out.ETag
	if out.LastModified != nil {
		now, ok := middleware.GetServerTime(out.ResultMetadata)
		if !ok {
			now = time.Now()
		}
		m.at, m.age = *out.LastModified, now.Sub(*out.LastModified)
	}
	return m, err
}

// notOurs is why this platform keeps its hands off the bytes.
func (b *Bucket) notOurs() error {
	if b.claim.Load() == nil {
		return fmt.Errorf("%w: whose bytes bucket %s holds is not known yet", ErrUnavailable, b.name)
	}
	return fmt.Errorf("bucket %s: %w", b.name, ErrForeign)
}
