package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/test/services"
)

func TestMain(m *testing.M) { os.Exit(services.Main(m)) }

var discard = slog.New(slog.DiscardHandler)

func migrateURL(url string) error {
	_, err := Migrate(context.Background(), MigrateOptions{URL: url, LockWait: time.Minute, Log: discard})
	return err
}

// newStore opens a store on a fresh database of the shared server.
func newStore(t *testing.T) *Store {
	t.Helper()
	pg := services.SharedPostgres(t)
	s, err := Open(pg.URL(pg.Migrated(t, "store", migrateURL)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// newUser adds an account.
func newUser(t *testing.T, s *Store, name string) User {
	t.Helper()
	u, err := s.CreateUser(t.Context(), NewUser{Email: name + "@example.com", Username: name, PasswordHash: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// upload makes an asset as the server does: a note, the bytes (which this package never sees), the commit.
func upload(t *testing.T, s *Store, userID uuid.UUID, name, content string) (Asset, string) {
	t.Helper()
	key, err := s.BeginUpload(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	a, _, _, err := s.CommitUpload(t.Context(), newAsset(userID, key, name, content))
	if err != nil {
		t.Fatal(err)
	}
	return a, key
}

func newAsset(userID uuid.UUID, key, name, content string) NewAsset {
	return NewAsset{
		UserID: userID, ObjectKey: key, SHA256: sha256.Sum256([]byte(content)), FileSize: int64(len(content)),
		OriginalName: name, FileType: Image, MIMEType: "image/png",
	}
}

// query reads one value.
func query[T any](t *testing.T, s *Store, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := s.pool.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func exec(t *testing.T, s *Store, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestNamesAreUniqueWithoutCase(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	newUser(t, s, "Alice")
	_, err := s.CreateUser(t.Context(), NewUser{Email: "ALICE@example.com", Username: "other", PasswordHash: "x"})
	if !errors.Is(err, ErrEmailTaken) || !errors.Is(err, ErrConflict) {
		t.Errorf("same email: %v", err)
	}
	_, err = s.CreateUser(t.Context(), NewUser{Email: "other@example.com", Username: "aLICE", PasswordHash: "x"})
	if !errors.Is(err, ErrUsernameTaken) {
		t.Errorf("same user name: %v", err)
	}
	for _, login := range []string{"alice", "ALICE", "Alice@Example.com"} {
		if u, err := s.UserByLogin(t.Context(), login); err != nil || u.Username != "Alice" {
			t.Errorf("%s: %v, %v", login, u.Username, err)
		}
	}
	if _, err := s.UserByLogin(t.Context(), "bob"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown user: %v", err)
	}
}

// Every method with a user refuses to work without one, and finds nothing of another's.
func TestTenancy(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice, bob := newUser(t, s, "alice"), newUser(t, s, "bob")
	asset, key := upload(t, s, alice.ID, "a.png", "bytes")
	session, err := s.CreateSession(t.Context(), alice, "token", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	kept := func(context.Context, string) error { return errors.New("must not be asked to delete") }
	calls := map[string]func(uuid.UUID) error{
		"Asset":         func(id uuid.UUID) error { _, err := s.Asset(t.Context(), id, asset.ID); return err },
		"TrashAsset":    func(id uuid.UUID) error { return s.TrashAsset(t.Context(), id, asset.ID) },
		"PurgeAsset":    func(id uuid.UUID) error { _, err := s.PurgeAsset(t.Context(), id, asset.ID); return err },
		"SessionUser":   func(id uuid.UUID) error { _, err := s.SessionUser(t.Context(), id, session.ID); return err },
		"EndSession":    func(id uuid.UUID) error { return s.EndSession(t.Context(), id, session.ID) },
		"DiscardObject": func(id uuid.UUID) error { return s.DiscardObject(t.Context(), id, key, kept) },
		"ListAssets": func(id uuid.UUID) error {
			assets, _, total, err := s.ListAssets(t.Context(), id, AssetFilter{}, Page{Sort: SortCreatedAt, Limit: 10})
			if err == nil && (len(assets) > 0 || total.Rows > 0) {
				t.Error("ListAssets shows another user's assets")
			}
			return err
		},
		"Counts": func(id uuid.UUID) error {
			c, err := s.Counts(t.Context(), id)
			if c.Assets != 0 {
				t.Error("Counts counts another user's assets")
			}
			return err
		},
	}
	silent := map[string]bool{"EndSession": true, "DiscardObject": true, "ListAssets": true, "Counts": true}
	for name, call := range calls {
		if err := call(uuid.Nil); !errors.Is(err, ErrNoUser) {
			t.Errorf("%s without a user: %v", name, err)
		}
		err := call(bob.ID)
		if silent[name] && err != nil || !silent[name] && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s as another user: %v", name, err)
		}
	}
	if _, err := s.BeginUpload(t.Context(), uuid.Nil); !errors.Is(err, ErrNoUser) {
		t.Errorf("BeginUpload: %v", err)
	}
	if _, _, _, err := s.CommitUpload(t.Context(), newAsset(uuid.Nil, key, "x", "x")); !errors.Is(err, ErrNoUser) {
		t.Errorf("CommitUpload: %v", err)
	}
	if _, err := s.Asset(t.Context(), alice.ID, asset.ID); err != nil {
		t.Errorf("the asset did not survive: %v", err)
	}
	if _, err := s.SessionUser(t.Context(), alice.ID, session.ID); err != nil {
		t.Errorf("the session did not survive: %v", err)
	}
	// An upload that bob began cannot be committed as alice's.
	bobs, err := s.BeginUpload(t.Context(), bob.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := s.CommitUpload(t.Context(), newAsset(alice.ID, bobs, "x", "stolen")); !errors.Is(err, ErrUploadExpired) {
		t.Errorf("commit of another's upload: %v", err)
	}
}

func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	pg := services.NewPostgres(t)
	s, err := Open(pg.URL(pg.Migrated(t, "away", migrateURL)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	u := newUser(t, s, "alice")
	pg.Stop()
	if _, err := s.Counts(t.Context(), u.ID); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while the server is away: %v", err)
	}
	pg.Start(t)
	if _, err := s.Counts(t.Context(), u.ID); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestListAssetsPages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	u := newUser(t, s, "alice")
	upload(t, s, newUser(t, s, "bob").ID, "bobs.png", "bobs")
	const n = 23
	for i := range n { // names and sizes repeat, so that ties have to be broken
		upload(t, s, u.ID, fmt.Sprintf("勇者 %d.png", i/4), fmt.Sprintf("%0*d", 1+i/3, i))
	}
	exec(t, s, "update assets set created_at = date_trunc('hour', created_at), updated_at = created_at")
	for _, sort := range []Sort{SortCreatedAt, SortUpdatedAt, SortOriginalName, SortFileSize} {
		for _, ascending := range []bool{true, false} {
			var seen []Asset
			page := Page{Sort: sort, Ascending: ascending, Limit: 5}
			for {
				assets, next, total, err := s.ListAssets(t.Context(), u.ID, AssetFilter{}, page)
				if err != nil || total != (Total{Rows: n}) {
					t.Fatalf("%s: total %+v, %v", sort, total, err)
				}
				seen = append(seen, assets...)
				if page.After = next; next == nil {
					break
				}
			}
			whole, _, _, err := s.ListAssets(t.Context(), u.ID, AssetFilter{}, Page{Sort: sort, Ascending: ascending, Limit: 100})
			if err != nil || len(seen) != n || len(whole) != n {
				t.Fatalf("%s ascending=%t: %d by cursor, %d at once, %v", sort, ascending, len(seen), len(whole), err)
			}
			for i := range whole {
				if seen[i].ID != whole[i].ID {
					t.Errorf("%s ascending=%t: place %d differs", sort, ascending, i)
				}
			}
			offset, _, _, err := s.ListAssets(t.Context(), u.ID, AssetFilter{}, Page{Sort: sort, Ascending: ascending, Limit: 3, Offset: 7})
			if err != nil || len(offset) != 3 || offset[0].ID != whole[7].ID {
				t.Errorf("%s ascending=%t: offset: %v", sort, ascending, err)
			}
		}
	}
	_, _, _, err := s.ListAssets(t.Context(), u.ID, AssetFilter{}, Page{Sort: SortFileSize, Limit: 5, After: &Position{Value: "many"}})
	if !errors.Is(err, ErrBadPosition) {
		t.Errorf("bad position: %v", err)
	}
}

func TestListAssetsFilters(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	u := newUser(t, s, "alice")
	add := func(name string, kind FileType, category string, tags ...string) Asset {
		key, err := s.BeginUpload(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		n := newAsset(u.ID, key, name, name)
		n.FileType, n.Tags = kind, tags
		if category != "" {
			n.Category = &category
		}
		a, _, _, err := s.CommitUpload(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	hero := add("hero", Image, "sprites", "勇者", "red")
	add("slime", Image, "sprites", "green")
	jump := add("jump", Audio, "", "red", "Dragon's Lair; --")
	gone := add("gone", Audio, "", "red")
	if err := s.TrashAsset(t.Context(), u.ID, gone.ID); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		filter AssetFilter
		want   []string
	}{
		"all":           {AssetFilter{}, []string{"hero", "jump", "slime"}},
		"kind":          {AssetFilter{FileType: Image}, []string{"hero", "slime"}},
		"category":      {AssetFilter{Category: "sprites"}, []string{"hero", "slime"}},
		"any tag":       {AssetFilter{Tags: []string{"red", "green"}}, []string{"hero", "jump", "slime"}},
		"all tags":      {AssetFilter{Tags: []string{"red", "勇者"}, AllTags: true}, []string{"hero"}},
		"odd tag":       {AssetFilter{Tags: []string{"Dragon's Lair; --"}}, []string{"jump"}},
		"no such tag":   {AssetFilter{Tags: []string{"re%", "gre_n"}}, nil},
		"after":         {AssetFilter{CreatedAfter: &hero.CreatedAt}, []string{"jump", "slime"}},
		"before":        {AssetFilter{CreatedBefore: &jump.CreatedAt}, []string{"hero", "slime"}},
		"before time":   {AssetFilter{CreatedBefore: &time.Time{}}, nil},
		"no words":      {AssetFilter{Search: "\u3000"}, nil},
		"trash":         {AssetFilter{Trashed: true}, []string{"gone"}},
		"kind and tags": {AssetFilter{FileType: Audio, Tags: []string{"red"}}, []string{"jump"}},
	} {
		assets, _, total, err := s.ListAssets(t.Context(), u.ID, test.filter, Page{Sort: SortOriginalName, Ascending: true, Limit: 10})
		var got []string
		for _, a := range assets {
			got = append(got, a.OriginalName)
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) || int(total.Rows) != len(test.want) {
			t.Errorf("%s: %v (total %+v), want %v; %v", name, got, total, test.want, err)
		}
	}
}

// An asset that somebody changed since it was read stays; one of others, or none at all,
// is not found whatever version is wanted.
func TestDeletesOfAVersion(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice, bob := newUser(t, s, "alice"), newUser(t, s, "bob")
	asset, key := upload(t, s, alice.ID, "a.png", "bytes")
	stale, current := asset.UpdatedAt.Add(-time.Microsecond), asset.UpdatedAt
	calls := map[string]func(user, id uuid.UUID, versions ...time.Time) error{
		"trash": func(user, id uuid.UUID, versions ...time.Time) error {
			return s.TrashAsset(t.Context(), user, id, versions...)
		},
		"purge": func(user, id uuid.UUID, versions ...time.Time) error {
			_, err := s.PurgeAsset(t.Context(), user, id, versions...)
			return err
		},
	}
	for name, call := range calls {
		for _, versions := range [][]time.Time{{stale}, {{}}, {stale, {}}} {
			if err := call(alice.ID, asset.ID, versions...); !errors.Is(err, ErrChanged) {
				t.Errorf("%s of %v: %v", name, versions, err)
			}
		}
		for _, err := range []error{call(bob.ID, asset.ID, current), call(bob.ID, asset.ID, stale), call(alice.ID, uuid.New(), current)} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s of nobody's: %v", name, err)
			}
		}
	}
	if err := s.TrashAsset(t.Context(), alice.ID, asset.ID, stale, current); err != nil {
		t.Error(err)
	}
	if err := s.TrashAsset(t.Context(), alice.ID, asset.ID, current); !errors.Is(err, ErrNotFound) {
		t.Errorf("in the trash: %v", err)
	}
	if _, err := s.PurgeAsset(t.Context(), alice.ID, asset.ID, current); !errors.Is(err, ErrChanged) {
		t.Errorf("purge of the version before the trash: %v", err)
	}
	if orphan, err := s.PurgeAsset(t.Context(), alice.ID, asset.ID); err != nil || orphan != key {
		t.Errorf("%s, %v", orphan, err)
	}
}

// An image serves on while a later migration adds a column, with the statements that its
// connections have prepared before.
func TestColumnsOfLaterMigrations(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	u := newUser(t, s, "alice")
	use := func(content string, want int64) {
		t.Helper()
		a, _ := upload(t, s, u.ID, "a.png", content)
		if _, err := s.Asset(t.Context(), u.ID, a.ID); err != nil {
			t.Errorf("get: %v", err)
		}
		assets, _, total, err := s.ListAssets(t.Context(), u.ID, AssetFilter{}, Page{Sort: SortCreatedAt, Limit: 1})
		if err != nil || total.Rows != want || assets[0].ID != a.ID {
			t.Errorf("list: %+v, %v", total, err)
		}
	}
	use("before", 1)
	exec(t, s, "alter table assets add column later text not null default 'x'")
	use("after", 2)
}
