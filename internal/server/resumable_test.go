package server

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// What came is kept while the client takes its time with the rest, and the bucket has one request for each piece.
func TestUploadThatPauses(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	p := newPlatform(t, func(c *config.Server) {
		c.Bucket.Endpoint = services.Front(t, c.Bucket.Endpoint, func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				requests.Add(1)
			}
			return false
		})
	})
	token := p.register("alice").AccessToken
	content := noiseWAV(4 * pieceSize)
	address := p.beginUpload(token, len(content), "filename", "a.wav")
	conn := p.rawRequest("PATCH", address, token, len(content), "Content-Type: "+tusBody, "Upload-Offset: 0", "Tus-Resumable: 1.0.0")
	if _, err := conn.Write(content[:3*pieceSize]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what came is kept", func() bool {
		return p.tus("HEAD", address, token, nil).want(200).header.Get("Upload-Offset") == strconv.Itoa(3*pieceSize)
	})
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests of the bucket for 3 pieces", n)
	}
}

// A mistake in what examines a file ends the request that brought it, and not the process.
func TestPanicWhileAPieceIsStored(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	bad := fileFormat{walk: func(*pieces) error { panic("a mistake") }}
	c := &reception{
		server: p.server, upload: store.Upload{UserID: alice.User.ID, Size: 10},
		examined: &examination{limit: 10, sha256: sha256.New(), crc32: crc32.NewIEEE(), inspection: inspect(bad)},
	}
	defer func() {
		if found := fmt.Sprint(recover()); !strings.Contains(found, "a mistake") || !strings.Contains(found, "(*examination).Write") {
			t.Errorf("panicked with %s", found)
		}
	}()
	t.Error(c.storePieces(t.Context(), bufio.NewReader(strings.NewReader("0123456789"))))
}

// An upload whose project is gone, or whose sender may not change it any more, is in the sender's library.
func TestUploadIntoAProjectThatGoes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	content := noiseWAV(2000)
	for name, leave := range map[string]func(path string){
		"gone": func(path string) { p.do("DELETE", path, alice.AccessToken, nil).want(204) },
		"viewer": func(path string) {
			p.patch(path+"/members/"+bob.User.ID.String(), alice.AccessToken, `{"role":"viewer"}`).want(204)
		},
	} {
		project := p.newProject(alice, name)
		path := "/api/projects/" + project.ID.String()
		p.join(alice, project, bob, "editor")
		address := p.beginUpload(bob.AccessToken, len(content), "filename", name+".wav", "projectId", project.ID.String())
		p.goOn(address, bob.AccessToken, content, 0, 1000).want(204)
		leave(path)
		r := p.goOn(address, bob.AccessToken, content, 1000, len(content)).want(204)
		if got := decode1[assetBody](p.get(r.header.Get("Location-Asset"), bob.AccessToken).want(200)); len(got.ProjectIDs) != 0 {
			t.Errorf("%s: in %v", name, got.ProjectIDs)
		}
	}
}

// Any way to cut a file into requests gives the file, whether the bucket joins the pieces itself or cannot.
func TestUploadInRandomPieces(t *testing.T) {
	t.Parallel()
	var refused atomic.Int64 // copies
	for _, copies := range []bool{true, false} {
		p := newPlatform(t, func(c *config.Server) {
			if copies {
				return
			}
			c.Bucket.Endpoint = services.Front(t, c.Bucket.Endpoint, func(w http.ResponseWriter, r *http.Request) (answered bool) {
				if r.Header.Get("X-Amz-Copy-Source") == "" {
					return false
				}
				refused.Add(1)
				w.WriteHeader(http.StatusNotImplemented)
				return true
			})
		})
		token := p.register("alice").AccessToken
		send := func(content []byte, cuts ...int) {
			address, asset, at := p.beginUpload(token, len(content), "filename", "a.wav"), "", 0
			for _, to := range append(cuts, len(content)) {
				asset = p.goOn(address, token, content, at, to).want(204).header.Get("Location-Asset")
				at = to
			}
			if got := p.get(asset+"/download", token).want(200).body; !bytes.Equal(got, content) {
				t.Errorf("%d bytes cut at %v are not what came back", len(content), cuts)
			}
		}
		send(noiseWAV(2*pieceSize + 1000))
		send(noiseWAV(2*pieceSize+1001), pieceSize)
		for range 5 {
			content := noiseWAV(rand.IntN(3 * pieceSize / 2))
			var cuts []int
			for at := 1 + rand.IntN(len(content)); at < len(content); at += 1 + rand.IntN(1+len(content)/(1+rand.IntN(5))) {
				cuts = append(cuts, at)
			}
			send(content, cuts...)
		}
		p.wantObjects(7)
	}
	if refused.Load() == 0 {
		t.Error("the bucket was not asked to copy")
	}
}
