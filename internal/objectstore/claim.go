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

// inUse follows the id once a platform has come to use the bucket, and is followed by its instance: then the object's age tells when that did so
// last.
const inUse = " in use "

const (
	// claimAge is how long what Claim has seen is taken for granted.
	claimAge = time.Minute
	// renewal is the age at which Claim writes the mark anew, and abandoned that at which the platform is taken to use the bucket no more.
	renewal, abandoned = 2 * time.Minute, 5 * time.Minute
)

// Owner says whose a bucket is.
type Owner struct {
	Platform uuid.UUID
	// Instance tells a platform's database from copies of it, such as what a backup of it was restored into.
	Instance uuid.UUID
}

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
	owner Owner // for which that was asked
	ours  bool  // the bytes are its
	seen  time.Time
}

// Claimed says whether the bytes are this platform's, as far as Claim has seen.
func (b *Bucket) Claimed() bool {
	c := b.claim.Load()
	return c != nil && c.ours
}

// Claim marks the bucket, under its prefix, as the platform's, unless it is marked as another's:
// two of them would mix their bytes in backups and take each other's away with the bucket. So would
// two copies of one platform's database, of which the one that uses the bucket keeps it. In
// one that is ours it then tries the rights on its objects. It is to be called all the time: a
// success holds for a minute, and then the mark is read again, for somebody may have removed it,
// and another platform be there. It does not hold for another platform, whose database this
// process may find behind its URL. The error is a sentence like those of Check.
func (b *Bucket) Claim(ctx context.Context, owner Owner) error {
	return b.take(ctx, owner, inUse+owner.Instance.String())
}

// Renew is Claim for whom it is known that the bytes are theirs, while nobody can ask their database.
func (b *Bucket) Renew(ctx context.Context) error {
	if c := b.claim.Load(); c != nil && c.ours {
		return b.Claim(ctx, c.owner)
	}
	return nil
}

// HandOver marks a bucket that is a platform's, or nobody's, as that of another, which takes its place in its database. It may also be marked as
// that of a third one, to which it was to be handed before. It is refused with *InUse until nobody has used it from another database for five
// minutes. changed says that it may be marked as the other's now, and was not before; also with an error.
func (b *Bucket) HandOver(ctx context.Context, from Owner, to, third uuid.UUID) (changed bool, err error) {
	m, err := b.readMark(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
		return true, b.take(ctx, Owner{Platform: to}, "")
	case err != nil:
		return false, b.explain(err)
	case m.platform != from.Platform.String() && m.platform != to.String() && (third == uuid.Nil || m.platform != third.String()):
		return false, b.take(ctx, Owner{Platform: to}, "") // refused
	case m.rivals(from.Instance):
		return false, &InUse{Bucket: b.name + " at " + b.address, At: m.at}
	}
	if err := b.proveRights(ctx); err != nil { // else the platform that was there would have lost it for nothing
		return false, err
	}
	changed = m.platform != to.String()
	if changed || m.note != "" {
		if err := b.writeMark(ctx, to.String(), nil, nil); err != nil {
			return changed, b.explain(err)
		}
	}
	return changed, b.take(ctx, Owner{Platform: to}, "")
}

// take is Claim, with what is to be noted beside the platform's id; empty: nothing, and whoever else uses the bucket has been asked.
func (b *Bucket) take(ctx context.Context, owner Owner, note string) (err error) {
	known := b.claim.Load()
	if known != nil && known.owner != owner {
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
		if err := b.settle(ctx, owner, note); err != nil {
			return err
		}
	}
	return b.proveRights(ctx)
}

// settle reads whose the bytes are, and where nobody's, makes them the owner's.
func (b *Bucket) settle(ctx context.Context, owner Owner, note string) error {
	right := rightGet
	m, err := b.readMark(ctx)
	if errors.Is(err, ErrNotFound) {
		// Read again, whatever comes of it: another pod may be quicker.
		right, err = rightPut, b.writeMark(ctx, owner.Platform.String()+note, nil, aws.String("*"))
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
	found := &claim{owner: owner, ours: m.platform == owner.Platform.String(), seen: time.Now()}
	rival := found.ours && note != "" && m.rivals(owner.Instance)
	foreign := !found.ours
	found.ours = found.ours && !rival
	b.claim.Store(found)
	switch {
	case foreign:
		return refused("bucket %s at %s "+config.ForeignBucket+" (object %s): correct S3_BUCKET_NAME or S3_PREFIX; or, if that platform's database was given up, delete the object",
			b.name, b.address, *b.key(ownerObject))
	case rival:
		return refused("bucket %s at %s was used at %s from another database, of which this one is a copy or the other way round: give one of them a bucket or prefix of its own (S3_BUCKET_NAME, S3_PREFIX), or end it; five minutes later the other has the bucket",
			b.name, b.address, m.at.UTC().Format(time.RFC3339))
	}
	if note != "" && (m.note != note || m.age >= renewal) {
		// Whoever fails does so in the next minute again, and nobody depends on it so soon. Rights are tried elsewhere.
		_ = b.writeMark(ctx, owner.Platform.String()+note, m.etag, nil)
	}
	return nil
}

// mark is what ownerObject says.
type mark struct {
	platform string // its id
	note     string
	at       time.Time
	age      time.Duration // by the service's clock
	etag     *string
}

// rivals says whether somebody uses the bucket from another database than the instance.
func (m mark) rivals(instance uuid.UUID) bool {
	by, used := strings.CutPrefix(m.note, inUse)
	return used && by != instance.String() && m.age < abandoned
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
	m.platform, m.note, m.etag = string(text[:length]), string(text[length:]), out.ETag
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
