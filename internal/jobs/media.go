package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/assetplatform/assetplatform/internal/media"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	mediaTimeout = 10 * time.Minute
	// readTime is how long one file may be read. Low bit rates are the slowest: 50 MB of MP3 with 8 kbit/s take a core some five minutes.
	readTime = 8 * time.Minute
	// mediaPause is how long a job waits whose database or bucket is away.
	mediaPause = time.Minute
)

// mediaWorker reads what bytes are, one file at a time: that bounds the memory which a pod needs beside its requests.
type mediaWorker struct {
	river.WorkerDefaults[store.MediaArgs]
	o        Options
	readTime time.Duration // after which a file is given up
}

// Timeout bounds the work on one file.
func (w *mediaWorker) Timeout(*river.Job[store.MediaArgs]) time.Duration { return mediaTimeout }

// Work may run any number of times, also for bytes that are gone.
func (w *mediaWorker) Work(ctx context.Context, job *river.Job[store.MediaArgs]) error {
	err := w.read(ctx, job)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, objectstore.ErrUnavailable), errors.Is(err, objectstore.ErrBusy):
		w.o.Log.Warn("a file cannot be read now", "sha256", job.Args.SHA256, "error", err)
		return river.JobSnooze(mediaPause)
	case errors.Is(err, context.Canceled): // this process ends
		return river.JobSnooze(time.Second)
	}
	return err
}

func (w *mediaWorker) read(ctx context.Context, job *river.Job[store.MediaArgs]) error {
	blob, err := w.o.Store.UnreadBlob(ctx, job.Args)
	if err != nil {
		return err
	}
	found := findings{problem: fmt.Errorf("given up after %d attempts", job.Attempt-1)}
	if job.Attempt < job.MaxAttempts {
		found, err = w.inspect(ctx, blob)
		if err != nil {
			return err
		}
	}
	if found.problem != nil {
		w.o.Log.Info("a file is not read in full", "sha256", job.Args.SHA256, "type", blob.MIMEType, "because", found.problem.Error())
	}
	return w.keep(ctx, blob, found)
}

// findings are what a file is told to be.
type findings struct {
	metadata   any
	thumbnails []media.Thumbnail
	problem    error // why some of it is not known; nil: all is
}

// inspect reads a file. What is wrong with the file is in the findings; errors are of other things.
func (w *mediaWorker) inspect(ctx context.Context, blob store.UnreadBlob) (found findings, err error) {
	job := ctx
	ctx, cancel := context.WithTimeout(ctx, w.readTime)
	defer cancel()
	file := w.o.Bucket.Open(ctx, blob.ObjectKey, blob.Size)
	defer file.Close()
	if strings.HasPrefix(blob.MIMEType, "image/") {
		var info media.ImageInfo
		info, found.thumbnails, err = media.ReadImage(ctx, file, blob.Size, blob.MIMEType)
		found.metadata = imageMetadata(info)
	} else {
		var info media.AudioInfo
		info, err = media.ReadAudio(ctx, file, blob.Size, blob.MIMEType)
		found.metadata = audioMetadata(info)
	}
	if errors.Is(err, media.ErrDamaged) || errors.Is(err, media.ErrUnsupported) || errors.Is(err, media.ErrTooLarge) {
		found.problem, err = err, nil
	}
	if err != nil && ctx.Err() != nil && job.Err() == nil { // of which the bucket may have made an error of its own; it would take as long again
		found.problem, err = fmt.Errorf("it takes longer than %s: %w", w.readTime, err), nil
	}
	return found, err
}

func imageMetadata(i media.ImageInfo) store.ImageMetadata {
	m := store.ImageMetadata{Format: known(i.Format), Palette: i.Palette}
	if i.Format != "" {
		m.Width, m.Height, m.HasAlpha, m.Frames = known(i.Width), known(i.Height), &i.HasAlpha, known(i.Frames)
	}
	return m
}

func audioMetadata(a media.AudioInfo) store.AudioMetadata {
	return store.AudioMetadata{
		Duration: known(a.Duration), Bitrate: known(a.Bitrate), SampleRate: known(a.SampleRate), Channels: known(a.Channels),
		Format: known(a.Format), Waveform: a.Waveform,
	}
}

// known is nil for what was not read.
func known[T comparable](value T) *T {
	if value == *new(T) {
		return nil
	}
	return &value
}

// keep stores the thumbnails and then notes everything at once. Whatever ends it early leaves nothing behind but keys for the collector.
func (w *mediaWorker) keep(ctx context.Context, blob store.UnreadBlob, found findings) (err error) {
	var stored []store.Thumbnail
	defer func() {
		if err != nil {
			tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			for _, t := range stored {
				err = errors.Join(err, w.o.Store.DiscardObject(tidy, blob.UserID, t.ObjectKey, w.o.Bucket.Discard))
			}
		}
	}()
	for _, t := range found.thumbnails {
		key, err := w.o.Store.BeginUpload(ctx, blob.UserID)
		if err != nil {
			return err
		}
		if err := w.o.Bucket.Put(ctx, key, bytes.NewReader(t.Bytes)); err != nil {
			return err // what the bucket did with the key is not known: the collector may decide
		}
		stored = append(stored, store.Thumbnail{Size: t.Size, ObjectKey: key, MIMEType: t.MIMEType, Bytes: int64(len(t.Bytes))})
	}
	return w.o.Store.KeepMedia(ctx, blob, found.metadata, stored)
}
