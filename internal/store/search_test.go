package store

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// What is searchable of an asset is bounded, whatever it is called: the name first, then the tags that fit.
func TestSearchableIsBounded(t *testing.T) {
	t.Parallel()
	owner := uuid.New()
	var tags []string
	next := '\u4e00'
	for range MaxTags {
		tag := ""
		for range 64 {
			tag += string(next)
			next++
		}
		tags = append(tags, tag)
	}
	x := newIndexer(owner)
	for _, name := range []string{"hero.png", strings.Repeat("ﷺ", 255), tags[0] + tags[1] + tags[2] + tags[3]} {
		s := x.searchable(name, append(slices.Clone(tags), "red"))
		texts := strings.Split(s.Text, fieldSeparator)
		if len(s.Grams) > maxGrams || len([]rune(texts[0])) > maxLetters {
			t.Errorf("%.20s: %d pieces, %d letters", name, len(s.Grams), len([]rune(texts[0])))
		}
		want := wordGrams(owner, inName, texts[0])
		for _, tag := range []string{tags[0], "red"} {
			if !slices.Contains(texts, tag) {
				t.Errorf("%.20s: the tag %.20s is missing", name, tag)
			}
			want = append(want, wordGrams(owner, inTags, tag)...)
		}
		for _, gram := range want {
			if !slices.Contains(s.Grams, gram) {
				t.Errorf("%.20s: a piece is missing", name)
			}
		}
		if again := searchableOf(owner, name, append(slices.Clone(tags), "red")); s.Text != again.Text || !slices.Equal(s.Grams, again.Grams) {
			t.Errorf("%.20s: what is known of the tags changes what is searchable", name)
		}
	}
}

