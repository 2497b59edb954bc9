package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
)

// A file that claims 2^32 tags where FLAC's facts should be is kept, and read by the server that serves, at no cost: its decoder believed them
// once. What is uploaded meanwhile is told about as ever.
func TestHostileUpload(t *testing.T) {
	t.Parallel()
	p := startServer(t, environment(t)...)
	p.await(config.PathReady, http.StatusOK)
	token := p.register("alice")
	good, err := os.ReadFile("../../internal/media/testdata/audio/flac.ogg")
	if err != nil {
		t.Fatal(err)
	}
	hostile := bytes.Clone(good)
	block := bytes.Index(hostile, []byte("fLaC")) + 4
	copy(hostile[block:], "\x04\x00\x00\x22\x00\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00=") // VORBIS_COMMENT: no vendor, 2^32-1 tags
	grown := p.peakDuring(func() {
		if m := p.metadata(token, p.upload(token, "hostile.ogg", hostile)); m.Duration != nil {
			t.Errorf("hostile: %+v", m)
		}
		if m := p.metadata(token, p.upload(token, "good.ogg", good)); m.Duration == nil || len(m.Waveform) == 0 {
			t.Errorf("good: %+v", m)
		}
	})
	t.Logf("%.1f MB", float64(grown)/(1<<20))
	if grown > 50<<20 {
		t.Errorf("they cost %d MB", grown>>20)
	}
}

// upload sends a file, and returns the asset's id.
func (p *process) upload(token, name string, content []byte) (id string) {
	p.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	w, err := form.CreateFormFile("file", name)
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = w.Write(content)
	_ = form.Close()
	r, _ := http.NewRequest("POST", p.url+"/api/assets/upload", &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	var asset struct{ Data struct{ ID string } }
	p.call(r, token, http.StatusCreated, &asset)
	return asset.Data.ID
}

type soundMetadata struct {
	Duration *float64
	Waveform []float64
}

// metadata waits until an asset has been read.
func (p *process) metadata(token, id string) soundMetadata {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		r, _ := http.NewRequest("GET", p.url+"/api/assets/"+id, nil)
		var asset struct {
			Data struct{ Metadata *soundMetadata }
		}
		p.call(r, token, http.StatusOK, &asset)
		if m := asset.Data.Metadata; m != nil {
			return *m
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("nobody reads asset %s", id)
		}
	}
}

func (p *process) call(r *http.Request, token string, status int, into any) {
	p.t.Helper()
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil || answer.StatusCode != status {
		p.t.Fatalf("%s %s: %s", r.Method, r.URL.Path, fmt.Sprint(answer.StatusCode, err))
	}
}
