package bench

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/test/services"
)

const (
	resumableFile = 64 << 20 // bytes
	hugeFile      = 2 << 30  // bytes
	// hugeGrowth is how much the server's memory may grow while it takes a huge file, bytes.
	hugeGrowth = 64 << 20
)

// BenchmarkResumableUploads sends sounds by tus through the real binary, and through tusd to the same object store, in turn: each file in
// one request, as clients do that meet no trouble. And one of 2 GB, for the server's memory.
//
// What differs: tusd stores whatever comes, as parts of one object. We keep pieces, examine the file, work out its SHA-256, and have the
// object store copy the pieces into one object in the end, which a job then reads for its duration and waveform.
func BenchmarkResumableUploads(b *testing.B) {
	t := newTransfers(b, fmt.Sprintf("MAX_FILE_SIZE_AUDIO=%d", int64(hugeFile)))
	l := &library{b: b, url: t.server.url}
	l.register("artist")
	tusd := newTusd(b)
	ours := []string{"Authorization", "Bearer " + l.token}
	b.Run("64MB", func(b *testing.B) {
		through := &side{do: func(i int) error { return sendByTus(l.url+"/api/uploads", resumableFile, i, ours...) }}
		peer := &side{do: func(i int) error { return sendByTus(tusd.url+"/files/", resumableFile, i) }}
		processes := t.processes(b)
		processes["peer"] = tusd.pid
		race(b, 1, processes, through, peer)
		b.ReportMetric(through.rate()*resumableFile/(1<<20), "MB/s")
		b.ReportMetric(peer.rate()*resumableFile/(1<<20), "peer-MB/s")
		b.ReportMetric(through.over(peer), "over-peer")
		b.ReportMetric(milliseconds(through.cpu["server"]), "server-cpu-ms")
		b.ReportMetric(milliseconds(through.cpu["s3"]), "s3-cpu-ms")
		b.ReportMetric(milliseconds(peer.cpu["peer"]), "peer-cpu-ms")
		b.ReportMetric(milliseconds(peer.cpu["s3"]), "peer-s3-cpu-ms")
		b.ReportMetric(0, "ns/op") // says nothing here
	})
	b.Run("2GB", func(b *testing.B) {
		before := t.forgetPeak(b)
		for name, send := range map[string]func() error{
			"":      func() error { return sendByTus(l.url+"/api/uploads", hugeFile, 0, ours...) },
			"peer-": func() error { return sendByTus(tusd.url+"/files/", hugeFile, 0) },
		} {
			began := time.Now()
			if err := send(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(hugeFile/(1<<20)/time.Since(began).Seconds(), name+"MB/s")
		}
		growth := float64(memory(b, t.server.pid(), "VmHWM") - before)
		b.ReportMetric(growth/(1<<20), "growth-MB")
		b.ReportMetric(growth/hugeGrowth, "growth/limit")
		b.ReportMetric(0, "ns/op") // says nothing here
	})
}

// sendByTus makes an upload of a sound of so many bytes, and sends them.
func sendByTus(endpoint string, size int64, seed int, headers ...string) error {
	ask := func(method, url string, body io.Reader, length int64, more ...string) (http.Header, error) {
		r, err := http.NewRequest(method, url, body)
		if err != nil {
			return nil, err
		}
		r.ContentLength = length
		all := append(append([]string{"Tus-Resumable", "1.0.0"}, more...), headers...)
		for i := 0; i < len(all); i += 2 {
			r.Header.Set(all[i], all[i+1])
		}
		answer, err := browser.Do(r)
		if err != nil {
			return nil, err
		}
		text, _ := io.ReadAll(answer.Body) // an answer that is cut off has no status to believe either
		answer.Body.Close()
		if answer.StatusCode/100 != 2 {
			return nil, fmt.Errorf("%s %s: %s %s", method, url, answer.Status, text)
		}
		return answer.Header, nil
	}
	made, err := ask(http.MethodPost, endpoint, nil, 0, "Upload-Length", strconv.FormatInt(size, 10), "Upload-Metadata", "filename YS53YXY=")
	if err != nil {
		return err
	}
	address := made.Get("Location")
	if strings.HasPrefix(address, "/") {
		address = strings.TrimSuffix(endpoint, "/api/uploads") + address
	}
	head := sound(soundHeader)[:soundHeader]
	copy(head[4:], "\xff\xff\xff\xff") // sizes as programs write them into a pipe
	copy(head[40:], "\xff\xff\xff\xff")
	noise := io.LimitReader(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), size-soundHeader)
	_, err = ask(http.MethodPatch, address, io.MultiReader(strings.NewReader(string(head)), noise), size,
		"Content-Type", "application/offset+octet-stream", "Upload-Offset", "0")
	return err
}

// tusd is the tus project's own server, on the object store of the benchmarks.
type tusd struct {
	url string
	pid int
}

func newTusd(b *testing.B) tusd {
	b.Helper()
	bucket, port := services.SharedS3(b).Bucket(b), services.FreePort(b)
	cmd := exec.Command(built(b, "tusd", "tusd"), "-host", "127.0.0.1", "-port", strconv.Itoa(port), "-base-path", "/files/",
		"-s3-bucket", bucket.Name, "-s3-endpoint", bucket.Endpoint, "-verbose=false")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+bucket.AccessKey, "AWS_SECRET_ACCESS_KEY="+bucket.SecretKey, "AWS_REGION=us-east-1")
	log := &services.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.Failed() {
			b.Logf("tusd: %s", log)
		}
	})
	d := tusd{fmt.Sprintf("http://127.0.0.1:%d", port), cmd.Process.Pid}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		answer, err := http.Get(d.url + "/metrics")
		if err == nil {
			answer.Body.Close()
			return d
		}
		if time.Now().After(deadline) {
			b.Fatal("tusd does not answer")
		}
	}
}
