package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// upload uploads a file in full.
func (b *bench) upload(fileType store.FileType, mimeType, content string) (a store.Asset, key string) {
	b.t.Helper()
	key = b.begin(content)
	a, _, _, err := b.store.CommitUpload(b.t.Context(), store.NewAsset{
		UserID: b.user.ID, ObjectKey: key, SHA256: sha256.Sum256([]byte(content)), FileSize: int64(len(content)),
		OriginalName: "x", FileType: fileType, MIMEType: mimeType,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return a, key
}

// pngOf is a picture, half of it transparent.
func pngOf(t *testing.T, width, height int) string {
	t.Helper()
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width / 2 {
			picture.SetNRGBA(x, y, color.NRGBA{200, 100, 50, 255})
		}
	}
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

// wavOf is half a second of a square wave of half the volume, 16 bit, mono.
func wavOf() string {
	const rate = 8000
	var samples []byte
	for i := range rate / 2 {
		samples = binary.LittleEndian.AppendUint16(samples, uint16(int16(16384-32768*(i/10%2))))
	}
	head := fmt.Appendf(nil, "RIFF%sWAVEfmt %s", binary.LittleEndian.AppendUint32(nil, uint32(36+len(samples))), binary.LittleEndian.AppendUint32(nil, 16))
	for _, v := range []any{uint16(1), uint16(1), uint32(rate), uint32(rate * 2), uint16(2), uint16(16)} {
		head, _ = binary.Append(head, binary.LittleEndian, v) // of fixed size
	}
	return string(head) + "data" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(samples)))) + string(samples)
}

// read waits until the job has read an asset, and decodes its metadata.
func read[T any](b *bench, a store.Asset) (found store.Asset, metadata T) {
	b.t.Helper()
	eventually(b.t, "it is read", func() bool {
		var err error
		if found, err = b.store.Asset(b.t.Context(), b.user.ID, a.ID); err != nil {
			b.t.Fatal(err)
		}
		return found.Metadata != nil
	})
	if err := json.Unmarshal(found.Metadata, &metadata); err != nil {
		b.t.Fatalf("%s: %v", found.Metadata, err)
	}
	return found, metadata
}

