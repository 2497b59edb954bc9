package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// fleet is some servers of one platform, of which any may be dead.
type fleet struct {
	env   []string
	token string

	mu      sync.Mutex
	servers []*process
}

// any is the address of one of them.
func (f *fleet) any() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.servers[rand.IntN(len(f.servers))].url
}

// do sends a request to any server; status is 0 if it got no whole answer.
func (f *fleet) do(method, path string, body []byte, headers ...string) (status int, answer []byte, header http.Header) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, f.any()+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil
	}
	r.Header.Set("Authorization", "Bearer "+f.token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, nil
	}
	defer a.Body.Close()
	if answer, err = io.ReadAll(a.Body); err != nil {
		return 0, nil, nil
	}
	return a.StatusCode, answer, a.Header
}

// send uploads a file as often as it takes to be told that it is there, by a form or by tus, and returns the asset's address.
func (f *fleet) send(number int, name string, content []byte) (asset string) {
	for {
		if number%3 == 0 {
			asset = f.byTus(name, content)
		} else {
			asset = f.byForm(number, name, content)
		}
		if asset != "" {
			return asset
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (f *fleet) byForm(number int, name string, content []byte) string {
	if status, _, header := f.postForm(number, name, content); status == http.StatusCreated {
		return header.Get("Location")
	}
	return ""
}

// postForm uploads a file; the same number is the same upload.
func (f *fleet) postForm(number int, name string, content []byte) (status int, answer []byte, header http.Header) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	w, err := form.CreateFormFile("file", name)
	if err != nil {
		return 0, nil, nil
	}
	_, _ = w.Write(content) // into memory
	form.Close()
	return f.do("POST", "/api/assets/upload", body.Bytes(), "Content-Type", form.FormDataContentType(), "Idempotency-Key", strconv.Itoa(number))
}

// byTus goes on until the upload is complete; only one that could not begin, or is gone, is begun anew.
func (f *fleet) byTus(name string, content []byte) string {
	tus := []string{"Tus-Resumable", "1.0.0"}
	status, _, header := f.do("POST", "/api/uploads", nil, append(tus, "Upload-Length", strconv.Itoa(len(content)), "Upload-Metadata", "filename "+base64.StdEncoding.EncodeToString([]byte(name)))...)
	if status != http.StatusCreated {
		return ""
	}
	address := header.Get("Location")
	for {
		status, _, header := f.do("HEAD", address, nil, tus...)
		at, err := strconv.Atoi(header.Get("Upload-Offset"))
		switch {
		case header.Get("Location-Asset") != "":
			return header.Get("Location-Asset")
		case status == http.StatusOK && err == nil:
			to := min(len(content), at+1+rand.IntN(len(content)))
			f.do("PATCH", address, content[at:to], append(tus, "Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(at))...)
		case status == http.StatusNotFound:
			return ""
		default:
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// crashFile is a picture or a sound that no other number has; some are stored in several parts.
func crashFile(t *testing.T, number int) (name string, content []byte) {
	if number%4 > 0 {
		size := int64(1000 + rand.IntN(100_000))
		if number%20 == 1 {
			size = 11 << 20
		}
		content, err := io.ReadAll(wav(size, byte(number)))
		if err != nil {
			t.Error(err)
		}
		return fmt.Sprint(number, ".wav"), append(content, byte(number>>8), byte(number))
	}
	picture := image.NewGray(image.Rect(0, 0, 700, 500))
	for i := range picture.Pix {
		picture.Pix[i] = byte(i / 700)
	}
	picture.SetGray(0, 0, color.Gray{byte(number)})
	picture.SetGray(1, 0, color.Gray{byte(number >> 8)})
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Error(err)
	}
	return fmt.Sprint(number, ".png"), file.Bytes()
}

// Servers that are killed at any moment lose nothing that they acknowledged, show nothing else, and leave nothing that is not collected;
// what their jobs were at is done by others.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	uploads := 100
	if os.Getenv("SOAK") != "" {
		uploads = 500
	}
	f := &fleet{env: append(environment(t), "RATE_LIMIT_GENERAL=0", "RATE_LIMIT_UPLOAD=0")}
	for range 2 {
		s := startServer(t, f.env...)
		s.await("/api/ready", http.StatusOK)
		f.servers = append(f.servers, s)
	}
	f.token = f.servers[0].register("alice")

	type file struct{ asset, sum string }
	numbers, acknowledged := make(chan int), make(chan file, uploads)
	var senders sync.WaitGroup
	for range 6 {
		senders.Go(func() {
			for n := range numbers {
				name, content := crashFile(t, n)
				sum := sha256.Sum256(content)
				acknowledged <- file{f.send(n, name, content), hex.EncodeToString(sum[:])}
			}
		})
	}
	kills := 0
	for n, next := 0, time.Now(); n < uploads; {
		select {
		case numbers <- n:
			n++
		case <-time.After(time.Until(next)):
			kills++
			f.replaceOne(t)
			next = time.Now().Add(time.Duration(200+rand.IntN(800)) * time.Millisecond)
		}
	}
	close(numbers)
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-time.After(time.Duration(200+rand.IntN(800)) * time.Millisecond):
			kills++
			f.replaceOne(t)
		}
	}
	close(acknowledged)
	t.Logf("%d uploads, %d kills", uploads, kills)
	if kills < uploads/50 {
		t.Errorf("only %d servers were killed", kills)
	}
	for _, s := range f.servers {
		s.await("/api/ready", http.StatusOK)
	}
	wanted := map[string]string{}
	for a := range acknowledged {
		wanted[a.asset] = a.sum
	}
	if len(wanted) != uploads {
		t.Errorf("%d assets for %d uploads", len(wanted), uploads)
	}
	f.compare(t, wanted)
	f.checkBucket(t, uploads)
}

// longestAnswer is the deadline of a request, and some more for a machine that is busy.
const longestAnswer = 25 * time.Second

// While the database dies and comes back, requests end in time, as they should or with a code that says why; then all goes on by itself, and
// nothing is lost that was acknowledged.
func TestDatabaseRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	pg := services.NewPostgres(t)
	f := &fleet{env: append(environmentOn(t, pg), "RATE_LIMIT_GENERAL=0", "RATE_LIMIT_UPLOAD=0")}
	server := startServer(t, f.env...)
	server.await("/api/ready", http.StatusOK)
	f.servers, f.token = []*process{server}, server.register("alice")

	var mu sync.Mutex
	wanted, answers := map[string]string{}, map[string]int{}
	note := func(what string, status int, body []byte, began time.Time) {
		mu.Lock()
		defer mu.Unlock()
		var refused struct{ Error struct{ Code string } }
		_ = json.Unmarshal(body, &refused) // bytes have none
		answers[fmt.Sprint(status, " ", refused.Error.Code)]++
		if took := time.Since(began); took > longestAnswer {
			t.Errorf("%s took %v", what, took)
		}
		if status/100 != 2 && (status != http.StatusServiceUnavailable || refused.Error.Code != "DATABASE_UNAVAILABLE") {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	for worker := range 6 {
		load.Go(func() {
			for n := worker * 10_000; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				content, _ := io.ReadAll(wav(2000, byte(n)))
				content = append(content, fmt.Sprint(n)...)
				began := time.Now()
				status, body, header := f.postForm(n, fmt.Sprint(n, ".wav"), content)
				note("upload", status, body, began)
				if status == http.StatusCreated {
					sum := sha256.Sum256(content)
					mu.Lock()
					wanted[header.Get("Location")] = hex.EncodeToString(sum[:])
					mu.Unlock()
				} else {
					n--                               // with its key again
					time.Sleep(10 * time.Millisecond) // for the machine has other things to do
				}
				for _, path := range []string{"/api/assets?limit=5", "/api/auth/profile"} {
					began := time.Now()
					status, body, _ := f.do("GET", path, nil)
					note(path, status, body, began)
				}
			}
		})
	}
	for range 3 {
		time.Sleep(time.Second)
		pg.Stop()
		time.Sleep(time.Second)
		pg.Start(t)
	}
	time.Sleep(time.Second)
	mu.Lock()
	before := len(wanted)
	mu.Unlock()
	server.await("/api/ready", http.StatusOK)
	time.Sleep(2 * time.Second)
	close(stop)
	load.Wait()
	t.Logf("answers: %v", answers)
	if len(wanted) == before || answers["503 DATABASE_UNAVAILABLE"] == 0 {
		t.Errorf("%d uploads were acknowledged before the end, %d then; %v", before, len(wanted), answers)
	}
	f.compare(t, wanted)
}

// replaceOne kills any server, and starts another one in its place.
func (f *fleet) replaceOne(t *testing.T) {
	t.Helper()
	f.replace(t, rand.IntN(len(f.servers)))
}

func (f *fleet) replace(t *testing.T, place int) {
	t.Helper()
	f.mu.Lock()
	victim := f.servers[place]
	f.mu.Unlock()
	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-victim.done
	fresh := startServer(t, f.env...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers[place] = fresh
}

// compare looks whether the assets with these sums, and no others, are listed, and have those bytes.
func (f *fleet) compare(t *testing.T, wanted map[string]string) {
	t.Helper()
	listed := 0
	for cursor := ""; ; {
		status, body, _ := f.do("GET", "/api/assets?limit=100&cursor="+cursor, nil)
		var page struct {
			Data       []struct{ ID, SHA256 string }
			Pagination struct{ NextCursor string }
		}
		if err := json.Unmarshal(body, &page); err != nil || status != http.StatusOK {
			t.Fatalf("list: %d, %v", status, err)
		}
		for _, a := range page.Data {
			listed++
			address := "/api/assets/" + a.ID
			if wanted[address] != a.SHA256 {
				t.Errorf("%s is there with %s, acknowledged was %q", a.ID, a.SHA256, wanted[address])
			}
			_, content, _ := f.do("GET", address+"/download", nil)
			if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != a.SHA256 {
				t.Errorf("%s: the bytes are others", a.ID)
			}
		}
		if cursor = page.Pagination.NextCursor; cursor == "" {
			break
		}
	}
	if listed != len(wanted) {
		t.Errorf("%d assets are listed, %d were acknowledged", listed, len(wanted))
	}
}

// checkBucket lets time pass for what the killed servers were at, and looks whether the bucket then has what the database names.
func (f *fleet) checkBucket(t *testing.T, blobs int) {
	t.Helper()
	db, err := store.Open(variable(f.env, "DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(sql string) {
		if _, err := db.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	count := func(from string) (n int) {
		if err := db.Pool().QueryRow(t.Context(), "select count(*) from "+from).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not within three minutes: " + what)
			}
		}
	}
	hurry := func() { // what a killed server was at is taken for undone after some time, and tried again after some more
		exec("update river_job set attempted_at = attempted_at - interval '1 hour' where state = 'running' and attempted_at < now() - interval '5 seconds'")
		exec("update river_job set scheduled_at = now() where state in ('retryable', 'scheduled')")
	}
	eventually("all are read", func() bool {
		hurry()
		return count("blobs where metadata is null") == 0
	})
	exec("update object_intents set delete_after = now()")
	exec("update uploads set expires_at = now()")
	for place := range f.servers { // whichever led them: the next one that leads asks for a purge at once
		f.replace(t, place)
	}
	eventually("all is collected", func() bool {
		hurry()
		return count("object_intents") == 0 && count("upload_pieces") == 0
	})
	bucket := variable(f.env, "S3_BUCKET_NAME")
	keys := services.SharedS3(t).Keys(t, bucket)
	if want := blobs + count("thumbnails") + 1; len(keys) != want || count("blobs") != blobs { // and platform-id
		t.Errorf("the bucket has %d objects, want %d; %d blobs, want %d", len(keys), want, count("blobs"), blobs)
	}
	parts, err := services.SharedS3(t).Client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil || len(parts.Uploads) > 0 {
		t.Errorf("%d uploads are left half way, %v", len(parts.Uploads), err)
	}
}

// variable is one of an environment's.
func variable(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}
