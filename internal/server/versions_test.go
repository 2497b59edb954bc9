package server

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func (p *platform) addVersion(token string, asset assetBody, name string, content []byte, headers ...string) reply {
	p.t.Helper()
	f := newForm().file(name, "", content)
	f.writer.Close()
	return p.do("POST", assetPath(asset.ID)+"/versions", token, &f.buffer, append(headers, "Content-Type", f.writer.FormDataContentType())...)
}

// A file is replaced under its id: links to the asset go on, and what was before can be had.
func TestVersions(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	_, _, tinyGIF := encoded(t, noise(4, 3))
	alice, bob := p.register("alice"), p.register("bob")
	created := p.upload(alice.AccessToken, newForm().field("tags", "red").file("hero.png", "", png("1"))).want(201)
	asset := decode1[assetBody](created)
	r := p.addVersion(alice.AccessToken, asset, "whatever.png", png("2"), "If-Match", created.header.Get("ETag")).want(201)
	second := decode1[assetBody](r)
	if second.ID != asset.ID || second.Version != 2 || second.OriginalName != "hero.png" || !slices.Equal(second.Tags, []string{"red"}) || second.SHA256 == asset.SHA256 || !second.CreatedAt.Equal(asset.CreatedAt) {
		t.Errorf("the second version: %s", r.body)
	}
	p.addVersion(alice.AccessToken, asset, "x.png", png("3"), "If-Match", created.header.Get("ETag")).wantProblem(412, "PRECONDITION_FAILED", "")
	if same := decode1[assetBody](p.addVersion(alice.AccessToken, asset, "x.png", png("2")).want(200)); same.Version != 2 {
		t.Errorf("equal bytes made version %d", same.Version)
	}
	third := decode1[assetBody](p.addVersion(alice.AccessToken, asset, "hero.gif", tinyGIF).want(201))
	if third.Version != 3 || third.OriginalName != "hero.gif" || third.MIMEType != "image/gif" {
		t.Errorf("the third version: %+v", third)
	}

	versions := decode1[[]versionBody](p.get(assetPath(asset.ID)+"/versions", alice.AccessToken).want(200))
	if len(versions) != 3 || versions[0].Version != 3 || versions[2].Version != 1 || versions[2].SHA256 != asset.SHA256 || versions[2].CreatedAt.Sub(asset.CreatedAt).Abs().Microseconds() > 0 {
		t.Fatalf("versions: %+v", versions)
	}
	for i, want := range [][]byte{tinyGIF, png("2"), png("1")} {
		if got := p.get(versions[i].DownloadURL, alice.AccessToken).want(200); !bytes.Equal(got.body, want) {
			t.Errorf("version %d has other bytes", versions[i].Version)
		}
		got := p.get(versions[i].DownloadURL, alice.AccessToken).header.Get("Content-Disposition")
		if name := []string{"hero.gif", "hero.png", "hero.png"}[i]; !strings.Contains(got, `filename="`+name+`"`) {
			t.Errorf("version %d is to be saved as %s, want %s", versions[i].Version, got, name)
		}
	}
	if got := p.get(asset.DownloadURL, alice.AccessToken).want(200); !bytes.Equal(got.body, tinyGIF) || got.header.Get("Content-Type") != "image/gif" {
		t.Error("the asset's download is not the last version")
	}
	p.get(assetPath(asset.ID)+"/versions/4/download", alice.AccessToken).wantProblem(404, "NOT_FOUND", "")
	p.get(assetPath(asset.ID)+"/versions/x/download", alice.AccessToken).wantProblem(404, "NOT_FOUND", "")

	p.addVersion(alice.AccessToken, asset, "a.wav", wav(2, []byte{1, 2})).wantProblem(400, "INVALID_FILE_TYPE", "")
	p.addVersion(bob.AccessToken, asset, "x.png", png("4")).wantProblem(404, "NOT_FOUND", "")
	p.get(versions[2].DownloadURL, bob.AccessToken).wantProblem(404, "NOT_FOUND", "")
	f := newForm().field("tags", "x").file("x.png", "", png("4"))
	f.writer.Close()
	p.do("POST", assetPath(asset.ID)+"/versions", alice.AccessToken, &f.buffer, "Content-Type", f.writer.FormDataContentType()).wantProblem(400, "VALIDATION_ERROR", "tags")
	if keys, notes := p.leftovers(); len(keys) != 3 || notes != 0 {
		t.Errorf("the bucket holds %v, and %d notes", keys, notes)
	}

	// Bytes go with the last version that has them.
	other := p.uploadPNG(alice.AccessToken, "copy.png", png("1"))
	p.delete(assetPath(asset.ID)+"?permanent=true", alice.AccessToken).want(204)
	p.query("update object_intents set delete_after = now() returning 1", new(int)) // the collector's turn
	if got := p.get(other.DownloadURL, alice.AccessToken).want(200); !bytes.Equal(got.body, png("1")) {
		t.Error("bytes that another asset has were lost")
	}
	var blobs, refs int
	p.query("select count(*) from blobs", &blobs)
	p.query("select sum(refs) from blobs", &refs)
	if blobs != 1 || refs != 1 {
		t.Errorf("%d blobs with %d references are left", blobs, refs)
	}
}