// What is uploaded gets its metadata, its thumbnails or waveform; what cannot be decoded says so, and is not tried again.
func TestMedia(t *testing.T) {
	t.Parallel()
	b := newBench(t, services.SharedPostgres(t))
	b.run(closed())
	picture, _ := b.upload(store.Image, "image/png", pngOf(t, 400, 200))
	sound, _ := b.upload(store.Audio, "audio/wav", wavOf())
	damaged, _ := b.upload(store.Image, "image/png", pngOf(t, 20, 20)[:60])

	a, image := read[store.ImageMetadata](b, picture)
	if !a.HasThumbnail || *image.Width != 400 || *image.Height != 200 || *image.Format != "png" || !*image.HasAlpha || *image.Frames != 1 || !slices.Equal(image.Palette, []string{"#c86432"}) {
		t.Errorf("picture: thumbnail %t, %s", a.HasThumbnail, a.Metadata)
	}
	for size, width := range map[int]int{150: 150, 300: 300, 600: 400} {
		thumbnail, err := b.store.Thumbnail(t.Context(), a, size)
		if err != nil {
			t.Fatal(err)
		}
		body, err := b.bucket.Get(t.Context(), thumbnail.ObjectKey, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		decoded, err := png.Decode(body)
		if err != nil || decoded.Bounds().Dx() != width || thumbnail.MIMEType != "image/png" {
			t.Errorf("thumbnail %d: %s, %v", size, thumbnail.MIMEType, err)
		}
	}
	a, audio := read[store.AudioMetadata](b, sound)
	if a.HasThumbnail || *audio.Duration != 0.5 || *audio.SampleRate != 8000 || *audio.Channels != 1 || len(audio.Waveform) != 100 || audio.Waveform[50] < 0.49 || audio.Waveform[50] > 0.51 {
		t.Errorf("sound: thumbnail %t, %s", a.HasThumbnail, a.Metadata)
	}
	a, image = read[store.ImageMetadata](b, damaged)
	if a.HasThumbnail || image.Palette != nil || !strings.Contains(b.log.String(), "a file is not read in full") {
		t.Errorf("damaged: thumbnail %t, %s", a.HasThumbnail, a.Metadata)
	}
	eventually(t, "all jobs are done", func() bool { return b.count("river_job where queue = 'media' and state <> 'completed'") == 0 })
	if n := b.count("object_intents"); n != 0 {
		t.Errorf("%d notes are left", n)
	}
}

// work runs the media job of an asset once, as the given attempt of 4, on a bucket.
func (b *bench) work(a store.Asset, attempt int, bucket *objectstore.Bucket) error {
	b.t.Helper()
	return b.workFor(readTime, a, attempt, bucket)
}

func (b *bench) workFor(readTime time.Duration, a store.Asset, attempt int, bucket *objectstore.Bucket) error {
	b.t.Helper()
	w := &mediaWorker{o: Options{Store: b.store, Bucket: bucket, Log: slog.New(slog.NewTextHandler(b.log, nil))}, readTime: readTime}
	return w.Work(b.t.Context(), &river.Job[store.MediaArgs]{
		JobRow: &rivertype.JobRow{Attempt: attempt, MaxAttempts: 4}, Args: store.MediaArgs{UserID: a.UserID, SHA256: hex.EncodeToString(a.SHA256[:])},
	})
}

// A bucket that is away uses up no attempt; what killed every process that read it is not read again; what is gone needs nothing.
func TestMediaThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBench(t, services.SharedPostgres(t))
	a, _ := b.upload(store.Image, "image/png", pngOf(t, 4, 4))
	away, err := objectstore.New(t.Context(), config.Bucket{
		Name: b.settings.Name, Region: b.settings.Region, Endpoint: "http://127.0.0.1:1", AccessKey: "x", SecretKey: "y",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var snooze *river.JobSnoozeError
	if err := b.work(a, 1, away); !errors.As(err, &snooze) {
		t.Errorf("bucket away: %v", err)
	}
	if found, err := b.store.Asset(t.Context(), b.user.ID, a.ID); err != nil || found.Metadata != nil {
		t.Errorf("bucket away: %s, %v", found.Metadata, err)
	}
	if err := b.work(a, 4, b.bucket); err != nil || !strings.Contains(b.log.String(), "given up after 3 attempts") {
		t.Errorf("the last attempt: %v, %s", err, b.log)
	}
	if found, metadata := read[store.ImageMetadata](b, a); found.HasThumbnail || metadata.Width != nil {
		t.Errorf("the last attempt: %s", found.Metadata)
	}
	long, _ := b.upload(store.Audio, "audio/wav", wavOf())
	if err := b.workFor(time.Nanosecond, long, 1, b.bucket); err != nil || !strings.Contains(b.log.String(), "it takes longer than 1ns") {
		t.Errorf("takes too long: %v, %s", err, b.log)
	}
	if found, _ := read[store.AudioMetadata](b, long); found.Metadata == nil {
		t.Error("takes too long: it would be read again")
	}
	gone, _ := b.upload(store.Image, "image/png", pngOf(t, 5, 5))
	if _, err := b.store.PurgeAsset(t.Context(), b.user.ID, gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.work(gone, 1, b.bucket); err != nil {
		t.Errorf("gone: %v", err)
	}
}

// Thumbnails of bytes that were deleted while they were read are deleted as well.
func TestMediaOfBytesThatGo(t *testing.T) {
	t.Parallel()
	b := newBench(t, services.SharedPostgres(t))
	a, _ := b.upload(store.Image, "image/png", pngOf(t, 400, 200))
	w := &mediaWorker{o: Options{Store: b.store, Bucket: b.bucket, Log: slog.New(slog.DiscardHandler)}, readTime: readTime}
	blob, err := b.store.UnreadBlob(t.Context(), store.MediaArgs{UserID: a.UserID, SHA256: hex.EncodeToString(a.SHA256[:])})
	if err != nil {
		t.Fatal(err)
	}
	found, err := w.inspect(t.Context(), blob)
	if err != nil || len(found.thumbnails) == 0 {
		t.Fatalf("%d thumbnails, %v", len(found.thumbnails), err)
	}
	orphan, err := b.store.PurgeAsset(t.Context(), b.user.ID, a.ID)
	if err == nil {
		err = b.store.DiscardObject(t.Context(), b.user.ID, orphan, b.bucket.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := w.keep(t.Context(), blob, found); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	keys := services.SharedS3(t).Keys(t, b.settings.Name)
	if n := b.count("object_intents"); len(keys) != 1 || n != 0 { // platform-id
		t.Errorf("left: %q, %d notes", keys, n)
	}
}