// The hashes that are stored are those of hash/fnv.
func TestGrams(t *testing.T) {
	t.Parallel()
	owner := uuid.New()
	var want []int32
	for _, piece := range []string{"勇", "者", "a", "勇者", "者a", "勇者a"} {
		h := fnv.New32a()
		h.Write(append(append(owner[:], inName), piece...))
		want = append(want, int32(h.Sum32()))
	}
	if got := grams(owner, inName, "勇者a", 1); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// The distance is what it is without leaving out what cannot matter.
func TestDistance(t *testing.T) {
	t.Parallel()
	plain := func(pattern, text []rune) int {
		column := make([]int, len(pattern)+1)
		for i := range column {
			column[i] = i
		}
		best := len(pattern)
		for _, letter := range text {
			before := 0
			for i, wanted := range pattern {
				changed := before
				if wanted != letter {
					changed++
				}
				before = column[i+1]
				column[i+1] = min(changed, column[i+1]+1, column[i]+1)
			}
			best = min(best, column[len(pattern)])
		}
		return best
	}
	random := rand.New(rand.NewPCG(1, 2))
	letters := func(most int) []rune {
		text := make([]rune, random.IntN(most))
		for i := range text {
			text[i] = 'a' + random.Int32N(3)
		}
		return text
	}
	for range 20_000 {
		pattern, text, most := letters(12), letters(20), random.IntN(4)
		if got, want := distance(pattern, text, most), min(plain(pattern, text), most+1); got != want {
			t.Fatalf("%s in %s, %d at most: %d, want %d", string(pattern), string(text), most, got, want)
		}
	}
}

// The longest comparison: of texts of one letter nothing can be left out.
func BenchmarkDistance(b *testing.B) {
	pattern, text := []rune(strings.Repeat("き", maxLetters-2)+"qq"), []rune(strings.Repeat("き", maxLetters))
	for b.Loop() {
		distance(pattern, text, 2)
	}
}

// A place in a project has what lists sort by, whatever changes it, and lists in a project are read from an index.
func TestPlacesInProjects(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	project, err := s.CreateProject(t.Context(), alice.ID, NewProject{Name: "Village"})
	if err != nil {
		t.Fatal(err)
	}
	asset, _ := upload(t, s, alice.ID, "hero.png", "bytes")
	other, _ := upload(t, s, alice.ID, "other.png", "bytes")
	if _, err := s.AddToProject(t.Context(), alice.ID, project.ID, []uuid.UUID{asset.ID, other.ID}); err != nil {
		t.Fatal(err)
	}
	name := "knight.png"
	for what, change := range map[string]func() error{
		"name": func() error {
			_, err := s.UpdateAsset(t.Context(), alice.ID, asset.ID, AssetChange{OriginalName: &name})
			return err
		},
		"trash": func() error { return s.TrashAsset(t.Context(), alice.ID, other.ID) },
		"size":  func() error { exec(t, s, "update assets set file_size = 7"); return nil },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if n := query[int](t, s, `select count(*) from project_assets join assets on id = asset_id
where (asset_user_id, asset_created_at, asset_updated_at, asset_original_name, asset_file_size, asset_trashed)
    is distinct from (user_id, created_at, updated_at, original_name, file_size, deleted_at is not null)`); n > 0 {
			t.Errorf("%d places are not as their assets after a change of the %s", n, what)
		}
	}
	if p, err := s.Project(t.Context(), alice.ID, project.ID); err != nil || p.Assets != 1 {
		t.Errorf("%+v, %v", p, err)
	}

	exec(t, s, `insert into assets (id, user_id, sha256, original_name, file_type, mime_type, file_size, created_at)
select gen_random_uuid(), user_id, sha256, 'n' || i, 'IMAGE', 'image/png', i, now() - i * interval '1 second' from assets, generate_series(1, 3000) i where id = $1`, asset.ID)
	exec(t, s, "insert into project_assets (project_id, asset_id) select $1, id from assets where deleted_at is null on conflict do nothing", project.ID)
	exec(t, s, "analyze")
	for sort := range assetSorts {
		l, _, err := s.library(t.Context(), alice.ID, AssetFilter{ProjectID: project.ID})
		if err != nil {
			t.Fatal(err)
		}
		c := l.sorts[sort]
		plan := query[string](t, s, "explain (format json) "+l.q.page("select id from "+l.from, fmt.Sprintf("%s desc, %s desc", c.column, c.id), 21, 0), l.q.args...)
		if strings.Contains(plan, `"Sort"`) || strings.Contains(plan, "Hash") {
			t.Errorf("by %s the list is sorted:\n%s", sort, plan)
		}
	}
}

// An asset that is changed while it comes into a project has its place as it is afterwards.
func TestPlacesOfChangingAssets(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	asset, _ := upload(t, s, alice.ID, "hero.png", "bytes")
	project, err := s.CreateProject(t.Context(), alice.ID, NewProject{Name: "Village"})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "update assets set original_name = 'knight.png' where id = $1", asset.ID); err != nil {
		t.Fatal(err)
	}
	added := make(chan error)
	go func() {
		_, err := s.AddToProject(t.Context(), alice.ID, project.ID, []uuid.UUID{asset.ID})
		added <- err
	}()
	for query[int](t, s, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") == 0 {
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	if name := query[string](t, s, "select asset_original_name from project_assets"); name != "knight.png" {
		t.Errorf("its place says %s", name)
	}
}

// Who may do what in a project is told without counting its assets.
func TestRolesAreToldWithoutCounting(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice, bob := newUser(t, s, "alice"), newUser(t, s, "bob")
	project, err := s.CreateProject(t.Context(), alice.ID, NewProject{Name: "Village"})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "lock table project_assets"); err != nil { // who counts waits
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if role, err := s.ProjectRole(ctx, alice.ID, project.ID); err != nil || role != AccessOwner {
		t.Errorf("%s, %v", role, err)
	}
	if _, err := s.AddProjectMember(ctx, alice.ID, project.ID, bob.ID, AccessViewer); err != nil {
		t.Error(err)
	}
	if members, err := s.ProjectMembers(ctx, bob.ID, project.ID); err != nil || len(members) != 2 {
		t.Errorf("%v, %v", members, err)
	}
}
