package backup

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// Restored twice, the second time is one like the first: it needs the platform's name, and brings back what was changed since.
func TestRestoreTwice(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	_, d := archive(t)
	set := p.backUp(d)
	q, _ := restored(t, d)
	q.users = p.users
	q.upload(q.users[0], []byte("after the restore"))
	q.exec("update assets set category = 'changed'")
	if n := q.count("select count(*) from blobs where reread"); n != 0 {
		t.Errorf("%d blobs are to be read again of which nothing is known", n)
	}
	again := q.restoring(d, func(o *RestoreOptions) { o.Set = set.ID })
	_, err := Restore(t.Context(), again)
	problem(t, err, config.CodeTargetNotEmpty)
	again.Overwrite = "studio"
	if _, err := Restore(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if assets, changed := q.count("select count(*) from assets"), q.count("select count(*) from assets where category = 'changed'"); assets != 4 || changed != 0 {
		t.Errorf("%d assets, %d of them as they were changed", assets, changed)
	}
}

// What a restore has overwritten is kept, whatever it is, and is not what the next one takes for the newest set.
func TestRestoreAfterSafetySet(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	_, d := archive(t)
	set := p.backUp(d)
	p.exec("delete from assets")
	o := p.restoring(d, overwriting)
	o.Safety = func(ctx context.Context) (Set, error) {
		create := p.options(d)
		create.Safety, create.AllowShrunken = true, true
		return Create(ctx, create)
	}
	for range 2 {
		done, err := Restore(t.Context(), o)
		if err != nil || done.Set != set.ID || done.SafetySet == "" {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	l, err := d.List(t.Context())
	if err != nil || len(l.Sets) != 3 || l.Sets[0].Safety || !l.Sets[1].Safety {
		t.Fatalf("%+v, %v", l.Sets, err)
	}
	q, done := restored(t, d, func(o *RestoreOptions) { o.Set = l.Sets[1].ID })
	if n := q.count("select count(*) from assets"); n != 0 || done.Set != l.Sets[1].ID {
		t.Errorf("%d assets of set %s", n, done.Set)
	}
}

// A restore of another platform's set that fails leaves the platform its bucket.
func TestFailedRestoreGivesTheBucketBack(t *testing.T) {
	t.Parallel()
	p, q := newPlatform(t), newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	set := p.backUp(d)
	cutDump(t, d, set, false)
	if _, err := Restore(t.Context(), q.restoring(d, overwriting, func(o *RestoreOptions) { o.Set = set.ID })); err == nil {
		t.Fatal("it was restored")
	}
	q.open() // claims the bucket
}

// The bucket of a platform that serves is not for a restore into another database, of which nobody had to confirm anything: from then on each
// would delete what the other needs. Whether it serves is waited for.
func TestBucketThatIsInUse(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	p.backUp(d)
	pg, s3 := services.SharedPostgres(t), services.SharedS3(t)
	open := func() *objectstore.Bucket {
		bucket, err := objectstore.New(t.Context(), p.settings, nil)
		if err != nil {
			t.Fatal(err)
		}
		return bucket
	}
	var owner objectstore.Owner
	var err error
	if owner.Platform, owner.Instance, err = p.store.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	restore := func(meanwhile func()) error {
		o := RestoreOptions{Destination: d, DatabaseURL: pg.URL(pg.Empty(t)), Bucket: open(), Name: "studio", Log: discard, recheck: time.Millisecond}
		waited := false
		o.step = func(name string) {
			if name == "bucket in use" && !waited {
				waited = true
				meanwhile()
			}
		}
		_, err := Restore(t.Context(), o)
		if !waited {
			t.Error("it did not wait")
		}
		return err
	}
	s3.Age(t, p.settings.Name, "platform-id", 3*time.Minute)
	problem(t, restore(func() {
		if err := open().Claim(t.Context(), owner); err != nil {
			t.Error(err)
		}
	}), config.CodeBucketInUse)
	s3.Age(t, p.settings.Name, "platform-id", 3*time.Minute)
	if err := restore(func() { s3.Age(t, p.settings.Name, "platform-id", 6*time.Minute) }); err != nil {
		t.Error(err)
	}
}

// An object that rotted in the bucket of the assets itself, in its right size, is brought back where that was asked for, or where one shows in
// the sample.
func TestRestoreOverDamagedObjects(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	_, d := archive(t)
	p.backUp(d)
	restore := func(reread bool, sample int64) int64 {
		t.Helper()
		done, err := Restore(t.Context(), p.restoring(d, overwriting, func(o *RestoreOptions) { o.RereadObjects, o.sample = reread, sample }))
		if err != nil {
			t.Fatal(err)
		}
		p.open()
		return done.Copied
	}
	var keys []string
	p.scan(&keys, "select array_agg(object_key order by size) from blobs")
	damage := func(keys ...string) {
		for _, key := range keys {
			services.SharedS3(t).Damage(t, p.settings.Name, key)
		}
	}
	damage(keys[0])
	if n := restore(false, -1); n != 0 {
		t.Errorf("%d copied by their size", n)
	}
	if _, wrong := p.check(); len(wrong) != 1 {
		t.Errorf("%v", wrong)
	}
	if n := restore(true, -1); n != 1 {
		t.Errorf("%d copied", n)
	}
	damage(keys[:3]...)
	for { // one of the four is looked at, of which three are damaged
		if n := restore(false, 1); n == 3 {
			break
		} else if n > 0 {
			t.Fatalf("%d copied", n)
		}
	}
	if _, wrong := p.check(); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
}

// A restore that was interrupted goes on with the set that it has chosen, whatever sets have come since.
func TestRestoreGoesOnWithItsSet(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	settings, d := archive(t)
	set := p.backUp(d)
	pg := services.SharedPostgres(t)
	q := &platform{t: t, url: pg.URL(pg.Empty(t)), settings: services.SharedS3(t).Bucket(t)}
	w := victimWork{Kind: "restore", DatabaseURL: q.url, Bucket: q.settings, Destination: settings}
	for w.KillAt = 1; ; w.KillAt++ {
		if step := w.killed(t); step == "restored" {
			break
		} else if step == "" {
			t.Fatal("it was not killed")
		}
	}
	p.fill(2)
	p.backUp(d)
	if w.KillAt = 0; w.killed(t) != "" {
		t.Error("it does not go on")
	}
	q.open()
	if rows, wrong := q.check(); int64(rows) != set.Blobs.Objects || len(wrong) > 0 {
		t.Errorf("%d rows of %d, %v", rows, set.Blobs.Objects, wrong)
	}
}

// A restore that is known by its id is done once, however often it is asked for: what was changed since stays.
func TestRestoreOfOneID(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	p.exec(`update blobs set metadata = '{"width": 1}', width = 1`)
	_, d := archive(t)
	p.backUp(d)
	one := func(o *RestoreOptions) { o.ID = "one" }
	q, _ := restored(t, d, one)
	if n, all := q.count("select count(*) from blobs where reread"), q.count("select count(*) from blobs"); n != all {
		t.Errorf("thumbnails of %d pictures are made anew, of %d", n, all)
	}
	q.exec("update assets set category = 'changed'")
	o := q.restoring(d, overwriting, one)
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if n := q.count("select count(*) from assets where category = 'changed'"); n != 4 {
		t.Errorf("%d assets are left as they were changed", n)
	}
	o.ID = "two"
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if n := q.count("select count(*) from assets where category = 'changed'"); n != 0 {
		t.Errorf("another restore has left %d assets as they were changed", n)
	}
}

// A database that refuses in the middle is an error that says why, at once, and it stays as it was.
func TestRestoreThatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(300) // of which the dump does not fit into what a pipe holds
	_, d := archive(t)
	p.backUp(d)
	pg := services.SharedPostgres(t)
	database := pg.Empty(t)
	role := "weak_" + database
	pg.Exec(t, "create role "+role+" login password 'x'")
	bucket, err := objectstore.New(t.Context(), services.SharedS3(t).Bucket(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = Restore(ctx, RestoreOptions{Destination: d, DatabaseURL: pg.URLOf(database, role, "x"), Bucket: bucket, Name: "studio", Log: discard})
	if err == nil || !strings.Contains(err.Error(), "permission denied") || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
	target, err := store.OpenTarget(t.Context(), pg.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if !target.Empty() {
		t.Errorf("something was restored: %s", target.Contents())
	}
}

// A set whose dump is not what its manifest says changes nothing; what was loose in its database does not keep it from being restored.
func TestRestoreOfAnotherSet(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	p.exec("alter table projects add constraint loose foreign key (id) references users (id) not valid")
	_, d := archive(t)
	set := p.backUp(d)
	q, done := restored(t, d)
	if rows, wrong := q.check(); rows != 4 || len(wrong) > 0 || done.Rows == 0 {
		t.Errorf("%d rows, %v; %+v", rows, wrong, done)
	}
	rewrite(t, d, set.ID, func(m *Manifest) { m.Database.Rows["assets"]++; m.Database.Schema++ })
	p.fill(2)
	_, err := Restore(t.Context(), p.restoring(d, overwriting, func(o *RestoreOptions) { o.Set = set.ID }))
	problem(t, err, config.CodeSetDamaged)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("schema %d of %d, assets has 4 rows of 5", set.Database.Schema, set.Database.Schema+1)) {
		t.Errorf("%v", err)
	}
	p.open()
	if n := p.count("select count(*) from assets"); n != 7 {
		t.Errorf("%d assets are left of 7", n)
	}
}

// Somebody who has no key reads nothing of an encrypted set but hashes, and nobody changes the manifest of a signed one.
func TestEncryptedAndSigned(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	const secret = "what nobody else is to read"
	p.fill(5)
	p.upload(p.users[0], []byte(strings.Repeat(secret, 100)))
	settings, d := archive(t)
	identity, private := newIdentity(t), newSigningKey(t)
	sealed := func(o *CreateOptions) {
		o.Recipients, o.SigningKey, o.PlatformObject = append(o.Recipients, identity.Recipient()), private, []byte("kind: AssetPlatform # "+secret)
	}
	set := p.backUp(d, sealed)
	if next := p.backUp(d, sealed); next.Blobs.Copied != 0 || !next.Encrypted {
		t.Errorf("%+v", next.Blobs)
	}
	for _, key := range services.SharedS3(t).Keys(t, settings.Name) {
		if text, err := d.read(t.Context(), key); err != nil || strings.Contains(string(text), secret) || strings.Contains(string(text), "alice@example.com") {
			t.Errorf("%s can be read: %v", key, err)
		}
	}
	if _, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); err != nil { // without a key
		t.Error(err)
	}
	o := p.restoring(d, overwriting)
	_, err := Restore(t.Context(), o)
	problem(t, err, config.CodeConfigInvalid)
	o.Identities = append(o.Identities, newIdentity(t))
	if _, err := Restore(t.Context(), o); err == nil {
		t.Error("another identity decrypts it")
	}
	q, done := restored(t, d, func(o *RestoreOptions) { o.Identities = append(o.Identities, identity) })
	if rows, wrong := q.check(); int64(rows) != done.Copied || rows == 0 || len(wrong) > 0 {
		t.Errorf("%d rows, %v", rows, wrong)
	}

	d.VerifyKey = private.Public().(ed25519.PublicKey)
	if m, err := d.Manifest(t.Context(), set.ID); err != nil || m.ID != set.ID {
		t.Errorf("the signature: %v", err)
	}
	manifest, err := d.read(t.Context(), setKey(set.ID, manifestFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Archive.Replace(t.Context(), setKey(set.ID, manifestFile), strings.NewReader(strings.Replace(string(manifest), "\"encrypted\": true", "\"encrypted\": false", 1))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Manifest(t.Context(), set.ID); !errors.Is(err, ErrTampered) {
		t.Errorf("a manifest that was changed: %v", err)
	}
	l, err := d.List(t.Context())
	if err != nil || len(l.Bad) != 1 || len(l.Sets) != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := d.Remover.Delete(t.Context(), setKey(l.Sets[0].ID, signatureFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Manifest(t.Context(), l.Sets[0].ID); !errors.Is(err, ErrTampered) {
		t.Errorf("one that is not signed: %v", err)
	}
}

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

func newSigningKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private
}
