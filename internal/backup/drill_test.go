package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

var programDir string // goes with the tests

// program is the real binary, built when the first test needs it.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "assetplatform")
	out, err := exec.Command("go", "build", "-o", path, "../../cmd/assetplatform").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// ownServer has a drill start a PostgreSQL.
func ownServer(o *DrillOptions) { o.DatabaseURL = "" }

// drilled tries the newest set in a database of its own, or what edit says.
func drilled(t *testing.T, d Destination, edit ...func(*DrillOptions)) (Drilled, error) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	pg := services.SharedPostgres(t)
	o := DrillOptions{Destination: d, DatabaseURL: pg.URL(pg.Empty(t)), Sample: 200, Program: path, Log: discard}
	for _, e := range edit {
		e(&o)
	}
	return Drill(t.Context(), o)
}

// withSounds makes some of the assets sounds.
func (p *platform) withSounds() {
	p.t.Helper()
	p.exec("update assets set file_type = 'AUDIO', mime_type = 'audio/wav' where file_size % 2 = 0")
	sound := p.upload(p.users[1], []byte("a sound"))
	p.exec("update assets set file_type = 'AUDIO', mime_type = 'audio/wav' where id = $1", sound.ID)
}

// A set that is whole is restored, looked at, and served, from the destination alone, and of that the destination tells.
func TestF12Drill(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted=%t", encrypted), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(20)
			p.withSounds()
			settings, d := archive(t)
			identity := newIdentity(t)
			set := p.backUp(d, func(o *CreateOptions) {
				if encrypted {
					o.Recipients = append(o.Recipients, identity.Recipient())
				}
			})
			keys := services.SharedS3(t).Keys(t, settings.Name)
			done, err := drilled(t, d, ownServer, func(o *DrillOptions) { o.Identities = []age.Identity{identity} })
			if err != nil {
				t.Fatal(err)
			}
			downloads := 0
			for _, path := range done.Served {
				if strings.HasSuffix(path, "/download") {
					downloads++
				}
			}
			if done.Set != set.ID || done.Sampled != set.Blobs.Count || done.Seconds == 0 || len(done.Steps) != 6 || downloads != 2 || done.SampledBytes != set.Blobs.Bytes {
				t.Errorf("%+v", done)
			}
			t.Logf("%+v", done.Steps)
			now := services.SharedS3(t).Keys(t, settings.Name)
			now = slices.DeleteFunc(now, func(key string) bool { return slices.Contains(keys, key) })
			if len(now) != 1 || !strings.HasPrefix(now[0], drillsFolder) {
				t.Errorf("the destination has %v more", now)
			}
			if r, err := d.LastDrill(t.Context()); err != nil || r.Set != set.ID || r.Code != config.CodeOK || r.Seconds != done.Seconds || !r.SnapshotTime.Equal(set.SnapshotTime) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// rewrite changes the manifest of a set, as one that was written so.
func rewrite(t *testing.T, d Destination, id string, edit func(*Manifest)) {
	t.Helper()
	ctx := context.Background()
	m, err := d.Manifest(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	edit(&m)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Archive.Replace(ctx, setKey(id, manifestFile), bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := d.note(ctx, id, verification{Time: time.Now()}, nil); err != nil {
		t.Fatal(err)
	}
}

// cutDump leaves half of the dump, which the manifest may know.
func cutDump(t *testing.T, d Destination, set Set, known bool) {
	t.Helper()
	key := setKey(set.ID, dumpFile)
	text, err := d.read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := d.Archive.Replace(t.Context(), key, bytes.NewReader(text[:len(text)/2]))
	if err != nil {
		t.Fatal(err)
	}
	if !known {
		return
	}
	rewrite(t, d, set.ID, func(m *Manifest) {
		i := slices.IndexFunc(m.Files, func(f File) bool { return f.Name == dumpFile })
		m.Files[i] = fileOf(dumpFile, sum)
	})
}

// What is wrong with a set is found by the drill, and said with a code of its own, also in the destination.
func TestF12DrillFails(t *testing.T) {
	t.Parallel()
	one := []byte(strings.Repeat("one of the blobs ", 50))
	blob := blobKey(sha256.Sum256(one), false)
	identity := newIdentity(t)
	type tried struct {
		p        *platform
		settings config.Bucket
		d        Destination
		set      Set
	}
	newerServer := func(t *testing.T, s tried) {
		rewrite(t, s.d, s.set.ID, func(m *Manifest) { m.Database.Server = "99.1" })
	}
	for name, test := range map[string]struct {
		code   config.Code
		before func(p *platform)
		create func(o *CreateOptions)
		after  func(t *testing.T, s tried)
		drill  func(o *DrillOptions)
	}{
		"dump cut off":              {code: config.CodeDrillDumpUnreadable, after: func(t *testing.T, s tried) { cutDump(t, s.d, s.set, false) }},
		"dump that was never whole": {code: config.CodeDrillDumpUnreadable, after: func(t *testing.T, s tried) { cutDump(t, s.d, s.set, true) }},
		"dump damaged": {code: config.CodeDrillDumpUnreadable, after: func(t *testing.T, s tried) {
			services.SharedS3(t).Damage(t, s.settings.Name, setKey(s.set.ID, dumpFile))
		}},
		"no dump": {code: config.CodeDrillDumpUnreadable, after: func(t *testing.T, s tried) {
			if err := s.d.Archive.Delete(t.Context(), setKey(s.set.ID, dumpFile)); err != nil {
				t.Error(err)
			}
		}},
		"dump that the database refuses": {code: config.CodeDrillRestoreFailed, before: func(p *platform) {
			p.exec("alter table assets disable trigger all")
			p.exec("update assets set sha256 = sha256('nowhere') where original_name = 'asset-1.png'")
		}},
		"another schema": {code: config.CodeDrillSchema, after: func(t *testing.T, s tried) { rewrite(t, s.d, s.set.ID, func(m *Manifest) { m.Database.Schema-- }) }},
		"newer schema":   {code: config.CodeDrillSchema, before: func(p *platform) { p.exec("update assetplatform_schema set schema = 999, compatible_from = 999") }},
		"other rows": {code: config.CodeDrillRows, after: func(t *testing.T, s tried) {
			rewrite(t, s.d, s.set.ID, func(m *Manifest) { m.Database.Rows["assets"]++ })
		}},
		"loose reference": {code: config.CodeDrillReferences, before: func(p *platform) {
			p.exec("alter table projects add constraint loose foreign key (id) references users (id) not valid")
		}},
		"blob missing": {code: config.CodeDrillBlobMissing, after: func(t *testing.T, s tried) {
			if err := s.d.Archive.Delete(t.Context(), blob); err != nil {
				t.Error(err)
			}
		}},
		"blob damaged":                       {code: config.CodeDrillBlobDamaged, after: func(t *testing.T, s tried) { services.SharedS3(t).Damage(t, s.settings.Name, blob) }},
		"column renamed":                     {code: config.CodeDrillServeFailed, before: func(p *platform) { p.exec("alter table assets rename column original_name to name") }},
		"no server":                          {code: config.CodeDrillServeFailed, drill: func(o *DrillOptions) { o.Program = "/bin/false" }},
		"no postgres":                        {code: config.CodeDrillPostgresMissing, drill: func(o *DrillOptions) { o.DatabaseURL, o.programs = "", fakePgDump(t, "") }},
		"newer PostgreSQL":                   {code: config.CodeDrillPostgresMissing, drill: ownServer, after: newerServer},
		"newer PostgreSQL than the database": {code: config.CodeDrillPostgresMissing, after: newerServer},
		"no identity":                        {code: config.CodeConfigInvalid, create: func(o *CreateOptions) { o.Recipients = append(o.Recipients, identity.Recipient()) }},
		"another identity": {
			code: config.CodeConfigInvalid, create: func(o *CreateOptions) { o.Recipients = append(o.Recipients, identity.Recipient()) },
			drill: func(o *DrillOptions) { o.Identities = append(o.Identities, newIdentity(t)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(3)
			p.upload(p.users[0], one)
			if test.before != nil {
				test.before(p)
			}
			settings, d := archive(t)
			create := func(*CreateOptions) {}
			if test.create != nil {
				create = test.create
			}
			s := tried{p, settings, d, p.backUp(d, create)}
			if test.after != nil {
				test.after(t, s)
			}
			drill := func(*DrillOptions) {}
			if test.drill != nil {
				drill = test.drill
			}
			done, err := drilled(t, d, drill)
			problem(t, err, test.code)
			if r, err := d.LastDrill(t.Context()); err != nil || r.Code != test.code || r.Set != s.set.ID || r.Seconds != 0 || done.Seconds != 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// A database that is named is taken only if it is empty and not the platform's, and is empty afterwards.
func TestF12DrillDatabase(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	_, d := archive(t)
	p.backUp(d)
	in := func(url string) func(*DrillOptions) {
		return func(o *DrillOptions) { o.DatabaseURL, o.Live = url, []string{p.url} }
	}
	_, err := drilled(t, d, in(strings.Replace(p.url, "sslmode=disable", "sslmode=disable&application_name=x", 1)))
	problem(t, err, config.CodeDrillDatabaseLive)
	other := newPlatform(t)
	_, err = drilled(t, d, in(other.url))
	problem(t, err, config.CodeTargetNotEmpty)
	if other.count("select count(*) from users") != 2 || p.count("select count(*) from assets") != 4 {
		t.Error("something was lost")
	}
	pg := services.SharedPostgres(t)
	empty := pg.URL(pg.Empty(t))
	// Twice, the second time where one that was killed has left all it had.
	if _, err := drilled(t, d, in(empty)); err != nil {
		t.Fatal(err)
	}
	if !isEmpty(t, empty) {
		t.Error("the database is not empty any more")
	}
	killed, cancel := context.WithCancel(t.Context())
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Drill(killed, DrillOptions{Destination: d, DatabaseURL: empty, Program: path, Log: discard, step: func(name string) {
		if name == "compare" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || !isEmpty(t, empty) {
		t.Errorf("one that is told to end: %v", err)
	}
	settings, _ := archive(t)
	again := destination(t, settings)
	p.backUp(again)
	if step := (victimWork{Kind: "drill", Destination: settings, DatabaseURL: empty, Program: path, KillAt: 3}).killed(t); step != "compare" || isEmpty(t, empty) {
		t.Errorf("killed in %q, and nothing is left", step)
	}
	if _, err := drilled(t, again, in(empty)); err != nil || !isEmpty(t, empty) {
		t.Error(err)
	}
}

func isEmpty(t *testing.T, url string) bool {
	t.Helper()
	target, err := store.OpenTarget(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	return target.Unused("")
}

// A drill that is killed leaves no process, and the next one works, and removes what is left; not what is another's that lives, or is about to
// begin.
func TestF12DrillKilled(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	settings, d := archive(t)
	p.backUp(d)
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "assetplatform-test-drill-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // for PostgreSQL's account
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	living, beginning, forgotten := filepath.Join(dir, drillDirectory+"living"), filepath.Join(dir, drillDirectory+"beginning"), filepath.Join(dir, drillDirectory+"forgotten")
	for path, made := range map[string]time.Time{living: {}, beginning: time.Now().Add(time.Hour), forgotten: time.Now().Add(-2 * drillLocks)} {
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chtimes(path, made, made)); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := lockDrill(living)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	every := 3 // steps
	if os.Getenv("SOAK") != "" {
		every = 1
	}
	for at := 2; ; at += every {
		step := victimWork{Kind: "drill", Destination: settings, Program: path, TempDir: dir, KillAt: at}.killed(t)
		for deadline := time.Now().Add(30 * time.Second); len(processesIn(t, dir)) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("killed in %s: these are left: %q", step, processesIn(t, dir))
			}
		}
		if step == "" {
			break
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || !slices.Equal(left, []string{beginning, living}) {
		t.Errorf("%v, %v", left, err)
	}
	if r, err := d.LastDrill(t.Context()); err != nil || r.Code != config.CodeOK {
		t.Errorf("%+v, %v", r, err)
	}
}

// processesIn are the command lines and the directories of processes that name a directory.
func processesIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range all {
		line, _ := os.ReadFile(filepath.Join(process, "cmdline")) // it may have ended
		at, _ := os.Readlink(filepath.Join(process, "cwd"))
		if text := string(line) + " in " + at; strings.Contains(text, dir) {
			found = append(found, text)
		}
	}
	return found
}

// A drill that has nowhere to keep its database says what to do.
func TestDrillWithoutDirectory(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "nowhere"))
	_, err := programs("").startThrowaway(t.Context(), "0")
	var problem *store.Problem
	if !errors.As(err, &problem) || problem.Code != config.CodeConfigInvalid || !strings.Contains(problem.Remedy, "TMPDIR") {
		t.Errorf("%v", err)
	}
}
