package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/test/services"
)

// victimVariable has a copy of this program do one piece of work, and kill itself in the middle.
const victimVariable = "BACKUP_TEST_VICTIM"

// victimWork is what a victim does.
type victimWork struct {
	Kind        string // create, prune, restore, scrub or drill
	DatabaseURL string
	Bucket      config.Bucket
	Destination config.Bucket
	Set         string
	Program     string // of a drill
	TempDir     string
	KillAt      int // the step, from 1 on, in which it ends
	NoFiles     bool
}

// victim does the work, and ends the process.
func victim(text string) {
	var w victimWork
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		panic(err)
	}
	if w.NoFiles { // as if its disk were full
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{}); err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	steps := 0
	step := func(name string) {
		if steps++; steps == w.KillAt {
			fmt.Fprintln(os.Stderr, "killed in:", name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	archive, err := objectstore.NewArchive(ctx, w.Destination)
	if err != nil {
		panic(err)
	}
	bucket, err := objectstore.New(ctx, w.Bucket, nil)
	if err != nil {
		panic(err)
	}
	d := Destination{Archive: archive, Remover: archive}
	switch w.Kind {
	case "create":
		_, err = Create(ctx, CreateOptions{DatabaseURL: w.DatabaseURL, Bucket: bucket, Destination: d, Tool: "test", Log: discard, Workers: 1, step: step})
	case "prune":
		_, err = d.Prune(ctx, PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1, step: step})
	case "drill":
		_, err = Drill(ctx, DrillOptions{Destination: d, DatabaseURL: w.DatabaseURL, Program: w.Program, Log: discard, Workers: 1, step: step})
	case "scrub":
		o := ScrubOptions{Log: discard, step: step}
		small(&o)
		if _, err = d.Scrub(ctx, o); errors.Is(err, ErrDamaged) {
			err = nil
		}
	case "restore":
		_, err = Restore(ctx, RestoreOptions{Destination: d, Set: w.Set, DatabaseURL: w.DatabaseURL, Bucket: bucket, Name: "studio", ID: "one", Log: discard, Workers: 1, step: step})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run runs a victim, and tells what it said.
func (w victimWork) run(t *testing.T) (out []byte, err error) {
	t.Helper()
	text, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimVariable+"="+string(text))
	if w.TempDir != "" {
		cmd.Env = append(cmd.Env, "TMPDIR="+w.TempDir)
	}
	return cmd.CombinedOutput()
}

// killed runs a victim, and tells where it ended; empty: it did all of its work.
func (w victimWork) killed(t *testing.T) string {
	t.Helper()
	out, err := w.run(t)
	if err == nil {
		return ""
	}
	_, step, ok := strings.Cut(string(out), "killed in: ")
	if !ok {
		t.Fatalf("%s: %v: %s", w.Kind, err, out)
	}
	return strings.TrimSpace(step)
}

// Killed at any step, the work is done by who runs next, and nothing that was verified is lost.
func TestF03KilledAtEveryStep(t *testing.T) {
	t.Parallel()
	t.Run("create", func(t *testing.T) {
		t.Parallel()
		p := newPlatform(t)
		settings, d := archive(t)
		p.fill(2)
		verified := p.backUp(d)
		for at := 1; ; at++ {
			p.fill(2)
			before, _ := d.List(t.Context())
			step := victimWork{Kind: "create", DatabaseURL: p.url, Bucket: p.settings, Destination: settings, KillAt: at}.killed(t)
			if step == "" {
				break
			}
			after, err := d.List(t.Context())
			if err != nil || len(after.Bad) > 0 {
				t.Fatalf("killed in %s: %v, %v", step, after.Bad, err)
			}
			if newest, ok := after.Newest(); !ok || newest.ID < verified.ID || len(after.Sets) < len(before.Sets) {
				t.Errorf("killed in %s: %d sets of %d are left", step, len(after.Sets), len(before.Sets))
			}
			for _, s := range after.Sets { // also one that was not verified any more
				if _, err := d.Verify(t.Context(), s.ID, VerifyOptions{}); err != nil {
					t.Errorf("killed in %s: %v", step, err)
				}
			}
			verified = p.backUp(d)
		}
		if _, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard}); err != nil {
			t.Error(err)
		}
		q, _ := restored(t, d)
		if rows, wrong := q.check(); len(wrong) > 0 || rows == 0 {
			t.Errorf("%d rows, %v", rows, wrong)
		}
	})
	t.Run("prune", func(t *testing.T) {
		t.Parallel()
		p := newPlatform(t)
		settings, d := archive(t)
		for at := 1; ; at++ {
			a := p.upload(p.users[0], []byte(fmt.Sprint("only in the first set ", at)))
			p.upload(p.users[0], []byte(fmt.Sprint("in both ", at)))
			p.backUp(d)
			if _, err := p.store.PurgeAsset(t.Context(), p.users[0].ID, a.ID); err != nil {
				t.Fatal(err)
			}
			newest := p.backUp(d)
			var step string
			for range 2 { // the second finds what the first has marked
				if step = (victimWork{Kind: "prune", Bucket: p.settings, Destination: settings, KillAt: at}).killed(t); step != "" {
					break
				}
			}
			if _, err := d.Verify(t.Context(), newest.ID, VerifyOptions{}); err != nil {
				t.Errorf("killed in %s: %v", step, err)
			}
			for range 3 { // the rest of a removal, a mark, and a sweep
				if _, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1}); err != nil {
					t.Fatal(err)
				}
			}
			l, err := d.List(t.Context())
			if err != nil || len(l.Sets) != 1 || len(l.Unfinished) != 0 {
				t.Fatalf("killed in %s: %d sets, %v, %v", step, len(l.Sets), l.Unfinished, err)
			}
			blobs := int64(0)
			for _, key := range services.SharedS3(t).Keys(t, settings.Name) {
				if strings.HasPrefix(key, blobsFolder) {
					blobs++
				}
			}
			if blobs != newest.Blobs.Count {
				t.Errorf("killed in %s: %d blobs are left, and the set has %d", step, blobs, newest.Blobs.Count)
			}
			if step == "" {
				break
			}
		}
	})
	t.Run("restore", func(t *testing.T) {
		t.Parallel()
		p := newPlatform(t)
		p.fill(3)
		settings, d := archive(t)
		set := p.backUp(d)
		for at := 1; ; at++ {
			pg := services.SharedPostgres(t)
			q := &platform{t: t, url: pg.URL(pg.Empty(t)), settings: services.SharedS3(t).Bucket(t)}
			w := victimWork{Kind: "restore", DatabaseURL: q.url, Bucket: q.settings, Destination: settings, Set: set.ID, KillAt: at}
			step := w.killed(t)
			if w.KillAt = 0; step != "" && w.killed(t) != "" {
				t.Errorf("killed in %s: it does not go on", step)
			}
			q.open()
			if rows, wrong := q.check(); int64(rows) != set.Blobs.Objects || len(wrong) > 0 {
				t.Errorf("killed in %s: %d rows, %v", step, rows, wrong)
			}
			if step == "" {
				break
			}
		}
	})
}
