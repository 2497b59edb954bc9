package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// problem fails the test unless an error has this code, and says what to do.
func problem(t *testing.T, err error, code config.Code) {
	t.Helper()
	var p *store.Problem
	if !errors.As(err, &p) || p.Code != code || p.Remedy == "" {
		t.Errorf("%v, want %s and a remedy", err, code)
	}
}

// sets is how many sets and unfinished ones a destination has.
func sets(t *testing.T, d Destination) (finished, unfinished int) {
	t.Helper()
	l, err := d.List(context.Background())
	if err != nil || len(l.Bad) > 0 {
		t.Fatalf("%v, %v", l.Bad, err)
	}
	return len(l.Sets), len(l.Unfinished)
}

// The bucket lost everything, or the database: what was kept stays, and can be brought back.
func TestF01SourceLost(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(20)
	_, d := archive(t)
	first := p.backUp(d)
	client := services.SharedS3(t).Client()
	for _, key := range services.SharedS3(t).Keys(t, p.settings.Name) {
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &p.settings.Name, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	second := p.backUp(d) // needs nothing of the bucket
	if second.Blobs.Count != first.Blobs.Count || second.Blobs.Copied != 0 {
		t.Errorf("%+v", second.Blobs)
	}
	if _, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1}); err != nil {
		t.Fatal(err)
	}
	p.exec("truncate users cascade")
	_, err := Create(t.Context(), p.options(d))
	problem(t, err, config.CodeSourceEmptied)
	q, done := restored(t, d)
	if rows, wrong := q.check(); len(wrong) > 0 || rows == 0 || done.Set != second.ID {
		t.Errorf("%+v: %d rows, %v", done, rows, wrong)
	}
}

