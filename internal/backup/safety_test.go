package backup

import (
	"errors"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
)

func safety(o *CreateOptions) { o.Safety, o.AllowShrunken = true, true }

// The set that a restore makes of an emptied database is nothing by which to tell whether the next one has lost everything.
func TestSafetySetOfAnEmptiedDatabase(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(1)
	_, d := archive(t)
	set := p.backUp(d)
	p.exec("truncate users cascade")
	p.backUp(d, safety)
	_, err := p.tried(d)
	problem(t, err, config.CodeSourceEmptied)
	if err == nil || !strings.Contains(err.Error(), set.ID) {
		t.Errorf("%v", err)
	}
	p.backUp(d, func(o *CreateOptions) { o.AllowShrunken = true })
	p.backUp(d)
}

// Nothing goes while backups fail, also where a restore has made a set of what it overwrites since.
func TestSafetySetWhileBackupsFail(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, p *platform, d Destination){
		"unfinished": func(t *testing.T, p *platform, d Destination) {
			if _, err := p.tried(d, func(o *CreateOptions) { o.programs = fakePgDump(t, "exit 1") }); err == nil {
				t.Fatal("no error")
			}
		},
		"not verified": func(t *testing.T, p *platform, d Destination) {
			set := p.backUp(d)
			if err := d.Remover.Delete(t.Context(), setKey(set.ID, dumpFile)); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(1)
			_, d := archive(t)
			prune := func() Pruned {
				pruned, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1})
				if err != nil {
					t.Fatal(err)
				}
				return pruned
			}
			p.backUp(d, safety)
			if pruned := prune(); pruned.Held == "" || len(pruned.Removed) > 0 { // there is no regular one
				t.Errorf("%+v", pruned)
			}
			p.backUp(d)
			p.backUp(d)
			fail(t, p, d)
			p.backUp(d, safety)
			if pruned := prune(); pruned.Held == "" || len(pruned.Removed) > 0 {
				t.Errorf("%+v", pruned)
			}
			p.backUp(d)
			p.backUp(d, safety) // takes nobody's place, and holds nothing up
			if pruned := prune(); pruned.Held != "" || len(pruned.Removed) == 0 {
				t.Errorf("%+v", pruned)
			}
		})
	}
}
