package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

const (
	smallFile = 1 << 20  // bytes
	largeFile = 50 << 20 // bytes: MAX_FILE_SIZE_AUDIO

	transferClients = 4
	manyUploads     = 8 // large ones, at a time

	leastOverRaw = 0.9 // rate of our transfers over that of the object store's own
)

// transfers is a server process with an object store, and the way past the server.
type transfers struct {
	program string
	env     []string
	server  *serverProcess
	client  *s3.Client
	bucket  config.Bucket // the server's
}

// farLimits are never met, but count as those of a platform do.
var farLimits = []string{"RATE_LIMIT_GENERAL=1000000000", "RATE_LIMIT_UPLOAD=1000000000", "RATE_LIMIT_REGISTER=1000000000"}

func newTransfers(b *testing.B, settings ...string) *transfers {
	b.Helper()
	t := &transfers{program: build(b), env: slices.Concat(environment(b), farLimits, settings)}
	t.bucket = config.Bucket{
		Name: setting(t.env, "S3_BUCKET_NAME"), Endpoint: setting(t.env, "S3_ENDPOINT"),
		AccessKey: setting(t.env, "S3_ACCESS_KEY"), SecretKey: setting(t.env, "S3_SECRET_KEY"),
	}
	t.client = s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(t.bucket.Endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(t.bucket.AccessKey, t.bucket.SecretKey, ""),
		// As the SDK's own configuration has them.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
	t.server = startServer(b, t.program, t.env)
	b.Cleanup(func() { t.server.stop(b) })
	return t
}

// restart is for what an earlier measurement has left in the server's memory.
func (t *transfers) restart(b *testing.B) {
	b.Helper()
	t.server.stop(b)
	t.server = startServer(b, t.program, t.env)
}

// processes are those whose CPU time tells where a transfer's time goes.
func (t *transfers) processes(b *testing.B) map[string]int {
	b.Helper()
	return map[string]int{"client": os.Getpid(), "server": t.server.pid(), "s3": services.SharedS3(b).PID(), "postgres": services.SharedPostgres(b).PID()}
}

// race compares transfers through the server with those past it, of so many bytes each.
func (t *transfers) race(b *testing.B, name string, bytes float64, through, past func(i int) error) {
	b.Helper()
	ours, raw := &side{do: through}, &side{do: past}
	race(b, transferClients, t.processes(b), ours, raw)
	b.ReportMetric(ours.rate(), name+"/s")
	b.ReportMetric(raw.rate(), "raw-"+name+"/s")
	b.ReportMetric(ours.rate()*bytes/(1<<20), "MB/s")
	b.ReportMetric(ours.over(raw), "over-raw")
	b.ReportMetric(leastOverRaw/ours.over(raw), "over-raw/limit")
	for process, took := range ours.cpu {
		b.ReportMetric(milliseconds(took), process+"-cpu-ms")
	}
	b.ReportMetric(milliseconds(raw.cpu["client"]), "raw-client-cpu-ms")
	b.ReportMetric(milliseconds(raw.cpu["s3"]), "raw-s3-cpu-ms")
	b.ReportMetric(0, "ns/op") // says nothing here
}

// BenchmarkUploads sends files through the real binary, and the same ones past it to the same object store with the AWS SDK, in turn
// and by as many clients; all on one machine. It reports the rates, their ratio, and the CPU time of each process for one upload.
// PostgreSQL does not wait for its disk here, nor does the object store.
//
// Large files are for the server's memory: the peak while it takes one, and eight of as many users, over the bytes on their way.
func BenchmarkUploads(b *testing.B) {
	t := newTransfers(b)
	l := &library{b: b, url: t.server.url}
	l.register("artist")
	b.Run("1MB", func(b *testing.B) {
		file, raw := sound(smallFile), services.SharedS3(b).Bucket(b).Name
		t.race(b, "uploads", smallFile, func(i int) error {
			_, err := l.upload(another(file, i))
			return err
		}, func(i int) error {
			key := fmt.Sprintf("blobs/%02x/%d", i%256, i) // in folders, as the server's
			_, err := t.client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: &raw, Key: &key, Body: bytes.NewReader(another(file, i))})
			return err
		})
	})
	b.Run("50MB", func(b *testing.B) {
		var users []*library
		for i := range manyUploads {
			user := &library{b: b, url: t.server.url}
			user.register(fmt.Sprint("artist", i))
			users = append(users, user)
		}
		t.restart(b)
		time.Sleep(3 * time.Second)
		file := sound(largeFile)
		b.ReportMetric(float64(memory(b, t.server.pid(), "VmHWM"))/(1<<20), "peak-before-MB")
		for _, n := range []int{1, manyUploads} {
			before := t.forgetPeak(b)
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					users[i].url = t.server.url
					if _, err := users[i].upload(another(file, n+i)); err != nil {
						b.Error(err)
					}
				})
			}
			all.Wait()
			peak := memory(b, t.server.pid(), "VmHWM")
			b.ReportMetric(float64(peak)/(1<<20), fmt.Sprintf("peak-of-%d-MB", n))
			b.ReportMetric(float64(peak-before)/float64(n*largeFile), fmt.Sprintf("growth-of-%d/sent", n))
		}
		b.ReportMetric(0, "ns/op") // says nothing here
	})
}