// A retry makes no version, also when the asset has gone on meanwhile.
func TestVersionOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	created := p.upload(alice.AccessToken, newForm().file("hero.png", "", png("1"))).want(201)
	asset := decode1[assetBody](created)
	headers := []string{"Idempotency-Key", "k", "If-Match", created.header.Get("ETag")}
	first := p.addVersion(alice.AccessToken, asset, "a.png", png("2"), headers...).want(201)
	p.addVersion(alice.AccessToken, asset, "a.png", png("3")).want(201)
	again := p.addVersion(alice.AccessToken, asset, "a.png", png("2"), headers...).want(201)
	if string(again.body) != string(first.body) {
		t.Errorf("answered\n%s, and again\n%s", first.body, again.body)
	}
	p.addVersion(alice.AccessToken, asset, "a.png", png("4"), headers...).wantProblem(409, "CONFLICT", "")
	p.sendOnce(alice.AccessToken, "k", newForm().file("hero.png", "", png("2"))).wantProblem(409, "CONFLICT", "")
	if now := decode1[assetBody](p.get(assetPath(asset.ID), alice.AccessToken).want(200)); now.Version != 3 {
		t.Errorf("it is in version %d", now.Version)
	}
	if keys, notes := p.leftovers(); len(keys) != 3 || notes != 0 {
		t.Errorf("the bucket holds %v, and %d notes", keys, notes)
	}
}

// An editor of a project replaces a file in it; the bytes are the owner's.
func TestVersionByAnEditor(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	owner, editor, viewer := p.register("owner"), p.register("editor"), p.register("viewer")
	hero := p.uploadPNG(owner.AccessToken, "hero.png", png("1"))
	project := p.newProject(owner, "Village", hero)
	p.join(owner, project, editor, "editor")
	p.join(owner, project, viewer, "viewer")
	p.addVersion(viewer.AccessToken, hero, "x.png", png("2")).wantProblem(403, "FORBIDDEN", "")
	if got := decode1[assetBody](p.addVersion(editor.AccessToken, hero, "x.png", png("2")).want(201)); got.Version != 2 || got.UserID != owner.User.ID {
		t.Errorf("the version: %+v", got)
	}
	if got := p.get(hero.DownloadURL, viewer.AccessToken).want(200); !bytes.Equal(got.body, png("2")) {
		t.Error("the viewer gets other bytes")
	}
	p.get(assetPath(hero.ID)+"/versions/1/download", viewer.AccessToken).want(200)
	p.delete(assetPath(hero.ID)+"?permanent=true", editor.AccessToken).wantProblem(403, "FORBIDDEN", "") // and nothing is lost by that
	p.get(assetPath(hero.ID)+"/versions/1/download", viewer.AccessToken).want(200)
	var others int
	if p.query(fmt.Sprintf("select count(*) from blobs where user_id <> '%s'", owner.User.ID), &others); others != 0 {
		t.Error("the bytes are the editor's")
	}
}

