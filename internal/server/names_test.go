package server

import (
	"slices"
	"testing"
)

// A name says what the file is, also after a change; and nothing makes it look like another one.
func TestNamesThatMislead(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "hero.png", png("1"))
	for _, name := range []string{"hero.gif", "setup.exe", "a\u202egnp.png", "\u2066a\u2069.png"} {
		p.patch(assetPath(a.ID), token, `{"originalName":"`+name+`"}`).wantProblem(400, "VALIDATION_ERROR", "originalName")
	}
	for _, name := range []string{"hero", "hero v1.2", "HERO.PNG", "بطل.png", "שלום.png"} {
		p.patch(assetPath(a.ID), token, `{"originalName":"`+name+`"}`).want(200)
	}
	if quoted := p.uploadPNG(token, "a %22b%22.png", png("3")); quoted.OriginalName != `a "b".png` { // as browsers send it
		t.Errorf("named %s", quoted.OriginalName)
	}
	p.upload(token, newForm().file("a\u202egnp.png", "", png("2"))).wantProblem(400, "VALIDATION_ERROR", "file")
}

// é of one character and of two, as macOS writes it, are the same tag and category.
func TestComposedTags(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	const one, two = "caf\u00e9", "cafe\u0301"
	a := decode1[assetBody](p.upload(token, newForm().field("tags", one+","+two).field("category", two).file("a.png", "", png("1"))).want(201))
	if !slices.Equal(a.Tags, []string{one}) || *a.Category != one {
		t.Errorf("tags %q, category %q", a.Tags, *a.Category)
	}
	for _, pair := range [][]string{{"tags", two}, {"tags", one}, {"category", two}, {"category", one}} {
		if n := len(p.list(token, pair...).Data); n != 1 {
			t.Errorf("%q: %d assets", pair, n)
		}
	}
}