// forgetPeak begins a new peak of the server's memory, and returns what it has now, bytes.
func (t *transfers) forgetPeak(b *testing.B) int64 {
	b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", t.server.pid()), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
	return memory(b, t.server.pid(), "VmHWM")
}

// BenchmarkDownloads reads a large file whole, and in parts of 1 MB as players do, through the real binary and past it from the same
// object, in turn and by as many clients. The SDK verifies the checksum of a whole object, as the server does.
func BenchmarkDownloads(b *testing.B) {
	t := newTransfers(b)
	l := &library{b: b, url: t.server.url}
	l.register("artist")
	id, err := l.upload(sound(largeFile))
	if err != nil {
		b.Fatal(err)
	}
	url, key := l.url+"/api/assets/"+id+"/download", ""
	for _, k := range services.SharedS3(b).Keys(b, t.bucket.Name) {
		if strings.HasPrefix(k, "blobs/") {
			key = k
		}
	}
	raw := func(size int64, part *string) error {
		out, err := t.client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &t.bucket.Name, Key: &key, Range: part})
		if err != nil {
			return err
		}
		defer out.Body.Close()
		n, err := drain(out.Body)
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes, not %d", n, size)
		}
		return err
	}
	b.Run("whole", func(b *testing.B) {
		t.race(b, "downloads", largeFile, func(int) error {
			return get(url, largeFile, "Authorization", "Bearer "+l.token)
		}, func(int) error { return raw(largeFile, nil) })
	})
	b.Run("range", func(b *testing.B) {
		part := func(i int) string {
			from := i * 7 % (largeFile / smallFile) * smallFile
			return fmt.Sprintf("bytes=%d-%d", from, from+smallFile-1)
		}
		t.race(b, "ranges", smallFile, func(i int) error {
			return get(url, smallFile, "Authorization", "Bearer "+l.token, "Range", part(i))
		}, func(i int) error { return raw(smallFile, aws.String(part(i))) })
	})
}

// soundHeader is the length of a WAV file's header, bytes.
const soundHeader = 44

// sound is a WAV file of so many bytes. Its samples are noise, of which nothing on the way can make less.
func sound(size int) []byte {
	const channels, hertz, width = 2, 44100, 2
	file := make([]byte, 0, size)
	file = append(file, "RIFF"...)
	file = binary.LittleEndian.AppendUint32(file, uint32(size-8))
	file = append(file, "WAVEfmt "...)
	file = binary.LittleEndian.AppendUint32(file, 16)
	file = binary.LittleEndian.AppendUint16(file, 1) // PCM
	file = binary.LittleEndian.AppendUint16(file, channels)
	file = binary.LittleEndian.AppendUint32(file, hertz)
	file = binary.LittleEndian.AppendUint32(file, hertz*channels*width)
	file = binary.LittleEndian.AppendUint16(file, channels*width)
	file = binary.LittleEndian.AppendUint16(file, 8*width)
	file = append(file, "data"...)
	file = binary.LittleEndian.AppendUint32(file, uint32(size-soundHeader))
	file = file[:size]
	_, _ = rand.NewChaCha8([32]byte{}).Read(file[soundHeader:]) // never fails
	return file
}

// another is a file like this one, of other bytes.
func another(file []byte, i int) []byte {
	file = bytes.Clone(file)
	binary.LittleEndian.PutUint64(file[soundHeader:], uint64(i))
	return file
}

// upload sends a sound, and returns its id.
func (l *library) upload(file []byte) (id string, err error) {
	const boundary = "7f5a2b90c1"
	head := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"noise.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
	tail := "\r\n--" + boundary + "--\r\n"
	r, err := http.NewRequest(http.MethodPost, l.url+"/api/assets/upload", io.MultiReader(strings.NewReader(head), bytes.NewReader(file), strings.NewReader(tail)))
	if err != nil {
		return "", err
	}
	r.ContentLength = int64(len(head) + len(file) + len(tail))
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	r.Header.Set("Authorization", "Bearer "+l.token)
	answer, err := browser.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var stored struct{ Data struct{ ID string } }
	if err := json.NewDecoder(answer.Body).Decode(&stored); err != nil || answer.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("upload: %s, %v", answer.Status, err)
	}
	return stored.Data.ID, nil
}
