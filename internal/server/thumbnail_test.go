package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/store"
)

// keepMedia does what the media job does for an asset: it notes metadata, and stores a thumbnail for each size.
func (p *platform) keepMedia(a assetBody, metadata any, sizes ...int) {
	p.t.Helper()
	blob, err := p.store.UnreadBlob(p.t.Context(), store.MediaArgs{UserID: a.UserID, SHA256: a.SHA256})
	if err != nil {
		p.t.Fatal(err)
	}
	var thumbnails []store.Thumbnail
	for _, size := range sizes {
		content := fmt.Sprintf("thumbnail %d of %s", size, a.ID)
		key, err := p.store.BeginUpload(p.t.Context(), a.UserID)
		if err == nil {
			err = p.server.bucket.Put(p.t.Context(), key, strings.NewReader(content))
		}
		if err != nil {
			p.t.Fatal(err)
		}
		thumbnails = append(thumbnails, store.Thumbnail{Size: size, ObjectKey: key, MIMEType: "image/png", Bytes: int64(len(content))})
	}
	if err := p.store.KeepMedia(p.t.Context(), blob, metadata, thumbnails); err != nil {
		p.t.Fatal(err)
	}
}

func TestThumbnail(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	a := p.uploadPNG(alice.AccessToken, "hero.png", png("hero"))
	address := assetPath(a.ID) + "/thumbnail"
	if r := p.get(address, alice.AccessToken).wantProblem(404, "NOT_FOUND", ""); a.ThumbnailURL != nil || r.header.Get("Retry-After") == "" {
		t.Errorf("before it is read: %v, %v", a.ThumbnailURL, r.header)
	}
	before := p.get(assetPath(a.ID), alice.AccessToken).header.Get("ETag")
	p.keepMedia(a, store.ImageMetadata{Palette: []string{"#00ff00"}}, 150, 300)

	r := p.get(assetPath(a.ID), alice.AccessToken).want(200)
	now := decode1[assetBody](r)
	if now.ThumbnailURL == nil || *now.ThumbnailURL != address {
		t.Errorf("thumbnailUrl: %s", r.body)
	}
	var fields map[string]any
	if err := json.Unmarshal(now.Metadata, &fields); err != nil || len(fields) != 6 || fields["width"] != nil || fmt.Sprint(fields["palette"]) != "[#00ff00]" {
		t.Errorf("metadata %s; %v", now.Metadata, err)
	}
	// What the job reads is another representation, but nobody's edit.
	if r.header.Get("ETag") == before {
		t.Errorf("the entity tag is still %s", before)
	}
	p.do("PATCH", assetPath(a.ID), alice.AccessToken, strings.NewReader(`{"category":"x"}`), "Content-Type", "application/json", "If-Match", before).want(200)

	for query, size := range map[string]int{"": 300, "?size=150": 150, "?size=300": 300, "?size=600": 300} {
		r := p.get(address+query, alice.AccessToken).want(200)
		if want := fmt.Sprintf("thumbnail %d of %s", size, a.ID); string(r.body) != want || r.header.Get("Content-Type") != "image/png" {
			t.Errorf("%s: %s %s, want %s", query, r.header.Get("Content-Type"), r.body, want)
		}
	}
	first := p.get(address, alice.AccessToken)
	p.do("GET", address, alice.AccessToken, nil, "If-None-Match", first.header.Get("ETag")).want(304)
	p.do("GET", address, alice.AccessToken, nil, "If-Match", `"x"`).wantProblem(412, "PRECONDITION_FAILED", "")
	for _, bad := range []string{"?size=7", "?size=", "?size=150&size=300"} {
		p.get(address+bad, alice.AccessToken).wantProblem(400, "VALIDATION_ERROR", "size")
	}
	p.get(address, bob.AccessToken).wantProblem(404, "NOT_FOUND", "")
	if r := p.do("HEAD", address, alice.AccessToken, nil).want(200); r.header.Get("Content-Length") != first.header.Get("Content-Length") {
		t.Errorf("HEAD: %v", r.header)
	}

	sound := decode1[assetBody](p.upload(alice.AccessToken, newForm().file("hit.wav", "", wav(3, []byte("hit")))).want(201))
	if r := p.get(assetPath(sound.ID)+"/thumbnail", alice.AccessToken).wantProblem(404, "NOT_FOUND", ""); r.header.Get("Retry-After") != "" {
		t.Error("sound: it says to try again")
	}
}

func TestListByMedia(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	for name, size := range map[string]int{"small.png": 16, "large.png": 640} {
		p.keepMedia(p.uploadPNG(alice.AccessToken, name, png(name)), store.ImageMetadata{Width: &size, Height: new(48)})
	}
	p.keepMedia(decode1[assetBody](p.upload(alice.AccessToken, newForm().file("hit.wav", "", wav(3, []byte("hit")))).want(201)), store.AudioMetadata{Duration: new(0.5)})
	for query, want := range map[string]string{
		"minWidth=17": "large.png", "maxWidth=17": "small.png", "minWidth=16&maxWidth=16&minHeight=48": "small.png",
		"maxHeight=47": "", "minDuration=0.25": "hit.wav", "maxDuration=0.5": "hit.wav", "minDuration=0.6": "", "minWidth=641": "",
	} {
		if got := strings.Join(p.names("/api/assets?"+query, alice.AccessToken), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for query, field := range map[string]string{
		"minWidth=x": "minWidth", "minWidth=0": "minWidth", "minHeight=-1": "minHeight", "maxDuration=": "maxDuration",
		"minDuration=NaN": "minDuration", "maxWidth=1&maxWidth=2": "maxWidth", "maxHeight=99999999999": "maxHeight",
	} {
		p.get("/api/assets?"+query, alice.AccessToken).wantProblem(400, "VALIDATION_ERROR", field)
	}
}