// A dump that is not whole makes no set, whatever pg_dump says of it.
func TestF02DumpDies(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(5)
	for name, script := range map[string]string{
		"dies half-way":      `"$real" "$@" | head -c 20000; exit 1`,
		"cut off, and lies":  `"$real" "$@" | head -c 20000`,
		"empty, and lies":    `exit 0`,
		"another schema":     `"$real" "$@" --exclude-table=assets`,
		"without some rows":  `"$real" "$@" --exclude-table-data=users`,
		"no dump":            `echo this is no dump`,
		"of an old version":  `echo "pg_dump (PostgreSQL) 9.6.24"`,
		"there is no such":   ``,
		"says what is wrong": `echo "pg_dump: error: out of cheese" >&2; exit 1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, d := archive(t)
			o := p.options(d)
			o.programs = fakePgDump(t, script)
			_, err := Create(t.Context(), o)
			switch name {
			case "of an old version":
				problem(t, err, config.CodePgDumpTooOld)
			case "there is no such":
				problem(t, err, config.CodePgDumpMissing)
			case "says what is wrong":
				if err == nil || !strings.Contains(err.Error(), "out of cheese") {
					t.Error(err)
				}
			}
			if finished, _ := sets(t, d); err == nil || finished != 0 {
				t.Errorf("%v, and %d sets", err, finished)
			}
		})
	}
}

// fakePgDump is a directory of PostgreSQL's programs with another pg_dump, which tells the real one's version unless it is all that it does.
func fakePgDump(t *testing.T, script string) programs {
	t.Helper()
	const real = "/usr/lib/postgresql/15/bin/"
	dir := t.TempDir()
	for _, name := range []string{"pg_restore", "psql"} {
		if err := os.Symlink(real+name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if script != "" {
		version := `if [ "$1" = --version ]; then exec "$real" --version; fi` + "\n"
		if strings.Contains(script, "9.6") {
			version = ""
		}
		if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte("#!/bin/sh\nreal="+real+"pg_dump\n"+version+script+"\n"), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	return programs(dir)
}

// behind is the destination behind a proxy, which sees each request.
func behind(t *testing.T, settings config.Bucket, see func(http.ResponseWriter, *http.Request) bool) Destination {
	t.Helper()
	settings.Endpoint = services.Front(t, settings.Endpoint, see)
	return impatient(t, settings, 10*time.Second)
}

// impatient is a destination that is asked again at once, and may stand still only so long.
func impatient(t *testing.T, settings config.Bucket, still time.Duration) Destination {
	t.Helper()
	a, err := objectstore.NewArchiveWith(context.Background(), settings, patience(still))
	if err != nil {
		t.Fatal(err)
	}
	return Destination{Archive: a, Remover: a}
}

func patience(still time.Duration) objectstore.Patience {
	return objectstore.Patience{Write: still, Answer: still, Read: still, Rate: 16 << 10, Attempts: 5, Backoff: 50 * time.Millisecond}
}

// A part that does not arrive leaves no set, and the next run makes one.
func TestF04PartNeverArrives(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"database.dump", "inventory.jsonl.gz", "manifest.json", "blobs/sha256"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(5)
			settings, d := archive(t)
			faulty := behind(t, settings, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, part) {
					http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
					return true
				}
				return false
			})
			if _, err := Create(t.Context(), p.options(faulty)); err == nil {
				t.Error("no error")
			}
			if finished, unfinished := sets(t, d); finished != 0 || unfinished != 1 {
				t.Errorf("%d sets, %d unfinished", finished, unfinished)
			}
			p.backUp(d)
		})
	}
}

// Bytes to which rows refer and that the bucket does not have are told, and such a set does not count as verified.
func TestF04SourceLacksBytes(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} { // sealed bytes come through this process, others are copied by the service
		t.Run(fmt.Sprintf("sealed %t", sealed), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(5)
			a, b := p.upload(p.users[0], []byte(strings.Repeat("lost", 100))), p.upload(p.users[0], []byte(strings.Repeat("rotten", 100)))
			key, err := p.store.ObjectKey(t.Context(), a)
			if err == nil {
				err = p.bucket.Delete(t.Context(), key)
			}
			if err == nil {
				key, err = p.store.ObjectKey(t.Context(), b)
			}
			if err != nil {
				t.Fatal(err)
			}
			services.SharedS3(t).Damage(t, p.settings.Name, key)
			_, d := archive(t)
			o, identity := p.options(d), newIdentity(t)
			if sealed {
				o.Recipients = append(o.Recipients, identity.Recipient())
			}
			set, err := Create(t.Context(), o)
			if err != nil || len(set.Blobs.Missing) != 2 || set.Verified() {
				t.Errorf("%+v, %v", set.Blobs, err)
			}
			if _, err := d.choose(t.Context(), "", time.Time{}, nil); !errors.Is(err, ErrNoSet) {
				t.Errorf("restored without being asked for: %v", err)
			}
			q, done := restored(t, d, func(o *RestoreOptions) {
				o.Set, o.Identities = set.ID, append(o.Identities, identity)
				_, err := Restore(t.Context(), *o)
				problem(t, err, config.CodeSetDamaged)
				o.AllowMissing = true
			})
			if _, wrong := q.check(); len(wrong) != 2 || len(done.Missing) != 2 {
				t.Errorf("%+v: %v", done, wrong)
			}
		})
	}
}

// Other bytes of the same size are other bytes.
func TestF06SameSize(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	one, two := bytes.Repeat([]byte{1}, 1000), bytes.Repeat([]byte{2}, 1000)
	_, d := archive(t)
	p.upload(p.users[0], one)
	p.backUp(d)
	p.upload(p.users[0], two)
	if set := p.backUp(d); set.Blobs.Copied != 1 {
		t.Errorf("%+v", set.Blobs)
	}
	q, _ := restored(t, d)
	if rows, wrong := q.check(); rows != 2 || len(wrong) > 0 {
		t.Errorf("%d rows, %v", rows, wrong)
	}
}

// What rots in the destination is found by reading it, and the next set brings it anew; sets that need it are whole again.
func TestF07BitRot(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(10)
	settings, d := archive(t)
	set := p.backUp(d)
	blob := blobOf(t, settings, 500)
	services.SharedS3(t).Damage(t, settings.Name, blob)
	found, err := d.Verify(t.Context(), set.ID, VerifyOptions{})
	if !errors.Is(err, ErrDamaged) || !slices.Equal(found.Damage, []string{blob}) {
		t.Errorf("%v, %v", found.Damage, err)
	}
	if _, err := d.choose(t.Context(), "", time.Time{}, nil); !errors.Is(err, ErrNoSet) {
		t.Errorf("a damaged set is chosen: %v", err)
	}
	if next := p.backUp(d); next.Blobs.Copied != 1 {
		t.Errorf("%+v", next.Blobs)
	}
	if again, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); err != nil || !again.Verified() {
		t.Errorf("%v, %v", again.Damage, err)
	}
}

// An encrypted blob that is replaced, or brought again, has other bytes than those that older sets know, and is right for them too.
func TestF07BitRotSealed(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.upload(p.users[0], bytes.Repeat([]byte("rots"), 1000))
	settings, d := archive(t)
	identity, another := newIdentity(t), newIdentity(t)
	sealed := func(o *CreateOptions) { o.Recipients = append(o.Recipients, identity.Recipient()) }
	both := func(o *CreateOptions) { o.Recipients = append(o.Recipients, identity.Recipient(), another.Recipient()) } // makes it longer
	all := []Set{p.backUp(d, sealed)}
	for i, edit := range []func(*CreateOptions){sealed, both, sealed} {
		blob := blobOf(t, settings, 500)
		services.SharedS3(t).Damage(t, settings.Name, blob)
		if i == 2 {
			if err := d.Archive.Delete(t.Context(), blob); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Verify(t.Context(), all[0].ID, VerifyOptions{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%v", err)
		}
		all = append(all, p.backUp(d, edit))
		if next := p.backUp(d, edit); next.Blobs.Copied != 0 {
			t.Errorf("%+v", next.Blobs)
		}
		for i, s := range all {
			if _, err := d.Verify(t.Context(), s.ID, VerifyOptions{}); err != nil {
				t.Errorf("set %d of %d: %v", i+1, len(all), err)
			}
		}
	}
}

// blobOf is the key of a blob of at least so many bytes.
func blobOf(t *testing.T, settings config.Bucket, least int64) string {
	t.Helper()
	for o, err := range destination(t, settings).Archive.List(t.Context(), blobsFolder, "") {
		if err != nil {
			t.Fatal(err)
		}
		if o.Size >= least {
			return o.Key
		}
	}
	t.Fatal("no blob")
	return ""
}

// What the newest set had and the destination has no more, or only a part of, is brought anew.
func TestF09DamagedBase(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(10)
	settings, d := archive(t)
	first := p.backUp(d)
	blob := blobOf(t, settings, 500)
	for name, spoil := range map[string]func() error{
		"gone":     func() error { return d.Archive.Delete(t.Context(), blob) },
		"cut off":  func() error { _, err := d.Archive.Replace(t.Context(), blob, strings.NewReader("half")); return err },
		"no files": func() error { return d.Archive.Delete(t.Context(), setKey(first.ID, dumpFile)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		set := p.backUp(d)
		if want := map[string]int64{"no files": 0}; set.Blobs.Copied != 1-want[name] && name != "no files" {
			t.Errorf("%s: %+v", name, set.Blobs)
		}
		if _, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A destination that is away, or hangs, is an error within a time.
func TestF13DestinationAway(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	settings, d := archive(t)
	away := settings
	away.Endpoint = fmt.Sprintf("http://127.0.0.1:%d", services.FreePort(t))
	_, err := Create(t.Context(), p.options(impatient(t, away, 10*time.Second)))
	var problem *store.Problem
	if !errors.As(err, &problem) || problem.Code != config.CodeDestinationUnavailable {
		t.Errorf("away: %v", err)
	}
	// One that dies half-way.
	var puts atomic.Int32
	dying := behind(t, settings, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && puts.Add(1) > 3 {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	began := time.Now()
	if _, err := Create(t.Context(), p.options(dying)); !errors.Is(err, objectstore.ErrUnavailable) || time.Since(began) > 2*time.Minute {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if finished, _ := sets(t, d); finished != 0 {
		t.Errorf("%d sets", finished)
	}
}
