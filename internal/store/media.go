package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// ImageMetadata is what the API tells about a picture; null is what could not be read.
type ImageMetadata struct {
	Width    *int     `json:"width" doc:"Pixels, as it is shown."`
	Height   *int     `json:"height" doc:"Pixels, as it is shown."`
	Format   *string  `json:"format" doc:"png, jpeg, gif or webp."`
	HasAlpha *bool    `json:"hasAlpha" doc:"Whether a part is transparent."`
	Palette  []string `json:"palette" nullable:"true" doc:"Colours as #rrggbb, the most frequent first."`
	Frames   *int     `json:"frames" doc:"1: it does not move."`
}

// AudioMetadata is what the API tells about sound; null is what could not be read.
type AudioMetadata struct {
	Duration   *float64  `json:"duration" doc:"Seconds."`
	Bitrate    *int64    `json:"bitrate" doc:"Bits in a second."`
	SampleRate *int      `json:"sampleRate" doc:"Hz."`
	Channels   *int      `json:"channels"`
	Format     *string   `json:"format" doc:"wav, mp3, flac, vorbis, opus, aac, alac or mp4."`
	Waveform   []float64 `json:"waveform" nullable:"true" doc:"Peaks from the beginning to the end, 0 to 1 each."`
}

// UnreadBlob is bytes that the media job has not read yet.
type UnreadBlob struct {
	UserID    uuid.UUID
	SHA256    [32]byte
	ObjectKey string
	Size      int64 // bytes
	MIMEType  string
}

// Thumbnail is a small picture of a picture, in the bucket.
type Thumbnail struct {
	Size      int // of the square that it fits, pixels
	ObjectKey string
	MIMEType  string
	Bytes     int64
}

// UnreadBlob returns the bytes that a media job is for; ErrNotFound if they are gone or were read before.
func (s *Store) UnreadBlob(ctx context.Context, args MediaArgs) (UnreadBlob, error) {
	if err := owned(args.UserID); err != nil {
		return UnreadBlob{}, err
	}
	sha, err := hex.DecodeString(args.SHA256)
	if err != nil || len(sha) != 32 {
		return UnreadBlob{}, fmt.Errorf("no SHA-256: %q", args.SHA256)
	}
	row, err := s.queries.UnreadBlob(ctx, sqlc.UnreadBlobParams{UserID: args.UserID, Sha256: sha})
	return UnreadBlob{args.UserID, [32]byte(sha), row.ObjectKey, row.Size, row.MimeType}, fail("find bytes to read", err)
}

// KeepMedia notes what was read from bytes, and their thumbnails, which are in the bucket under keys of BeginUpload. ErrNotFound if the
// bytes are gone or were read before: the caller then discards the thumbnails.
func (s *Store) KeepMedia(ctx context.Context, blob UnreadBlob, metadata any, thumbnails []Thumbnail) error {
	text, err := json.Marshal(metadata)
	if err != nil {
		return err
	}
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		kept, err := q.KeepMetadata(ctx, sqlc.KeepMetadataParams{UserID: blob.UserID, Sha256: blob.SHA256[:], Metadata: text})
		if err == nil && kept == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		for _, t := range thumbnails {
			taken, err := q.TakeIntent(ctx, sqlc.TakeIntentParams{ObjectKey: t.ObjectKey, UserID: blob.UserID})
			if err == nil && taken == 0 {
				err = ErrUploadExpired
			}
			if err != nil {
				return err
			}
			err = q.KeepThumbnail(ctx, sqlc.KeepThumbnailParams{
				UserID: blob.UserID, Sha256: blob.SHA256[:], Size: int16(t.Size), ObjectKey: t.ObjectKey, MimeType: t.MIMEType, Bytes: t.Bytes,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return fail("keep media", err)
}

// AskForMedia asks for jobs of up to limit blobs that were unread for some time: those of images that did not know of the job. It
// returns for how many; a blob that has a job gets no second one.
func (s *Store) AskForMedia(ctx context.Context, limit int) (asked int, err error) {
	rows, err := s.queries.UnreadBlobs(ctx, sqlc.UnreadBlobsParams{Limit: int32(limit), Before: time.Now().Add(-mediaPatience)})
	if err != nil || len(rows) == 0 {
		return 0, fail("find bytes to read", err)
	}
	jobs := make([]river.InsertManyParams, len(rows))
	for i, row := range rows {
		jobs[i].Args = MediaArgs{row.UserID, hex.EncodeToString(row.Sha256)}
	}
	results, err := s.jobs.InsertMany(ctx, jobs)
	for _, r := range results {
		if !r.UniqueSkippedAsDuplicate {
			asked++
		}
	}
	return asked, fail("ask for media", err)
}

// mediaPatience is how long bytes may be unread before AskForMedia asks.
const mediaPatience = 5 * time.Minute

// askForMedia asks in a transaction for the job of bytes that are new.
func (s *Store) askForMedia(ctx context.Context, tx pgx.Tx, userID uuid.UUID, sha [32]byte) error {
	_, err := s.jobs.InsertTx(ctx, tx, MediaArgs{userID, hex.EncodeToString(sha[:])}, nil)
	return err
}

// Thumbnail returns the asset's thumbnail for a square of so many pixels: the smallest that is large enough, or else the largest, for
// pictures are not enlarged. ErrNotFound if it has none, or none yet.
func (s *Store) Thumbnail(ctx context.Context, a Asset, size int) (Thumbnail, error) {
	row, err := s.queries.Thumbnail(ctx, sqlc.ThumbnailParams{UserID: a.UserID, Sha256: a.SHA256[:], Wanted: int16(size)})
	return Thumbnail{size, row.ObjectKey, row.MimeType, row.Bytes}, fail("find thumbnail", err)
}