// Of a version and a permanent delete at a time each is done or refused.
func TestVersionsOfWhatIsDeleted(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	p.uploadPNG(alice.AccessToken, "kept.png", png("kept")) // the test's bucket refuses a file while it removes the folder that a deleted one has left empty
	for i := range 20 {
		asset := p.uploadPNG(alice.AccessToken, "a.png", png(fmt.Sprint("a", i)))
		var wg sync.WaitGroup
		wg.Go(func() {
			r := p.addVersion(alice.AccessToken, asset, "b.png", png(fmt.Sprint("b", i)))
			if r.status != 201 && r.status != 404 {
				t.Errorf("version: %d %s", r.status, r.body)
			}
		})
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Millisecond)
			p.delete(assetPath(asset.ID)+"?permanent=true", alice.AccessToken).want(204)
		})
		wg.Wait()
	}
	var blobs int
	if p.query("select count(*) from blobs", &blobs); blobs != 1 {
		t.Errorf("%d blobs are left, want the one", blobs)
	}
	asset := p.uploadPNG(alice.AccessToken, "a.png", png("a"))
	where := fmt.Sprintf(" where id = '%s'", asset.ID)
	tx := p.begin("select 1 from assets"+where+" for update", "update blobs set refs = refs + 1 where sha256 = (select sha256 from assets"+where+")",
		"insert into asset_versions (asset_id, version, user_id, sha256, file_size, mime_type, created_at) select id, version, user_id, sha256, file_size, mime_type, created_at from assets"+where,
		"update assets set version = 2"+where)
	p.meanwhile(tx, func() reply { return p.delete(assetPath(asset.ID)+"?permanent=true", alice.AccessToken) }, func() {}).want(204)
}

func TestTrashAndRestore(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	hero := p.uploadPNG(alice.AccessToken, "hero.png", png("1"))
	project := p.newProject(alice, "Village", hero)
	p.join(alice, project, bob, "editor")
	path := assetPath(hero.ID)
	p.delete(path, alice.AccessToken).want(204)
	p.get(path, alice.AccessToken).want(404)
	if got := p.names("/api/assets?deleted=true", alice.AccessToken); !slices.Equal(got, []string{"hero.png"}) {
		t.Errorf("the trash: %v", got)
	}
	if got := p.names("/api/assets?deleted=true&projectId="+project.ID.String(), bob.AccessToken); len(got) != 0 {
		t.Errorf("others see the trash: %v", got)
	}
	p.post(path+"/restore", bob.AccessToken, "").wantProblem(404, "NOT_FOUND", "")
	restored := decode1[assetBody](p.post(path+"/restore", alice.AccessToken, "").want(200))
	if restored.DeletedAt != nil || len(restored.ProjectIDs) != 1 {
		t.Errorf("restored: %+v", restored)
	}
	p.post(path+"/restore", alice.AccessToken, "").want(200) // it is there
	p.post(path+"/restore", bob.AccessToken, "").wantProblem(403, "FORBIDDEN", "")
	tag := p.get(path, alice.AccessToken).header.Get("ETag")
	p.do("POST", path+"/restore", alice.AccessToken, nil, "If-Match", tag).want(200)
	p.delete(path, alice.AccessToken).want(204)
	p.do("POST", path+"/restore", alice.AccessToken, nil, "If-Match", tag).wantProblem(412, "PRECONDITION_FAILED", "")
	p.do("POST", path+"/restore", alice.AccessToken, nil, "If-Match", "*").want(200)
	p.get(path, bob.AccessToken).want(200)
	if got := p.names("/api/assets?deleted=true", alice.AccessToken); len(got) != 0 {
		t.Errorf("the trash: %v", got)
	}
	p.delete(path+"?permanent=true", alice.AccessToken).want(204)
	p.post(path+"/restore", alice.AccessToken, "").wantProblem(404, "NOT_FOUND", "")
}
